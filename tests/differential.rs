//! Invariant I3 at random: generated views over generated streams by generated schedules. The real engine's final answers are those of one plain
//! DataFusion run over the accepted rows, and what is accepted, with its panes, is what a naive oracle says.
//!
//! A case is one view over one stream by one schedule. `AFFERENT_SEED` repeats a run, `AFFERENT_SET` one set of views of it, `AFFERENT_CASES` and
//! `AFFERENT_SECONDS` say how long it is.

mod acceptance;
mod chance;
pub(crate) mod engine;
mod events;
mod grammar;
mod mutant;
mod rows;
mod schedule;
mod shrink;
mod stream;

use crate::continuous::{dimensions, rows::panes};
use acceptance::Accepted;
use afferent_engine::live::Live;
use afferent_engine::log::Record;
use afferent_engine::query::{FoldProgram, KeyedProgram, Program, SnapshotProgram, View, ViewSpec, WindowProgram};
use afferent_engine::schema;
use afferent_engine::time::EventTime;
use afferent_queries::definition::Definition;
use afferent_queries::dimensions::Dimensions;
use afferent_queries::plan::Compiler;
use afferent_queries::run::once::run_once;
use afferent_tests::sender::now_ms;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use chance::Chance;
use engine::{Ground, World};
use mutant::Mutant;
use schedule::Schedule;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;
use stream::Stream;
use tokio::task::JoinSet;

/// Cases of a run where `AFFERENT_CASES` does not say otherwise.
const CASES: usize = 2_000;

/// Streams that one set of views is run over.
const STREAMS: u64 = 4;

/// Sets of views at work at the same time.
const SETS_AT_ONCE: usize = 3;

/// How long a run goes on at most where `AFFERENT_SECONDS` does not say otherwise.
const SECONDS_MAX: u64 = 240;

/// Sets of views that a mutant may survive.
const MUTANT_SETS_MAX: u64 = 12;

/// Something that is not as it should be: which view (or table), and how.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Difference {
    what: String,
    how: String,
}

/// Compiled views with what they cost nothing to repeat.
struct Views {
    views: Vec<View>,
    /// Definitions that the planner refused, with its words.
    refused: Vec<String>,
}

/// The same view for another engine; what it compiled to is shared.
fn copied(view: &View) -> View {
    let program = match &view.program {
        Program::Window(w) => {
            Program::Window(WindowProgram { source: w.source.clone(), window_ms: w.window_ms, every_ms: w.every_ms, query: w.query.clone() })
        }
        Program::Keyed(k) => Program::Keyed(KeyedProgram { kinds: k.kinds.clone(), ttl_ms: k.ttl_ms, query: k.query.clone() }),
        Program::Fold(f) => Program::Fold(FoldProgram { input: f.input.clone(), memory_ms: f.memory_ms, make: f.make.clone() }),
        Program::Snapshot(s) => Program::Snapshot(SnapshotProgram { inputs: s.inputs.clone(), query: s.query.clone() }),
    };
    View { spec: view.spec.clone(), program }
}

fn views(seed: u64, dimensions: &Dimensions) -> Views {
    let mut out = Views { views: vec![], refused: vec![] };
    for written in grammar::definitions(&mut Chance::of(seed, 0)) {
        let known: Vec<ViewSpec> = out.views.iter().map(|v| v.spec.clone()).collect();
        let compiled = Definition::parse(&written.name, &written.sql).and_then(|d| Compiler::new(dimensions, &known).compile(&d));
        match compiled {
            Ok(view) => out.views.push(view),
            Err(error) => out.refused.push(format!("{error}\n    {}", written.sql)),
        }
    }
    out
}

/// One stream by one schedule over some views.
struct Case<'c> {
    ground: &'c Arc<Ground>,
    views: &'c [View],
    stream: &'c Stream,
    schedule: &'c Schedule,
    mutant: Option<Mutant>,
    plain: &'c Plain,
}

/// What plain runs go over: pane rows and events as text, and the instant of the answer.
type Over = (Vec<String>, Option<EventTime>);

/// A plain run's rows of every view.
type Answers = Arc<Vec<Result<rows::Rows, String>>>;

/// Answers of plain runs, by what they went over: engines that accepted the same rows are compared with the same answers.
#[derive(Default)]
struct Plain(tokio::sync::Mutex<BTreeMap<Over, Answers>>);

