//! What every log must do, as one suite run against each implementation. Not a test of files, of dense positions or of
//! anything else one implementation may do its own way.
//!
//! Each case gets a log that is new and empty and panics, naming the case, where a promise is broken.

use afferent_engine::error::{ErrorKind, Result};
use afferent_engine::log::{Format, LogName, LogReader, LogWriter, Position, Record, Topic};
use afferent_engine::time::WallTime;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Both ports of one log.
#[derive(Clone)]
pub struct Ports {
    /// The writing side.
    pub writer: Arc<dyn LogWriter>,
    /// The reading side.
    pub reader: Arc<dyn LogReader>,
}

/// Gives the suite a log that lives longer than its ports.
#[async_trait]
pub trait LogFactory: Send + Sync {
    /// Opens the log, which is empty the first time; every port opened before was dropped.
    ///
    /// # Errors
    /// As the implementation opens; the suite takes any as a failure.
    async fn open(&self) -> Result<Ports>;

    /// Bytes of bodies after which trimming everything must have freed something.
    fn trim_grain_bytes(&self) -> usize;
}

/// Largest body of the suite: 8 MiB.
const LARGE_BODY_BYTES: usize = 8 << 20;

/// Appends at the same time.
const APPENDERS: u64 = 8;

/// Bytes asked for in one read unless the case is about that.
const READ_BYTES: usize = 1 << 20;

const METRICS: LogName = LogName { topic: Topic::Metrics, partition: 0 };
const EVENTS: LogName = LogName { topic: Topic::Events, partition: 0 };

/// Runs every case, each on a factory of its own.
pub async fn run<F: LogFactory>(make: impl Fn() -> F) {
    empty(&make()).await;
    order(&make()).await;
    durability(&make()).await;
    concurrent_appends(&make()).await;
    reads_while_appending(&make()).await;
    read_from_the_middle(&make()).await;
    read_bytes_max(&make()).await;
    bounds(&make()).await;
    separate_logs(&make()).await;
    extreme_records(&make()).await;
    trim(&make()).await;
    identity(&make(), &make()).await;
    trim_survives_reopen(&make()).await;
}

/// A log nobody wrote to is empty and says so.
pub async fn empty(factory: &dyn LogFactory) {
    let ports = open(factory).await;
    let (oldest, next) = bounds_of(&ports, METRICS).await;
    assert_eq!(oldest, next, "empty: an empty log has equal bounds");
    let records = read(&ports, METRICS, next, READ_BYTES).await;
    assert!(records.is_empty(), "empty: reading an empty log gives nothing");
    ports.reader.trim(METRICS, oldest).await.expect("empty: trimming nothing is fine");
}

/// Records come back in the order of their appends, each with every header and byte.
pub async fn order(factory: &dyn LogFactory) {
    let ports = open(factory).await;
    let written = fill(&ports, METRICS, 0..50, 300).await;
    expect_same("order", &read_all(&ports, METRICS, None).await, &written);
    let end = bounds_of(&ports, METRICS).await.1;
    assert!(read(&ports, METRICS, end, READ_BYTES).await.is_empty(), "order: nothing at the end");
}

/// What was acknowledged is there after closing and opening, and positions go on above it.
pub async fn durability(factory: &dyn LogFactory) {
    let mut written = Vec::new();
    for round in 0..4 {
        let ports = open(factory).await;
        expect_same("durability", &read_all(&ports, METRICS, None).await, &written);
        written.extend(fill(&ports, METRICS, round * 20..round * 20 + 20, 700).await);
        let increasing = written.windows(2).all(|pair| pair[0].0 < pair[1].0);
        assert!(increasing, "durability: positions increase across opening");
    }
    let ports = open(factory).await;
    expect_same("durability", &read_all(&ports, METRICS, None).await, &written);
}

