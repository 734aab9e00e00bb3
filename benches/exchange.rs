//! What several workers would cost, before there are any: partial states of a view from many partitions, exchanged and finished by one owner; and the
//! checkpoints of as many partitions in one bucket. Not the exchange itself, which is not built.
//!
//! `cargo bench --workspace --bench exchange`; with `--bucket s3://lake/x` (and the usual `AWS_*` variables) the checkpoints as well.

use afferent_engine::checkpoint::{CHECKPOINT_VERSION, Checkpoint, CheckpointStore, Epoch, GroupName};
use afferent_engine::error::ErrorKind;
use afferent_engine::query::{Compiler, Program, WindowQuery};
use afferent_engine::schema;
use afferent_engine::state::{decode_batches, encode_batches};
use afferent_engine::time::WallTime;
use afferent_queries::dimensions::Dimensions;
use afferent_queries::plan::Statements;
use afferent_storage::checkpoint::ObjectCheckpoints;
use afferent_storage::object_store::s3::Bucket;
use anyhow::{Context, Result, bail, ensure};
use arrow::array::{
    ArrayRef, Float64Array, Int64Array, MapBuilder, MapFieldNames, StringBuilder, StringDictionaryBuilder, TimestampMicrosecondArray,
};
use arrow::compute::{SortColumn, cast, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use clap::Parser;
use std::collections::BTreeMap;
use std::io::{Write, stdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// 2026-03-31T00:00:00Z.
const START_US: i64 = 1_774_915_200_000_000;

/// Counts, sums, extremes and a mean by service and minute: what `service_traffic` and most shipped views are made of.
const VIEW: &str = "CREATE MATERIALIZED VIEW exchanged AS SELECT tumble(window_start, INTERVAL '1 minute') AS window_start, service, sum(count) AS samples, \
                    sum(increase) AS total, min(min) AS least, max(max) AS most, avg(last) AS mean FROM panes \
                    GROUP BY tumble(window_start, INTERVAL '1 minute'), service";

/// Longest request to the bucket.
const REQUEST_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Parser)]
struct Arguments {
    /// Partitions that exchange.
    #[arg(long, default_values_t = [10, 100, 1000])]
    partitions: Vec<usize>,
    /// Panes of one partition in one minute.
    #[arg(long, default_value_t = 1000)]
    panes: usize,
    /// Services, the groups of the view.
    #[arg(long, default_value_t = 100)]
    services: usize,
    /// Minutes that are exchanged.
    #[arg(long, default_value_t = 5)]
    minutes: usize,
    /// Bucket for the checkpoints.
    #[arg(long)]
    bucket: Option<String>,
    /// Checkpoints of each partition.
    #[arg(long, default_value_t = 3)]
    epochs: u64,
    /// Bytes of the state in one of them.
    #[arg(long, default_value_t = 65_536)]
    state_bytes: usize,
    /// Requests at once.
    #[arg(long, default_value_t = 32)]
    at_once: usize,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let dimensions = Arc::new(Dimensions::load(None, None, None)?);
    let view = Statements::new(dimensions)?.compile(VIEW, 1, &[])?;
    let Program::Window(window) = view.program else { bail!("the view is no aggregation by window") };
    for partitions in &arguments.partitions {
        exchange(window.query.as_ref(), *partitions, &arguments)?;
    }
    if let Some(bucket) = &arguments.bucket {
        let most = arguments.partitions.iter().copied().max().unwrap_or(1);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(checkpoints(bucket, most, &arguments))?;
    }
    Ok(())
}

/// Where a partial state belongs: a later one of the same place takes its place, however often and in whatever order they come.
type Place = (usize, usize);

