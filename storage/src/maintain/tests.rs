//! Merging never changes an answer; the vacuum takes only what nothing names.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::checkpoint::ObjectCheckpoints;
use crate::layout;
use crate::table::provider::LakeTable;
use crate::testing::{self, MIDNIGHT, Sample};
use afferent_engine::checkpoint::{CHECKPOINT_VERSION, Checkpoint, CheckpointStore, Epoch, GroupName};
use afferent_engine::schema::{self, TableName};
use afferent_engine::table::{DataFile, TableFiles};
use afferent_engine::time::WallTime;
use datafusion::prelude::SessionContext;
use object_store::ObjectStoreExt;
use proptest::prelude::*;
use std::collections::BTreeMap;

struct Lake {
    folder: tempfile::TempDir,
    store: Store,
    tables: Arc<DeltaTables>,
    live: Arc<Live>,
    maintainer: Arc<Maintainer>,
}

fn name() -> TableName {
    TableName::new(schema::SAMPLES)
}

async fn lake(grace_s: u64) -> Lake {
    lake_with(MaintainConfig { vacuum_grace_s: grace_s, interval_s: 1, ..MaintainConfig::default() }).await
}

async fn lake_with(config: MaintainConfig) -> Lake {
    lake_on(config, Watch::machine(1)).await
}

async fn lake_on(config: MaintainConfig, watch: Watch) -> Lake {
    let (folder, store) = testing::store();
    let tables = DeltaTables::new(store.clone());
    tables.ensure(&schema::samples()).await.unwrap();
    let live = Arc::new(Live::default());
    let maintainer = Maintainer::on_watch(store.clone(), tables.clone(), live.clone(), config, watch).unwrap();
    Lake { folder, store, tables, live, maintainer }
}

impl Lake {
    async fn publish(&self, epoch: u64, rows: &[Sample]) -> Vec<DataFile> {
        self.publish_as(&GroupName::of_partition(0), epoch, rows).await
    }

    async fn publish_as(&self, group: &GroupName, epoch: u64, rows: &[Sample]) -> Vec<DataFile> {
        let batches: Vec<_> = testing::sorted(rows.to_vec()).chunks(100).map(testing::batch).collect();
        let files = self.tables.write(&schema::samples(), Epoch(epoch), Box::new(batches.into_iter())).await.unwrap();
        let _commit = self.live.commit.lock().await;
        self.tables.publish(group, Epoch(epoch), &BTreeMap::from([(name(), files.clone())])).await.unwrap();
        let published = self.tables.files(&name()).await.unwrap();
        self.live.update(|v| drop(v.files.insert(name(), published)));
        files
    }

    fn files(&self) -> Arc<TableFiles> {
        self.live.view().files.get(&name()).cloned().unwrap_or_default()
    }

    async fn read(&self, files: Arc<TableFiles>) -> Vec<Sample> {
        let context = SessionContext::new();
        context.register_table("samples", Arc::new(LakeTable::new(self.store.clone(), schema::samples(), files, None))).unwrap();
        let batches = context.sql("SELECT * FROM samples").await.unwrap().collect().await.unwrap();
        testing::rows(&batches)
    }

