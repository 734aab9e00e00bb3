//! Names of the log's own metrics, all of them.

/// Counters, gauges and histograms of the log; each carries the label `log` (`metrics/0`) unless its line says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Records made durable.
    RecordsIn,
    /// Bytes made durable, headers included.
    BytesIn,
    /// Records handed to readers.
    RecordsOut,
    /// Groups synced to disk.
    Syncs,
    /// Seconds one sync took.
    SyncSeconds,
    /// Torn tails cut when opening.
    TornTails,
    /// Places where a checksum or the order of positions failed.
    CorruptFound,
    /// Writes or syncs that failed and made the writer rebuild itself.
    WriteFailures,
    /// Bytes on disk over all logs; no label.
    BytesKept,
    /// Appends refused because `bytes_max` was reached; no label.
    FullRejections,
}

impl Metric {
    /// The exported name.
    pub fn name(self) -> &'static str {
        match self {
            Self::RecordsIn => "afferent_storage_log_records_in_total",
            Self::BytesIn => "afferent_storage_log_bytes_in_total",
            Self::RecordsOut => "afferent_storage_log_records_out_total",
            Self::Syncs => "afferent_storage_log_syncs_total",
            Self::SyncSeconds => "afferent_storage_log_sync_seconds",
            Self::TornTails => "afferent_storage_log_torn_tails_total",
            Self::CorruptFound => "afferent_storage_log_corrupt_total",
            Self::WriteFailures => "afferent_storage_log_write_failures_total",
            Self::BytesKept => "afferent_storage_log_bytes_kept",
            Self::FullRejections => "afferent_storage_log_full_rejected_total",
        }
    }
}