/// Appends at the same time each get a position of their own, and each record is found there.
pub async fn concurrent_appends(factory: &dyn LogFactory) {
    let ports = open(factory).await;
    let tasks = (0..APPENDERS).map(|appender| {
        let ports = ports.clone();
        async move { fill(&ports, METRICS, appender * 1000..appender * 1000 + 40, 2000).await }
    });
    let mut written = BTreeMap::new();
    for (position, record) in futures::future::join_all(tasks).await.into_iter().flatten() {
        assert!(written.insert(position, record).is_none(), "concurrent appends: two records at {}", position.0);
    }
    assert_eq!(written.len() as u64, APPENDERS * 40, "concurrent appends: all acknowledged");
    let written: Vec<_> = written.into_iter().collect();
    expect_same("concurrent appends", &read_all(&ports, METRICS, None).await, &written);
}

/// A reader that follows the end sees a prefix of the log at any time, never a gap, and at last everything.
pub async fn reads_while_appending(factory: &dyn LogFactory) {
    let ports = open(factory).await;
    let follower = async {
        let mut seen: Vec<(Position, Record)> = Vec::new();
        let mut from = bounds_of(&ports, METRICS).await.0;
        while seen.len() < 200 {
            let records = read(&ports, METRICS, from, 10_000).await;
            from = records.last().map_or(from, |(position, _)| position.next());
            seen.extend(records);
            tokio::task::yield_now().await;
        }
        seen
    };
    let (written, seen) = futures::future::join(fill(&ports, METRICS, 0..200, 900), follower).await;
    expect_same("reads while appending", &seen, &written);
}

/// Reading starts at the position asked for, wherever that lies.
pub async fn read_from_the_middle(factory: &dyn LogFactory) {
    let ports = open(factory).await;
    let written = fill(&ports, METRICS, 0..120, 1500).await;
    for start in [1, 7, 60, 118, 119] {
        let read = read_all(&ports, METRICS, Some(written[start].0)).await;
        expect_same("read from the middle", &read, &written[start..]);
    }
    let after = read_all(&ports, METRICS, Some(written[30].0.next())).await;
    expect_same("read from the middle, after a known record", &after, &written[31..]);
}

/// A read keeps to about the bytes asked for, gives at least one record, and can be continued.
pub async fn read_bytes_max(factory: &dyn LogFactory) {
    let ports = open(factory).await;
    let written = fill(&ports, METRICS, 0..40, 1000).await;
    let one = read(&ports, METRICS, written[0].0, 0).await;
    assert_eq!(one.len(), 1, "read bytes_max: one record even where none is asked for");
    for bytes_max in [1, 999, 5_000, 20_000] {
        let some = read(&ports, METRICS, written[0].0, bytes_max).await;
        let bytes: usize = some.iter().map(|(_, record)| record.body.len()).sum();
        assert!(!some.is_empty() && bytes <= bytes_max.max(2 * 1000), "read bytes_max: {bytes} bytes for {bytes_max}");
        expect_same("read bytes_max", &some, &written[..some.len()]);
    }
}

/// The bounds enclose exactly what can be read.
pub async fn bounds(factory: &dyn LogFactory) {
    let ports = open(factory).await;
    let written = fill(&ports, METRICS, 0..10, 100).await;
    let (oldest, next) = bounds_of(&ports, METRICS).await;
    assert!(oldest <= written[0].0, "bounds: the oldest is kept");
    assert!(next > written[9].0, "bounds: the next lies above the newest");
    let position = append(&ports, METRICS, record(METRICS, 10, 100)).await;
    assert!(position >= next, "bounds: the next record does not fall below what was promised");
    let beyond = Position(position.0 + 1000);
    let error = ports.reader.read(METRICS, beyond, READ_BYTES).await.expect_err("bounds: reading beyond the end");
    assert_eq!(error.kind(), ErrorKind::Invalid, "bounds: beyond the end is Invalid, not an empty answer: {error}");
}