impl Case<'_> {
    /// Runs the engine and compares everything; an engine that fails is a difference as well.
    async fn differences(&self) -> Vec<Difference> {
        let mut chance = Chance::of(self.schedule.seed, 7);
        let shuffle = self.schedule.shuffle_ms;
        let arrivals = self.stream.arrivals(|| if shuffle > 0 { chance.between(0, shuffle) } else { 0 });
        let records: Vec<Record> = arrivals.iter().map(|sent| self.stream.record(sent)).collect();
        let world = World::new(self.ground.clone(), self.schedule, self.mutant);
        let accepted = acceptance::accept(self.stream, &arrivals);
        // Among partitions a body may be overtaken by a part of another: then something of it comes late that the oracle has in time.
        let late = !accepted.late.is_empty() || self.schedule.partitions > 1;
        let live = match world.run(self.views, &self.stream.config, self.schedule, &records, late).await {
            Ok(live) => live,
            Err(how) => return vec![Difference { what: "engine".into(), how }],
        };
        let mut out = self.tables(&world, &live, &accepted);
        out.extend(self.answers(&world, &live).await);
        out
    }

    /// Raw rows, late rows, events and panes against the oracle.
    fn tables(&self, world: &World, live: &Live, accepted: &Accepted) -> Vec<Difference> {
        let mut out = vec![];
        let ids: Vec<i64> = (0..self.stream.series.len()).map(|s| self.stream.id(s)).collect();
        let samples = accepted.samples.iter().flat_map(|(series, all)| all.iter().map(|(time, bits)| (ids[*series], *time, *bits)));
        compare(&mut out, schema::SAMPLES, sample_rows(&world.table(live, schema::SAMPLES)), samples.collect());
        // A late sample that comes again may stand there again, or be a duplicate by then.
        let row = |(series, time, bits): &(usize, i64, u64)| (ids[*series], *time, *bits);
        let (late, again): (Vec<_>, BTreeSet<_>) = (accepted.late.iter().map(row).collect(), accepted.late_again.iter().map(row).collect());
        let mut told = sample_rows(&world.table(live, schema::LATE_SAMPLES));
        told.sort_unstable();
        told.dedup();
        told.retain(|sample| late.contains(sample) || !again.contains(sample));
        if self.schedule.partitions == 1 {
            compare(&mut out, schema::LATE_SAMPLES, told, late);
        }
        let panes = accepted.panes(self.stream).into_iter().map(|((series, start), p)| {
            let numbers = [Some(p.sum), p.min, p.max, p.first, p.last, Some(p.increase)];
            format!("{} {start} {} {} {numbers:?}", ids[series], p.count, p.resets)
        });
        compare(&mut out, schema::ROLLUP_1M, pane_rows(&world.table(live, schema::ROLLUP_1M)), panes.collect());
        let events: usize = world.table(live, schema::EVENTS).iter().map(RecordBatch::num_rows).sum();
        compare(&mut out, schema::EVENTS, vec![events], vec![accepted.events.len()]);
        out
    }

    /// Every view's rows against one plain run.
    async fn answers(&self, world: &World, live: &Live) -> Vec<Difference> {
        let mut out = vec![];
        let status = live.view().status.clone();
        let plain = self.plain(world, live, status.as_of).await;
        for (view, want) in self.views.iter().zip(plain.iter()) {
            let spec = &view.spec;
            let mut tell = |how: String| out.push(Difference { what: spec.name.to_string(), how });
            if let Some(error) = status.views.get(spec.name.as_str()).and_then(|v| v.error.clone()) {
                tell(format!("the engine does not compute it: {error}"));
            }
            // Keyed and snapshot views show from memory what is written already.
            let once = matches!(view.program, Program::Window(_) | Program::Fold(_));
            match (rows::newest(&world.table(live, spec.name.as_str()), &spec.key, &spec.schema, once), want) {
                (Ok(got), Ok(want)) => rows::difference(&spec.schema, &got, want).into_iter().for_each(&mut tell),
                (got, want) => got.err().into_iter().chain(want.clone().err()).for_each(&mut tell),
            }
        }
        out
    }

    /// One plain run of every view, each over the plain rows of the views it reads.
    async fn plain(&self, world: &World, live: &Live, as_of: Option<EventTime>) -> Answers {
        let (stored, events) = (world.table(live, schema::ROLLUP_1M), world.table(live, schema::EVENTS));
        let mut over = pane_rows(&stored);
        over.extend(events.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| format!("{:?}", batch.slice(row, 1).columns()))));
        over.sort();
        if let Some(known) = self.plain.0.lock().await.get(&(over.clone(), as_of)) {
            return known.clone();
        }
        let panes = panes(&stored, &world.table(live, schema::SERIES));
        let mut relations: Vec<(String, Vec<RecordBatch>)> = vec![("panes".into(), panes), ("events".into(), events)];
        let mut out = vec![];
        for ViewSpec { name, sql, schema, key, .. } in self.views.iter().map(|v| &v.spec) {
            match run_once(sql, relations.clone(), &self.ground.dimensions, as_of.unwrap_or(EventTime(0))).await {
                Ok(plain) => {
                    out.push(rows::plain(&plain, key, schema));
                    let plain = if plain.is_empty() { vec![RecordBatch::new_empty(schema.clone())] } else { plain };
                    relations.push((name.to_string(), plain));
                }
                Err(error) => out.push(Err(format!("the plain run fails: {error}"))),
            }
        }
        let out = Arc::new(out);
        self.plain.0.lock().await.insert((over, as_of), out.clone());
        out
    }
}

