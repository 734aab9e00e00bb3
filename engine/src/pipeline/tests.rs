//! The partition as a whole, on ports in memory: whatever order, duplicates and restarts, the rows are those of the sorted stream.

use super::*;
use crate::checkpoint::GroupName;
use crate::clock::{Clock, ManualClock};
use crate::error::Error;
use crate::error::Result as PortResult;
use crate::intake::{Deliveries, Delivery, intake};
use crate::live::{Live, LiveFilter};
use crate::log::{Decoder, Format, LogReader, LogWriter, Topic};
use crate::query::{Compiler, LabelInventory, ViewSpec};
use crate::sample::{SampleBatch, SeriesSlice};
use crate::schema::{TableDef, TableName};
use crate::series::Labels;
use crate::sim::{MemoryCheckpoints, MemoryLog, MemoryTables};
use crate::supervisor::{EngineParts, Share, start};
use crate::table::{History, Scanned, TableFiles, TableStore, Wanted};
use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use async_trait::async_trait;
use bytes::Bytes;
use proptest::prelude::*;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Bodies of the tests: JSON lists of (series number, time in milliseconds, value bits).
struct JsonBodies;

type Sample = (u8, i64, u64);

/// Of another metric than the rest, with a label that those have not.
const OTHER: u8 = 250;

fn labels(series: u8) -> Labels {
    let host = format!("h{series}");
    if series == OTHER {
        return Labels::from_pairs([("__name__", "other_total"), ("instance", host.as_str()), ("rack", "r1")]).expect("valid");
    }
    Labels::from_pairs([("__name__", "requests_total"), ("instance", host.as_str()), ("job", "api")]).expect("valid")
}

impl Decoder for JsonBodies {
    fn decode(&self, record: &Record) -> PortResult<Decoded> {
        let samples: Vec<Sample> = serde_json::from_slice(&record.body).expect("a test's body");
        let mut batch = SampleBatch::default();
        for (i, (series, time, bits)) in samples.into_iter().enumerate() {
            let labels = labels(series);
            let start = batch.label_bytes.len() as u32;
            batch.label_bytes.extend_from_slice(labels.canonical());
            batch.times.push(time);
            batch.values.push(f64::from_bits(bits));
            let range = i as u32..i as u32 + 1;
            batch.series.push(SeriesSlice { key: labels.key(), labels: start..batch.label_bytes.len() as u32, samples: range, start_time: 0 });
        }
        Ok(Decoded { body: DecodedBody::Samples(batch), rejects: vec![] })
    }
}

fn record(samples: &[Sample], received_at: i64) -> Record {
    let body: Bytes = serde_json::to_vec(samples).expect("json").into();
    Record {
        format: Format::RemoteWriteV1,
        source: "s".into(),
        received_at: WallTime(received_at),
        body_hash: xxhash_rust::xxh3::xxh3_128(&body),
        request_id: 0,
        body,
    }
}

struct NoViews;

impl Compiler for NoViews {
    fn compile(&self, _: &str, _: u64, _: &[ViewSpec]) -> PortResult<View> {
        Err(Error::invalid("these tests define no views"))
    }
}

struct World {
    log: Arc<MemoryLog>,
    tables: Arc<MemoryTables>,
    checkpoints: Arc<MemoryCheckpoints>,
    /// One record in so many is appended by another process, which delivers nothing here.
    foreign: Option<u64>,
}

impl World {
    fn new() -> Self {
        Self { log: Arc::default(), tables: Arc::default(), checkpoints: Arc::default(), foreign: None }
    }

