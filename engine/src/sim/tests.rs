//! Simulation: processes that crash, ports that fail, deliveries that are lost, doubled and out of order, two writers on one chain. Whatever
//! happens, what was acknowledged stands in `samples` once and counts in its pane once.
//!
//! `AFFERENT_SEED` repeats a run, `AFFERENT_SEEDS` says how many seeds there are.
#![allow(clippy::unwrap_used)]

mod workers;

use super::faults::{Dice, Faults, FaultyCheckpoints, FaultyLog, FaultyTables, Rates, Witness, starts_again};
use super::{MemoryCheckpoints, MemoryLog, MemoryTables};
use crate::checkpoint::GroupName;
use crate::clock::ManualClock;
use crate::config::EngineConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::{Delivery, Intake, intake};
use crate::live::{Live, LiveFilter};
use crate::log::{Decoded, DecodedBody, Decoder, Format, LogName, LogWriter, Position, Record, Topic};
use crate::query::{Compiler, LabelInventory, View, ViewSpec};
use crate::sample::{SampleBatch, SeriesSlice};
use crate::schema::{ROLLUP_1M, SAMPLES, TableName};
use crate::series::Labels;
use crate::status::Status;
use crate::supervisor::{EngineHandle, EngineParts, Share, start};
use crate::time::{PANE_MS, WallTime};
use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Seeds of a run where `AFFERENT_SEEDS` does not say otherwise.
const SEEDS: u64 = 400;

/// Seeds at work at the same time; most of them wait for a clock most of the time.
const AT_ONCE: usize = 24;

/// Series of a simulation.
const SERIES: u64 = 4;

/// Processes that believe at the same time that they own the chain.
const ZOMBIES_MAX: usize = 2;

/// Processes without faults that may have to be started before one comes to its end.
const LAST_PROCESSES_MAX: u64 = 5;

/// How long the last process is given to recover; one that was superseded never does.
const RECOVERED_WAIT: Duration = Duration::from_secs(2);

/// How long one seed may take.
const SEED_SECONDS_MAX: u64 = 60;

/// Bodies are lists of (series, milliseconds, value).
struct Bodies;

type Sample = (u64, i64, i64);

impl Decoder for Bodies {
    fn decode(&self, record: &Record) -> Result<Decoded> {
        let samples: Vec<Sample> = serde_json::from_slice(&record.body).map_err(|e| Error::corrupt(e.to_string()))?;
        let mut batch = SampleBatch::default();
        for (i, (series, time, value)) in samples.into_iter().enumerate() {
            let host = format!("h{series}");
            let labels = Labels::from_pairs([("__name__", "requests_total"), ("instance", host.as_str()), ("job", "api")]).unwrap();
            let start = batch.label_bytes.len() as u32;
            batch.label_bytes.extend_from_slice(labels.canonical());
            batch.times.push(time);
            batch.values.push(value as f64);
            let (labels_at, samples) = (start..batch.label_bytes.len() as u32, i as u32..i as u32 + 1);
            batch.series.push(SeriesSlice { key: labels.key(), labels: labels_at, samples, start_time: 0 });
        }
        Ok(Decoded { body: DecodedBody::Samples(batch), rejects: vec![] })
    }
}

struct NoViews;

impl Compiler for NoViews {
    fn compile(&self, _: &str, _: u64, _: &[ViewSpec]) -> Result<View> {
        Err(Error::invalid("simulations define no views"))
    }
}

/// True where a process ends because another one went past it: its checkpoint's number is taken, or there is a newer one, for which the log was trimmed.
fn superseded(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict
}

/// What all processes of a simulation share.
struct World {
    partitions: u32,
    log: Arc<MemoryLog>,
    tables: Arc<MemoryTables>,
    checkpoints: Arc<MemoryCheckpoints>,
    witness: Arc<Witness>,
    clock: Arc<ManualClock>,
}

/// What a process has of the stream.
struct Seat {
    group: GroupName,
    logs: Vec<LogName>,
    takes_over: bool,
    views: Vec<View>,
    compiler: Arc<dyn Compiler>,
    share: Share,
    live: Arc<Live>,
    /// Who watches its chain.
    witness: Arc<Witness>,
}

/// One process.
struct Process {
    intake: Intake,
    live: Arc<Live>,
    cancel: CancellationToken,
    halt: CancellationToken,
    handle: EngineHandle,
}

impl World {
    fn new(partitions: u32) -> Self {
        let clock = Arc::new(ManualClock::at(WallTime(0)));
        Self { partitions, log: Arc::default(), tables: Arc::default(), checkpoints: Arc::default(), witness: Arc::default(), clock }
    }