fn compare<T: Ord + std::fmt::Debug>(out: &mut Vec<Difference>, what: &str, mut got: Vec<T>, mut want: Vec<T>) {
    got.sort();
    want.sort();
    if got != want {
        let missing: Vec<&T> = want.iter().filter(|w| got.binary_search(w).is_err()).take(3).collect();
        let surplus: Vec<&T> = got.iter().filter(|g| want.binary_search(g).is_err()).take(3).collect();
        let how = format!("{} rows, oracle {}; missing {missing:?}, surplus {surplus:?}", got.len(), want.len());
        out.push(Difference { what: what.into(), how });
    }
}

/// (series, time in milliseconds, bits); a staleness marker is a null in tables.
fn sample_rows(batches: &[RecordBatch]) -> Vec<(i64, i64, u64)> {
    let mut out = vec![];
    for batch in batches {
        let id = batch.column_by_name("series_id").unwrap().as_primitive::<Int64Type>();
        let time = batch.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
        let value = batch.column_by_name("value").unwrap().as_primitive::<Float64Type>();
        let bits = |i: usize| if value.is_null(i) { afferent_tests::oracle::counter::STALE_BITS } else { value.value(i).to_bits() };
        out.extend((0..batch.num_rows()).map(|i| (id.value(i), time.value(i) / 1000, bits(i))));
    }
    out
}

/// Pane rows as text, the highest revision of each.
fn pane_rows(batches: &[RecordBatch]) -> Vec<String> {
    let mut newest: BTreeMap<(i64, i64), Vec<(i64, String)>> = BTreeMap::new();
    for batch in batches {
        let integers = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
        let floats = ["sum", "min", "max", "first", "last", "increase"].map(|name| batch.column_by_name(name).unwrap().as_primitive::<Float64Type>());
        let start = batch.column_by_name("window_start").unwrap().as_primitive::<TimestampMicrosecondType>();
        let (id, count, resets, revision) = (integers("series_id"), integers("count"), integers("resets"), integers("revision"));
        for i in 0..batch.num_rows() {
            let numbers = floats.map(|column| column.is_valid(i).then(|| column.value(i)));
            let (id, start) = (id.value(i), start.value(i) / 1000);
            let text = format!("{id} {start} {} {} {numbers:?}", count.value(i), resets.value(i));
            let revision = if revision.is_null(i) { 0 } else { revision.value(i) };
            newest.entry((id, start)).or_default().push((revision, text));
        }
    }
    let best = |mut rows: Vec<(i64, String)>| {
        let highest = rows.iter().map(|(revision, _)| *revision).max().unwrap_or_default();
        rows.retain(|(revision, _)| *revision == highest);
        rows.into_iter().map(|(_, text)| text)
    };
    newest.into_values().flat_map(best).collect()
}

/// A case that failed, with everything to repeat it.
struct Failure {
    set: u64,
    views: Vec<View>,
    stream: Stream,
    schedule: Schedule,
    differences: Vec<Difference>,
}

/// What a set of views gave.
#[derive(Default)]
struct Outcome {
    cases: usize,
    refused: Vec<String>,
    defined: usize,
    rows: usize,
    failures: Vec<Failure>,
}

/// Some of the views, with all that read them: the others can do without.
fn some_with_readers(chance: &mut Chance, views: &[View]) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for view in views {
        if chance.one_in(3) || shrink::inputs(view).iter().any(|name| out.contains(name)) {
            out.insert(view.spec.name.to_string());
        }
    }
    out
}

