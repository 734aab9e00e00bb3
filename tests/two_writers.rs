//! Two processes that both believe to own one store: at most one of them gets its rows in, the other stops and says who was there first.

use crate::program;
use afferent_engine::sim::faults::Dice;
use afferent_storage::steps::Step;
use afferent_tests::door::Door;
use afferent_tests::rows;
use afferent_tests::sender::now_ms;
use afferent_tests::server::{Server, wait_for};
use afferent_tests::wire;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const CONFIG: &str = "
[log]
segment_bytes = 32768
[engine]
checkpoint_interval_ms = 300
tick_ms = 100
[maintain]
interval_s = 1
";

/// Trials of a short run; `AFFERENT_TRIALS` says otherwise.
const TRIALS: usize = 5;

/// Where the first process is stopped in the middle of a checkpoint.
const STEPS: [Step; 10] = [
    Step::RecordsWritten,
    Step::RecordsSynced,
    Step::TableBegun,
    Step::TableWritten,
    Step::StateWritten,
    Step::CheckpointBegun,
    Step::CheckpointCommitted,
    Step::TablePublished,
    Step::EpochPublished,
    Step::MergeWritten,
];

/// How long anything may take to happen.
const WAIT: Duration = Duration::from_secs(60);

/// Samples that one process was sent: when each was sent and when it was acknowledged.
#[derive(Default)]
struct Told(Mutex<BTreeMap<u64, (Instant, Option<Instant>)>>);