    fn start(&self, writer: &str, seed: u64, rates: Rates) -> Process {
        let seat = Seat {
            group: GroupName::of_partition(0),
            logs: (0..self.partitions).map(|partition| LogName { topic: Topic::Metrics, partition }).collect(),
            takes_over: false,
            views: vec![],
            compiler: Arc::new(NoViews),
            share: Share::Whole,
            live: Arc::default(),
            witness: self.witness.clone(),
        };
        self.start_at(seat, writer, seed, rates)
    }

    fn start_at(&self, seat: Seat, writer: &str, seed: u64, rates: Rates) -> Process {
        let (intake, receiver) = intake();
        let (cancel, halt, live) = (CancellationToken::new(), CancellationToken::new(), seat.live);
        let faults = Faults::new(seed, rates, halt.clone());
        let inner = match seat.share {
            Share::Whole => self.tables.clone(),
            Share::Partition { .. } | Share::Views(_) => self.tables.of(&seat.group),
        };
        let witness = seat.witness.clone();
        let tables = Arc::new(FaultyTables { inner, faults: faults.clone(), witness, writer: writer.into() });
        let (inner, witness) = (self.checkpoints.clone(), seat.witness.clone());
        let parts = EngineParts {
            config: EngineConfig {
                tick_ms: 10,
                checkpoint_interval_ms: 10,
                lateness_ms: 60_000,
                slack_ms: 0,
                repair_interval_ms: 10,
                background_share: 1.0,
                ..EngineConfig::default()
            },
            group: seat.group,
            writer: writer.into(),
            logs: seat.logs,
            takes_over: seat.takes_over,
            intake: receiver,
            log: Arc::new(FaultyLog { inner: self.log.clone(), faults: faults.clone(), witness: seat.witness }),
            decoder: Arc::new(Bodies),
            tables: tables.clone(),
            checkpoints: Arc::new(FaultyCheckpoints { inner, faults, witness }),
            history: tables,
            views: seat.views,
            compiler: seat.compiler,
            commands: crate::control::control().1,
            inventory: Arc::new(LabelInventory),
            live: live.clone(),
            share: seat.share,
            clock: self.clock.clone(),
            cancel: cancel.clone(),
            halt: halt.clone(),
        };
        Process { intake, live, cancel, halt, handle: start(parts).unwrap() }
    }

    fn rows(&self, live: &Live, name: &str) -> Vec<RecordBatch> {
        let (view, name) = (live.view(), TableName::new(name));
        let mut rows = view.files.get(&name).map(|f| self.tables.rows(f)).unwrap_or_default();
        rows.extend(view.live.get(&name).map(|l| l.scan(&LiveFilter::default()).unwrap()).unwrap_or_default());
        rows
    }
}

/// Bodies whose samples are never late: time goes on, with neighbours that come in the wrong order and samples that come again.
fn records(dice: &mut Dice) -> Vec<Record> {
    let mut all: Vec<Vec<Sample>> = vec![];
    for scrape in 0..20 + dice.below(60) {
        let at = scrape as i64 * 7_000;
        let samples = (0..SERIES).filter(|_| !dice.next().is_multiple_of(8)).map(|s| (s, at + s as i64, (scrape * 10 + s) as i64)).collect();
        all.push(samples);
        if dice.below(6) == 0 && scrape > 1 {
            // What was there before comes again in another body.
            let again = all[all.len() - 2].clone();
            all.push(again.into_iter().take(2).collect());
        }
    }
    for i in 1..all.len() {
        if dice.below(10) == 0 {
            all.swap(i - 1, i);
        }
    }
    let record = |(i, samples): (usize, Vec<Sample>)| {
        let body: bytes::Bytes = serde_json::to_vec(&samples).unwrap().into();
        let body_hash = xxhash_rust::xxh3::xxh3_128(format!("{i} {body:?}").as_bytes());
        Record { format: Format::RemoteWriteV1, source: "s".into(), received_at: WallTime(i as i64), body_hash, request_id: i as u64, body }
    };
    all.into_iter().filter(|samples| !samples.is_empty()).enumerate().map(record).collect()
}