/// Logs of other names do not see each other.
pub async fn separate_logs(factory: &dyn LogFactory) {
    let ports = open(factory).await;
    let metrics = fill(&ports, METRICS, 0..10, 100).await;
    let events = fill(&ports, EVENTS, 100..105, 100).await;
    expect_same("separate logs: metrics", &read_all(&ports, METRICS, None).await, &metrics);
    expect_same("separate logs: events", &read_all(&ports, EVENTS, None).await, &events);
    drop(ports);
    let ports = open(factory).await;
    expect_same("separate logs: events after opening", &read_all(&ports, EVENTS, None).await, &events);
}

/// Empty and large bodies, an empty and a long source, extreme numbers.
pub async fn extreme_records(factory: &dyn LogFactory) {
    let ports = open(factory).await;
    let extreme = |number: u64, received_at: i64, source: &str, body_bytes: usize| Record {
        received_at: WallTime(received_at),
        source: Arc::from(source),
        body_hash: if number == 0 { 0 } else { u128::MAX },
        request_id: if number == 0 { 0 } else { u64::MAX },
        ..record(METRICS, number, body_bytes)
    };
    let long = "quelle-ä".repeat(20);
    let records = [
        extreme(0, i64::MIN, "", 0),
        extreme(1, i64::MAX, &long, LARGE_BODY_BYTES),
        extreme(2, -1, "a", 1),
        extreme(3, 0, "a", LARGE_BODY_BYTES - 1),
    ];
    let mut written = Vec::new();
    for record in records {
        written.push((append(&ports, METRICS, record.clone()).await, record));
    }
    expect_same("extreme records", &read_all(&ports, METRICS, None).await, &written);
    drop(ports);
    let ports = open(factory).await;
    expect_same("extreme records after opening", &read_all(&ports, METRICS, None).await, &written);
}

/// A log is the same one after it was opened again, and not another one.
async fn identity<F: LogFactory>(one: &F, other: &F) {
    let name = one.open().await.expect("identity: opening").reader.identity();
    assert!(name.is_some(), "identity: a log has a name");
    assert_eq!(one.open().await.expect("identity: opening again").reader.identity(), name, "identity: after it was opened again");
    assert_ne!(other.open().await.expect("identity: opening another").reader.identity(), name, "identity: of another log");
}

/// A trim frees what lies before, keeps what does not, and reading what is gone is an error that names the oldest.
pub async fn trim(factory: &dyn LogFactory) {
    let ports = open(factory).await;
    let written = fill_grains(&ports, factory).await;
    let middle = written.len() / 2;
    let before = written[middle].0;
    ports.reader.trim(METRICS, before).await.expect("trim: the middle");
    let (oldest, _) = bounds_of(&ports, METRICS).await;
    assert!(oldest <= before, "trim: {} was kept, {} is the oldest", before.0, oldest.0);
    expect_same("trim: the rest", &read_all(&ports, METRICS, Some(before)).await, &written[middle..]);
    assert!(oldest > written[0].0, "trim: nothing was freed");
    let error = ports.reader.read(METRICS, written[0].0, READ_BYTES).await.expect_err("trim: reading what is gone");
    assert_eq!(error.kind(), ErrorKind::Invalid, "trim: {error}");
    assert!(error.to_string().contains(&oldest.0.to_string()), "trim: the error names the oldest position: {error}");
    ports.reader.trim(METRICS, written[0].0).await.expect("trim: an earlier position again is fine");
    let (_, next) = bounds_of(&ports, METRICS).await;
    ports.reader.trim(METRICS, next).await.expect("trim: everything");
    let position = append(&ports, METRICS, record(METRICS, 1_000_000, 10)).await;
    assert!(position >= next, "trim: positions go on after everything was trimmed");
}

