//! ServiceDetailCard: traffic, errors and latency of one service. Pure: its rows of `service_health`, `service_traffic` and `slo_status` in, card out.

use super::display::{self, plain};
use super::envelope::{Card, Op, Severity, Unit};
use super::facts;
use super::links::{Templates, fill};
use super::seal::{Basis, Body, Setting, Source, close, open_card};
use super::system_health::{LINK_WINDOW_MS, ServiceHealth, reason};
use super::types::CardType;
use crate::locale::Word;
use crate::stats::rows::{HealthRow, SloHealth, SloRow, TrafficRow};
use afferent_engine::error::Result;
use afferent_engine::time::PANE_MS;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `data` of the card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceDetailData {
    /// Service.
    pub service: String,
    /// Its health.
    pub status: ServiceHealth,
    /// Why, for people; null where all is well.
    pub reason: Option<String>,
    /// Since when, where known.
    pub since: Option<String>,
    /// L0 .. L4.
    pub layer: Option<String>,
    /// Start of the minute the figures are of.
    pub window_start: Option<String>,
    /// Median latency.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// Failed requests / requests, 0..1.
    pub error_ratio: Option<f64>,
    /// Requests per second.
    pub rps: Option<f64>,
    /// Its objectives.
    pub slo_refs: Vec<SloRef>,
}

/// An objective and how it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SloRef {
    /// Objective.
    pub slo: String,
    /// Verdict.
    pub status: SloHealth,
    /// Budget left, signed.
    pub remaining_ratio: Option<f64>,
}

/// The rows of one service.
#[derive(Debug, Clone, Copy)]
pub struct ServiceRows<'a> {
    /// Name that was asked for.
    pub service: &'a str,
    /// Its row of `service_health`.
    pub health: Option<&'a HealthRow>,
    /// Its newest full minute.
    pub traffic: Option<&'a TrafficRow>,
    /// Its objectives.
    pub objectives: &'a [SloRow],
}

fn data(rows: &ServiceRows<'_>, status: ServiceHealth, setting: &Setting) -> ServiceDetailData {
    let traffic = rows.traffic;
    ServiceDetailData {
        service: plain(rows.service),
        status,
        reason: rows.health.and_then(|h| reason(h, setting.locale)),
        since: rows.health.and_then(|h| h.since).map(|t| t.to_string()),
        layer: rows.health.and_then(|h| h.layer.clone()),
        window_start: traffic.map(|t| t.window_start.to_string()),
        p50_ms: traffic.and_then(|t| t.p50_ms),
        p95_ms: traffic.and_then(|t| t.p95_ms),
        p99_ms: traffic.and_then(|t| t.p99_ms),
        error_ratio: traffic.and_then(|t| t.error_ratio),
        rps: traffic.and_then(|t| t.rps),
        slo_refs: rows.objectives.iter().map(|o| SloRef { slo: plain(&o.slo), status: o.status, remaining_ratio: o.remaining_ratio }).collect(),
    }
}

/// Makes the card.
///
/// # Errors
/// `Internal` where it cannot be written as JSON.
pub fn card(rows: &ServiceRows<'_>, templates: Templates<'_>, source: &Source, setting: &Setting) -> Result<Card<ServiceDetailData>> {
    let locale = setting.locale;
    let say = |word| locale.say(word, &[]);
    let stamps: Vec<_> = rows.traffic.map(|t| t.stamp).into_iter().chain(rows.health.map(|h| h.stamp)).collect();
    let basis = Basis::of(source, stamps);
    let status = rows.health.map_or(ServiceHealth::NoData, |h| ServiceHealth::parse(&h.status));
    let data = data(rows, status, setting);
    let service = data.service.clone();
    let status_text = say(status.word());
    let summary = if source.failed {
        say(Word::ReadFailed)
    } else if rows.health.is_none() && rows.traffic.is_none() {
        locale.say(Word::NoService, &[("service", &service)])
    } else if data.rps.is_none() {
        locale.say(Word::ServiceNoTraffic, &[("service", &service), ("status", &status_text)])
    } else {
        let (errors, p95) = (display::percent(data.error_ratio, 2, locale), display::latency(data.p95_ms, locale));
        locale.say(Word::ServiceSummary, &[("service", &service), ("status", &status_text), ("errors", &errors), ("p95", &p95)])
    };
    let latency = |id: &str, word, ms| facts::figure(id, say(word), ms, Unit::Ms, display::latency(ms, locale));
    let target_ms = rows.objectives.iter().filter_map(|o| o.threshold_ms).reduce(f64::min);
    let end = rows.traffic.map(|t| t.window_start.0 + PANE_MS).or(basis.as_of().map(|t| t.0)).unwrap_or(setting.now.0);
    let has_figures = data.rps.is_some() || status != ServiceHealth::NoData;
    close(
        Body {
            kind: CardType::ServiceDetailCard,
            subject: Some(rows.service.to_owned()),
            state: basis.state(setting, has_figures, false),
            severity: match status {
                ServiceHealth::Critical => Severity::Critical,
                ServiceHealth::Warning => Severity::Medium,
                ServiceHealth::NoData | ServiceHealth::Healthy => Severity::Info,
            },
            title: locale.say(Word::ServiceTitle, &[("service", &service)]),
            summary,
            description: say(Word::ServiceDescription),
            facts: vec![
                facts::word("status", say(Word::Status), status.as_str(), status_text, status.fact_status()),
                facts::figure("rps", say(Word::Traffic), data.rps, Unit::PerS, display::per_second(data.rps, locale)),
                facts::figure("error_ratio", say(Word::ErrorRatio), data.error_ratio, Unit::Ratio, display::percent(data.error_ratio, 2, locale)),
                latency("p50_ms", Word::LatencyP50, data.p50_ms),
                facts::against(latency("p95_ms", Word::LatencyP95, data.p95_ms), target_ms, Op::Lte),
                latency("p99_ms", Word::LatencyP99, data.p99_ms),
            ],
            actions: vec![open_card(CardType::SLODashboardCard, "", locale.say(Word::OpenCard, &[("title", &say(Word::SloTitle))]))],
            links: fill(templates, [rows.service], end - LINK_WINDOW_MS, end, locale),
            data,
        },
        &basis,
        setting,
    )
}
