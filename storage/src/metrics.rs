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
    /// Rows that compaction left out because others supersede them.
    CompactionRowsSuperseded,
    /// Compactions that failed, by `reason`.
    CompactionErrors,
    /// Seconds a compaction of one date took.
    CompactionSeconds,
    /// Files of dates past their table's retention that were taken out of it, by `table`.
    RetentionFilesOut,
    /// Rows in them, by `table`.
    RetentionRowsOut,
    /// Dropped tables whose folder was removed.
    TablesPurged,
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
            Self::CompactionRowsSuperseded => "afferent_storage_compaction_rows_superseded_total",
            Self::CompactionErrors => "afferent_storage_compaction_errors_total",
            Self::CompactionSeconds => "afferent_storage_compaction_seconds",
            Self::RetentionFilesOut => "afferent_storage_retention_files_out_total",
            Self::RetentionRowsOut => "afferent_storage_retention_rows_out_total",
            Self::TablesPurged => "afferent_storage_tables_purged_total",
            Self::VacuumFilesOut => "afferent_storage_vacuum_files_out_total",
            Self::ScanFilesPruned => "afferent_storage_scan_files_pruned_total",
            Self::ScanFilesRead => "afferent_storage_scan_files_out_total",
            Self::HistoryRowsOut => "afferent_storage_history_rows_out_total",
        }
    }
}
