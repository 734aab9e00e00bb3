//! MTTRCard: how long incidents take. Pure: rows of `mttr` in, card out.

use super::display;
use super::envelope::{Card, FactStatus, Severity};
use super::facts;
use super::seal::{Basis, Body, Setting, Source, close, open_card};
use super::types::CardType;
use crate::locale::Word;
use crate::stats::rows::MttrRow;
use afferent_engine::error::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `data` of the card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MttrData {
    /// `24h`, `7d` or `30d`.
    pub period: String,
    /// All incidents that were resolved.
    pub overall: Option<Resolution>,
    /// Those the AI settled alone.
    pub auto: Option<Resolution>,
    /// Those that needed a person.
    pub human: Option<Resolution>,
    /// Open now.
    pub open_count: Option<i64>,
    /// Age of the oldest of them.
    pub oldest_open_s: Option<f64>,
    /// Merged, cancelled, false alarms.
    pub excluded_count: Option<i64>,
}

/// Times to resolution of a group of incidents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resolution {
    /// Incidents.
    pub n: i64,
    /// Mean.
    pub mean_s: Option<f64>,
    /// Median.
    pub median_s: Option<f64>,
    /// 90th percentile.
    pub p90_s: Option<f64>,
    /// 95 % interval of the median.
    pub median_ci95_s: Option<[f64; 2]>,
    /// `faster`, `slower`, `no_clear_change`; null with too few incidents.
    pub trend: Option<String>,
}

fn resolution(row: &MttrRow) -> Resolution {
    Resolution {
        n: row.n,
        mean_s: row.mean_s,
        median_s: row.median_s,
        p90_s: row.p90_s,
        median_ci95_s: row.median_low_s.zip(row.median_high_s).map(|(low, high)| [low, high]),
        trend: row.trend.clone(),
    }
}

/// Days of a period of the view.
fn days(period: &str) -> i64 {
    match period {
        "24h" => 1,
        "7d" => 7,
        _ => 30,
    }
}

/// Makes the card of one period.
///
/// # Errors
/// `Internal` where it cannot be written as JSON.
pub fn card(rows: &[MttrRow], period: &str, source: &Source, setting: &Setting) -> Result<Card<MttrData>> {
    let locale = setting.locale;
    let say = |word| locale.say(word, &[]);
    let rows: Vec<&MttrRow> = rows.iter().filter(|r| r.period == period).collect();
    let basis = Basis::of(source, rows.iter().map(|r| r.stamp));
    let scope = |name: &str| rows.iter().find(|r| r.scope == name).copied();
    let overall = scope("overall");
    let mean = |name: &str| scope(name).and_then(|r| r.mean_s);
    let span = |seconds| display::duration(seconds, locale);
    let (day_count, open) = (days(period).to_string(), display::count(overall.map(|r| r.open_count), locale));
    let summary = match overall {
        _ if source.failed => say(Word::ReadFailed),
        Some(row) if row.n > 0 => {
            let (mean, median, n) = (span(row.mean_s), span(row.median_s), row.n.to_string());
            let places = [("days", day_count.as_str()), ("mean", &mean), ("median", &median), ("n", &n), ("open", &open)];
            locale.say(Word::MttrSummary, &places)
        }
        _ => locale.say(Word::MttrEmpty, &[("days", &day_count), ("open", &open)]),
    };
    let time = |id: &str, word, seconds| facts::duration(id, say(word), seconds, locale);
    let mut open_fact = facts::count("open_count", say(Word::OpenIncidents), overall.map(|r| r.open_count), locale);
    open_fact.status = match overall.map(|r| r.open_count) {
        None => FactStatus::NoData,
        Some(0) => FactStatus::Ok,
        Some(_) => FactStatus::Warning,
    };
    let mut facts = vec![
        time("mttr_overall_s", Word::MttrOverall, mean("overall")),
        time("mttr_auto_s", Word::MttrAuto, mean("auto")),
        time("mttr_human_s", Word::MttrHuman, mean("human")),
        time("median_s", Word::MttrMedian, overall.and_then(|r| r.median_s)),
        time("p90_s", Word::MttrP90, overall.and_then(|r| r.p90_s)),
        open_fact,
    ];
    if overall.is_some_and(|r| r.open_count > 0) {
        facts.push(time("oldest_open_s", Word::OldestOpen, overall.and_then(|r| r.oldest_open_s)));
    }
    close(
        Body {
            kind: CardType::MTTRCard,
            subject: (period != crate::stats::MTTR_PERIOD).then(|| period.to_owned()),
            state: basis.state(setting, overall.is_some_and(|r| r.n > 0), false),
            severity: Severity::Info,
            title: say(Word::MttrTitle),
            summary,
            description: say(Word::MttrDescription),
            data: MttrData {
                period: period.to_owned(),
                overall: overall.map(resolution),
                auto: scope("auto").map(resolution),
                human: scope("human").map(resolution),
                open_count: overall.map(|r| r.open_count),
                oldest_open_s: overall.and_then(|r| r.oldest_open_s),
                excluded_count: overall.map(|r| r.excluded_count),
            },
            facts,
            actions: vec![open_card(CardType::AutonomyIndexPanel, "", locale.say(Word::OpenCard, &[("title", &say(Word::AutonomyTitle))]))],
            links: Vec::new(),
        },
        &basis,
        setting,
    )
}
