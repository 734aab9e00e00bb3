//! What every handler can reach. Cheap to clone; nothing here does work.

use crate::config::Config;
use crate::partitions::Hosted;
use crate::replica::Replica;
use crate::replica::serve::Reads;
use crate::standby::Standby;
use crate::views::files::ViewFiles;
use afferent_engine::clock::Clock;
use afferent_engine::control::Control;
use afferent_engine::live::{Live, ReadView};
use afferent_engine::time::WallTime;
use afferent_queries::dimensions::Dimensions;
use afferent_queries::plan::Statements;
use afferent_queries::session::SqlEngine;
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;

/// Shared by all handlers.
#[derive(Clone)]
pub struct AppState {
    /// Runs statements; the one query path behind cards, statistics and the SQL endpoint.
    pub sql: Arc<SqlEngine>,
    /// The current tables, live rows and freshness.
    pub live: Arc<Live>,
    /// Asks the running engine to define views and compute ranges again.
    pub control: Control,
    /// Compiles definitions, for `EXPLAIN`.
    pub compiler: Arc<Statements>,
    /// The files that define views.
    pub view_files: Arc<ViewFiles>,
    /// Services, objectives and prices.
    pub dimensions: Arc<Dimensions>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// The validated configuration.
    pub config: Arc<Config>,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// Whether this process works the log, or which other one does.
    pub standby: Arc<Standby>,
    /// What the process that works shows, while this one waits.
    pub replica: Arc<Replica>,
    /// Engines of partitions that run in this process, where each partition has one.
    pub partitions: Arc<Hosted>,
    /// States that other processes read of this one.
    pub reads: Arc<Reads>,
    /// When this process started.
    pub started_at: WallTime,
}

impl AppState {
    /// The same over another state of all tables.
    #[must_use]
    pub fn over(&self, view: Arc<ReadView>) -> Self {
        let live = Arc::new(Live::from(view));
        Self { sql: Arc::new(self.sql.over(live.clone())), live, ..self.clone() }
    }
}