/// What a body holds for each partition.
fn spread(record: &Record, partitions: u32) -> Vec<(LogName, Record)> {
    let samples: Vec<Sample> = serde_json::from_slice(&record.body).unwrap();
    let mut by_partition: BTreeMap<u32, Vec<Sample>> = BTreeMap::new();
    for sample in samples {
        by_partition.entry((sample.0 % u64::from(partitions)) as u32).or_default().push(sample);
    }
    let share = |(partition, samples): (u32, Vec<Sample>)| {
        let body: bytes::Bytes = serde_json::to_vec(&samples).unwrap().into();
        let body_hash = record.body_hash.wrapping_add(u128::from(partition));
        (LogName { topic: Topic::Metrics, partition }, Record { body, body_hash, ..record.clone() })
    };
    by_partition.into_iter().map(share).collect()
}

/// (series, milliseconds, value) of every row.
fn sample_rows(batches: &[RecordBatch]) -> Vec<(i64, i64, i64)> {
    let mut out = vec![];
    for b in batches {
        let id = b.column_by_name("series_id").unwrap().as_primitive::<Int64Type>();
        let time = b.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
        let value = b.column_by_name("value").unwrap().as_primitive::<Float64Type>();
        out.extend((0..b.num_rows()).map(|i| (id.value(i), time.value(i) / 1000, value.value(i) as i64)));
    }
    out.sort_unstable();
    out
}

/// Count per series and pane by the newest revision; rows that stand twice add up, so that it shows.
fn pane_counts(batches: &[RecordBatch]) -> BTreeMap<(i64, i64), i64> {
    let mut revisions: BTreeMap<(i64, i64), BTreeMap<i64, i64>> = BTreeMap::new();
    for b in batches {
        let id = b.column_by_name("series_id").unwrap().as_primitive::<Int64Type>();
        let start = b.column_by_name("window_start").unwrap().as_primitive::<TimestampMicrosecondType>();
        let count = b.column_by_name("count").unwrap().as_primitive::<Int64Type>();
        let revision = b.column_by_name("revision").unwrap().as_primitive::<Int64Type>();
        for i in 0..b.num_rows() {
            *revisions.entry((id.value(i), start.value(i) / 1000)).or_default().entry(revision.value(i)).or_default() += count.value(i);
        }
    }
    revisions.into_iter().filter_map(|(pane, counts)| Some((pane, *counts.last_key_value()?.1))).collect()
}

/// Each fault less often than this, some of them never.
fn rates(dice: &mut Dice, most: Rates) -> Rates {
    let mut rate = |most: u64| if dice.below(3) == 0 { 0 } else { dice.below(most) };
    Rates {
        fails: rate(most.fails),
        unanswered: rate(most.unanswered),
        dies_before: rate(most.dies_before),
        dies_after: rate(most.dies_after),
        torn: rate(most.torn),
        pauses: rate(most.pauses),
    }
}