/// Every partition tells the owner its partial state of each minute, some twice and in any order; one is late and tells a minute again.
fn exchange(query: &dyn WindowQuery, partitions: usize, arguments: &Arguments) -> Result<()> {
    let (mut told, mut bytes, mut partial_time) = (BTreeMap::<Place, Bytes>::new(), 0, Duration::ZERO);
    let mut all = vec![];
    for minute in 0..arguments.minutes {
        for partition in 0..partitions {
            let rows = panes(partition, minute, arguments)?;
            let started = Instant::now();
            let state = encode_batches(&[query.partial(std::slice::from_ref(&rows))?])?;
            partial_time += started.elapsed();
            bytes += state.len();
            told.insert((minute, partition), state.clone());
            // Told again after an answer that got lost: the place is taken by the same.
            if partition % 7 == 0 {
                told.insert((minute, partition), state);
            }
            all.push(rows);
        }
    }
    let (mut finish_time, mut finished) = (Duration::ZERO, vec![]);
    for minute in 0..arguments.minutes {
        let started = Instant::now();
        finished.push(finish(query, &told, minute)?);
        finish_time += started.elapsed();
    }
    let whole = query.finish(&[query.partial(&all)?])?;
    let exchanged = concat_batches(&whole.schema(), &finished)?;
    ensure!(is_equal(&exchanged, &whole)?, "{partitions} partitions: what the owner finished differs from one computation of everything");
    // A partition that came late: its minute alone is finished again.
    let late = panes(partitions, 0, arguments)?;
    told.insert((0, partitions), encode_batches(&[query.partial(std::slice::from_ref(&late))?])?);
    let started = Instant::now();
    let revised = finish(query, &told, 0)?;
    let revise_time = started.elapsed();
    let minute: Vec<RecordBatch> = all.into_iter().take(partitions).chain([late]).collect();
    ensure!(is_equal(&revised, &query.finish(&[query.partial(&minute)?])?)?, "a late partition does not revise what was finished");
    let minutes = arguments.minutes as f64;
    writeln!(
        stdout(),
        "{partitions} partitions x {} panes: partial {:.0} ns a pane, {:.0} bytes a state; the owner takes {:.2} MB and {:.1} ms a minute, {:.1} ms for one told late",
        arguments.panes,
        partial_time.as_nanos() as f64 / (minutes * (partitions * arguments.panes) as f64),
        bytes as f64 / (minutes * partitions as f64),
        bytes as f64 / minutes / 1e6,
        finish_time.as_secs_f64() * 1e3 / minutes,
        revise_time.as_secs_f64() * 1e3,
    )?;
    Ok(())
}

/// The owner's part: reads what it was told of a minute, merges, finishes.
fn finish(query: &dyn WindowQuery, told: &BTreeMap<Place, Bytes>, minute: usize) -> Result<RecordBatch> {
    let states = told.range((minute, 0)..(minute + 1, 0)).map(|(_, bytes)| decode_batches(bytes)).collect::<Result<Vec<_>, _>>()?;
    Ok(query.finish(&[query.merge(&states.concat())?])?)
}

/// The rows, whatever their order. Sums of halves are exact in any order.
fn is_equal(one: &RecordBatch, other: &RecordBatch) -> Result<bool> {
    let sorted = |batch: &RecordBatch| -> Result<RecordBatch> {
        let column = |i: usize| SortColumn { values: batch.column(i).clone(), options: None };
        Ok(take_record_batch(batch, &lexsort_to_indices(&[column(0), column(1)], None)?)?)
    };
    Ok(sorted(one)? == sorted(other)?)
}

/// Panes of one partition and minute.
fn panes(partition: usize, minute: usize, arguments: &Arguments) -> Result<RecordBatch> {
    let rows = || 0..arguments.panes;
    let words = |word: &dyn Fn(usize) -> String| -> ArrayRef {
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        rows().for_each(|row| builder.append_value(word(row)));
        Arc::new(builder.finish())
    };
    let float = |of: &dyn Fn(usize) -> f64| Arc::new(rows().map(|row| Some(of(row))).collect::<Float64Array>()) as ArrayRef;
    let int = |of: &dyn Fn(usize) -> i64| Arc::new(rows().map(|row| Some(of(row))).collect::<Int64Array>()) as ArrayRef;
    let value = |row: usize| ((row * 31 + partition * 17 + minute) % 1000) as f64 / 2.0;
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for _ in rows() {
        labels.append(true)?;
    }
    let start = START_US + minute as i64 * 60_000_000;
    let columns = vec![
        words(&|_| "requests".to_owned()),
        int(&|row| (partition * arguments.panes + row) as i64),
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows().map(|_| start)).with_timezone("UTC")),
        int(&|_| 4),
        float(&value),
        float(&value),
        float(&|row| value(row) + 1.0),
        float(&value),
        float(&value),
        float(&|row| value(row) * 2.0),
        int(&|_| 0),
        words(&|row| format!("service-{:04}", (row + partition) % arguments.services)),
        cast(&labels.finish(), &schema::labels())?,
    ];
    let columns = columns.iter().zip(schema::panes().fields()).map(|(column, field)| cast(column, field.data_type())).collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new(schema::panes(), columns)?)
}