    fn parts(&self, config: EngineConfig, intake: Deliveries, live: &Arc<Live>, cancel: &CancellationToken, halt: &CancellationToken) -> EngineParts {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(WallTime(0)));
        EngineParts {
            config,
            group: GroupName::of_partition(0),
            writer: "test".into(),
            logs: Topic::ALL.into_iter().map(LogName::first).collect(),
            takes_over: false,
            intake,
            log: self.log.clone(),
            decoder: Arc::new(JsonBodies),
            tables: self.tables.clone(),
            checkpoints: self.checkpoints.clone(),
            history: self.tables.clone(),
            views: vec![],
            compiler: Arc::new(NoViews),
            commands: crate::control::control().1,
            inventory: Arc::new(LabelInventory),
            live: live.clone(),
            share: Share::Whole,
            clock,
            cancel: cancel.clone(),
            halt: halt.clone(),
        }
    }

    /// Runs an engine over `records`; a graceful stop checkpoints, a crash does not.
    async fn run(&self, records: &[Record], crash: bool, buffer_rows_max: usize) -> Arc<Live> {
        let (intake, receiver) = intake();
        let live = Arc::new(Live::default());
        let (cancel, halt) = (CancellationToken::new(), CancellationToken::new());
        let config = EngineConfig {
            tick_ms: 10,
            checkpoint_interval_ms: if crash { 20 } else { 3_600_000 },
            buffer_rows_max,
            repair_interval_ms: 10,
            background_share: 1.0,
            ..EngineConfig::default()
        };
        let parts = self.parts(config, receiver, &live, &cancel, &halt);
        let handle = start(parts).expect("starts");
        let log = LogName::first(Topic::Metrics);
        for record in records {
            let position = self.log.append(log, record.clone()).await.expect("appends");
            if self.foreign.is_some_and(|one_in| position.0 % one_in == 0) {
                continue;
            }
            let place = intake.reserve().await.expect("room");
            place.deliver(Delivery { log, position, decoded: JsonBodies.decode(record).expect("decodes"), record: record.clone() });
        }
        if crash {
            // Some checkpoints may happen meanwhile; the rest is forgotten.
            tokio::time::sleep(Duration::from_millis(records.len() as u64 % 4 * 12)).await;
            halt.cancel();
            drop(handle.join().await);
        } else {
            // Late samples are repaired beside the stream; what is asked for is the state after that.
            let (_, end) = self.log.bounds(log).await.expect("bounds");
            let settled = |status: &crate::status::Status| {
                let reached = status.logs.get("metrics/0").is_none_or(|l| l.next >= end);
                status.recovered && reached && status.repair.waiting == 0
            };
            let engine = tokio::runtime::Handle::current().spawn(handle.join());
            for waited in 0.. {
                let view = live.view();
                if settled(&view.status) {
                    break;
                }
                if engine.is_finished() {
                    panic!("the engine ended: {:?}", engine.await);
                }
                assert!(waited < 10_000, "the engine stands still: {:?} {:?}", view.status.logs, view.status.repair);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            cancel.cancel();
            engine.await.expect("no panic").expect("stops");
        }
        live
    }
}

type RawRow = (i64, i64, u64);

fn raw_rows(batches: &[arrow::record_batch::RecordBatch]) -> Vec<RawRow> {
    let mut out = vec![];
    for b in batches {
        let (id, time, value) = (
            b.column(1).as_primitive::<Int64Type>(),
            b.column(2).as_primitive::<TimestampMicrosecondType>(),
            b.column(3).as_primitive::<Float64Type>(),
        );
        out.extend((0..b.num_rows()).map(|i| (id.value(i), time.value(i) / 1000, value.value(i).to_bits())));
    }
    out.sort_unstable();
    out
}

type PaneValues = (i64, i64, i64, u64, u64, i64);

/// The newest revision of each pane.
fn pane_rows(batches: &[arrow::record_batch::RecordBatch]) -> Vec<PaneValues> {
    let mut newest: BTreeMap<(i64, i64), (i64, PaneValues)> = BTreeMap::new();
    for b in batches {
        let int = |name: &str| b.column_by_name(name).expect("there").as_primitive::<Int64Type>().clone();
        let float = |name: &str| b.column_by_name(name).expect("there").as_primitive::<Float64Type>().clone();
        let start = b.column_by_name("window_start").expect("there").as_primitive::<TimestampMicrosecondType>().clone();
        let (id, count, resets, sum, increase) = (int("series_id"), int("count"), int("resets"), float("sum"), float("increase"));
        for i in 0..b.num_rows() {
            let key = (id.value(i), start.value(i) / 1000);
            let row = (key.0, key.1, count.value(i), sum.value(i).to_bits(), increase.value(i).to_bits(), resets.value(i));
            let revision = int("revision").value(i);
            if let Some((before, _)) = newest.get(&key) {
                assert_ne!(*before, revision, "a pane of one revision stands once");
            }
            if newest.get(&key).is_none_or(|(before, _)| *before < revision) {
                newest.insert(key, (revision, row));
            }
        }
    }
    newest.into_values().map(|(_, row)| row).collect()
}

