//! Rows of views as plain values: what statistics and cards are made from. Not how they are read (`read.rs`), not what is said about them.
//!
//! Names and units are those of the views in `queries/sql`; ratios are 0..1 unless a name says percent; `None` means unknown.

use afferent_engine::time::{EventTime, WallTime};

/// What a row stands on: the envelope every view carries.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stamp {
    /// Event time up to which the row is complete.
    pub watermark: Option<EventTime>,
    /// Share of expected panes that were seen.
    pub coverage: Option<f64>,
    /// Corrections so far.
    pub revision: i64,
    /// Definition of the view.
    pub generation: i64,
}

impl Stamp {
    /// What all rows together stand on: the least watermark and coverage, the greatest revision and generation. `None` without rows.
    pub fn of_all(stamps: impl IntoIterator<Item = Self>) -> Option<Self> {
        stamps.into_iter().reduce(|a, b| Self {
            watermark: least(a.watermark, b.watermark),
            coverage: match (a.coverage, b.coverage) {
                (Some(x), Some(y)) => Some(x.min(y)),
                (x, y) => x.or(y),
            },
            revision: a.revision.max(b.revision),
            generation: a.generation.max(b.generation),
        })
    }
}

/// What an answer is for, and how far the view behind it has come.
///
/// A row that did not change keeps the watermark it was written with, so the view's own watermark says up to when its rows hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// The instant answers are for.
    pub as_of: Option<EventTime>,
    /// The view's rows hold up to here.
    pub watermark: Option<EventTime>,
    /// When the view was last computed.
    pub evaluated_at: Option<WallTime>,
}

fn least(a: Option<EventTime>, b: Option<EventTime>) -> Option<EventTime> {
    match (a, b) {
        (Some(x), Some(y)) => Some(x.min(y)),
        (x, y) => x.or(y),
    }
}

/// Health of one objective, one service, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SloHealth {
    /// Above target with budget left.
    Healthy,
    /// Not enough seen to say.
    NoData,
    /// Above target, but burning fast or almost out of budget.
    AtRisk,
    /// Below target.
    Breached,
}

impl SloHealth {
    /// The status of a word of the view; a word that is none of them says nothing.
    pub fn parse(word: &str) -> Self {
        match word {
            "healthy" => Self::Healthy,
            "at_risk" => Self::AtRisk,
            "breached" => Self::Breached,
            _ => Self::NoData,
        }
    }

    /// The worst of several, in the order breached, at_risk, no_data, healthy; none at all says nothing.
    pub fn worst(of: impl IntoIterator<Item = Self>) -> Self {
        of.into_iter().max().unwrap_or(Self::NoData)
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::NoData => "no_data",
            Self::AtRisk => "at_risk",
            Self::Breached => "breached",
        }
    }
}

/// Burn rates by window; null where there were no events.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Burn {
    /// Last 5 minutes.
    #[serde(rename = "5m")]
    pub m5: Option<f64>,
    /// Last 30 minutes.
    #[serde(rename = "30m")]
    pub m30: Option<f64>,
    /// Last hour.
    #[serde(rename = "1h")]
    pub h1: Option<f64>,
    /// Last 2 hours.
    #[serde(rename = "2h")]
    pub h2: Option<f64>,
    /// Last 6 hours.
    #[serde(rename = "6h")]
    pub h6: Option<f64>,
    /// Last day.
    #[serde(rename = "1d")]
    pub d1: Option<f64>,
    /// Last 3 days.
    #[serde(rename = "3d")]
    pub d3: Option<f64>,
}

/// One alert tier of an objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TierRow {
    /// `page_quick`, `page_slow`, `ticket_quick`, `ticket_slow`.
    pub tier: &'static str,
    /// Long window.
    pub long: &'static str,
    /// Short window.
    pub short: &'static str,
    /// Threshold in force; `None` where the tier cannot fire.
    pub factor: Option<f64>,
    /// It fires.
    pub fires: bool,
}

/// A row of `slo_status`.
#[derive(Debug, Clone, PartialEq)]
pub struct SloRow {
    /// Objective.
    pub slo: String,
    /// Its service.
    pub service: String,
    /// `availability` or `latency`.
    pub indicator: String,
    /// 0..1.
    pub target: f64,
    /// `7d`.
    pub period: String,
    /// End of the newest slice.
    pub window_end: Option<EventTime>,
    /// Events over the period.
    pub good: Option<i64>,
    /// Events over the period.
    pub bad: Option<i64>,
    /// Events over the period.
    pub total: Option<i64>,
    /// good / total.
    pub sli: Option<f64>,
    /// 1 - consumed budget, signed.
    pub remaining_ratio: Option<f64>,
    /// Bad events that may still happen, signed.
    pub remaining_events: Option<f64>,
    /// Minutes of full outage left, signed.
    pub remaining_minutes: Option<f64>,
    /// Burn rates.
    pub burn: Burn,
    /// Burn over the whole period.
    pub pace: Option<f64>,
    /// Minutes until the budget is gone at the last hour's rate.
    pub exhausted_in_minutes: Option<f64>,
    /// Alert tiers.
    pub tiers: [TierRow; 4],
    /// Latency objectives.
    pub threshold_ms: Option<f64>,
    /// Latency objectives.
    pub p95_ms: Option<f64>,
    /// Slices seen / slices of the period.
    pub window_coverage: f64,
    /// Verdict.
    pub status: SloHealth,
    /// Envelope.
    pub stamp: Stamp,
}