impl Told {
    fn all(&self) -> BTreeMap<u64, (Instant, Option<Instant>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn acknowledged(&self) -> usize {
        self.all().values().filter(|(_, at)| at.is_some()).count()
    }

    /// Sends one sample after the other until it is told to stop.
    fn send(&self, door: &Door, writer: &str, start_ms: i64, stop: &AtomicBool) {
        for n in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let series = wire::series(&[("__name__", "duel"), ("instance", writer), ("job", "duel")], &[(start_ms + n as i64 * 100, n as f64)]);
            let body = wire::body_v1(vec![series]);
            let sent = Instant::now();
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(n, (sent, None));
            // As a sender whose answer does not come: the same bytes again, until the process is gone.
            while !door.write_v1(writer, &body).is_ok_and(|answer| answer.status < 300) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(n, (sent, Some(Instant::now())));
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Takes the lock of the store away from its holder, as a file system does that loses locks, or a person who thinks the holder is dead.
fn unlock(folder: &Path) {
    std::fs::remove_file(folder.join("store").join("LOCK")).unwrap();
}

/// A process with its own log on a store that is shared.
fn contender(folder: &Path, name: &str) -> Server {
    let store = folder.join("store").display().to_string();
    Server::prepared(program(), &folder.join(name), CONFIG, &["--store", &store]).unwrap()
}

#[test]
fn a_second_process_on_a_data_folder_or_store_is_refused_while_the_first_lives_or_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = contender(folder.path(), "first");
    first.restart().unwrap();
    let held = format!("process {} on host", first.process_id().unwrap());
    for (signal, name) in [("CONT", "first"), ("CONT", "second"), ("STOP", "first"), ("STOP", "second")] {
        first.signal(signal).unwrap();
        let mut other = contender(folder.path(), name);
        other.spawn().unwrap();
        let ended = other.wait_end(WAIT).unwrap().expect("the other process ends by itself");
        assert!(!ended.success(), "the other process ended with {ended}");
        assert!(other.log().contains(&held), "it does not name the holder ({held}):\n{}", other.log());
    }
    first.signal("CONT").unwrap();
    first.kill().unwrap();
    first.restart().unwrap();
}

#[test]
fn of_two_writers_on_one_store_one_stops_and_none_of_its_rows_stand() {
    let trials = std::env::var("AFFERENT_TRIALS").ok().and_then(|n| n.parse().ok()).unwrap_or(TRIALS);
    let seed = now_ms() as u64;
    eprintln!("seed {seed}");
    let mut random = Dice::new(seed);
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for trial in 0..trials {
        let outcome = if trial % 5 == 4 { strangers(&mut random) } else { successor(&mut random) };
        *outcomes.entry(outcome).or_default() += 1;
    }
    eprintln!("{trials} trials: {outcomes:?}");
}

/// The second process takes over with a copy of the log of the first, which stands still and then goes on as if nothing had happened.
fn successor(random: &mut Dice) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (mut first, mut second) = (contender(folder.path(), "first"), contender(folder.path(), "second"));
    // Every third time it stands still anywhere, not at a step.
    let step = (random.below(3) > 0).then(|| STEPS[random.below(STEPS.len() as u64) as usize]);
    let nth = 1 + random.below(if step == Some(Step::RecordsWritten) || step == Some(Step::RecordsSynced) { 50 } else { 3 });
    let at = step.map(|step| format!("{step}:{nth}:stop"));
    first.spawn_with(|command| at.iter().fold(command, |command, at| command.env("AFFERENT_AT_STEP", at))).unwrap();
    let (old, new) = (Told::default(), Told::default());
    let (stop_old, stop_new) = (AtomicBool::new(false), AtomicBool::new(false));
    let start_ms = now_ms() - 3_600_000;
    let (first_door, second_door) = (first.door(), second.door());
    let mut outcome = String::new();
    thread::scope(|scope| {
        scope.spawn(|| old.send(&first_door, "first", start_ms, &stop_old));
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            if step.is_none() {
                wait_for("a few samples", || old.acknowledged() > 20);
                thread::sleep(Duration::from_millis(random.below(1000)));
                first.signal("STOP").unwrap();
            }
            wait_for("the first process to stand still", || first.status_line("State").is_some_and(|s| s.starts_with('T')));
            copy(&first.data(), &second.data());
            unlock(folder.path());
            let stood = Instant::now();
            second.spawn().unwrap();
            second.wait_ready().unwrap();
            scope.spawn(|| new.send(&second_door, "second", start_ms, &stop_new));
            // Sometimes the second has written a checkpoint by then, sometimes not.
            thread::sleep(Duration::from_millis(random.below(1500)));
            first.signal("CONT").unwrap();
            let first_lost = loser(&mut first, &mut second);
            // The winner goes on.
            let (winner, before) = if first_lost { (&new, new.acknowledged()) } else { (&old, old.acknowledged()) };
            wait_for("the winner to take more", || winner.acknowledged() > before + 10);
            stop_old.store(true, Ordering::Relaxed);
            stop_new.store(true, Ordering::Relaxed);
            (first_lost, stood)
        }));
        stop_old.store(true, Ordering::Relaxed);
        stop_new.store(true, Ordering::Relaxed);
        let (first_lost, stood) = played.unwrap_or_else(|panic| {
            // Senders wait for nobody who stands still.
            first.kill().ok();
            second.kill().ok();
            std::panic::resume_unwind(panic)
        });
        outcome = format!("{} stopped", if first_lost { "the first" } else { "the second" });
        let winner = if first_lost { &mut second } else { &mut first };
        // The winner's next life reads what stands on disk.
        thread::sleep(Duration::from_millis(500));
        winner.stop().unwrap();
        winner.restart().unwrap();
        let stands = stored(&winner.door());
        let what = at.clone().unwrap_or("anywhere".to_owned());
        if first_lost {
            expect(&stands, "second", &new.all(), |_, acknowledged| acknowledged.is_some(), |_, _| true, &what);
            let before = |_: Instant, acknowledged: Option<Instant>| acknowledged.is_some_and(|at| at < stood);
            expect(&stands, "first", &old.all(), before, |sent, _| sent < stood, &what);
        } else {
            expect(&stands, "first", &old.all(), |_, acknowledged| acknowledged.is_some(), |_, _| true, &what);
            expect(&stands, "second", &new.all(), |_, _| false, |_, _| false, &what);
        }
    });
    outcome
}

