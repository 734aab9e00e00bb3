//! Log, checkpoints and tables together: whatever a power cut takes, nothing that was acknowledged is lost or counted twice.

use super::*;
use crate::checkpoint::ObjectCheckpoints;
use crate::config::MaintainConfig;
use crate::history::ParquetHistory;
use crate::log::embedded::EmbeddedLog;
use crate::log::embedded::tests::power::open_plugged;
use crate::maintain::Maintainer;
use crate::object_store::{Store, open_with};
use crate::table::delta::DeltaTables;
use crate::testing::{self, MIDNIGHT, Sample};
use afferent_engine::checkpoint::{CHECKPOINT_VERSION, Checkpoint, CheckpointStore, Epoch, GroupName};
use afferent_engine::live::Live;
use afferent_engine::log::{Format, LogName, LogReader, LogWriter, Position, Record, Topic};
use afferent_engine::schema::{self, TableName};
use afferent_engine::table::{History, TableStore, Wanted};
use afferent_engine::time::WallTime;
use std::sync::Arc;

const LOG: LogName = LogName { topic: Topic::Metrics, partition: 0 };

/// What was acknowledged, and what of it before the cut.
#[derive(Default)]
struct Acknowledged {
    all: Mutex<Vec<u64>>,
    before_cut: Mutex<Option<Vec<u64>>>,
}

/// A small engine over the real log, store, tables and checkpoints.
struct Host {
    log: Arc<EmbeddedLog>,
    store: Store,
    tables: Arc<DeltaTables>,
    checkpoints: Arc<ObjectCheckpoints>,
    maintainer: Arc<Maintainer>,
    live: Arc<Live>,
    checkpoint: Option<Checkpoint>,
}

fn record(number: u64) -> Record {
    Record {
        format: Format::RemoteWriteV1,
        source: Arc::from("node-a"),
        received_at: WallTime(0),
        body_hash: u128::from(number),
        request_id: number,
        body: (0..200 + number % 900).map(|i| (i + number) as u8).collect::<Vec<_>>().into(),
    }
}

fn sample(number: u64) -> Sample {
    ("m".to_owned(), number as i64, MIDNIGHT + number as i64 * 1_000_000, Some(number))
}

fn name() -> TableName {
    TableName::new(schema::SAMPLES)
}

impl Host {
    /// Opens what is in `root` and does what a recovery does: the newest checkpoint's files are published once more.
    async fn open(root: &Path, plug: &Arc<Plug>) -> Self {
        let log = open_plugged(&root.join("log"), 4096, plug.clone()).unwrap();
        let store = open_with(root.join("store").to_str().unwrap(), plug.clone()).unwrap();
        let tables = DeltaTables::new(store.clone());
        let checkpoints = ObjectCheckpoints::new(store.clone());
        let live = Arc::new(Live::default());
        let config = MaintainConfig { vacuum_grace_s: 0, ..MaintainConfig::default() };
        let maintainer = Maintainer::new(store.clone(), tables.clone(), live.clone(), config).unwrap();
        let checkpoint = checkpoints.latest(&GroupName::of_partition(0)).await.unwrap();
        tables.ensure(&schema::samples()).await.unwrap();
        if let Some(checkpoint) = &checkpoint {
            for state in &checkpoint.states {
                let bytes = checkpoints.read_state(state).await.unwrap();
                assert_eq!(bytes, checkpoint.epoch.0.to_le_bytes().as_slice());
            }
            tables.publish(&checkpoint.group, checkpoint.epoch, &checkpoint.tables).await.unwrap();
        }
        let host = Self { log, store, tables, checkpoints, maintainer, live, checkpoint };
        host.show().await;
        host
    }

    async fn show(&self) {
        let files = self.tables.files(&name()).await.unwrap();
        self.live.update(|view| drop(view.files.insert(name(), files)));
    }

    fn position(&self) -> Position {
        self.checkpoint.as_ref().and_then(|c| c.positions.get(&LOG.to_string())).copied().unwrap_or_default()
    }

    async fn logged(&self) -> Vec<u64> {
        let (mut from, end) = (self.position(), self.log.bounds(LOG).await.unwrap().1);
        let mut numbers = Vec::new();
        while from < end {
            for (position, found) in self.log.read(LOG, from, 1 << 20).await.unwrap() {
                assert_eq!(found.body, record(found.request_id).body);
                numbers.push(found.request_id);
                from = position.next();
            }
        }
        numbers
    }

    async fn stored(&self) -> Vec<u64> {
        let files = self.tables.files(&name()).await.unwrap();
        let rows = ParquetHistory::new(self.store.clone()).read(&schema::samples(), &files, &Wanted::default()).await.unwrap();
        testing::rows(&rows).into_iter().map(|row| row.1 as u64).collect()
    }

    async fn append(&self, numbers: std::ops::Range<u64>, plug: &Plug, acknowledged: &Acknowledged) {
        let appends = numbers.map(|number| async move { (number, self.log.append(LOG, record(number)).await) });
        for (number, answer) in futures::future::join_all(appends).await {
            answer.unwrap();
            if !plug.is_cut() {
                acknowledged.all.lock().unwrap().push(number);
            }
        }
    }

