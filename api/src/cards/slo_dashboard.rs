//! SLODashboardCard: every objective with its attainment and budget. Pure: rows of `slo_status` in, card out.

use super::display::{self, plain};
use super::envelope::{Card, FactStatus, Op, Severity, Unit};
use super::facts;
use super::links::{Templates, encoded, fill};
use super::seal::{Basis, Body, Setting, Source, close, open_card};
use super::system_health::LINK_WINDOW_MS;
use super::types::CardType;
use crate::locale::Word;
use crate::stats::rows::{Burn, SloHealth, SloRow};
use afferent_engine::error::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Objectives that get a fact of their own: those with the least budget left.
const FACTS_MAX: usize = 12;

/// `data` of the card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SloDashboardData {
    /// Worst of all objectives.
    pub overall: SloHealth,
    /// By service and name.
    pub objectives: Vec<ObjectiveState>,
}

/// One objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectiveState {
    /// Objective.
    pub slo: String,
    /// Its service.
    pub service: String,
    /// `availability` or `latency`.
    pub indicator: String,
    /// Verdict.
    pub status: SloHealth,
    /// good / total, 0..1.
    pub sli_ratio: Option<f64>,
    /// Target, 0..1.
    pub target_ratio: f64,
    /// Rolling window, `7d`.
    pub window: String,
    /// Events over the window.
    pub good: Option<i64>,
    /// Events over the window.
    pub bad: Option<i64>,
    /// Events over the window.
    pub total: Option<i64>,
    /// Error budget left, signed.
    pub remaining_ratio: Option<f64>,
    /// Seconds until the budget is gone at the last hour's rate.
    pub time_to_exhaustion_s: Option<f64>,
    /// Burn rates.
    pub burn: Burn,
    /// Alert tiers that fire.
    pub firing: Vec<String>,
    /// Latency objectives.
    pub threshold_ms: Option<f64>,
    /// Latency objectives.
    pub p95_ms: Option<f64>,
    /// Slices seen / slices of the window, 0..1.
    pub coverage: f64,
}

fn objective(row: &SloRow) -> ObjectiveState {
    ObjectiveState {
        slo: plain(&row.slo),
        service: plain(&row.service),
        indicator: row.indicator.clone(),
        status: row.status,
        sli_ratio: row.sli,
        target_ratio: row.target,
        window: row.period.clone(),
        good: row.good,
        bad: row.bad,
        total: row.total,
        remaining_ratio: row.remaining_ratio,
        time_to_exhaustion_s: row.exhausted_in_minutes.map(|m| m * 60.0),
        burn: row.burn,
        firing: row.tiers.iter().filter(|t| t.fires && row.status != SloHealth::NoData).map(|t| t.tier.to_owned()).collect(),
        threshold_ms: row.threshold_ms,
        p95_ms: row.p95_ms,
        coverage: row.window_coverage,
    }
}

/// The word for people.
fn word(status: SloHealth) -> Word {
    match status {
        SloHealth::Healthy => Word::Healthy,
        SloHealth::NoData => Word::NoData,
        SloHealth::AtRisk => Word::AtRisk,
        SloHealth::Breached => Word::Breached,
    }
}

fn fact_status(status: SloHealth) -> FactStatus {
    match status {
        SloHealth::Healthy => FactStatus::Ok,
        SloHealth::NoData => FactStatus::NoData,
        SloHealth::AtRisk => FactStatus::Warning,
        SloHealth::Breached => FactStatus::Critical,
    }
}

/// Makes the card.
///
/// # Errors
/// `Internal` where it cannot be written as JSON.
pub fn card(rows: &[SloRow], templates: Templates<'_>, source: &Source, setting: &Setting) -> Result<Card<SloDashboardData>> {
    let locale = setting.locale;
    let say = |word| locale.say(word, &[]);
    let mut basis = Basis::of(source, rows.iter().map(|r| r.stamp));
    if let Some(stamp) = &mut basis.stamp {
        // What an objective stands on is its whole window, not the newest row alone.
        stamp.coverage = rows.iter().map(|r| r.window_coverage).reduce(f64::min);
    }
    let overall = SloHealth::worst(rows.iter().map(|r| r.status));
    let count = |status| rows.iter().filter(|r| r.status == status).count();
    let unknown = count(SloHealth::NoData);
    let summary = if source.failed {
        say(Word::ReadFailed)
    } else if rows.is_empty() {
        say(Word::SloNone)
    } else {
        let places = [
            ("total", rows.len().to_string()),
            ("healthy", count(SloHealth::Healthy).to_string()),
            ("at_risk", count(SloHealth::AtRisk).to_string()),
            ("breached", count(SloHealth::Breached).to_string()),
            ("no_data", unknown.to_string()),
        ];
        let places: Vec<(&str, &str)> = places.iter().map(|(n, v)| (*n, v.as_str())).collect();
        locale.say(Word::SloSummary, &places)
    };
    let mut tightest: Vec<&SloRow> = rows.iter().collect();
    let left = |row: &SloRow| row.remaining_ratio.unwrap_or(f64::INFINITY);
    tightest.sort_by(|a, b| left(a).total_cmp(&left(b)).then_with(|| a.slo.cmp(&b.slo)));
    let mut facts = vec![facts::word("overall", say(Word::Overall), overall.as_str(), say(word(overall)), fact_status(overall))];
    facts.extend(tightest.iter().take(FACTS_MAX).map(|row| {
        let label = locale.say(Word::BudgetRemaining, &[("name", &plain(&row.slo))]);
        let shown = row.remaining_ratio.filter(|_| row.status != SloHealth::NoData);
        let mut fact = facts::figure(&format!("budget_{}", plain(&row.slo)), label, shown, Unit::Ratio, display::percent(shown, 1, locale));
        fact = facts::against(fact, Some(0.0), Op::Gte);
        fact.status = fact_status(row.status);
        fact
    }));
    let troubled = tightest.iter().filter(|r| matches!(r.status, SloHealth::Breached | SloHealth::AtRisk));
    let mut named: Vec<&str> = Vec::new();
    for row in troubled {
        if !named.contains(&row.service.as_str()) {
            named.push(&row.service);
        }
    }
    let actions = named.iter().copied().take(FACTS_MAX).map(|service| {
        let title = locale.say(Word::ServiceTitle, &[("service", &plain(service))]);
        let query = format!("service={}", encoded(service));
        open_card(CardType::ServiceDetailCard, &query, locale.say(Word::OpenCard, &[("title", &title)]))
    });
    let end = basis.as_of().map_or(setting.now.0, |t| t.0);
    close(
        Body {
            kind: CardType::SLODashboardCard,
            subject: None,
            state: basis.state(setting, rows.len() > unknown, unknown > 0),
            severity: match overall {
                SloHealth::Breached => Severity::High,
                SloHealth::AtRisk => Severity::Medium,
                SloHealth::NoData | SloHealth::Healthy => Severity::Info,
            },
            title: say(Word::SloTitle),
            summary,
            description: say(Word::SloDescription),
            data: SloDashboardData { overall, objectives: rows.iter().map(objective).collect() },
            facts,
            actions: actions.collect(),
            links: fill(templates, named, end - LINK_WINDOW_MS, end, locale),
        },
        &basis,
        setting,
    )
}