/// Two processes with logs of their own on a new store.
fn strangers(random: &mut Dice) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (mut first, mut second) = (contender(folder.path(), "first"), contender(folder.path(), "second"));
    first.spawn().unwrap();
    first.wait_ready().unwrap();
    thread::sleep(Duration::from_millis(random.below(600)));
    unlock(folder.path());
    second.spawn().unwrap();
    let (old, new) = (Told::default(), Told::default());
    let (stop_old, stop_new) = (AtomicBool::new(false), AtomicBool::new(false));
    let start_ms = now_ms() - 3_600_000;
    let (first_door, second_door) = (first.door(), second.door());
    let (first_lost, both) = thread::scope(|scope| {
        scope.spawn(|| old.send(&first_door, "first", start_ms, &stop_old));
        scope.spawn(|| new.send(&second_door, "second", start_ms, &stop_new));
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let first_lost = loser(&mut first, &mut second);
            let (other, told) = if first_lost { (&mut second, &new) } else { (&mut first, &old) };
            // It may find that the store is already that of the other's log; then both stop, and the other one is the one that may go on.
            let (before, deadline) = (told.acknowledged(), Instant::now() + WAIT);
            while told.acknowledged() <= before + 10 {
                if other.ended().unwrap().is_some() {
                    assert!(other.log().contains("the store belongs to another log"), "{}", other.log());
                    return (!first_lost, true);
                }
                assert!(Instant::now() < deadline, "the winner takes nothing:\n{}", other.log());
                thread::sleep(Duration::from_millis(10));
            }
            (first_lost, false)
        }));
        stop_old.store(true, Ordering::Relaxed);
        stop_new.store(true, Ordering::Relaxed);
        played.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let (winner, name, lost, won, gone) =
        if first_lost { (&mut second, "second", "first", &new, &old) } else { (&mut first, "first", "second", &old, &new) };
    if !both {
        thread::sleep(Duration::from_millis(500));
        winner.stop().unwrap();
    }
    winner.restart().unwrap();
    let stands = stored(&winner.door());
    expect(&stands, name, &won.all(), |_, acknowledged| acknowledged.is_some(), |_, _| true, "strangers");
    expect(&stands, lost, &gone.all(), |_, _| false, |_, _| false, "strangers");
    format!("of strangers, {} stopped", if both { "both" } else { lost })
}

/// Waits until one of the two has stopped; true where it is the first. It says who was there before it.
fn loser(first: &mut Server, second: &mut Server) -> bool {
    let ids = [first.process_id().unwrap(), second.process_id().unwrap()];
    let deadline = Instant::now() + WAIT;
    while Instant::now() < deadline {
        for (at, server) in [&mut *first, &mut *second].into_iter().enumerate() {
            if let Some(status) = server.ended().unwrap() {
                assert!(status.code().is_some_and(|code| code != 0), "it ended with {status}:\n{}", server.log());
                // By its name in checkpoints, or as the holder of the lock; in between nobody holds it.
                let names = [format!("pid-{}-at-", ids[1 - at]), format!("process {} on host", ids[1 - at]), "its lock file was removed".to_owned()];
                assert!(names.iter().any(|name| server.log().contains(name)), "it does not name {names:?}:\n{}", server.log());
                return at == 0;
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("both go on:\n{}\n\n{}", first.log(), second.log());
}

/// The log as it lies there, without the store.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    assert!(Command::new("cp").arg("-a").arg(from.join("log")).arg(to).status().unwrap().success());
}

/// How often each sample of each writer stands.
fn stored(door: &Door) -> BTreeMap<(String, u64), u64> {
    let mut found = BTreeMap::new();
    for row in rows::sql(door, "SELECT instance, value FROM metrics.\"duel\"").unwrap() {
        *found.entry((row[0].text().to_owned(), row[1].float() as u64)).or_default() += 1;
    }
    found
}

/// Every sample that must stand does, once; none stands that may not.
fn expect(
    stands: &BTreeMap<(String, u64), u64>,
    writer: &str,
    sent: &BTreeMap<u64, (Instant, Option<Instant>)>,
    must: impl Fn(Instant, Option<Instant>) -> bool,
    may: impl Fn(Instant, Option<Instant>) -> bool,
    what: &str,
) {
    for (n, (at, acknowledged)) in sent {
        let times = stands.get(&(writer.to_owned(), *n)).copied().unwrap_or_default();
        assert!(times <= 1, "{what}: sample {n} of {writer} stands {times} times");
        assert!(times == 1 || !must(*at, *acknowledged), "{what}: sample {n} of {writer} was acknowledged and is missing");
        assert!(times == 0 || may(*at, *acknowledged), "{what}: sample {n} of {writer} stands beside those of the other");
    }
}