/// Runs one set of views over its streams by every schedule.
async fn set(seed: u64, ground: Arc<Ground>, mutant: Option<Mutant>) -> Outcome {
    let Views { views, refused } = views(seed, &ground.dimensions);
    let mut out = Outcome { defined: views.len() + refused.len(), refused, ..Outcome::default() };
    for number in 0..STREAMS {
        let mut chance = Chance::of(seed, 100 + number);
        let (stream, plain) = (stream::stream(&mut chance), Plain::default());
        for mut schedule in Schedule::all(&mut chance, stream.sent.len(), stream.config.lateness_ms) {
            if std::env::var("AFFERENT_SCHEDULE").is_ok_and(|only| only != schedule.name) {
                continue;
            }
            schedule.late_views = some_with_readers(&mut chance, &views);
            let case = Case { ground: &ground, views: &views, stream: &stream, schedule: &schedule, mutant, plain: &plain };
            let differences = case.differences().await;
            out.cases += views.len();
            out.rows += stream.sent.len();
            if !differences.is_empty() {
                let views = views.iter().map(copied).collect();
                out.failures.push(Failure { set: seed, views, stream: stream.clone(), schedule, differences });
                return out;
            }
        }
    }
    out
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs sets until there were so many cases.
async fn sets(seed: u64, cases: usize) -> Outcome {
    let (ground, mut working, mut total, mut next) = (Ground::new(dimensions()), JoinSet::new(), Outcome::default(), 0);
    let (started, seconds) = (Instant::now(), from_environment("AFFERENT_SECONDS").unwrap_or(SECONDS_MAX));
    if let Some(one) = from_environment("AFFERENT_SET") {
        return set(one, ground, None).await;
    }
    while total.failures.is_empty() {
        let enough = total.cases >= cases || started.elapsed().as_secs() >= seconds;
        while working.len() < SETS_AT_ONCE && !enough {
            let one = Chance::of(seed, next).next();
            working.spawn(set(one, ground.clone(), None));
            next += 1;
        }
        let Some(done) = working.join_next().await else { break };
        let done = done.unwrap();
        total.cases += done.cases;
        total.defined += done.defined;
        total.rows += done.rows;
        total.refused.extend(done.refused);
        total.failures.extend(done.failures);
    }
    total
}

#[tokio::test(flavor = "multi_thread")]
async fn random_views_equal_one_plain_run() {
    let seed = from_environment("AFFERENT_SEED").unwrap_or_else(|| Chance::new(u64::from(std::process::id())).next() ^ now_ms() as u64);
    let cases = from_environment("AFFERENT_CASES").map_or(CASES, |n| n as usize);
    println!("AFFERENT_SEED={seed} AFFERENT_CASES={cases}");
    let started = Instant::now();
    let total = sets(seed, cases).await;
    let (seconds, refused) = (started.elapsed().as_secs_f64(), total.refused.len());
    println!(
        "{} cases in {seconds:.1} s ({:.1} a second), {refused} of {} definitions refused, {} bodies",
        total.cases,
        total.cases as f64 / seconds,
        total.defined,
        total.rows
    );
    if let Some(failure) = total.failures.into_iter().next() {
        println!("set {} differs by {:?}:\n{:#?}\nshrinking", failure.set, failure.schedule, failure.differences);
        let told = shrink::told(&Ground::new(dimensions()), failure).await;
        panic!("AFFERENT_SEED={seed}\n{told}");
    }
    assert!(refused * 10 <= total.defined, "the generator leaves the grammar:\n{}", total.refused.join("\n"));
}

/// The first difference that shows a mutant; `None` where it survives.
async fn found(mutant: Mutant) -> Option<Difference> {
    for number in 0..MUTANT_SETS_MAX {
        let outcome = set(Chance::of(0xafe, number).next(), Ground::new(dimensions()), Some(mutant)).await;
        if let Some(failure) = outcome.failures.into_iter().next() {
            return failure.differences.into_iter().next();
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutant_is_found() {
    let mut working = JoinSet::new();
    for mutant in Mutant::ALL {
        working.spawn(async move { (mutant, found(mutant).await) });
    }
    let mut survivors = vec![];
    while let Some(done) = working.join_next().await {
        match done.unwrap() {
            (mutant, Some(difference)) => println!("{mutant:?} shows in {}: {}", difference.what, difference.how),
            (mutant, None) => survivors.push(mutant),
        }
    }
    assert!(survivors.is_empty(), "the harness does not see {survivors:?}");
}
