//! Names of this crate's metrics, all of them.

/// Counters, gauges and histograms of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Ad hoc statements taken.
    StatementsIn,
    /// Ad hoc statements answered to the end.
    StatementsOut,
    /// Ad hoc statements refused or failed, by `reason` (the error kind, or the limit reached).
    StatementsRejected,
    /// Rows handed to readers of ad hoc statements.
    RowsOut,
    /// Seconds an ad hoc statement took.
    StatementSeconds,
    /// Ad hoc statements running.
    StatementsRunning,
    /// Ad hoc statements answered by stages on several processes.
    StatementsSpread,
    /// Ad hoc statements that were to be answered so and were computed by this process alone, by `reason` (plan, time, failed).
    StatementsAlone,
    /// Parts of stages that this process took for statements of others.
    StagesRun,
    /// Those of them that are there now.
    StagesRunning,
}

impl Metric {
    /// The exported name.
    pub fn name(self) -> &'static str {
        match self {
            Self::StatementsIn => "afferent_queries_statements_in_total",
            Self::StatementsOut => "afferent_queries_statements_out_total",
            Self::StatementsRejected => "afferent_queries_statements_rejected_total",
            Self::RowsOut => "afferent_queries_rows_out_total",
            Self::StatementSeconds => "afferent_queries_statement_seconds",
            Self::StatementsRunning => "afferent_queries_statements_running",
            Self::StatementsSpread => "afferent_queries_statements_spread_total",
            Self::StatementsAlone => "afferent_queries_statements_alone_total",
            Self::StagesRun => "afferent_queries_stages_run_total",
            Self::StagesRunning => "afferent_queries_stages_running",
        }
    }
}
