//! Invariant I3 for every shipped view: the engine run straight = halted and restarted = shuffled within lateness = one plain DataFusion run over the
//! accepted rows. The engine is the real one on ports in memory; bodies go through the real decoders.

pub(crate) mod input;
pub(crate) mod rows;

use crate::differential::engine::World as Engines;
use afferent_engine::checkpoint::GroupName;
use afferent_engine::clock::ManualClock;
use afferent_engine::config::EngineConfig;
use afferent_engine::control::control;
use afferent_engine::intake::{Delivery, intake};
use afferent_engine::live::{Live, LiveFilter};
use afferent_engine::log::{LogName, LogReader, LogWriter, Record, Topic};
use afferent_engine::query::{Program, View};
use afferent_engine::schema::{self, TableName};
use afferent_engine::sim::{MemoryCheckpoints, MemoryLog, MemoryTables};
use afferent_engine::supervisor::{EngineParts, start};
use afferent_engine::time::{EventTime, WallTime};
use afferent_ingest::decoder::{Decoders, Limits};
use afferent_ingest::spread::{Share, Spread};
use afferent_queries::dimensions::Dimensions;
use afferent_queries::plan::{Statements, shipped};
use afferent_queries::run::once::run_once;
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

struct World {
    partitions: u32,
    dimensions: Arc<Dimensions>,
    log: Arc<MemoryLog>,
    tables: Arc<MemoryTables>,
    checkpoints: Arc<MemoryCheckpoints>,
}

pub(crate) fn dimensions() -> Arc<Dimensions> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("continuous");
    Arc::new(Dimensions::load(Some(&folder.join("inventory.yaml")), Some(&folder.join("slo")), None).unwrap())
}

fn decoders() -> Arc<Decoders> {
    Arc::new(Decoders::new(Limits {
        inflated_bytes_max: 32 << 20,
        future_ms_max: 300_000,
        series_labels_max: 64,
        label_bytes_max: 16 << 10,
        known_series_max: 10_000,
    }))
}

impl World {
    fn new() -> Self {
        Self { partitions: 1, dimensions: dimensions(), log: Arc::default(), tables: Arc::default(), checkpoints: Arc::default() }
    }

    fn logs(&self) -> Vec<LogName> {
        let metrics = (0..self.partitions).map(|partition| LogName { topic: Topic::Metrics, partition });
        metrics.chain([LogName::first(Topic::Events)]).collect()
    }

