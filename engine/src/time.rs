//! Event time and wall time. Not a calendar: days and zones belong to queries.

use std::fmt;

/// Milliseconds since the Unix epoch, as the data say (event time).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct EventTime(pub i64);

/// Milliseconds since the Unix epoch, as this machine's clock said when a record came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct WallTime(pub i64);

/// Width of the unit of streaming. Windows are whole numbers of panes.
pub const PANE_MS: i64 = 60_000;

/// How far back a sample may lie and still anchor an increase or count as the latest value.
pub const LOOKBACK_MS: i64 = 300_000;

impl EventTime {
    /// The start of the pane that holds this instant; panes are `[start, start + PANE_MS)`.
    pub fn pane(self) -> Self {
        Self(self.0 - self.0.rem_euclid(PANE_MS))
    }

    /// This instant moved by `ms`, saturating.
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Microseconds since the Unix epoch, the unit of every table column; saturating.
    pub fn micros(self) -> i64 {
        self.0.saturating_mul(1000)
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match chrono::DateTime::from_timestamp_millis(self.0) {
            Some(t) => write!(f, "{}", t.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
            None => write!(f, "{} ms", self.0),
        }
    }
}
