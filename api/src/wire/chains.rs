//! The chains of checkpoints that a store has, one for each engine, as whoever is no engine looks at them.

use super::log::Log;
use super::work::writer_name;
use crate::config::Config;
use afferent_engine::checkpoint::GroupName;
use afferent_engine::clock::{Clock as _, SystemClock};
use afferent_engine::commit::Chain;
use afferent_engine::error::{ErrorKind, Result};
use afferent_engine::live::Live;
use afferent_engine::log::{LogName, Topic};
use afferent_engine::table::TableStore;
use afferent_storage::checkpoint::ObjectCheckpoints;
use afferent_storage::object_store::Store;
use afferent_storage::table::delta::DeltaTables;
use std::sync::Arc;

/// Each with the logs that its engine reads.
pub(super) fn chains(config: &Config, store: &Store, log: &Log) -> Vec<(Chain, Vec<LogName>)> {
    let tables = DeltaTables::new(store.clone());
    let checkpoints = ObjectCheckpoints::new(store.clone());
    let each = config.server.engine_per_partition;
    let engines: Vec<(GroupName, Vec<LogName>)> = if each {
        let metrics = |partition| (GroupName::of_metrics(partition), vec![LogName { topic: Topic::Metrics, partition }]);
        (0..log.spread().partitions).map(metrics).chain([(GroupName::of_views(), vec![LogName::first(Topic::Events)])]).collect()
    } else {
        vec![(GroupName::of_partition(0), log.names())]
    };
    let clock = Arc::new(SystemClock);
    let writer = format!("move-log {}", writer_name(clock.now(), None));
    let chain = |(group, logs): (GroupName, Vec<LogName>)| {
        let tables: Arc<dyn TableStore> = if each { tables.of(&group) } else { tables.clone() };
        let (checkpoints, live) = (checkpoints.clone(), Arc::<Live>::default());
        (Chain { tables, group, writer: writer.clone(), checkpoints, log: log.reader(), live, clock: clock.clone() }, logs)
    };
    engines.into_iter().map(chain).collect()
}

/// A store of another log is told before anything is taken into this one. What cannot be looked at now, each engine looks at before it begins.
///
/// # Errors
/// As [`Chain::check_start`], but for `Unavailable`.
pub(super) async fn check_start(config: &Config, store: &Store, log: &Log) -> Result<()> {
    for (chain, logs) in chains(config, store, log) {
        match chain.check_start(&logs).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!(%error, "whether the store goes on in this log cannot be told yet");
                return Ok(());
            }
            checked => checked?,
        }
    }
    Ok(())
}