/// One seed at work.
struct Simulation {
    dice: Dice,
    rates: Rates,
    world: World,
    /// The process that gets deliveries.
    process: Process,
    /// One that believes it still owns the chain.
    zombies: Vec<Process>,
    started: u64,
    crashes: u64,
    fenced: u64,
    held: Vec<Delivery>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let rates = rates(&mut dice, Rates { fails: 120, unanswered: 120, dies_before: 40, dies_after: 40, torn: 80, pauses: 80 });
        let world = World::new(*[1, 1, 3].get(dice.below(3) as usize).unwrap_or(&1));
        let process = world.start("writer-1", dice.next(), rates);
        Self { dice, rates, world, process, zombies: vec![], started: 1, crashes: 0, fenced: 0, held: vec![] }
    }

    /// The next process, which finds what the ones before it left; with `calm`, nothing goes wrong in it.
    fn start_process(&mut self, calm: bool) -> Process {
        self.started += 1;
        let rates = if calm { Rates::default() } else { self.rates };
        self.world.start(&format!("writer-{}", self.started), self.dice.next(), rates)
    }

    /// Notes how a process ended; anything but a crash, a store that was away, or a fence is wrong.
    async fn ended(&mut self, process: Process) -> Result<(), String> {
        process.halt.cancel();
        match process.handle.join().await {
            Ok(()) => self.crashes += 1,
            Err(error) if starts_again(&error) => self.crashes += 1,
            Err(error) if self.started > 1 && superseded(&error) => self.fenced += 1,
            Err(error) => return Err(format!("a process ended with {}: {error}", error.kind())),
        }
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), String> {
        // What was on its way to the process is lost with it.
        self.held.clear();
        self.process.halt.cancel();
        let next = self.start_process(false);
        let dead = std::mem::replace(&mut self.process, next);
        self.ended(dead).await
    }

    /// Appends and delivers the records that one body becomes.
    async fn send(&mut self, record: &Record, acknowledged: &mut Vec<Record>) -> Result<(), String> {
        for (log, share) in spread(record, self.world.partitions) {
            self.send_share(log, &share, acknowledged).await?;
        }
        Ok(())
    }

    /// Appends and delivers one record; a sender that hears nothing sends the same bytes again.
    async fn send_share(&mut self, log: LogName, record: &Record, acknowledged: &mut Vec<Record>) -> Result<(), String> {
        let door = FaultyLog { inner: self.world.log.clone(), faults: self.door_faults(), witness: self.world.witness.clone() };
        loop {
            if self.process.halt.is_cancelled() {
                self.restart().await?;
            }
            let place = match self.process.intake.reserve().await {
                Ok(place) => place,
                Err(_) => {
                    self.restart().await?;
                    continue;
                }
            };
            let Ok(position) = door.append(log, record.clone()).await else { continue };
            acknowledged.push(record.clone());
            let deliver = |position: Position| Delivery { log, position, decoded: Bodies.decode(record).unwrap(), record: record.clone() };
            match self.dice.below(20) {
                // Its receiver died between the two.
                0 => {}
                // It is overtaken.
                1..=3 => self.held.push(deliver(position)),
                4 => {
                    place.deliver(deliver(position));
                    if let Ok(place) = self.process.intake.reserve().await {
                        place.deliver(deliver(position));
                    }
                }
                _ => place.deliver(deliver(position)),
            }
            if self.dice.below(4) == 0 {
                for late in std::mem::take(&mut self.held) {
                    if let Ok(place) = self.process.intake.reserve().await {
                        place.deliver(late);
                    }
                }
            }
            // Behind a balancer, bodies reach the process that was replaced, too.
            for zombie in &self.zombies {
                if let (0, Ok(place)) = (self.dice.below(3), zombie.intake.reserve().await) {
                    place.deliver(deliver(position));
                }
            }
            return Ok(());
        }
    }

    /// The receivers' own faults: they do not take the process down with them.
    fn door_faults(&mut self) -> Arc<Faults> {
        let rates = Rates { dies_before: 0, dies_after: 0, pauses: 0, ..self.rates };
        Faults::new(self.dice.next(), rates, CancellationToken::new())
    }

    async fn run(mut self) -> Result<(u64, u64, usize), String> {
        let mut acknowledged = vec![];
        for record in records(&mut self.dice) {
            self.send(&record, &mut acknowledged).await?;
            match self.dice.below(60) {
                0 => {
                    self.process.halt.cancel();
                }
                1..=3 if self.zombies.len() < ZOMBIES_MAX => {
                    // A second process takes over while the first one goes on.
                    let next = self.start_process(false);
                    self.zombies.push(std::mem::replace(&mut self.process, next));
                    self.held.clear();
                }
                4..=13 => tokio::time::sleep(Duration::from_millis(self.dice.below(25))).await,
                _ => {}
            }
        }
        self.finish(acknowledged).await
    }

    /// Ends every process, then lets one without faults come to its end.
    async fn finish(mut self, acknowledged: Vec<Record>) -> Result<(u64, u64, usize), String> {
        for zombie in std::mem::take(&mut self.zombies) {
            self.ended(zombie).await?;
        }
        let mut next = self.start_process(true);
        std::mem::swap(&mut self.process, &mut next);
        self.ended(next).await?;
        // What a process that is gone had under way may still take effect, and then the one after it has to start again.
        for _ in 0..LAST_PROCESSES_MAX {
            let live = self.process.live.clone();
            // A stop waits neither for a replay nor for repairs.
            let recovered = async {
                let whole = |status: &Status| status.recovered && status.repair.waiting == 0 && status.repair.corrections == 0;
                while !whole(&live.view().status) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            drop(tokio::time::timeout(RECOVERED_WAIT, recovered).await);
            self.process.cancel.cancel();
            let (world, crashes, fenced) = (&self.world, self.crashes, self.fenced);
            match self.process.handle.join().await {
                Ok(()) => {
                    check(world, &live, &acknowledged)?;
                    return Ok((crashes, fenced, acknowledged.len()));
                }
                Err(error) if superseded(&error) => {}
                Err(error) => return Err(format!("a process without faults ended with {}: {error}", error.kind())),
            }
            self.process = self.world.start("last", self.dice.next(), Rates::default());
        }
        Err("the last process never came to its end".into())
    }
}

/// Values by series and time.
fn samples_of(records: &[Record]) -> BTreeMap<(i64, i64), i64> {
    let mut out = BTreeMap::new();
    for record in records {
        let DecodedBody::Samples(batch) = Bodies.decode(record).unwrap().body else { panic!("no samples") };
        for (slice, (time, value)) in batch.series.iter().zip(batch.times.iter().zip(&batch.values)) {
            out.insert((slice.key.id().0, *time), *value as i64);
        }
    }
    out
}

