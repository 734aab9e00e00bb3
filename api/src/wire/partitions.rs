//! The engines of partitions in this process: one is started when the group gives its partition to this process, and ended before the group gives it to
//! another one.

use super::log::Log;
use super::work::keep;
use crate::config::{Config, StorePlace};
use crate::partitions::{Host, Hosted};
use afferent_engine::checkpoint::{CheckpointStore, GroupName};
use afferent_engine::clock::Clock;
use afferent_engine::config::EngineConfig;
use afferent_engine::control::control;
use afferent_engine::error::{Error, ErrorKind, Result};
use afferent_engine::intake::intake;
use afferent_engine::live::Live;
use afferent_engine::log::{Decoder, LogName, LogReader, Topic};
use afferent_engine::parts::OrderBook;
use afferent_engine::query::{Compiler, Inventory};
use afferent_engine::supervisor::{self, EngineParts, Share};
use afferent_engine::table::History;
use afferent_storage::checkpoint::ObjectCheckpoints;
use afferent_storage::config::MaintainConfig;
use afferent_storage::log::kafka::group::Membership;
use afferent_storage::maintain::Maintainer;
use afferent_storage::object_store::Store;
use afferent_storage::table::delta::DeltaTables;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pause before a partition is worked again that another process has gone past: by then the group says whose it is.
const AGAIN_AFTER: Duration = Duration::from_secs(3);

/// What all of them are made of.
pub(super) struct Ground {
    pub(super) config: EngineConfig,
    pub(super) maintain: MaintainConfig,
    pub(super) writer: String,
    pub(super) log: Arc<dyn LogReader>,
    pub(super) decoder: Arc<dyn Decoder>,
    pub(super) store: Store,
    pub(super) tables: Arc<DeltaTables>,
    pub(super) checkpoints: Arc<dyn CheckpointStore>,
    pub(super) history: Arc<dyn History>,
    pub(super) compiler: Arc<dyn Compiler>,
    pub(super) inventory: Arc<dyn Inventory>,
    pub(super) hosted: Arc<Hosted>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) cancel: CancellationToken,
    pub(super) halt: CancellationToken,
}

/// A bucket's log is worked by one engine, or by one for each of its partitions, as it was begun: another one would count the same records again.
pub(super) async fn check_engines(config: &Config, log: &Log, store: &Store) -> Result<()> {
    let StorePlace::Bucket(_) = &config.store else { return Ok(()) };
    let (whole, each) = ("one engine for the whole log", format!("an engine for each of {} partitions", log.spread().partitions));
    let is_each = config.server.engine_per_partition;
    let ours = if is_each { each.as_str() } else { whole };
    // Begun before that was written down.
    let is_older = is_each && ObjectCheckpoints::new(store.clone()).latest(&GroupName::of_partition(0)).await?.is_some();
    let begun = if is_older { whole.to_owned() } else { store.engines(ours).await? };
    if begun == ours {
        return Ok(());
    }
    let how = "server.engine_per_partition and the partitions of the log have to stay as they were (with `afferent move-log` the store goes on with other \
               topics of as many partitions), or store.url has to name another place";
    Err(Error::invalid(format!("the store at {} was begun with {begun}, and this process has {ours}: {how}", store.shown())))
}

/// Why an engine ended.
enum Ended {
    /// The process stops.
    Stopped,
    /// Another process has the partition, or may have it.
    Lost,
    /// Another process has written a checkpoint.
    Overtaken,
}

impl Ground {
    /// Works a partition whenever it is this process's turn, until the process stops.
    ///
    /// # Errors
    /// What ended an engine, except that another process has its partition.
    pub(super) async fn run(self: Arc<Self>, partition: u32, mut seat: Membership) -> Result<()> {
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Ok(()),
                assigned = seat.assigned() => assigned?,
            }
            let ended = self.work(partition, &mut seat).await;
            self.hosted.remove(partition);
            seat.let_go();
            match ended? {
                Ended::Stopped => return Ok(()),
                Ended::Lost => tracing::info!(partition, "another process works the partition now"),
                Ended::Overtaken => tokio::time::sleep(AGAIN_AFTER).await,
            }
        }
    }

    async fn work(&self, partition: u32, seat: &mut Membership) -> Result<Ended> {
        let (cancel, halt) = (self.cancel.child_token(), self.halt.child_token());
        let group = GroupName::of_metrics(partition);
        let (live, orders) = (Arc::<Live>::default(), Arc::<OrderBook>::default());
        let (intake, taken) = intake();
        let tables = self.tables.of(&group);
        // Whatever is asked is asked of the engine of the views.
        let (_asks, commands) = control();
        let run = RandomState::new().hash_one(partition);
        let parts = EngineParts {
            config: self.config.clone(),
            group: group.clone(),
            writer: self.writer.clone(),
            logs: vec![LogName { topic: Topic::Metrics, partition }],
            takes_over: true,
            intake: taken,
            log: self.log.clone(),
            decoder: self.decoder.clone(),
            tables: tables.clone(),
            checkpoints: self.checkpoints.clone(),
            history: self.history.clone(),
            views: vec![],
            compiler: self.compiler.clone(),
            commands,
            inventory: self.inventory.clone(),
            live: live.clone(),
            share: Share::Partition { partition, run, orders: orders.clone() },
            clock: self.clock.clone(),
            cancel,
            halt: halt.clone(),
        };
        tracing::info!(partition, "this process works the partition");
        let engine = supervisor::start(parts)?.join();
        self.hosted.put(partition, Host { live: live.clone(), orders, intake });
        let maintainer = Maintainer::new(self.store.clone(), tables, live.clone(), self.maintain.clone())?;
        let kept = async {
            super::recovered(&live).await;
            // An engine that ends takes its upkeep with it.
            maintainer.run(halt.child_token()).await;
        };
        tokio::pin!(engine, kept);
        let outcome = tokio::select! {
            biased;
            done = &mut engine => match done {
                Ok(()) => Ok(Ended::Stopped),
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    tracing::warn!(partition, %error, "the partition is another process's");
                    Ok(Ended::Overtaken)
                }
                Err(error) => Err(error),
            },
            kept = keep(seat, self.checkpoints.as_ref(), &group, &self.writer) => {
                // What this engine knows grows old from now on: it answers nothing more.
                self.hosted.remove(partition);
                halt.cancel();
                drop(engine.await);
                kept.map(|()| Ended::Lost)
            }
            () = &mut kept => Ok(Ended::Stopped),
        };
        // Its upkeep, too.
        halt.cancel();
        outcome
    }
}
