//! Names of the engine's own metrics, all of them.

/// Counters, gauges and histograms of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Records taken from the log.
    RecordsIn,
    /// Samples taken, before any rule.
    SamplesIn,
    /// Samples counted once.
    SamplesAccepted,
    /// Samples by `reason` that were not counted: duplicate, conflict, late, non_finite (stored, not aggregated), body_duplicate, expired (late, and
    /// the rows around it are past their retention).
    SamplesSkipped,
    /// Events counted once.
    EventsAccepted,
    /// Events by `reason` that were not counted.
    EventsSkipped,
    /// Pane rows written.
    PaneRowsOut,
    /// Live series.
    Series,
    /// Milliseconds between now and the watermark.
    WatermarkLag,
    /// Epochs published.
    Epochs,
    /// Seconds a checkpoint took.
    CheckpointSeconds,
    /// Rows in memory that no table has yet.
    BufferedRows,
    /// Out-of-order samples that took the exact slow path.
    SlowPathSamples,
    /// Seconds a tick took to evaluate the views.
    TickSeconds,
    /// Late samples that were counted where they belong after all.
    SamplesRepaired,
    /// Late samples that wait to be counted.
    LateWaiting,
    /// Rows that background steps (repairs, backfills, new generations) read.
    BackgroundRowsIn,
    /// Rows they wrote.
    BackgroundRowsOut,
    /// Seconds a background step took.
    BackgroundSeconds,
}

impl Metric {
    /// The exported name.
    pub fn name(self) -> &'static str {
        match self {
            Self::RecordsIn => "afferent_engine_records_in_total",
            Self::SamplesIn => "afferent_engine_samples_in_total",
            Self::SamplesAccepted => "afferent_engine_samples_out_total",
            Self::SamplesSkipped => "afferent_engine_samples_rejected_total",
            Self::EventsAccepted => "afferent_engine_events_out_total",
            Self::EventsSkipped => "afferent_engine_events_rejected_total",
            Self::PaneRowsOut => "afferent_engine_pane_rows_out_total",
            Self::Series => "afferent_engine_series",
            Self::WatermarkLag => "afferent_engine_watermark_lag_ms",
            Self::Epochs => "afferent_engine_epochs_out_total",
            Self::CheckpointSeconds => "afferent_engine_checkpoint_seconds",
            Self::BufferedRows => "afferent_engine_buffered_rows",
            Self::SlowPathSamples => "afferent_engine_slow_path_samples_total",
            Self::TickSeconds => "afferent_engine_tick_seconds",
            Self::SamplesRepaired => "afferent_engine_samples_repaired_total",
            Self::LateWaiting => "afferent_engine_late_samples_waiting",
            Self::BackgroundRowsIn => "afferent_engine_background_rows_in_total",
            Self::BackgroundRowsOut => "afferent_engine_background_rows_out_total",
            Self::BackgroundSeconds => "afferent_engine_background_step_seconds",
        }
    }
}
