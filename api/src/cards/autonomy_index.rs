//! AutonomyIndexPanel: what share of incidents the AI settled alone. Pure: rows of `autonomy` in, card out.

use super::display;
use super::envelope::{Card, Severity, Unit};
use super::facts;
use super::seal::{Basis, Body, Setting, Source, close, open_card};
use super::types::CardType;
use crate::locale::Word;
use crate::stats::rows::AutonomyRow;
use afferent_engine::error::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `data` of the card: the last 24 hours, and the calendar day apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AutonomyIndexData {
    /// Share resolved automatically, 0..1.
    pub rate: Option<f64>,
    /// The same without resolutions that did not last, 0..1.
    pub strict_rate: Option<f64>,
    /// Against the 24 hours before, percentage points.
    pub daily_trend_pp: Option<f64>,
    /// Incidents the AI settled alone.
    pub auto: Option<i64>,
    /// Incidents settled after approval.
    pub assisted: Option<i64>,
    /// Incidents a person settled.
    pub manual: Option<i64>,
    /// Incidents that cleared by themselves; in no rate.
    pub self_cleared: Option<i64>,
    /// auto + assisted + manual.
    pub n: Option<i64>,
    /// Wilson 95 % interval of the rate, 0..1.
    pub ci95: Option<[f64; 2]>,
    /// Share of the calendar day so far, 0..1.
    pub today_rate: Option<f64>,
    /// Against yesterday at the same time of day, percentage points.
    pub today_trend_pp: Option<f64>,
}

/// A ratio of the view's percent.
fn ratio(percent: Option<f64>) -> Option<f64> {
    percent.map(|p| p / 100.0)
}

fn data(rolling: Option<&AutonomyRow>, today: Option<&AutonomyRow>) -> AutonomyIndexData {
    AutonomyIndexData {
        rate: ratio(rolling.and_then(|r| r.rate)),
        strict_rate: ratio(rolling.and_then(|r| r.strict_rate)),
        daily_trend_pp: rolling.and_then(|r| r.daily_trend_pp),
        auto: rolling.map(|r| r.auto),
        assisted: rolling.map(|r| r.assisted),
        manual: rolling.map(|r| r.manual),
        self_cleared: rolling.map(|r| r.self_cleared),
        n: rolling.map(|r| r.n),
        ci95: rolling.and_then(|r| r.ci95_low.zip(r.ci95_high)).map(|(low, high)| [low / 100.0, high / 100.0]),
        today_rate: ratio(today.and_then(|r| r.rate)),
        today_trend_pp: today.and_then(|r| r.daily_trend_pp),
    }
}

/// Makes the card.
///
/// # Errors
/// `Internal` where it cannot be written as JSON.
pub fn card(rows: &[AutonomyRow], source: &Source, setting: &Setting) -> Result<Card<AutonomyIndexData>> {
    let locale = setting.locale;
    let say = |word| locale.say(word, &[]);
    let basis = Basis::of(source, rows.iter().map(|r| r.stamp));
    let scope = |name: &str| rows.iter().find(|r| r.scope == name);
    let rolling = scope("rolling_24h").filter(|r| r.n > 0 || r.self_cleared > 0);
    let data = data(rolling, scope("today"));
    let summary = match rolling {
        _ if source.failed => say(Word::ReadFailed),
        Some(row) if row.n > 0 => {
            let rate = display::percent(data.rate, 0, locale);
            locale.say(Word::AutonomySummary, &[("rate", &rate), ("auto", &row.auto.to_string()), ("human", &row.human.to_string())])
        }
        _ => say(Word::AutonomyEmpty),
    };
    let share = |id: &str, word, value| facts::figure(id, say(word), value, Unit::Ratio, display::percent(value, 0, locale));
    let trend = |id: &str, word, value| facts::figure(id, say(word), value, Unit::Pp, display::points(value, locale));
    let number = |id: &str, word, value| facts::count(id, say(word), value, locale);
    close(
        Body {
            kind: CardType::AutonomyIndexPanel,
            subject: None,
            state: basis.state(setting, data.rate.is_some(), false),
            severity: Severity::Info,
            title: say(Word::AutonomyTitle),
            summary,
            description: say(Word::AutonomyDescription),
            facts: vec![
                share("rate", Word::AutonomyTitle, data.rate),
                trend("daily_trend_pp", Word::AutonomyTrend, data.daily_trend_pp),
                number("auto", Word::AutoResolved, data.auto),
                number("assisted", Word::Assisted, data.assisted),
                number("manual", Word::Manual, data.manual),
                number("self_cleared", Word::SelfCleared, data.self_cleared),
                share("strict_rate", Word::AutonomyStrict, data.strict_rate),
                share("today_rate", Word::AutonomyToday, data.today_rate),
            ],
            data,
            actions: vec![open_card(CardType::MTTRCard, "", locale.say(Word::OpenCard, &[("title", &say(Word::MttrTitle))]))],
            links: Vec::new(),
        },
        &basis,
        setting,
    )
}