    /// Runs the engine over the records; `halt` stops it in the middle of whatever it does after so many milliseconds.
    async fn run(&self, records: &[Record], halt: Option<u64>) -> Arc<Live> {
        let (sender, receiver) = intake();
        let (cancel, halted, live) = (CancellationToken::new(), CancellationToken::new(), Arc::new(Live::default()));
        let decoders = decoders();
        let parts = EngineParts {
            config: EngineConfig { tick_ms: 200, checkpoint_interval_ms: if halt.is_some() { 50 } else { 500 }, ..EngineConfig::default() },
            group: GroupName::of_partition(0),
            writer: "test".into(),
            logs: self.logs(),
            takes_over: false,
            intake: receiver,
            log: self.log.clone(),
            decoder: decoders.clone(),
            tables: self.tables.clone(),
            checkpoints: self.checkpoints.clone(),
            history: self.tables.clone(),
            views: shipped(&self.dimensions).unwrap(),
            compiler: Statements::new(self.dimensions.clone()).unwrap(),
            commands: control().1,
            inventory: self.dimensions.inventory.clone(),
            live: live.clone(),
            share: afferent_engine::supervisor::Share::Whole,
            clock: Arc::new(ManualClock::at(WallTime(input::START_MS))),
            cancel: cancel.clone(),
            halt: halted.clone(),
        };
        let handle = start(parts).unwrap();
        for record in records {
            let spread = Spread { partitions: self.partitions, ..Spread::default() };
            let mut deliveries = vec![];
            for Share { log, record, decoded } in decoders.read_spread(record.clone(), spread).unwrap() {
                let position = self.log.append(log, record.clone()).await.unwrap();
                deliveries.push(Delivery { log, position, decoded, record });
            }
            let place = loop {
                // A loaded machine may keep the queue full for long; waiting is all a sender can do.
                match sender.reserve().await {
                    Ok(place) => break place,
                    Err(error) => assert!(error.to_string().contains("behind"), "{error}"),
                }
            };
            place.deliver_all(deliveries);
        }
        match halt {
            Some(after_ms) => {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                halted.cancel();
                drop(handle.join().await);
            }
            None => {
                // Two ticks after the last record everything is shown.
                for log in self.logs() {
                    let (_, end) = self.log.bounds(log).await.unwrap();
                    while live.view().status.logs.get(&log.to_string()).is_none_or(|l| l.next < end) {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
                tokio::time::sleep(Duration::from_millis(600)).await;
                cancel.cancel();
                handle.join().await.unwrap();
            }
        }
        live
    }

    /// All rows of a table: published ones, then those in memory.
    fn table(&self, live: &Live, name: &str) -> Vec<RecordBatch> {
        let (view, name) = (live.view(), TableName::new(name));
        let mut rows = view.files.get(&name).map(|f| self.tables.rows(f)).unwrap_or_default();
        rows.extend(view.live.get(&name).map(|l| l.scan(&LiveFilter::default()).unwrap()).unwrap_or_default());
        rows
    }

    /// Rows of every view as a reader sees them, without the envelope.
    fn views(&self, live: &Live) -> BTreeMap<String, Vec<String>> {
        views(&self.dimensions, |name| self.table(live, name))
    }

    /// The same by one plain run over the accepted rows, each view over the plain rows of the views it reads.
    async fn plain(&self, live: &Live) -> BTreeMap<String, Vec<String>> {
        let view = live.view();
        let as_of = view.status.as_of.unwrap_or(EventTime(0));
        let panes = rows::panes(&self.table(live, schema::ROLLUP_1M), &self.table(live, schema::SERIES));
        let events = self.table(live, schema::EVENTS);
        let mut relations: Vec<(String, Vec<RecordBatch>)> = vec![("panes".into(), panes), ("events".into(), events)];
        let mut out = BTreeMap::new();
        for plan in shipped(&self.dimensions).unwrap() {
            let name = plan.spec.name.to_string();
            let rows = run_once(&plan.spec.sql, relations.clone(), &self.dimensions, as_of).await.unwrap_or_else(|e| panic!("{name}: {e}"));
            out.insert(name.clone(), rows::plain(&rows, &plan.spec.schema));
            let rows = if rows.is_empty() { vec![RecordBatch::new_empty(plan.spec.schema.clone())] } else { rows };
            relations.push((name, rows));
        }
        out
    }
}

/// Rows of every shipped view by the rows of its table.
fn views(dimensions: &Arc<Dimensions>, table: impl Fn(&str) -> Vec<RecordBatch>) -> BTreeMap<String, Vec<String>> {
    let rows = |view: &View| rows::newest(&table(view.spec.name.as_str()), &view.spec.key, &view.spec.schema);
    shipped(dimensions).unwrap().iter().map(|view| (view.spec.name.to_string(), rows(view))).collect()
}

fn assert_same(what: &str, got: &BTreeMap<String, Vec<String>>, want: &BTreeMap<String, Vec<String>>) {
    for (view, rows) in want {
        let others = got.get(view).unwrap_or_else(|| panic!("{what}: {view} is missing"));
        let missing: Vec<&String> = rows.iter().filter(|r| !others.contains(r)).take(3).collect();
        let surplus: Vec<&String> = others.iter().filter(|r| !rows.contains(r)).take(3).collect();
        assert!(
            missing.is_empty() && surplus.is_empty() && others.len() == rows.len(),
            "{what}: {view}: {} rows, {} expected\nmissing {missing:#?}\nsurplus {surplus:#?}",
            others.len(),
            rows.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_view_equals_one_plain_run() {
    let records = input::records();
    let straight = World::new();
    let live = straight.run(&records, None).await;
    let got = straight.views(&live);
    let empty: Vec<&String> = got.iter().filter(|(_, rows)| rows.is_empty()).map(|(name, _)| name).collect();
    assert!(empty.is_empty(), "the input must reach every view, but {empty:?} have no row");
    let plain = straight.plain(&live).await;
    assert_same("straight run against plain DataFusion", &got, &plain);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_view_survives_restarts() {
    let records = input::records();
    let straight = World::new();
    let live = straight.run(&records, None).await;
    let want = straight.views(&live);
    for every in [40, 90] {
        let broken = World::new();
        for (i, part) in records.chunks(every).enumerate() {
            broken.run(part, Some(i as u64 % 5 * 60)).await;
        }
        let live = broken.run(&[], None).await;
        assert_same(&format!("halted every {every} records"), &broken.views(&live), &want);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_view_is_the_same_shuffled_within_lateness() {
    let straight = World::new();
    let live = straight.run(&input::records(), None).await;
    let want = straight.views(&live);
    for seed in [1, 2] {
        let shuffled = World::new();
        let live = shuffled.run(&input::shuffled(seed), None).await;
        assert_same(&format!("shuffled with seed {seed}"), &shuffled.views(&live), &want);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_view_is_the_same_over_any_number_of_partitions() {
    let records = input::records();
    let straight = World::new();
    let live = straight.run(&records, None).await;
    let want = straight.views(&live);
    for partitions in [4, 12] {
        let spread = World { partitions, ..World::new() };
        let live = spread.run(&records, None).await;
        assert_same(&format!("{partitions} partitions"), &spread.views(&live), &want);
    }
    // Partitions that are added while records lie in those there were: series move to another one.
    let mut grown = World::new();
    for (partitions, part) in [1, 4, 12].into_iter().zip(records.chunks(records.len().div_ceil(3))) {
        grown.partitions = partitions;
        grown.run(part, Some(50)).await;
    }
    let live = grown.run(&[], None).await;
    assert_same("1, then 4, then 12 partitions", &grown.views(&live), &want);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_view_is_the_same_with_an_engine_for_each_partition() {
    let records = input::records();
    let straight = World::new();
    let live = straight.run(&records, None).await;
    let want = straight.views(&live);
    for partitions in [1, 4, 12] {
        let (world, live) = Engines::of_partitions(partitions, dimensions(), WallTime(input::START_MS), &records).await;
        assert_same(&format!("{partitions} engines and one of the views"), &views(&straight.dimensions, |name| world.table(&live, name)), &want);
    }
}

/// A plan of every shape is among the shipped ones, so that the tests above speak for all four.
#[test]
fn every_shape_is_shipped() {
    let views = shipped(&dimensions()).unwrap();
    let count = |is: fn(&Program) -> bool| views.iter().filter(|v| is(&v.program)).count();
    assert!(count(|p| matches!(p, Program::Window(_))) > 0);
    assert!(count(|p| matches!(p, Program::Keyed(_))) > 0);
    assert!(count(|p| matches!(p, Program::Fold(_))) > 0);
    assert!(count(|p| matches!(p, Program::Snapshot(_))) > 0);
}