async fn all_rows(world: &World, live: &Live) -> (Vec<RawRow>, Vec<PaneValues>) {
    let view = live.view();
    let rows = |name: &str| {
        let table = TableName::new(name);
        let mut rows = view.files.get(&table).map(|f| world.tables.rows(f)).unwrap_or_default();
        rows.extend(view.live.get(&table).map(|l| l.scan(&LiveFilter::default()).unwrap()).unwrap_or_default());
        rows
    };
    (raw_rows(&rows(schema::SAMPLES)), pane_rows(&rows(schema::ROLLUP_1M)))
}

fn naive_raw(samples: &[Sample]) -> Vec<RawRow> {
    let mut first: BTreeMap<(u8, i64), u64> = BTreeMap::new();
    for (series, time, bits) in samples {
        first.entry((*series, *time)).or_insert(*bits);
    }
    let mut out: Vec<RawRow> = first.into_iter().map(|((s, t), bits)| (labels(s).key().id().0, t, bits)).collect();
    out.sort_unstable();
    out
}

fn naive_panes(rows: &[RawRow], birth_from_zero: impl Fn(i64, i64) -> bool) -> Vec<PaneValues> {
    let mut out: BTreeMap<(i64, i64), (i64, f64, f64, i64)> = BTreeMap::new();
    let mut before: Option<RawRow> = None;
    for row in rows {
        let (id, time, value) = (row.0, row.1, f64::from_bits(row.2));
        let start = time - time.rem_euclid(60_000);
        let pane = out.entry((id, start)).or_insert((0, 0.0, 0.0, 0));
        pane.0 += 1;
        pane.1 += value;
        match before.filter(|b| b.0 == id) {
            Some((_, t, bits)) if t >= start - 300_000 => {
                let last = f64::from_bits(bits);
                pane.2 += if value >= last { value - last } else { value };
                pane.3 += i64::from(value < last);
            }
            Some(_) => {}
            None => pane.2 += if birth_from_zero(id, time) { value } else { 0.0 },
        }
        before = Some(*row);
    }
    let mut out: Vec<PaneValues> =
        out.into_iter().map(|((id, start), (n, sum, inc, resets))| (id, start, n, sum.to_bits(), inc.to_bits(), resets)).collect();
    out.sort_unstable();
    out
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    // Within lateness of each other, so that nothing is late; integers, so that sums are exact in any order.
    prop::collection::vec((0u8..4, 0i64..250, 0u64..40), 1..120)
        .prop_map(|v| v.into_iter().map(|(s, t, x)| (s, 1_000_000 + t * 1_000, (x as f64).to_bits())).collect())
}

