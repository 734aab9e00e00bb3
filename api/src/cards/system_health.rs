//! SystemHealthCard: one status per service. Pure: rows of `service_health` in, card out.

use super::display::plain;
use super::envelope::{Card, FactStatus, Severity};
use super::facts;
use super::links::{Templates, encoded, fill};
use super::seal::{Basis, Body, Setting, Source, close, open_card};
use super::types::CardType;
use crate::locale::{Locale, Word};
use crate::stats::rows::HealthRow;
use afferent_engine::error::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The window of the links out.
pub const LINK_WINDOW_MS: i64 = 3_600_000;

/// Actions listed: one per service that needs attention.
const ACTIONS_MAX: usize = 10;

/// Health of a service. The order is that of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceHealth {
    /// Act now.
    Critical,
    /// Needs an eye.
    Warning,
    /// Nothing is known.
    NoData,
    /// As it should be.
    Healthy,
}

impl ServiceHealth {
    /// The health of a word of the view; a word that is none of them says nothing.
    pub fn parse(word: &str) -> Self {
        match word {
            "healthy" => Self::Healthy,
            "warning" => Self::Warning,
            "critical" => Self::Critical,
            _ => Self::NoData,
        }
    }

    /// The identifier in `data`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::NoData => "no_data",
            Self::Healthy => "healthy",
        }
    }

    /// The word for people.
    pub fn word(self) -> Word {
        match self {
            Self::Critical => Word::Critical,
            Self::Warning => Word::Warning,
            Self::NoData => Word::NoData,
            Self::Healthy => Word::Healthy,
        }
    }

    /// How a fact of this health is marked.
    pub fn fact_status(self) -> FactStatus {
        match self {
            Self::Critical => FactStatus::Critical,
            Self::Warning => FactStatus::Warning,
            Self::NoData => FactStatus::NoData,
            Self::Healthy => FactStatus::Ok,
        }
    }
}

/// `data` of the card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemHealthData {
    /// Those that need attention first, then by name.
    pub services: Vec<ServiceState>,
    /// How many of each.
    pub counts: HealthCounts,
}

/// One lamp.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceState {
    /// Service.
    pub name: String,
    /// Its health.
    pub status: ServiceHealth,
    /// Since when, where known.
    pub since: Option<String>,
    /// Why, for people; null where all is well.
    pub reason: Option<String>,
    /// Why, for programs.
    pub reason_code: String,
    /// L0 .. L4.
    pub layer: Option<String>,
}

/// How many services are in which health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HealthCounts {
    /// All.
    pub total: i64,
    /// As they should be.
    pub healthy: i64,
    /// Need an eye.
    pub warning: i64,
    /// Act now.
    pub critical: i64,
    /// Nothing is known.
    pub no_data: i64,
}

/// Why a service is as it is, in words; `None` where all is well.
pub fn reason(row: &HealthRow, locale: Locale) -> Option<String> {
    let number = |n: Option<i64>| n.unwrap_or_default().to_string();
    let said = match row.reason.as_str() {
        "ok" => return None,
        "down" => locale.say(Word::ReasonDown, &[]),
        "partly_down" => locale.say(Word::ReasonPartlyDown, &[("up", &number(row.up_targets)), ("targets", &number(row.targets))]),
        "slo_breached" => locale.say(Word::ReasonSloBreached, &[]),
        "slo_page" => locale.say(Word::ReasonSloPage, &[]),
        "slo_at_risk" => locale.say(Word::ReasonSloAtRisk, &[]),
        "alert" | "alert_critical" => {
            let title = plain(row.top_alert.as_deref().unwrap_or_default());
            locale.say(Word::ReasonAlert, &[("count", &row.firing_alerts.to_string()), ("title", &title)])
        }
        "anomaly" => locale.say(Word::ReasonAnomaly, &[("signal", &plain(row.top_signal.as_deref().unwrap_or_default()))]),
        "silent" => locale.say(Word::ReasonSilent, &[]),
        other => plain(other),
    };
    Some(said)
}

fn counts(rows: &[HealthRow]) -> HealthCounts {
    let mut out = HealthCounts::default();
    for row in rows {
        out.total += 1;
        match ServiceHealth::parse(&row.status) {
            ServiceHealth::Healthy => out.healthy += 1,
            ServiceHealth::Warning => out.warning += 1,
            ServiceHealth::Critical => out.critical += 1,
            ServiceHealth::NoData => out.no_data += 1,
        }
    }
    out
}

/// Makes the card.
///
/// # Errors
/// `Internal` where it cannot be written as JSON.
pub fn card(rows: &[HealthRow], templates: Templates<'_>, source: &Source, setting: &Setting) -> Result<Card<SystemHealthData>> {
    let locale = setting.locale;
    let say = |word| locale.say(word, &[]);
    let basis = Basis::of(source, rows.iter().map(|r| r.stamp));
    let counts = counts(rows);
    let mut services: Vec<ServiceState> = rows
        .iter()
        .map(|row| ServiceState {
            name: plain(&row.service),
            status: ServiceHealth::parse(&row.status),
            since: row.since.map(|t| t.to_string()),
            reason: reason(row, locale),
            reason_code: row.reason.clone(),
            layer: row.layer.clone(),
        })
        .collect();
    services.sort_by(|a, b| a.status.cmp(&b.status).then_with(|| a.name.cmp(&b.name)));
    let number = |n: i64| n.to_string();
    let summary = if source.failed {
        say(Word::ReadFailed)
    } else if rows.is_empty() {
        say(Word::NoServices)
    } else {
        let places = [number(counts.total), number(counts.healthy), number(counts.warning), number(counts.critical), number(counts.no_data)];
        let names = ["total", "healthy", "warning", "critical", "unknown"];
        let places: Vec<(&str, &str)> = names.into_iter().zip(places.iter().map(String::as_str)).collect();
        locale.say(Word::HealthSummary, &places)
    };
    let known = counts.total > counts.no_data;
    let fact = |id: &str, word, n: i64| facts::count(id, say(word), known.then_some(n), locale);
    let mut attention: Vec<&HealthRow> = rows.iter().filter(|r| ServiceHealth::parse(&r.status) <= ServiceHealth::Warning).collect();
    attention.sort_by_key(|r| ServiceHealth::parse(&r.status));
    let end = basis.as_of().map_or(setting.now.0, |t| t.0);
    close(
        Body {
            kind: CardType::SystemHealthCard,
            subject: None,
            state: basis.state(setting, known, counts.no_data > 0),
            severity: match (counts.critical, counts.warning) {
                (0, 0) => Severity::Info,
                (0, _) => Severity::Medium,
                _ => Severity::Critical,
            },
            title: say(Word::HealthTitle),
            summary,
            description: say(Word::HealthDescription),
            data: SystemHealthData { services, counts },
            facts: vec![
                fact("services_healthy", Word::ServicesHealthy, counts.healthy),
                fact("services_warning", Word::ServicesWarning, counts.warning),
                fact("services_critical", Word::ServicesCritical, counts.critical),
                fact("services_no_data", Word::ServicesUnknown, counts.no_data),
            ],
            actions: attention
                .iter()
                .take(ACTIONS_MAX)
                .map(|row| {
                    let title = locale.say(Word::ServiceTitle, &[("service", &plain(&row.service))]);
                    let query = format!("service={}", encoded(&row.service));
                    open_card(CardType::ServiceDetailCard, &query, locale.say(Word::OpenCard, &[("title", &title)]))
                })
                .collect(),
            links: fill(templates, attention.iter().map(|r| r.service.as_str()), end - LINK_WINDOW_MS, end, locale),
        },
        &basis,
        setting,
    )
}
