//! Whether a card's figures can be relied on: one pure decision over freshness and coverage. Not what the figures say.

use afferent_engine::time::{EventTime, WallTime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Figures older than this count as stale: three one-minute slices, but at least the look-back of five minutes.
pub const STALE_AFTER_MS: i64 = 300_000;

/// Coverage below this makes a card partial.
pub const COVERAGE_MIN: f64 = 0.90;

/// Whether the figures can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CardState {
    /// Fresh and complete.
    Ready,
    /// Fresh, but part of what was expected is missing.
    Partial,
    /// Nothing new came in for too long.
    Stale,
    /// There is nothing to say.
    NoData,
    /// The figures could not be read.
    Error,
}

/// What the decision is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    /// Event time the figures are for.
    pub as_of: Option<EventTime>,
    /// Wall time of the answer.
    pub now: WallTime,
    /// Least coverage, where it has a meaning.
    pub coverage: Option<f64>,
    /// There is at least one figure to show.
    pub has_figures: bool,
    /// The rows could not be read.
    pub failed: bool,
    /// Some part of what should be shown is unknown.
    pub has_gaps: bool,
}

/// Decides; the first that holds: error, no_data, stale, partial, ready.
pub fn decide(facts: &Facts) -> CardState {
    if facts.failed {
        return CardState::Error;
    }
    let Some(as_of) = facts.as_of.filter(|_| facts.has_figures) else {
        return CardState::NoData;
    };
    if facts.now.0.saturating_sub(as_of.0) > STALE_AFTER_MS {
        CardState::Stale
    } else if facts.has_gaps || facts.coverage.is_some_and(|c| c < COVERAGE_MIN) {
        CardState::Partial
    } else {
        CardState::Ready
    }
}

#[cfg(test)]
mod tests;