/// Every partition writes its chain of checkpoints; then a second writer tries each newest number, and is refused.
async fn checkpoints(bucket: &str, partitions: usize, arguments: &Arguments) -> Result<()> {
    let store = Bucket::parse(bucket, REQUEST_MAX)?.open().await?;
    let checkpoints = ObjectCheckpoints::new(store);
    let state = Bytes::from((0..arguments.state_bytes).map(|i| ((i * 2_654_435_761) >> 7) as u8).collect::<Vec<u8>>());
    let (started, mut took) = (Instant::now(), Vec::new());
    for epoch in 1..=arguments.epochs {
        took.extend(at_once(partitions, arguments.at_once, |partition| commit(checkpoints.clone(), state.clone(), partition, epoch, "first")).await?);
    }
    let elapsed = started.elapsed().as_secs_f64();
    ensure!(took.iter().all(|(_, kept)| *kept), "a checkpoint of the only writer was refused");
    let mut times: Vec<Duration> = took.iter().map(|(time, _)| *time).collect();
    times.sort();
    let at = |share: f64| times.get(((times.len() - 1) as f64 * share) as usize).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    let second =
        at_once(partitions, arguments.at_once, |partition| commit(checkpoints.clone(), state.clone(), partition, arguments.epochs, "second")).await?;
    let refused = second.iter().filter(|(_, kept)| !kept).count();
    ensure!(refused == partitions, "{} of {partitions} checkpoints of a second writer were taken", partitions - refused);
    writeln!(
        stdout(),
        "{partitions} chains x {} checkpoints of {} bytes: {:.0} a second, {:.0} requests to write a second; p50 {:.1} ms, p99 {:.1} ms; {refused} of a second writer refused",
        arguments.epochs,
        arguments.state_bytes,
        took.len() as f64 / elapsed,
        2.0 * took.len() as f64 / elapsed,
        at(0.5),
        at(0.99),
    )?;
    Ok(())
}

/// One checkpoint: how long it took, and whether it was taken.
async fn commit(checkpoints: Arc<ObjectCheckpoints>, state: Bytes, partition: usize, epoch: u64, writer: &'static str) -> Result<(Duration, bool)> {
    let (started, group) = (Instant::now(), GroupName::of_partition(u32::try_from(partition)?));
    let file = checkpoints.write_state(&group, Epoch(epoch), "state", state).await?;
    let checkpoint = Checkpoint {
        version: CHECKPOINT_VERSION,
        group,
        epoch: Epoch(epoch),
        writer: writer.to_owned(),
        created_at: WallTime(START_US / 1000),
        log: None,
        positions: BTreeMap::new(),
        tables: BTreeMap::new(),
        states: vec![file],
    };
    match checkpoints.commit(&checkpoint).await {
        Ok(()) => Ok((started.elapsed(), true)),
        Err(error) if error.kind() == ErrorKind::Conflict => Ok((started.elapsed(), false)),
        Err(error) => Err(error.into()),
    }
}

/// Runs one job for each partition, some at once.
async fn at_once<F, T>(partitions: usize, count: usize, job: impl Fn(usize) -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    let (mut jobs, mut done) = (tokio::task::JoinSet::new(), Vec::with_capacity(partitions));
    for partition in 0..partitions {
        while jobs.len() >= count {
            done.push(jobs.join_next().await.context("no job")???);
        }
        jobs.spawn(job(partition));
    }
    while let Some(finished) = jobs.join_next().await {
        done.push(finished??);
    }
    Ok(done)
}