    fn on_disk(&self) -> usize {
        let table = self.folder.path().join("tables/samples");
        let dates = std::fs::read_dir(table).unwrap().map(|e| e.unwrap().path()).filter(|p| p.to_string_lossy().contains("date="));
        dates.map(|d| std::fs::read_dir(d).unwrap().count()).sum()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn merging_keeps_every_row_and_the_order(
        epochs in prop::collection::vec(
            prop::collection::vec(("[a-c]{1,2}", any::<i8>(), -2i64..2, prop::option::of(any::<u64>())), 0..400),
            1..6,
        ),
    ) {
        let epochs: Vec<Vec<Sample>> = epochs
            .into_iter()
            .map(|rows| rows.into_iter().enumerate().map(|(i, (m, s, t, v))| (m, s.into(), MIDNIGHT + t * 43_200_000_000 + i as i64, v)).collect())
            .collect();
        runtime().block_on(async {
            let lake = lake(3600).await;
            for (n, rows) in (1..).zip(&epochs) {
                lake.publish(n, rows).await;
            }
            let before = lake.files();
            let report = lake.maintainer.compact_now().await.unwrap();
            let after = lake.files();
            let wanted = testing::sorted(epochs.concat());
            assert_eq!(report.row_count, wanted.len() as u64);
            assert_eq!(testing::sorted(lake.read(after.clone()).await), wanted.clone());
            // A reader that holds the older view still gets its answer.
            assert_eq!(testing::sorted(lake.read(before).await), wanted);
            let mut dates: Vec<&str> = after.files.iter().map(|f| f.date.as_str()).collect();
            dates.sort_unstable();
            assert!(dates.windows(2).all(|d| d[0] != d[1]), "one file per date: {dates:?}");
            for file in &after.files {
                let one = TableFiles { version: 0, files: vec![file.clone()] };
                let rows = lake.read(Arc::new(one)).await;
                let key = |r: &Sample| (r.0.clone(), r.1, r.2);
                assert!(rows.windows(2).all(|w| key(&w[0]) <= key(&w[1])), "rows stay sorted");
                assert_eq!(rows.len() as u64, file.row_count);
            }
            assert_eq!(lake.maintainer.compact_now().await.unwrap(), Compacted::default(), "a second time there is nothing to do");
            // What the lake's log says is what readers see.
            let reopened = DeltaTables::new(lake.store.clone()).files(&name()).await.unwrap();
            assert_eq!(reopened.files.len(), after.files.len());
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_background_merges_while_epochs_are_published() {
    let lake = lake(3600).await;
    let cancel = CancellationToken::new();
    let work = {
        let (maintainer, cancel) = (lake.maintainer.clone(), cancel.clone());
        tokio::task::JoinSet::from_iter([async move { maintainer.run(cancel).await }])
    };
    let mut wanted = Vec::new();
    for epoch in 1..=60 {
        let rows = testing::grid(MIDNIGHT + epoch as i64 * 30_000_000, 3, 30);
        lake.publish(epoch, &rows).await;
        wanted.extend(rows);
        assert_eq!(lake.read(lake.files()).await.len(), wanted.len(), "every reader sees every row once");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..100 {
        if lake.files().files.len() < 16 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cancel.cancel();
    work.join_all().await;
    assert!(lake.files().files.len() < 16, "{} files", lake.files().files.len());
    assert_eq!(testing::sorted(lake.read(lake.files()).await), testing::sorted(wanted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vacuum_takes_only_what_nothing_names() {
    let lake = lake(0).await;
    lake.publish(1, &testing::grid(MIDNIGHT, 2, 10)).await;
    lake.publish(2, &testing::grid(MIDNIGHT + 60_000_000, 2, 10)).await;
    // Written and named by a checkpoint, but not yet published: a recovery would need it.
    let rows = testing::batch(&testing::sorted(testing::grid(MIDNIGHT, 1, 1)));
    let committed = lake.tables.write(&schema::samples(), Epoch(3), Box::new(std::iter::once(rows.clone()))).await.unwrap();
    let checkpoint = Checkpoint {
        version: CHECKPOINT_VERSION,
        group: GroupName::of_partition(0),
        epoch: Epoch(3),
        writer: "a".to_owned(),
        created_at: WallTime(0),
        log: None,
        positions: BTreeMap::new(),
        tables: BTreeMap::from([(name(), committed.clone())]),
        states: Vec::new(),
    };
    ObjectCheckpoints::new(lake.store.clone()).commit(&checkpoint).await.unwrap();
    // Written by an epoch that never came to its checkpoint.
    lake.tables.write(&schema::samples(), Epoch(4), Box::new(std::iter::once(rows))).await.unwrap();
    // A stranger's file.
    lake.store.objects().put(&object_store::path::Path::from("tables/samples/date=2026-11-22/note.txt"), "mine".into()).await.unwrap();
    lake.store.objects().put(&object_store::path::Path::from("tables/strange/date=2026-11-22/x.parquet"), "mine".into()).await.unwrap();
    assert_eq!(lake.on_disk(), 5);

    assert_eq!(lake.maintainer.vacuum_now().await.unwrap(), 1, "the epoch that was given up");
    let old_view = lake.live.view();
    lake.maintainer.compact_now().await.unwrap();
    // The view as readers have it now names the merged file only; pretend one still shows the old files.
    let merged = lake.files();
    lake.live.update(|v| v.files = old_view.files.clone());
    assert_eq!(lake.maintainer.vacuum_now().await.unwrap(), 0, "the read view names them");
    lake.live.update(|v| drop(v.files.insert(name(), merged)));
    assert_eq!(lake.maintainer.vacuum_now().await.unwrap(), 0, "somebody holds the older view");
    drop(old_view);
    assert_eq!(lake.maintainer.vacuum_now().await.unwrap(), 2);
    assert_eq!(lake.read(lake.files()).await.len(), 80);
    assert!(lake.folder.path().join(layout::data_file(&name(), &committed[0].path).as_ref()).is_file());
    assert!(lake.folder.path().join("tables/strange/date=2026-11-22/x.parquet").is_file());
}

/// Where several engines write the same tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upkeep_of_one_engine_leaves_what_others_wrote() {
    let lake = lake(0).await;
    let config = || MaintainConfig { vacuum_grace_s: 0, interval_s: 1, ..MaintainConfig::default() };
    let engine = |partition: u32| {
        let (tables, live) = (lake.tables.of(&GroupName::of_metrics(partition)), Arc::new(Live::default()));
        let maintainer = Maintainer::new(lake.store.clone(), tables.clone(), live.clone(), config()).unwrap();
        Lake { folder: tempfile::tempdir().unwrap(), store: lake.store.clone(), tables, live, maintainer }
    };
    let (first, second) = (engine(1), engine(11));
    for n in 1..=3 {
        first.publish_as(&GroupName::of_metrics(1), n, &testing::grid(MIDNIGHT + n as i64 * 60_000_000, 2, 10)).await;
        second.publish_as(&GroupName::of_metrics(11), n, &testing::grid(MIDNIGHT + n as i64 * 60_000_000, 2, 10)).await;
    }
    let before = second.files();
    assert_eq!(first.maintainer.compact_now().await.unwrap().files_in, 3);
    assert_eq!((first.files().files.len(), second.files().files.len()), (1, 3));
    // The second has written what it has not named yet, and its reader holds what the first does not know of.
    let rows = testing::batch(&testing::sorted(testing::grid(MIDNIGHT, 1, 1)));
    second.tables.write(&schema::samples(), Epoch(4), Box::new(std::iter::once(rows))).await.unwrap();
    second.maintainer.compact_now().await.unwrap();
    assert_eq!(lake.on_disk(), 9);
    assert_eq!(first.maintainer.vacuum_now().await.unwrap(), 3, "its own three that were merged");
    assert_eq!(second.read(before.clone()).await.len(), 120);
    assert_eq!(second.maintainer.vacuum_now().await.unwrap(), 1, "what it gave up; a reader holds what was merged");
    drop(before);
    assert_eq!(second.maintainer.vacuum_now().await.unwrap(), 3);
    let whole = DeltaTables::new(lake.store.clone()).files(&name()).await.unwrap();
    assert_eq!((whole.files.len(), lake.read(whole).await.len()), (2, 240));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vacuum_waits_for_the_grace_period() {
    let lake = lake(3600).await;
    let rows = testing::batch(&testing::sorted(testing::grid(MIDNIGHT, 1, 1)));
    lake.tables.write(&schema::samples(), Epoch(1), Box::new(std::iter::once(rows))).await.unwrap();
    assert_eq!(lake.maintainer.vacuum_now().await.unwrap(), 0);
    assert_eq!(lake.on_disk(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_not_merged_away() {
    let lake = lake(3600).await;
    let first = lake.publish(1, &testing::grid(MIDNIGHT, 2, 10)).await;
    lake.publish(2, &testing::grid(MIDNIGHT + 60_000_000, 2, 10)).await;
    let before = lake.files();
    let path = lake.folder.path().join("tables/samples").join(&first[0].path);
    std::fs::write(&path, vec![7; first[0].size_bytes as usize]).unwrap();
    let error = lake.maintainer.compact_now().await.unwrap_err();
    assert_eq!(error.kind(), afferent_engine::error::ErrorKind::Corrupt, "{error}");
    assert_eq!(lake.files().files, before.files);
}

/// Every table that exists, through files, the log and a merge, against the same rows in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fixed_table_comes_back_the_same() {
    let lake = lake(3600).await;
    let context = SessionContext::new();
    for def in schema::fixed_tables() {
        lake.tables.ensure(&def).await.unwrap();
        let mut all = Vec::new();
        for epoch in 1..=3 {
            let rows = testing::any_rows(&def, 300, epoch * 1000);
            let files = lake.tables.write(&def, Epoch(epoch), Box::new(std::iter::once(rows.clone()))).await.unwrap();
            lake.tables.publish(&GroupName::of_partition(0), Epoch(epoch), &BTreeMap::from([(def.name.clone(), files)])).await.unwrap();
            all.push(rows);
        }
        lake.maintainer.compact_now().await.unwrap();
        let files = lake.tables.files(&def.name).await.unwrap();
        assert_eq!(files.files.iter().map(|f| f.row_count).sum::<u64>(), 900);
        let of = |files: Arc<TableFiles>, live: Vec<arrow::record_batch::RecordBatch>| {
            LakeTable::new(lake.store.clone(), def.clone(), files, Some(Arc::new(live)))
        };
        context.register_table("on_disk", Arc::new(of(files, vec![]))).unwrap();
        context.register_table("in_memory", Arc::new(of(Arc::default(), all))).unwrap();
        let mut texts = Vec::new();
        for relation in ["on_disk", "in_memory"] {
            let batches = context.table(relation).await.unwrap().collect().await.unwrap();
            let text = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
            let mut lines: Vec<String> = text.lines().filter(|l| l.contains("2026-")).map(str::to_owned).collect();
            lines.sort();
            assert_eq!(lines.len(), 900, "{} {relation}", def.name);
            texts.push(lines);
            context.deregister_table(relation).unwrap();
        }
        assert_eq!(texts[0], texts[1], "{}", def.name);
    }
    if let Ok(keep) = std::env::var("AFFERENT_KEEP_LAKE") {
        std::fs::rename(lake.folder.path(), keep).unwrap();
    }
}

#[test]
fn settings_out_of_range_are_named() {
    MaintainConfig::default().validate().unwrap();
    let wrong = MaintainConfig { interval_s: 0, ..MaintainConfig::default() };
    assert!(wrong.validate().unwrap_err().to_string().contains("interval_s is 0, but must be between 1 and 3600"));
    let wrong = MaintainConfig { compaction_small_file_bytes: u64::MAX, ..MaintainConfig::default() };
    assert!(wrong.validate().unwrap_err().to_string().contains("compaction_small_file_bytes"));
    assert!(serde_json::from_str::<MaintainConfig>("{\"interval\": 3}").is_err());
}

/// The grace period is zero: what keeps the files is that this process knows who reads them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_was_planned_keeps_its_files() {
    let lake = lake(0).await;
    lake.publish(1, &testing::grid(MIDNIGHT, 500, 20)).await;
    lake.publish(2, &testing::grid(MIDNIGHT + 60_000_000, 500, 20)).await;
    let context = SessionContext::new_with_config(datafusion::prelude::SessionConfig::new().with_batch_size(64).with_target_partitions(1));
    context.register_table("samples", Arc::new(LakeTable::new(lake.store.clone(), schema::samples(), lake.files(), None))).unwrap();
    let plan = context.sql("SELECT * FROM samples").await.unwrap().create_physical_plan().await.unwrap();
    drop(context.deregister_table("samples").unwrap());
    let task = context.task_ctx();
    drop(context);
    lake.maintainer.compact_now().await.unwrap();
    assert_eq!(lake.maintainer.vacuum_now().await.unwrap(), 0, "planned and not started");
    let mut stream = datafusion::physical_plan::execute_stream(plan.clone(), task).unwrap();
    drop(plan);
    let mut rows = futures::StreamExt::next(&mut stream).await.unwrap().unwrap().num_rows();
    assert_eq!(lake.maintainer.vacuum_now().await.unwrap(), 0, "half read");
    while let Some(batch) = futures::StreamExt::next(&mut stream).await {
        rows += batch.unwrap().num_rows();
    }
    assert_eq!(rows, 40_000);
    drop(stream);
    assert_eq!(lake.maintainer.vacuum_now().await.unwrap(), 2, "read to the end");
    assert_eq!(lake.on_disk(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dates_past_their_retention_go_in_one_commit() {
    let config = MaintainConfig { vacuum_grace_s: 0, retention_days: BTreeMap::from([("samples".to_owned(), 2)]), ..MaintainConfig::default() };
    let clock = Arc::new(afferent_engine::clock::ManualClock::at(WallTime(MIDNIGHT / 1000)));
    let lake = lake_on(config, Watch::manual(clock)).await;
    let day = 86_400_000_000;
    for (epoch, days_ago) in (1..).zip([5, 4, 3, 2, 1, 0, 4]) {
        lake.publish(epoch, &testing::grid(MIDNIGHT - days_ago * day + epoch as i64, 2, 10)).await;
    }
    let version = lake.files().version;
    let needed = afferent_engine::time::EventTime((MIDNIGHT - 4 * day) / 1000 + 7);
    lake.maintainer.need_from(Some(needed));
    assert_eq!(lake.maintainer.retain_now().await.unwrap(), Expired { files: 1, rows: 40 }, "a state needs the other dates");
    lake.maintainer.need_from(None);
    assert_eq!(lake.maintainer.retain_now().await.unwrap(), Expired { files: 3, rows: 120 });
    assert_eq!(lake.maintainer.retain_now().await.unwrap(), Expired::default());
    assert_eq!(lake.files().version, version + 2);
    assert_eq!(lake.read(lake.files()).await.len(), 120);
    assert_eq!(lake.maintainer.vacuum_now().await.unwrap(), 4);
    assert_eq!(lake.on_disk(), 3);
    assert_eq!(DeltaTables::new(lake.store.clone()).files(&name()).await.unwrap().files.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_table_goes_once_nobody_uses_it() {
    let lake = lake(0).await;
    lake.publish(1, &testing::grid(MIDNIGHT, 2, 10)).await;
    let held = lake.files();
    let checkpoint = Checkpoint {
        version: CHECKPOINT_VERSION,
        group: GroupName::of_partition(0),
        epoch: Epoch(1),
        writer: "a".to_owned(),
        created_at: WallTime(0),
        log: None,
        positions: BTreeMap::new(),
        tables: BTreeMap::from([(name(), held.files.clone())]),
        states: Vec::new(),
    };
    let checkpoints = ObjectCheckpoints::new(lake.store.clone());
    checkpoints.commit(&checkpoint).await.unwrap();
    lake.maintainer.drop_forgotten().await.unwrap();
    assert!(lake.live.view().files.contains_key(&name()), "nobody forgot it");
    lake.live.update(|view| view.forgotten = Arc::new([name()].into()));
    lake.maintainer.drop_forgotten().await.unwrap();
    assert!(!lake.live.view().files.contains_key(&name()));
    lake.maintainer.vacuum_now().await.unwrap();
    assert_eq!(lake.read(held.clone()).await.len(), 40, "who holds it reads it");
    drop(held);
    lake.maintainer.vacuum_now().await.unwrap();
    assert_eq!(lake.on_disk(), 1, "a checkpoint names it");
    let next = Checkpoint { epoch: Epoch(2), tables: BTreeMap::new(), ..checkpoint };
    checkpoints.commit(&next).await.unwrap();
    checkpoints.prune(&next.group, 1).await.unwrap();
    lake.maintainer.vacuum_now().await.unwrap();
    let left: Vec<_> = walk(&lake.folder.path().join("tables"));
    assert_eq!(left, Vec::<std::path::PathBuf>::new(), "not one file is left");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// One load and then nothing: seven files, too few for their size, become one when the date is at rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_ended_is_compacted_soon() {
    let clock = Arc::new(afferent_engine::clock::ManualClock::at(WallTime(MIDNIGHT / 1000)));
    let lake = lake_on(MaintainConfig::default(), Watch::manual(clock.clone())).await;
    let cancel = CancellationToken::new();
    let mut intervals = 0;
    for epoch in 1..=7 {
        lake.publish(epoch, &testing::grid(MIDNIGHT + epoch as i64 * 30_000_000, 3, 30)).await;
        lake.maintainer.round(&cancel).await;
        clock.advance_ms(30_000);
    }
    let before: u64 = lake.files().files.iter().map(|f| f.size_bytes).sum();
    assert_eq!(lake.files().files.len(), 7);
    while lake.files().files.len() > 1 && intervals < 100 {
        lake.maintainer.round(&cancel).await;
        clock.advance_ms(30_000);
        intervals += 1;
    }
    assert!(intervals <= SETTLED_INTERVALS + 1, "{intervals} intervals");
    assert!(layout::is_compacted(&lake.files().files[0].path));
    assert!(lake.files().files[0].size_bytes < before / 3, "{before} bytes became {}", lake.files().files[0].size_bytes);
    let version = lake.files().version;
    for _ in 0..10 {
        lake.maintainer.round(&cancel).await;
        clock.advance_ms(30_000);
    }
    assert_eq!(lake.files().version, version, "what is tidy is left alone");
}

/// A store that another process took over is left alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_lost_its_store_changes_nothing_any_more() {
    let lake = lake(0).await;
    let first = lake.publish(1, &testing::grid(MIDNIGHT, 2, 10)).await;
    let place = lake.folder.path().to_str().unwrap();
    let ours = crate::object_store::open(place).unwrap().owned().unwrap();
    let refused = crate::object_store::open(place).unwrap().owned().unwrap_err();
    assert_eq!(refused.kind(), afferent_engine::error::ErrorKind::Conflict);
    assert!(refused.to_string().contains(&format!("in use by process {}", std::process::id())), "{refused}");
    let tables = DeltaTables::new(ours.clone());
    tables.ensure(&schema::samples()).await.unwrap();
    let live = Arc::new(Live::default());
    let config = MaintainConfig { vacuum_grace_s: 0, retention_days: BTreeMap::from([("samples".to_owned(), 1)]), ..MaintainConfig::default() };
    let maintainer = Maintainer::new(ours.clone(), tables.clone(), live, config).unwrap();
    std::fs::remove_file(lake.folder.path().join("LOCK")).unwrap();
    let theirs = crate::object_store::open(place).unwrap().owned().unwrap();
    let files = BTreeMap::from([(name(), first)]);
    let fenced = [
        tables.publish(&GroupName::of_partition(7), Epoch(9), &files).await.unwrap_err(),
        maintainer.compact_now().await.unwrap_err(),
        maintainer.vacuum_now().await.unwrap_err(),
        maintainer.drop_table(&name()).await.unwrap_err(),
        ObjectCheckpoints::new(ours.clone()).prune(&GroupName::of_partition(0), 1).await.unwrap_err(),
    ];
    for error in fenced {
        assert_eq!(error.kind(), afferent_engine::error::ErrorKind::Conflict, "{error}");
    }
    assert_eq!(lake.read(lake.files()).await.len(), 40);
    drop(theirs);
}

/// A day of commits every second, cut short: what lies on disk stays bounded, and after retention and vacuum nothing is left over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_every_second_leave_few_files() {
    let clock =
        Arc::new(afferent_engine::clock::ManualClock::at(WallTime(afferent_engine::clock::Clock::now(&afferent_engine::clock::SystemClock).0)));
    let (folder, store) = testing::store();
    let (tables, live) = (DeltaTables::new(store.clone()), Arc::new(Live::default()));
    tables.ensure(&schema::samples()).await.unwrap();
    let config = MaintainConfig { vacuum_grace_s: 60, retention_days: BTreeMap::from([("samples".to_owned(), 1)]), ..MaintainConfig::default() };
    let maintainer = Maintainer::on_watch(store.clone(), tables.clone(), live.clone(), config, Watch::manual(clock.clone())).unwrap();
    let lake = Lake { folder, store, tables, live, maintainer };
    let cancel = CancellationToken::new();
    let (mut most, mut rows) = (0, 0);
    for epoch in 1..=400 {
        let second = testing::grid(MIDNIGHT - 2 * 86_400_000_000 + epoch as i64 * 1_000_000, 1, 1);
        rows += second.len();
        lake.publish(epoch, &second).await;
        if epoch.is_multiple_of(30) {
            lake.maintainer.round(&cancel).await;
            lake.maintainer.vacuum_now().await.unwrap();
        }
        most = most.max(lake.files().files.len());
        clock.advance_ms(1000);
    }
    assert!(most < 60, "{most} files at once");
    assert!(lake.on_disk() < 160, "{} files on disk with those of the last minute", lake.on_disk());
    assert_eq!(lake.files().files.iter().map(|f| f.row_count).sum::<u64>(), rows as u64);
    let opening = std::time::Instant::now();
    assert_eq!(DeltaTables::new(lake.store.clone()).files(&name()).await.unwrap().files.len(), lake.files().files.len());
    assert!(opening.elapsed() < Duration::from_secs(5));
    // Two days later the date is past its retention.
    lake.publish(401, &testing::grid(MIDNIGHT, 1, 7)).await;
    clock.advance_ms(2 * 86_400_000);
    assert_eq!(lake.maintainer.retain_now().await.unwrap().rows, rows as u64);
    lake.maintainer.vacuum_now().await.unwrap();
    clock.advance_ms(61_000);
    lake.maintainer.vacuum_now().await.unwrap();
    assert_eq!((lake.read(lake.files()).await.len(), lake.on_disk()), (14, 1));
}
