//! Three brokers, a store and three processes, under load: each of them dies, stands still and comes back, alone and together. What was acknowledged
//! stands once in samples, panes and views, and every answer meanwhile says what it lacks; how long nothing new was acknowledged and shown is told by
//! fault. `AFFERENT_ROUNDS` says how many of each, `AFFERENT_AWAY_S` how long the store stays away, `AFFERENT_FAULTS` a word of those that are tried;
//! with `AFFERENT_WITNESS=no` nobody asks meanwhile, which on a small machine makes the times shorter.

use crate::group::{Group, brokers_and_store, settings};
use crate::torture::views;
use afferent_tests::kafka::Kafka;
use afferent_tests::ledger::Key;
use afferent_tests::minio::Minio;
use afferent_tests::sender::{Fleet, long_ago_ms, now_ms};
use afferent_tests::server::{Server, wait_for};
use afferent_tests::witness::{Seen, Witness};
use afferent_tests::{rows, wire};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

const SENDERS: usize = 2;
const BROKERS: usize = 3;
const PROCESSES: usize = 3;

/// Of a short run.
const ROUNDS: u64 = 1;
const AWAY_S: u64 = 8;

/// Longer than brokers and processes may be silent before another one takes their place (9 s each).
const STANDSTILL: Duration = Duration::from_secs(14);

/// Longest time until something new is acknowledged and shown.
const GAP_MAX: Duration = Duration::from_secs(150);

/// Series of a probe: enough for every partition to have some.
const PROBE_SERIES: i64 = 24;

struct World {
    kafka: Kafka,
    minio: Minio,
    group: Group,
    away: Duration,
    /// Event time of the next probe.
    probe_ms: i64,
    probes: Vec<(Key, f64)>,
    gaps: BTreeMap<&'static str, Vec<Duration>>,
}