/// A row of `service_health`.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthRow {
    /// Service.
    pub service: String,
    /// L0 .. L4.
    pub layer: Option<String>,
    /// `healthy`, `warning`, `critical` or `no_data`.
    pub status: String,
    /// Why.
    pub reason: String,
    /// Since when, where known.
    pub since: Option<EventTime>,
    /// Scrape targets.
    pub targets: Option<i64>,
    /// Those that answer.
    pub up_targets: Option<i64>,
    /// Alerts that fire.
    pub firing_alerts: i64,
    /// Signals that are anomalous.
    pub anomalous_signals: i64,
    /// Worst of its objectives.
    pub slo_status: Option<String>,
    /// Title of the most severe alert.
    pub top_alert: Option<String>,
    /// Signal with the highest score.
    pub top_signal: Option<String>,
    /// Envelope.
    pub stamp: Stamp,
}

/// A row of `service_traffic`.
#[derive(Debug, Clone, PartialEq)]
pub struct TrafficRow {
    /// Service.
    pub service: String,
    /// Start of the minute.
    pub window_start: EventTime,
    /// Requests in the minute.
    pub requests: Option<i64>,
    /// Failed ones.
    pub errors: Option<i64>,
    /// errors / requests.
    pub error_ratio: Option<f64>,
    /// Requests per second.
    pub rps: Option<f64>,
    /// Median latency.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// Envelope.
    pub stamp: Stamp,
}

/// A row of `finops_month`.
#[derive(Debug, Clone, PartialEq)]
pub struct FinOpsRow {
    /// `2026-03`.
    pub month: String,
    /// `total`, `provider` or `model`.
    pub level: String,
    /// `*` at level total.
    pub provider: String,
    /// `*` at levels total and provider.
    pub model: String,
    /// Calls.
    pub calls: i64,
    /// Tokens.
    pub input_tokens: i64,
    /// Tokens.
    pub cache_read_tokens: i64,
    /// Tokens.
    pub cache_write_tokens: i64,
    /// Tokens.
    pub output_tokens: i64,
    /// Tokens without a price.
    pub unpriced_tokens: i64,
    /// `None` where no call was priced.
    pub cost_nano_usd: Option<i64>,
    /// Calls with a price / calls.
    pub priced_ratio: Option<f64>,
    /// Version of the price file.
    pub price_map_version: Option<String>,
    /// Envelope.
    pub stamp: Stamp,
}

/// A row of `autonomy`, or of `autonomy_by` with its own dimension and value as scope.
#[derive(Debug, Clone, PartialEq)]
pub struct AutonomyRow {
    /// `rolling_24h` or `today`.
    pub scope: String,
    /// Resolved by the AI alone.
    pub auto: i64,
    /// Resolved after approval.
    pub assisted: i64,
    /// Resolved by a person.
    pub manual: i64,
    /// Nobody acted.
    pub self_cleared: i64,
    /// assisted + manual.
    pub human: i64,
    /// auto + human.
    pub n: i64,
    /// Percent.
    pub rate: Option<f64>,
    /// Percent, without those that did not last.
    pub strict_rate: Option<f64>,
    /// Percent.
    pub ci95_low: Option<f64>,
    /// Percent.
    pub ci95_high: Option<f64>,
    /// Percentage points against a day earlier.
    pub daily_trend_pp: Option<f64>,
    /// Envelope.
    pub stamp: Stamp,
}

/// A row of `autonomy_by`.
#[derive(Debug, Clone, PartialEq)]
pub struct AutonomyByRow {
    /// `source`, `severity` or `action_type`.
    pub dimension: String,
    /// Which one.
    pub value: String,
    /// Resolved by the AI alone.
    pub auto: i64,
    /// Resolved with or by a person.
    pub human: i64,
    /// auto + human.
    pub n: i64,
    /// Percent.
    pub rate: Option<f64>,
}

/// A row of `mttr`.
#[derive(Debug, Clone, PartialEq)]
pub struct MttrRow {
    /// `24h`, `7d` or `30d`.
    pub period: String,
    /// `overall`, `auto` or `human`.
    pub scope: String,
    /// Incidents resolved.
    pub n: i64,
    /// Seconds.
    pub mean_s: Option<f64>,
    /// Seconds.
    pub median_s: Option<f64>,
    /// Seconds.
    pub p90_s: Option<f64>,
    /// Seconds.
    pub geometric_mean_s: Option<f64>,
    /// Seconds; 95 % interval of the median.
    pub median_low_s: Option<f64>,
    /// Seconds.
    pub median_high_s: Option<f64>,
    /// Incidents resolved in the period before.
    pub previous_n: i64,
    /// Seconds.
    pub previous_median_s: Option<f64>,
    /// `faster`, `slower`, `no_clear_change`.
    pub trend: Option<String>,
    /// Open now.
    pub open_count: i64,
    /// Seconds.
    pub oldest_open_s: Option<f64>,
    /// Left out.
    pub excluded_count: i64,
    /// Envelope.
    pub stamp: Stamp,
}