fn check(world: &World, live: &Live, acknowledged: &[Record]) -> Result<(), String> {
    let want = samples_of(acknowledged);
    let wrong = world.witness.wrong();
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    let samples = sample_rows(&world.rows(live, SAMPLES));
    let expected: Vec<(i64, i64, i64)> = want.iter().map(|((id, time), value)| (*id, *time, *value)).collect();
    if samples != expected {
        let missing: Vec<_> = expected.iter().filter(|e| !samples.contains(e)).take(3).collect();
        let surplus: Vec<_> = samples.windows(2).filter(|w| w[0] == w[1]).take(3).collect();
        return Err(format!("{} rows of samples, {} acknowledged; missing {missing:?}, twice {surplus:?}", samples.len(), expected.len()));
    }
    let mut counts: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    for (id, time) in want.keys() {
        *counts.entry((*id, time - time.rem_euclid(PANE_MS))).or_default() += 1;
    }
    let panes = pane_counts(&world.rows(live, ROLLUP_1M));
    if panes != counts {
        let other: Vec<_> = counts.iter().filter(|(key, n)| panes.get(key) != Some(n)).take(3).map(|(k, n)| (k, n, panes.get(k))).collect();
        return Err(format!("panes count otherwise than samples: (pane, samples, counted) {other:?}"));
    }
    // Every link of the chain is one more than the one before, and who was followed by another never comes back.
    let chain = world.witness.chain();
    for (a, b) in chain.iter().zip(chain.iter().skip(1)) {
        if b.epoch != a.epoch.next() {
            return Err(format!("epoch {} of {} follows epoch {} of {}", b.epoch, b.writer, a.epoch, a.writer));
        }
    }
    let mut owners: Vec<&str> = chain.iter().map(|c| c.writer.as_str()).collect();
    owners.dedup();
    let mut distinct = owners.clone();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() != owners.len() {
        return Err(format!("a writer came back: {owners:?}"));
    }
    Ok(())
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// What came of all seeds.
#[derive(Default)]
struct Seeds {
    /// Only one was asked for.
    only: bool,
    done: u64,
    crashes: u64,
    fenced: u64,
    bodies: usize,
}

/// Runs the seed of `AFFERENT_SEED`, or so many fresh ones.
async fn run_seeds<F>(count: u64, at_once: usize, seconds_max: u64, run: impl Fn(u64) -> F) -> Seeds
where
    F: Future<Output = Result<(u64, u64, usize), String>> + Send + 'static,
{
    let only = from_environment("AFFERENT_SEED");
    let fresh = u64::from(std::process::id()) << 20;
    let seeds: Vec<u64> = match only {
        Some(seed) => vec![seed],
        None => (0..from_environment("AFFERENT_SEEDS").unwrap_or(count)).map(|i| fresh + i).collect(),
    };
    let (mut working, mut next) = (JoinSet::new(), seeds.iter());
    let mut all = Seeds { only: only.is_some(), ..Seeds::default() };
    loop {
        while working.len() < at_once
            && let Some(seed) = next.next().copied()
        {
            let work = run(seed);
            working.spawn(async move {
                let ended = tokio::time::timeout(Duration::from_secs(seconds_max), work).await;
                (seed, ended.unwrap_or_else(|_| Err(format!("not done after {seconds_max} s"))))
            });
        }
        let Some(ended) = working.join_next().await else { break };
        let (seed, outcome) = ended.unwrap();
        let (crashes, fenced, bodies) = outcome.unwrap_or_else(|what| panic!("AFFERENT_SEED={seed}: {what}"));
        all.done += 1;
        all.crashes += crashes;
        all.fenced += fenced;
        all.bodies += bodies;
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_everything_counts_once() {
    let started = Instant::now();
    let Seeds { only, done, crashes, fenced, bodies } =
        run_seeds(SEEDS, AT_ONCE, SEED_SECONDS_MAX, |seed| async move { Simulation::new(seed).run().await }).await;
    let per_minute = done as f64 * 60.0 / started.elapsed().as_secs_f64();
    println!("{done} seeds ({per_minute:.0} a minute), {bodies} bodies, {crashes} crashes and restarts, {fenced} writers fenced");
    assert!(only || done < 100 || (crashes > done && fenced > 0), "the simulation must crash and fence: {crashes} {fenced}");
}
