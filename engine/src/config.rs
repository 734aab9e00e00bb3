//! The engine's knobs, each with its unit and range.

use crate::error::{Error, Result};

/// See each field.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// How long after the watermark passed it a pane may still be revised, milliseconds; 60 000 to 86 400 000.
    pub lateness_ms: i64,
    /// How much later than a source's newest sample its other samples may come before the watermark passes them, milliseconds; 0 to 3 600 000.
    pub slack_ms: i64,
    /// How long a source may be silent before it stops holding back the watermark, milliseconds of arrival time; 1 000 to 86 400 000.
    pub idle_ms: i64,
    /// How long the same body from the same source counts as a retry, milliseconds of arrival time; 0 to 86 400 000.
    pub retry_window_ms: i64,
    /// Longest time between checkpoints, milliseconds; 10 to 3 600 000.
    pub checkpoint_interval_ms: u64,
    /// Samples in memory after which a checkpoint starts early; intake waits when as many again came meanwhile; 10 000 to 100 000 000.
    pub buffer_rows_max: usize,
    /// Live series; more are refused and counted; 1 to 100 000 000.
    pub series_max: usize,
    /// A series silent for this long in event time leaves memory, milliseconds; at least 600 000.
    pub series_idle_ms: i64,
    /// Time between provisional results, milliseconds; 10 to 60 000.
    pub tick_ms: u64,
    /// How long late samples may gather before they are repaired, milliseconds; 10 to 600 000.
    pub repair_interval_ms: u64,
    /// Share of one core that repairs, backfills and new generations may take, 0.01 to 1.
    pub background_share: f64,
    /// Days for which the lake keeps both raw and pane rows, where it drops any: what is older cannot be computed again.
    #[serde(skip)]
    pub kept_days: Option<u32>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            lateness_ms: 300_000,
            slack_ms: 10_000,
            idle_ms: 120_000,
            retry_window_ms: 1_800_000,
            checkpoint_interval_ms: 30_000,
            buffer_rows_max: 1_000_000,
            series_max: 2_000_000,
            series_idle_ms: 3_600_000,
            tick_ms: 500,
            repair_interval_ms: 10_000,
            background_share: 0.5,
            kept_days: None,
        }
    }
}

impl EngineConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// `Invalid`, naming the first key outside its range.
    pub fn validate(&self) -> Result<()> {
        let ranges: [(&str, i64, i64, i64); 10] = [
            ("lateness_ms", self.lateness_ms, 60_000, 86_400_000),
            ("slack_ms", self.slack_ms, 0, 3_600_000),
            ("idle_ms", self.idle_ms, 1_000, 86_400_000),
            ("retry_window_ms", self.retry_window_ms, 0, 86_400_000),
            ("checkpoint_interval_ms", i64::try_from(self.checkpoint_interval_ms).unwrap_or(i64::MAX), 10, 3_600_000),
            ("buffer_rows_max", i64::try_from(self.buffer_rows_max).unwrap_or(i64::MAX), 10_000, 100_000_000),
            ("series_max", i64::try_from(self.series_max).unwrap_or(i64::MAX), 1, 100_000_000),
            ("series_idle_ms", self.series_idle_ms, 600_000, i64::MAX),
            ("repair_interval_ms", i64::try_from(self.repair_interval_ms).unwrap_or(i64::MAX), 10, 600_000),
            ("tick_ms", i64::try_from(self.tick_ms).unwrap_or(i64::MAX), 10, 1_000),
        ];
        for (key, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                return Err(Error::invalid(format!("engine.{key} = {value} is outside {low} to {high}")));
            }
        }
        if !(0.01..=1.0).contains(&self.background_share) {
            return Err(Error::invalid(format!("engine.background_share = {} is outside 0.01 to 1", self.background_share)));
        }
        Ok(())
    }
}