    /// The four steps of an epoch.
    async fn commit(&mut self) {
        let numbers = self.logged().await;
        let next = self.log.bounds(LOG).await.unwrap().1;
        let (group, epoch) = (GroupName::of_partition(0), Epoch(self.checkpoint.as_ref().map_or(0, |c| c.epoch.0) + 1));
        let rows = testing::batch(&testing::sorted(numbers.into_iter().map(sample).collect()));
        let files = self.tables.write(&schema::samples(), epoch, Box::new(std::iter::once(rows))).await.unwrap();
        let state = self.checkpoints.write_state(&group, epoch, "state", epoch.0.to_le_bytes().to_vec().into()).await.unwrap();
        let checkpoint = Checkpoint {
            version: CHECKPOINT_VERSION,
            group: group.clone(),
            epoch,
            writer: "host".to_owned(),
            created_at: WallTime(0),
            log: None,
            positions: BTreeMap::from([(LOG.to_string(), next)]),
            tables: BTreeMap::from([(name(), files)]),
            states: vec![state],
        };
        self.checkpoints.commit(&checkpoint).await.unwrap();
        let guard = self.live.commit.clone().lock_owned().await;
        self.tables.publish(&group, epoch, &checkpoint.tables).await.unwrap();
        self.show().await;
        drop(guard);
        self.log.trim(LOG, next).await.unwrap();
        self.checkpoints.prune(&group, 2).await.unwrap();
        self.checkpoint = Some(checkpoint);
    }
}

fn roll(seed: &mut u64, of: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % of
}

/// Works on `root` until the power goes; what is left lies in `cut_into`. Gives the number after the last.
async fn live_until_cut(root: &Path, cut_into: &Path, seed: &mut u64, mut number: u64, before: &[u64]) -> (Arc<Acknowledged>, u64) {
    let acknowledged = Arc::new(Acknowledged::default());
    acknowledged.all.lock().unwrap().extend(before);
    let noted = acknowledged.clone();
    let at_cut = move || *noted.before_cut.lock().unwrap() = Some(noted.all.lock().unwrap().clone());
    let plug = Arc::new(Plug::new(root, cut_into, 1 + roll(seed, 260), roll(seed, u64::MAX), at_cut));
    let mut host = Host::open(root, &plug).await;
    for _ in 0..60 {
        if plug.is_cut() {
            break;
        }
        match roll(seed, 8) {
            0..4 => {
                let count = 1 + roll(seed, 4);
                host.append(number..number + count, &plug, &acknowledged).await;
                number += count;
            }
            4..7 => host.commit().await,
            _ => {
                host.maintainer.compact_now().await.unwrap();
                host.maintainer.vacuum_now().await.unwrap();
            }
        }
    }
    plug.pull();
    (acknowledged, number)
}

/// Everything that was acknowledged is there, in the tables or in the log after the checkpoint, and once.
async fn check(root: &Path, acknowledged: &[u64], trial: u64) {
    let nowhere = tempfile::tempdir().unwrap();
    let plug = Arc::new(Plug::new(root, nowhere.path(), u64::MAX, 1, || {}));
    let host = Host::open(root, &plug).await;
    let (stored, logged) = (host.stored().await, host.logged().await);
    let found: BTreeSet<u64> = stored.iter().chain(&logged).copied().collect();
    assert_eq!(found.len(), stored.len() + logged.len(), "trial {trial}: a record counts twice");
    let lost: Vec<&u64> = acknowledged.iter().filter(|number| !found.contains(number)).collect();
    assert!(lost.is_empty(), "trial {trial}: {lost:?} were acknowledged and are lost");
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let trials: u64 = std::env::var("AFFERENT_POWER_TRIALS").ok().and_then(|n| n.parse().ok()).unwrap_or(50);
    let start = std::env::var("AFFERENT_POWER_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(u64::from(std::process::id()));
    let (mut cuts, mut kept) = (0, 0);
    for trial in start..start + trials {
        let mut seed = trial.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        runtime.block_on(async {
            let mut folder = tempfile::tempdir().unwrap();
            for part in ["log", "store"] {
                std::fs::create_dir(folder.path().join(part)).unwrap();
            }
            let (mut number, mut before) = (0, Vec::new());
            // The power goes again on what the first cut left.
            for _ in 0..2 {
                let left = tempfile::tempdir().unwrap();
                let (acknowledged, next) = live_until_cut(folder.path(), left.path(), &mut seed, number, &before).await;
                before = acknowledged.before_cut.lock().unwrap().clone().unwrap();
                check(left.path(), &before, trial).await;
                (number, folder, cuts, kept) = (next, left, cuts + 1, kept + before.len());
            }
        });
    }
    eprintln!("{cuts} power cuts from seed {start}: all {kept} acknowledged records are there");
}

/// The harness finds what it is for: without the sync of the folder, checkpoints get lost and with them what was trimmed.
#[test]
fn a_store_that_does_not_sync_folders_is_found_out() {
    #[derive(Debug)]
    struct Careless(Arc<Plug>);
    impl Syncs for Careless {
        fn file(&self, file: &File) -> io::Result<()> {
            self.0.file(file)
        }
        fn folder(&self, _: &Path) -> io::Result<()> {
            Ok(())
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lost = (0..20).filter(|seed| {
        let (folder, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let plug = Arc::new(Plug::new(folder.path(), left.path(), u64::MAX, *seed, || {}));
        runtime.block_on(async {
            let store = open_with(folder.path().to_str().unwrap(), Arc::new(Careless(plug.clone()))).unwrap();
            let group = GroupName::of_partition(0);
            ObjectCheckpoints::new(store).commit(&crate::checkpoint::conformance::checkpoint(&group, 1, "a", vec![])).await.unwrap();
            plug.pull();
            let store = crate::object_store::open(left.path().to_str().unwrap()).unwrap();
            ObjectCheckpoints::new(store).latest(&group).await.map_or(true, |latest| latest.is_none())
        })
    });
    assert!(lost.count() > 5);
}