/// What was trimmed stays trimmed, what was kept stays kept, and positions are never used twice.
pub async fn trim_survives_reopen(factory: &dyn LogFactory) {
    let ports = open(factory).await;
    let written = fill_grains(&ports, factory).await;
    let middle = written.len() / 2;
    ports.reader.trim(METRICS, written[middle].0).await.expect("trim survives: the middle");
    let (oldest, next) = bounds_of(&ports, METRICS).await;
    drop(ports);
    let ports = open(factory).await;
    assert_eq!(bounds_of(&ports, METRICS).await, (oldest, next), "trim survives: the bounds");
    expect_same("trim survives", &read_all(&ports, METRICS, Some(written[middle].0)).await, &written[middle..]);
    ports.reader.trim(METRICS, next).await.expect("trim survives: everything");
    drop(ports);
    let ports = open(factory).await;
    let position = append(&ports, METRICS, record(METRICS, 1_000_000, 10)).await;
    assert!(position >= next, "trim survives: position {} was given out before", position.0);
}

async fn open(factory: &dyn LogFactory) -> Ports {
    factory.open().await.expect("opening the log")
}

async fn append(ports: &Ports, log: LogName, record: Record) -> Position {
    ports.writer.append(log, record).await.expect("appending")
}

async fn bounds_of(ports: &Ports, log: LogName) -> (Position, Position) {
    ports.reader.bounds(log).await.expect("asking for the bounds")
}

async fn read(ports: &Ports, log: LogName, from: Position, bytes_max: usize) -> Vec<(Position, Record)> {
    ports.reader.read(log, from, bytes_max).await.expect("reading")
}

/// Reads on until nothing more comes, from the oldest where no start is given.
async fn read_all(ports: &Ports, log: LogName, from: Option<Position>) -> Vec<(Position, Record)> {
    let mut from = match from {
        Some(from) => from,
        None => bounds_of(ports, log).await.0,
    };
    let mut all = Vec::new();
    loop {
        let records = read(ports, log, from, READ_BYTES).await;
        let Some((last, _)) = records.last() else { return all };
        from = last.next();
        all.extend(records);
    }
}

/// Appends one record per number, each after the one before was acknowledged.
async fn fill(ports: &Ports, log: LogName, numbers: std::ops::Range<u64>, body_bytes: usize) -> Vec<(Position, Record)> {
    let mut written = Vec::new();
    for number in numbers {
        let record = record(log, number, body_bytes);
        written.push((append(ports, log, record.clone()).await, record));
    }
    written
}

/// Appends four times what a trim needs to free something.
async fn fill_grains(ports: &Ports, factory: &dyn LogFactory) -> Vec<(Position, Record)> {
    let body_bytes = (factory.trim_grain_bytes() / 10).max(1);
    fill(ports, METRICS, 0..40, body_bytes).await
}

/// A record that differs from that of any other number in every header and in its body.
fn record(log: LogName, number: u64, body_bytes: usize) -> Record {
    let formats: Vec<Format> = Format::ALL.iter().map(|(f, _)| *f).filter(|f| f.topic() == log.topic).collect();
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let body: Vec<u8> = std::iter::repeat_with(&mut random).flat_map(u64::to_le_bytes).take(body_bytes).collect();
    Record {
        format: formats[number as usize % formats.len()],
        source: Arc::from(format!("source-{}", number % 7)),
        received_at: WallTime(1_763_800_000_000 + number as i64),
        body_hash: u128::from(random()) << 64 | u128::from(random()),
        request_id: random(),
        body: Bytes::from(body),
    }
}

/// Compares bit for bit; a difference is named by its place, not by printing bodies.
fn expect_same(case: &str, found: &[(Position, Record)], expected: &[(Position, Record)]) {
    let positions = |records: &[(Position, Record)]| records.iter().map(|(p, _)| p.0).collect::<Vec<_>>();
    assert_eq!(positions(found), positions(expected), "{case}: positions");
    for ((position, found), (_, expected)) in found.iter().zip(expected) {
        let heads = |r: &Record| (r.format, Arc::clone(&r.source), r.received_at, r.body_hash, r.request_id);
        assert_eq!(heads(found), heads(expected), "{case}: headers at {}", position.0);
        assert!(found.body == expected.body, "{case}: body at {}", position.0);
    }
}
