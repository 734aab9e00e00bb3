//! How fresh everything is: per source, per log, per view. Numbers only; `/freshness` gives them words.

use crate::log::Position;
use crate::time::{EventTime, WallTime};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One consistent report.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// True once the replay after a start has caught up.
    pub recovered: bool,
    /// The metrics watermark: everything before it is complete.
    pub watermark: Option<EventTime>,
    /// Panes before this are final.
    pub final_before: Option<EventTime>,
    /// The instant answers are for: the newest event time of any log, capped by the future guard.
    pub as_of: Option<EventTime>,
    /// Per source.
    pub sources: BTreeMap<Arc<str>, SourceStatus>,
    /// Per log (`metrics/0`).
    pub logs: BTreeMap<String, LogStatus>,
    /// Per view.
    pub views: BTreeMap<String, ViewStatus>,
    /// Live series.
    pub series_count: usize,
    /// Samples in memory that no table has yet.
    pub buffered_rows: usize,
    /// The newest published epoch.
    pub epoch: u64,
}

/// One sender.
#[derive(Debug, Clone, Default)]
pub struct SourceStatus {
    /// Newest event time it sent.
    pub event_time_max: Option<EventTime>,
    /// When its last record came in.
    pub last_received: WallTime,
    /// False once it was silent too long to hold the watermark back.
    pub active: bool,
    /// Samples and events counted once.
    pub accepted: u64,
    /// Samples, events and whole records that repeated what was there.
    pub duplicates: u64,
    /// Samples that came after their pane was final.
    pub late: u64,
    /// Samples and events refused.
    pub rejected: u64,
}

/// One log.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogStatus {
    /// The next record the engine will take.
    pub next: Position,
    /// Where a replay would start: the last checkpoint's position.
    pub checkpointed: Position,
}

/// One view.
#[derive(Debug, Clone, Default)]
pub struct ViewStatus {
    /// Results are complete up to here.
    pub watermark: Option<EventTime>,
    /// When it was last computed.
    pub evaluated_at: WallTime,
    /// Rows shown at present that are not final.
    pub provisional_rows: usize,
    /// Definition.
    pub generation: u64,
    /// Why it is not computed, if it is not.
    pub error: Option<String>,
}