fn naive(all: &[Sample]) -> (Vec<RawRow>, Vec<PaneValues>) {
    let raw = naive_raw(all);
    // Every series of the tests has its own target, so only its own samples can have been seen before: never two before the first.
    let panes = naive_panes(&raw, |_, _| false);
    (raw, panes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_any_restart_give_the_sorted_stream(all in samples(), body in 1usize..12, cuts in prop::collection::vec(any::<bool>(), 40), crash in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
        let records: Vec<Record> = all.chunks(body).enumerate().map(|(i, c)| record(c, i as i64)).collect();
        // Equal bodies from one source are retries; the naive answer takes each once, which first-wins gives anyway.
        let (got, got_again) = runtime.block_on(async {
            let straight = World::new();
            let live = straight.run(&records, false, 1_000_000).await;
            let got = all_rows(&straight, &live).await;
            let broken = World::new();
            let mut from = 0;
            for (i, cut) in cuts.iter().enumerate().take(records.len()) {
                if *cut {
                    broken.run(&records[from..=i], crash, 10_000).await;
                    from = i + 1;
                }
            }
            let live = broken.run(&records[from..], false, 10_000).await;
            (got, all_rows(&broken, &live).await)
        });
        let want = naive(&all);
        prop_assert_eq!(&got.0, &want.0);
        prop_assert_eq!(&got.1, &want.1);
        prop_assert_eq!(&got_again.0, &want.0);
        prop_assert_eq!(&got_again.1, &want.1);
    }
}

/// Up to 50 minutes apart in any order: most of it is late, and much of that twice.
fn late_samples() -> impl Strategy<Value = Vec<Sample>> {
    prop::collection::vec((0u8..3, 0i64..3_000, 0u64..40), 1..150)
        .prop_map(|v| v.into_iter().map(|(s, t, x)| (s, 1_000_000 + t * 1_000, (x as f64).to_bits())).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn late_samples_are_repaired_into_the_sorted_stream(all in late_samples(), body in 1usize..12, cuts in prop::collection::vec(any::<bool>(), 40), crash in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
        let records: Vec<Record> = all.chunks(body).enumerate().map(|(i, c)| record(c, i as i64)).collect();
        let (got, got_again) = runtime.block_on(async {
            let straight = World::new();
            let live = straight.run(&records, false, 1_000_000).await;
            let got = all_rows(&straight, &live).await;
            let broken = World::new();
            let mut from = 0;
            for (i, cut) in cuts.iter().enumerate().take(records.len()) {
                if *cut {
                    broken.run(&records[from..=i], crash, 10_000).await;
                    from = i + 1;
                }
            }
            let live = broken.run(&records[from..], false, 10_000).await;
            (got, all_rows(&broken, &live).await)
        });
        let want = naive(&all);
        prop_assert_eq!(&got.0, &want.0);
        prop_assert_eq!(&got.1, &want.1);
        prop_assert_eq!(&got_again.0, &want.0);
        prop_assert_eq!(&got_again.1, &want.1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_a_body_counts_once_even_across_a_restart() {
    let world = World::new();
    let body = record(&[(0, 1_000_000, 5.0f64.to_bits())], 0);
    world.run(std::slice::from_ref(&body), false, 1_000_000).await;
    let live = world.run(std::slice::from_ref(&body), false, 1_000_000).await;
    let (raw, panes) = all_rows(&world, &live).await;
    assert_eq!((raw.len(), panes.len()), (1, 1));
    let source = live.view().status.sources.get("s").cloned().expect("known");
    assert_eq!((source.accepted, source.duplicates), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metric_whose_series_are_gone_is_still_known_after_restarts() {
    let world = World::new();
    let at = |series: u8, hour: i64| record(&[(series, hour * 3_600_000, 5.0f64.to_bits())], 0);
    let known = |live: &Live| {
        let view = live.view();
        let metrics = view.metrics.iter().map(|(name, labels)| (name.clone(), labels.join(" "))).collect::<Vec<_>>();
        (view.status.series_count, metrics)
    };
    let all = |series: usize| {
        (series, vec![("other_total".to_owned(), "instance rack".to_owned()), ("requests_total".to_owned(), "instance job".to_owned())])
    };
    // It is evicted when a checkpoint is published, of which there are several, and in no later one.
    let full = |hour: i64| record(&(0..11_000).map(|ms| (0, hour * 3_600_000 + ms, 5.0f64.to_bits())).collect::<Vec<_>>(), 0);
    let hours: Vec<Record> = std::iter::once(at(OTHER, 1)).chain((4..10).map(full)).collect();
    world.run(&hours, false, 10_000).await;
    for records in [vec![at(0, 41)], vec![]] {
        assert_eq!(known(&*world.run(&records, false, 1_000_000).await), all(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_other_processes_append_are_taken_in_their_place() {
    let all: Vec<Sample> = (0..90).map(|i| (i as u8 % 3, 1_000_000 + i * 1_000, (i as f64).to_bits())).collect();
    let records: Vec<Record> = all.chunks(4).enumerate().map(|(i, c)| record(c, i as i64)).collect();
    for foreign in [1, 2, 3] {
        let world = World { foreign: Some(foreign), ..World::new() };
        let live = world.run(&records, false, 1_000_000).await;
        assert_eq!(all_rows(&world, &live).await, naive(&all), "one in {foreign}");
    }
}

/// A log whose records come only when they may.
struct SlowLog {
    log: Arc<MemoryLog>,
    asked: tokio::sync::Notify,
    may_read: tokio::sync::Semaphore,
}

#[async_trait]
impl LogReader for SlowLog {
    async fn read(&self, log: LogName, from: Position, bytes_max: usize) -> PortResult<Vec<(Position, Record)>> {
        self.asked.notify_one();
        self.may_read.acquire().await.expect("open").forget();
        self.log.read(log, from, bytes_max).await
    }

    async fn bounds(&self, log: LogName) -> PortResult<(Position, Position)> {
        self.log.bounds(log).await
    }

    async fn trim(&self, log: LogName, before: Position) -> PortResult<()> {
        self.log.trim(log, before).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delivered_and_trimmed_while_the_log_is_still_asked_for_it_is_there_once() {
    let world = World::new();
    let slow = Arc::new(SlowLog { log: world.log.clone(), asked: Default::default(), may_read: tokio::sync::Semaphore::new(0) });
    let (intake, receiver) = intake();
    let (live, cancel) = (Arc::new(Live::default()), CancellationToken::new());
    let config = EngineConfig { tick_ms: 10, checkpoint_interval_ms: 20, ..EngineConfig::default() };
    let mut parts = world.parts(config, receiver, &live, &cancel, &CancellationToken::new());
    parts.log = slow.clone();
    let handle = start(parts).expect("starts");
    let log = LogName::first(Topic::Metrics);
    let sample = |n: i64| record(&[(0, 1_000_000 + n, 5.0f64.to_bits())], 0);
    let deliver = async |n: i64| {
        let place = intake.reserve().await.expect("room");
        let (record, position) = (sample(n), Position(n as u64));
        place.deliver(Delivery { log, position, decoded: JsonBodies.decode(&record).expect("decodes"), record });
    };
    let append = async |n: i64| world.log.append(log, sample(n)).await.expect("appends");
    while !live.view().status.recovered {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    append(0).await;
    // It does not come, until the log is asked for it, and does not answer.
    slow.asked.notified().await;
    deliver(0).await;
    let mut count = 1;
    while world.log.bounds(log).await.expect("bounds").0 == Position(0) {
        append(count).await;
        deliver(count).await;
        count += 1;
        assert!(count < 2_000, "nothing is trimmed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let answered = Instant::now();
    slow.may_read.add_permits(100);
    append(count).await;
    let log_status = || live.view().status.logs["metrics/0"];
    while log_status().unread(Instant::now()).is_none_or(|unread| unread > answered.elapsed()) {
        assert!(answered.elapsed() < Duration::from_secs(20), "it does not go on: {:?}", log_status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cancel.cancel();
    handle.join().await.expect("stops");
    assert_eq!(all_rows(&world, &live).await.0.len() as i64, count + 1);
}

/// Stored rows that cannot be read at times.
struct AwayHistory {
    tables: Arc<MemoryTables>,
    is_away: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl History for AwayHistory {
    async fn scan(&self, table: &TableDef, files: &TableFiles, wanted: &Wanted) -> PortResult<Scanned> {
        if self.is_away.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::unavailable("away"));
        }
        self.tables.scan(table, files, wanted).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_placed_while_the_store_is_away_is_not_said_to_be_read() {
    let world = World::new();
    let history = Arc::new(AwayHistory { tables: world.tables.clone(), is_away: true.into() });
    let (intake, receiver) = intake();
    let (live, cancel) = (Arc::new(Live::default()), CancellationToken::new());
    let config = EngineConfig { tick_ms: 10, checkpoint_interval_ms: 3_600_000, ..EngineConfig::default() };
    let mut parts = world.parts(config, receiver, &live, &cancel, &CancellationToken::new());
    parts.history = history.clone();
    let handle = start(parts).expect("starts");
    let log = LogName::first(Topic::Metrics);
    while !live.view().status.recovered {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The second one comes out of order.
    for (n, time) in [(0, 1_000_000), (1, 999_000)] {
        let record = record(&[(0, time, 5.0f64.to_bits())], 0);
        let position = world.log.append(log, record.clone()).await.expect("appends");
        assert_eq!(position, Position(n));
        let place = intake.reserve().await.expect("room");
        place.deliver(Delivery { log, position, decoded: JsonBodies.decode(&record).expect("decodes"), record });
    }
    let status = || live.view().status.logs.get("metrics/0").copied().unwrap_or_default();
    let began = Instant::now();
    while status().unread(Instant::now()).is_none_or(|unread| unread < Duration::from_millis(500)) {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    history.is_away.store(false, std::sync::atomic::Ordering::Relaxed);
    let back = Instant::now();
    while status().unread(Instant::now()).is_none_or(|unread| unread > back.elapsed()) {
        assert!(back.elapsed() < Duration::from_secs(20), "{:?}", status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(all_rows(&world, &live).await.0.len(), 2);
    cancel.cancel();
    handle.join().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_writer_is_fenced() {
    let world = World::new();
    world.run(&[record(&[(0, 1_000_000, 0)], 0)], false, 1_000_000).await;
    let live: Arc<Live> = Arc::default();
    let chain = |writer: &str| crate::commit::Chain {
        group: GroupName::of_partition(0),
        writer: writer.into(),
        tables: world.tables.clone() as Arc<dyn TableStore>,
        checkpoints: world.checkpoints.clone(),
        log: world.log.clone(),
        live: live.clone(),
        clock: Arc::new(ManualClock::default()),
    };
    let cut = Cut { positions: BTreeMap::new(), tables: vec![], states: vec![] };
    let taken = crate::checkpoint::Epoch(1);
    let refused = chain("other").commit(&cut, None, taken).await.map(|_| ()).expect_err("the epoch is taken");
    assert_eq!(refused.kind(), crate::error::ErrorKind::Conflict);
}

#[test]
fn answers_grow_old_after_live_data_and_stand_still_after_history() {
    let as_of = |event_time: i64, received_at: i64, now: i64| {
        let mut pipeline = Pipeline::new(EngineConfig::default(), vec![], Arc::new(LabelInventory)).expect("starts");
        let record = record(&[(0, event_time, 0)], received_at);
        let decoded = JsonBodies.decode(&record).expect("decodes");
        pipeline.apply(LogName::first(Topic::Metrics), Position(0), &record, decoded);
        pipeline.instants(WallTime(now)).as_of
    };
    assert_eq!(as_of(999_000, 1_000_000, 1_060_000), Some(EventTime(1_059_000)));
    assert_eq!(as_of(999_000, 10_000_000, 10_060_000), Some(EventTime(999_000)));
    assert_eq!(as_of(999_000, 1_000_000, 0), Some(EventTime(999_000)), "a clock that jumps back moves nothing");
}

/// Rows around a sample that is older than raw rows are kept may be gone: its pane stays as it is, and it is told as late only.
#[test]
fn what_is_past_its_retention_is_not_computed_again() {
    let day = 86_400_000;
    let mut pipeline =
        Pipeline::new(EngineConfig { kept_days: Some(3), ..EngineConfig::default() }, vec![], Arc::new(LabelInventory)).expect("valid");
    let log = LogName::first(Topic::Metrics);
    let bodies = [vec![(0, 20 * day, 0)], vec![(0, 20 * day + 3_600_000, 0)], vec![(1, 16 * day, 0), (1, 18 * day, 0), (1, 19 * day, 0)]];
    for (position, body) in bodies.iter().enumerate() {
        let record = record(body, 20 * day + 3_600_000);
        let decoded = JsonBodies.decode(&record).expect("decodes");
        pipeline.apply(log, Position(position as u64), &record, decoded);
        pipeline.settle();
    }
    assert_eq!(pipeline.late.len(), 3);
    let wanted = pipeline.late_request().expect("one is young enough").micros.expect("a range of time");
    assert_eq!(
        (pipeline.late.len(), wanted.start),
        (1, (19 * day - LOOKBACK_MS) * 1000),
        "days 18 to 20 are kept, but for the day that may end meanwhile"
    );
}

#[test]
fn what_is_told_of_a_log_is_what_readers_see() {
    let log = LogName::first(Topic::Metrics);
    let mut pipeline = Pipeline::new(EngineConfig::default(), vec![], Arc::new(LabelInventory)).expect("valid");
    let shown = |pipeline: &mut Pipeline| {
        let mut view = crate::live::ReadView::default();
        pipeline.show(&mut view);
        let rows: usize =
            view.live[&TableName::new(schema::ROLLUP_1M)].scan(&LiveFilter::default()).expect("rows").iter().map(|b| b.num_rows()).sum();
        let status = pipeline.status(WallTime(0), true, 0, &BTreeMap::new());
        (status.logs[&log.to_string()].next, rows)
    };
    let record = record(&[(0, 1_000, 1.0f64.to_bits())], 1_000);
    pipeline.apply(log, Position(0), &record, JsonBodies.decode(&record).expect("decodes"));
    // A checkpoint that is published, or a step that ended, shows what the last tick computed.
    assert_eq!(shown(&mut pipeline), (Position(0), 0));
    pipeline.tick(WallTime(0));
    assert_eq!(shown(&mut pipeline), (Position(1), 1));
}
