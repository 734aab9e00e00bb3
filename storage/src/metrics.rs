//! Names of the lake's own metrics, all of them. The embedded log keeps its own.

/// Counters, gauges and histograms of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Rows handed over to be written, by `table`.
    TableRowsIn,
    /// Bytes of Parquet written, by `table`.
    TableBytesOut,
    /// Delta commits, by `table`.
    CommitsOut,
    /// Publications that were skipped because the table already had the epoch.
    CommitsSkipped,
    /// Commits that had to be tried again because another writer came first.
    CommitRetries,
    /// Files a table consists of, by `table`.
    TableFiles,
    /// Files that compaction merged away.
    CompactionFilesIn,
    /// Files that compaction made.
    CompactionFilesOut,
    /// Rows that compaction rewrote.
    CompactionRows,
    /// Compactions that failed, by `reason`.
    CompactionErrors,
    /// Seconds a compaction of one date took.
    CompactionSeconds,
    /// Unreferenced files removed.
    VacuumFilesOut,
    /// Files a scan could leave out.
    ScanFilesPruned,
    /// Files a scan had to open.
    ScanFilesRead,
    /// Rows read back from the lake for the exact slow path.
    HistoryRowsOut,
}

impl Metric {
    /// The exported name.
    pub fn name(self) -> &'static str {
        match self {
            Self::TableRowsIn => "afferent_storage_table_rows_in_total",
            Self::TableBytesOut => "afferent_storage_table_bytes_out_total",
            Self::CommitsOut => "afferent_storage_commits_out_total",
            Self::CommitsSkipped => "afferent_storage_commits_skipped_total",
            Self::CommitRetries => "afferent_storage_commit_retries_total",
            Self::TableFiles => "afferent_storage_table_files",
            Self::CompactionFilesIn => "afferent_storage_compaction_files_in_total",
            Self::CompactionFilesOut => "afferent_storage_compaction_files_out_total",
            Self::CompactionRows => "afferent_storage_compaction_rows_total",
            Self::CompactionErrors => "afferent_storage_compaction_errors_total",
            Self::CompactionSeconds => "afferent_storage_compaction_seconds",
            Self::VacuumFilesOut => "afferent_storage_vacuum_files_out_total",
            Self::ScanFilesPruned => "afferent_storage_scan_files_pruned_total",
            Self::ScanFilesRead => "afferent_storage_scan_files_out_total",
            Self::HistoryRowsOut => "afferent_storage_history_rows_out_total",
        }
    }
}