/// What can happen.
type Fault = (&'static str, fn(&mut World));

/// Whether one process works the whole log or several do.
const FAULTS: [Fault; 9] = [
    ("a broker of three is killed", |w| w.broker_is_killed()),
    ("a broker stands still past its session", |w| w.broker_stands_still()),
    ("all brokers are killed and started", |w| w.all_brokers_are_killed()),
    ("the store is killed", |w| w.store_is_away(Minio::kill, Minio::restart)),
    ("the store stands still", |w| w.store_is_away(Minio::pause, Minio::resume)),
    ("the process that works is killed", |w| w.worker_is_killed()),
    ("it stands still past its session, and wakes", |w| w.worker_stands_still()),
    ("processes leave and come: three, two, one, three", |w| w.processes_leave_and_come()),
    ("everything is killed and started", |w| w.everything_is_killed()),
];

/// What else can happen where each partition has an engine: it is the process that has the views which [`World::works`].
const OF_PARTITIONS: [Fault; 2] = [
    ("a process that has partitions only is killed", |w| w.other_is_killed()),
    ("it stands still past its session, wakes and goes on", |w| w.other_stands_still()),
];

impl World {
    fn server(&mut self, n: usize) -> &mut Server {
        self.group.server(n)
    }

    fn works(&mut self) -> usize {
        let found = Cell::new(None);
        self.wait_until("one of them works", |group| {
            found.set(group.works());
            found.get().is_some()
        });
        found.get().expect("one works")
    }

    fn wait_until(&mut self, what: &str, done: impl Fn(&Group) -> bool) {
        let deadline = Instant::now() + GAP_MAX;
        while !done(&self.group) {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            self.group.start_again();
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Sends a body over all partitions to the processes but `gone` until one takes it, and waits until one shows it; notes how long after `since`.
    fn fresh(&mut self, why: &'static str, since: Instant, gone: Option<usize>) {
        let (time, value) = (self.probe_ms, self.probes.len() as f64);
        self.probe_ms += 1000;
        let text = |n: i64| format!("{n:02}");
        let series = |n: i64| wire::series(&[("__name__", "ledger"), ("instance", "probe"), ("job", "shop"), ("n", &text(n))], &[(time, value)]);
        let body = wire::body_v1((0..PROBE_SERIES).map(series).collect());
        let doors: Vec<_> = (0..PROCESSES).filter(|n| Some(*n) != gone).map(|n| self.server(n).door()).collect();
        let late = || assert!(since.elapsed() < GAP_MAX, "{why}: nothing new after {:?}", since.elapsed());
        while !doors.iter().any(|door| door.write_v1("probe", &body).is_ok_and(|answer| answer.status < 300)) {
            late();
            self.group.start_again();
            thread::sleep(Duration::from_millis(50));
        }
        let sql = format!("SELECT count(*) FROM metrics.\"ledger\" WHERE instance = 'probe' AND value = {value}");
        let shown = |group: &Group| {
            let works = (0..PROCESSES).find(|n| Some(*n) != gone && group.answers(*n))?;
            rows::one_int(&group.door(works), &sql).ok()
        };
        while shown(&self.group) != Some(PROBE_SERIES) {
            late();
            self.group.start_again();
            thread::sleep(Duration::from_millis(50));
        }
        self.gaps.entry(why).or_default().push(since.elapsed());
        self.probes.extend((0..PROBE_SERIES).map(|n| ((format!("ledger/probe/{}", text(n)), time), value)));
    }

    fn broker(&self) -> usize {
        1 + self.probes.len() / PROBE_SERIES as usize % BROKERS
    }

    fn broker_is_killed(&mut self) {
        let (number, since) = (self.broker(), Instant::now());
        self.kafka.kill(number).unwrap();
        self.fresh(FAULTS[0].0, since, None);
        self.kafka.restart([number]).unwrap();
        self.kafka.wait_in_sync().unwrap();
    }

    fn broker_stands_still(&mut self) {
        let (number, since) = (self.broker(), Instant::now());
        self.kafka.pause(number).unwrap();
        self.fresh(FAULTS[1].0, since, None);
        thread::sleep(STANDSTILL.saturating_sub(since.elapsed()));
        self.kafka.resume(number).unwrap();
        self.kafka.wait_in_sync().unwrap();
    }

    fn all_brokers_are_killed(&mut self) {
        let since = Instant::now();
        self.kafka.numbers().for_each(|number| self.kafka.kill(number).unwrap());
        self.kafka.restart(self.kafka.numbers()).unwrap();
        self.fresh(FAULTS[2].0, since, None);
    }

    fn store_is_away(&mut self, goes: fn(&Minio) -> anyhow::Result<()>, comes: fn(&Minio) -> anyhow::Result<()>) {
        let since = Instant::now();
        goes(&self.minio).unwrap();
        // What is in memory and in the log stays fresh without it; a statement over stored rows does not.
        let told = |group: &Group, n| group.door(n).json("/api/v1/freshness").is_ok_and(|report| !report["store"]["away_since"].is_null());
        self.wait_until("the outage is told", |group| (0..PROCESSES).any(|n| told(group, n)));
        thread::sleep(self.away.saturating_sub(since.elapsed()));
        let since = Instant::now();
        comes(&self.minio).unwrap();
        self.fresh("the store is back", since, None);
    }

    fn worker_is_killed(&mut self) {
        let (works, since) = (self.works(), Instant::now());
        self.server(works).kill().unwrap();
        self.fresh(FAULTS[5].0, since, Some(works));
        self.server(works).restart().unwrap();
    }

    fn worker_stands_still(&mut self) {
        let (works, since) = (self.works(), Instant::now());
        self.server(works).signal("STOP").unwrap();
        self.fresh(FAULTS[6].0, since, Some(works));
        self.server(works).signal("CONT").unwrap();
        // It has lost its place, says so and ends.
        let ended = self.server(works).wait_end(Duration::from_secs(60)).unwrap().expect("the zombie ends");
        assert_eq!(ended.code(), Some(1), "{}", self.server(works).log());
        self.server(works).restart().unwrap();
    }

    /// A process that has no views.
    fn other(&mut self) -> usize {
        (self.works() + 1) % PROCESSES
    }

    fn other_is_killed(&mut self) {
        let (other, since) = (self.other(), Instant::now());
        self.server(other).kill().unwrap();
        self.fresh(OF_PARTITIONS[0].0, since, Some(other));
        self.server(other).restart().unwrap();
    }

    fn other_stands_still(&mut self) {
        let (other, since) = (self.other(), Instant::now());
        self.server(other).signal("STOP").unwrap();
        self.fresh(OF_PARTITIONS[1].0, since, Some(other));
        thread::sleep(STANDSTILL.saturating_sub(since.elapsed()));
        self.server(other).signal("CONT").unwrap();
        thread::sleep(Duration::from_secs(2));
        assert!(self.server(other).ended().unwrap().is_none(), "{}", self.server(other).log());
    }

    fn processes_leave_and_come(&mut self) {
        let works = self.works();
        let waits = (works + 1) % PROCESSES;
        self.group.stop(waits);
        let since = Instant::now();
        self.group.stop(works);
        let left = (works + 2) % PROCESSES;
        self.wait_until("the last one works", |group| group.answers(left));
        // The others are gone: only the last one is asked.
        self.server(waits).spawn().unwrap();
        self.fresh(FAULTS[7].0, since, Some(works));
        self.server(works).restart().unwrap();
        self.server(waits).wait_ready().unwrap();
    }

    fn everything_is_killed(&mut self) {
        let since = Instant::now();
        (0..PROCESSES).for_each(|n| self.server(n).kill().unwrap());
        self.minio.kill().unwrap();
        self.kafka.numbers().for_each(|number| self.kafka.kill(number).unwrap());
        self.kafka.restart(self.kafka.numbers()).unwrap();
        self.minio.restart().unwrap();
        (0..PROCESSES).for_each(|n| self.server(n).spawn().unwrap());
        self.fresh(FAULTS[8].0, since, None);
        (0..PROCESSES).for_each(|n| self.server(n).wait_ready().unwrap());
    }
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn what_was_acknowledged_stands_once_whatever_of_it_all_dies_or_stands_still() {
    let test = "what_was_acknowledged_stands_once_whatever_of_it_all_dies_or_stands_still";
    everything_stands_once(test, "", &FAULTS);
}

#[test]
fn with_an_engine_for_each_partition_it_stands_once_too() {
    let faults: Vec<Fault> = OF_PARTITIONS.into_iter().chain(FAULTS).collect();
    everything_stands_once("with_an_engine_for_each_partition_it_stands_once_too", "\n[server]\nengine_per_partition = true\n", &faults);
}

fn everything_stands_once(test: &str, more: &str, faults: &[Fault]) {
    let Some((folder, kafka, minio)) = brokers_and_store(test, BROKERS) else { return };
    let group = Group::start(PROCESSES, folder.path(), &(settings(&kafka, &minio) + more));
    let start_ms = long_ago_ms();
    let away = Duration::from_secs(from_environment("AFFERENT_AWAY_S", AWAY_S));
    let mut world = World { kafka, minio, group, away, probe_ms: start_ms + 86_400_000, probes: vec![], gaps: BTreeMap::new() };
    world.works();
    let seed = now_ms() as u64;
    eprintln!("seed {seed}");
    let (fleet, rounds) = (Fleet::new(seed, SENDERS, start_ms), from_environment("AFFERENT_ROUNDS", ROUNDS));
    let (door, wanted) = (world.group.door(0), std::env::var("AFFERENT_FAULTS").unwrap_or_default());
    assert!(faults.iter().any(|(name, _)| name.contains(&wanted)), "no fault is called so: {wanted}");
    let witness = Witness::new((0..PROCESSES).map(|n| world.group.door(n)).collect(), start_ms + 86_400_000);
    let mut seen = Seen::default();
    let mut all_faults = || {
        for round in 1..=rounds {
            for (name, fault) in faults.iter().filter(|(name, _)| name.contains(&wanted)) {
                eprintln!("round {round}: {name}");
                world.group.start_again();
                fault(&mut world);
            }
        }
    };
    let mut sent = fleet.send_during(&door, || {
        // Whoever sends first says where time begins; the others are not to be late for ever.
        let senders = "SELECT count(DISTINCT instance) FROM metrics.\"ledger\"";
        wait_for("all senders to be known", || rows::one_int(&door, senders).is_ok_and(|known| known == SENDERS as i64));
        match std::env::var("AFFERENT_WITNESS").as_deref() {
            Ok("no") => all_faults(),
            _ => seen = witness.watch_during(&mut all_faults),
        }
    });
    sent.samples.acknowledge(world.probes.clone());
    sent.samples.merge(seen.samples);
    eprintln!("{} answers were whole, {} said what they lack; none: {:#?}", seen.whole, seen.partial, seen.refused);
    assert!(seen.lies.is_empty(), "{} answers were silently wrong, the first: {:#?}", seen.lies.len(), &seen.lies[..seen.lies.len().min(5)]);
    assert!(seen.whole > 20 || seen.whole + seen.partial == 0, "next to nothing was answered whole");
    for (name, gaps) in &mut world.gaps {
        gaps.sort();
        let second = |at: usize| gaps[at].as_secs_f64();
        let (middle, last) = (second(gaps.len() / 2), second(gaps.len() - 1));
        eprintln!(
            "{name}, {} times: something new is shown after {:.1} s at least, {middle:.1} s in the middle, {last:.1} s at most",
            gaps.len(),
            second(0)
        );
    }
    let works = world.works();
    for n in (0..PROCESSES).filter(|n| *n != works) {
        world.group.stop(n);
    }
    // What the others had in memory is read from the log again.
    let whole = |group: &Group| group.door(works).json("/api/v1/freshness").is_ok_and(|report| report["missing"] == serde_json::json!([]));
    world.wait_until("nothing is missing", whole);
    let (stored, panes) = sent.expect_to_last(world.server(works), "after the faults");
    let rows = views::compare(&world.group.door(works));
    let waits = (works + 1) % PROCESSES;
    world.server(waits).restart().unwrap();
    assert_eq!(views::compare(&world.group.door(waits)), rows, "one that waits shows other rows");
    eprintln!("{stored} samples, {} events, {panes} panes and {rows} rows of views exact", sent.events.len());
    assert!(stored > 1000 && panes > 50 && rows > 10, "the load was too small to show anything");
}
