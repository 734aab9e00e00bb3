//! OpenSLO v1 files as objectives and rules: what is promised, and which series count. Not how much of it was kept.
//!
//! Kinds read: `SLO`, `SLI`, `Service`, `AlertPolicy`, `AlertCondition`; `DataSource` and `AlertNotificationTarget` may stand there and mean nothing here.
//! A metric is named by `metricSource: {type: afferent, spec: {metric, matchers, service}}`: `matchers` is a map from label to `value`, `!=value`, `=~pattern` or
//! `!~pattern`, `service` restricts to the series of one service of the inventory.
//!
//! ```yaml
//! apiVersion: openslo/v1
//! kind: SLO
//! metadata: { name: api-availability, displayName: API availability }
//! spec:
//!   service: awoooi-api
//!   indicator:
//!     metadata: { name: api-good }
//!     spec:
//!       ratioMetric:
//!         counter: true
//!         good:  { metricSource: { type: afferent, spec: { metric: http_requests_total, service: awoooi-api, matchers: { code: "!~5.." } } } }
//!         total: { metricSource: { type: afferent, spec: { metric: http_requests_total, service: awoooi-api } } }
//!   timeWindow: [{ duration: 7d, isRolling: true }]
//!   budgetingMethod: Occurrences
//!   objectives: [{ target: 0.999 }]
//! ```
//!
//! A latency objective is a `thresholdMetric` over a classic histogram's `_bucket` series, with `op: lte` and `value` in the unit of `le` at the objective.
//!
//! # Source
//! OpenSLO v1 specification; windows, factors and refusals as in the crate's README.

mod build;
pub mod duration;
mod openslo;

use crate::error::{Error, Result};

/// Objectives all files together may have.
pub const OBJECTIVES_MAX: usize = 10_000;
/// Bytes all OpenSLO files together may have.
pub const SLO_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Everything that a set of OpenSLO files says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objectives {
    /// What is promised, by name.
    pub objectives: Vec<Objective>,
    /// Which series count for it.
    pub rules: Vec<Rule>,
}

/// What an objective is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indicator {
    /// Good events over all events.
    Availability,
    /// Events at most a threshold over all events.
    Latency,
}

impl Indicator {
    /// The word in the relation `slo_objectives`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::Latency => "latency",
        }
    }
}

/// A rolling window for which `slo_windows` keeps sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// As its columns are named: `7d`.
    pub name: &'static str,
    /// Its length.
    pub minutes: i64,
}

/// The windows an objective may have.
pub const PERIODS: [Period; 7] = [
    Period { name: "1h", minutes: 60 },
    Period { name: "6h", minutes: 360 },
    Period { name: "1d", minutes: 1_440 },
    Period { name: "3d", minutes: 4_320 },
    Period { name: "7d", minutes: 10_080 },
    Period { name: "28d", minutes: 40_320 },
    Period { name: "30d", minutes: 43_200 },
];

/// Burn-rate factors in thousandths; none where a tier cannot fire.
///
/// # Source
/// 30 d and 28 d: Google SRE Workbook, chapter 5, as carried by Sloth. 7 d: OpenObserve's first three, the fourth ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Factors {
    /// 1 h and 5 min.
    pub page_quick: Option<i64>,
    /// 6 h and 30 min.
    pub page_slow: Option<i64>,
    /// 1 d and 2 h.
    pub ticket_quick: Option<i64>,
    /// 3 d and 6 h.
    pub ticket_slow: Option<i64>,
}

impl Factors {
    /// The usual factors of a window; none for windows shorter than a week.
    pub fn of(period: Period) -> Self {
        let all = |a, b, c, d| Self { page_quick: Some(a), page_slow: Some(b), ticket_quick: Some(c), ticket_slow: Some(d) };
        match period.name {
            "30d" => all(14_400, 6_000, 3_000, 1_000),
            "28d" => all(13_440, 5_600, 2_800, 933),
            "7d" => all(16_800, 5_600, 2_800, 1_000),
            _ => Self::default(),
        }
    }

    /// Without those that no burn rate can exceed: the most it can be is 1 / (1 - target).
    pub fn reachable(self, target_ppm: i64) -> Self {
        let keep = |factor: Option<i64>| factor.filter(|f| reachable(*f, target_ppm));
        Self {
            page_quick: keep(self.page_quick),
            page_slow: keep(self.page_slow),
            ticket_quick: keep(self.ticket_quick),
            ticket_slow: keep(self.ticket_slow),
        }
    }
}

/// Whether a burn rate can exceed a factor at a target: a factor of exactly 1 / (1 - target) can be reached but not exceeded.
pub(crate) fn reachable(factor_milli: i64, target_ppm: i64) -> bool {
    i128::from(factor_milli) * i128::from(1_000_000 - target_ppm) < 1_000_000_000
}

/// One objective.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// Its name: that of the SLO, with `-1`, `-2`, ... where the SLO has several.
    pub slo: String,
    /// The file it stands in.
    pub file: String,
    /// What people call it.
    pub title: Option<String>,
    /// The service that promises.
    pub service: String,
    /// What about.
    pub indicator: Indicator,
    /// How much, in millionths.
    pub target_ppm: i64,
    /// Over which window.
    pub period: Period,
    /// Latency: the threshold, in seconds.
    pub threshold_s: Option<f64>,
    /// When alerts fire.
    pub factors: Factors,
}

/// What the series of a rule count for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Good events.
    Good,
    /// Bad events.
    Bad,
    /// All events.
    Total,
    /// Buckets of a histogram; good events are those up to the threshold.
    Bucket,
}

impl Role {
    /// The word in the relation `slo_rules`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Total => "total",
            Self::Bucket => "bucket",
        }
    }
}

/// Which series count for an objective, and as what.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The objective.
    pub slo: String,
    /// As what.
    pub role: Role,
    /// The series' metric.
    pub metric: String,
    /// A JSON object of matchers, for `label_match`.
    pub matchers: String,
    /// Only series of this service.
    pub only_service: Option<String>,
    /// The objective's threshold, for buckets.
    pub threshold_s: Option<f64>,
    /// The objective counts good events, not bad ones.
    pub good_given: bool,
    /// Timeslices: what a slice must reach, in millionths.
    pub slice_target_ppm: Option<i64>,
}

impl Objectives {
    /// Reads files of one or more YAML documents, given as (name, text); references may cross files.
    ///
    /// # Errors
    /// `Invalid`, naming file, document and field.
    pub fn from_yaml(files: &[(&str, &str)]) -> Result<Self> {
        let mut documents = build::Documents::default();
        for (file, text) in files {
            for (number, document) in serde_yaml_ng::Deserializer::from_str(text).enumerate() {
                let place = if number == 0 && !text.contains("\n---") { (*file).to_owned() } else { format!("{file}, document {}", number + 1) };
                documents.add(place.clone(), document).map_err(|problem| Error::definition(place, problem))?;
            }
        }
        documents.build()
    }
}

#[cfg(test)]
mod tests;
