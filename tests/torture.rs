//! Killed under load, at random and at every named step: what was acknowledged = what is stored = what is counted, in samples, panes and every view.

pub(crate) mod views;

use crate::program;
use afferent_engine::sim::faults::Dice;
use afferent_storage::steps::Step;
use afferent_tests::sender::{Fleet, long_ago_ms, now_ms};
use afferent_tests::server::Server;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

/// Everything much smaller and more often than usual, so that every step is reached within seconds.
pub(crate) const CONFIG: &str = "
[log]
segment_bytes = 32768
[engine]
checkpoint_interval_ms = 400
[maintain]
interval_s = 1
vacuum_grace_s = 300
[sql]
rows_max = 100000000
seconds_max = 100
";

const SENDERS: usize = 2;

/// Kills at random of a short run. A longer one has as many kills as `AFFERENT_KILLS` says, each step at least [`TIMES_EACH`] times.
const RANDOM_KILLS: usize = 3;
const TIMES_EACH: usize = 5;

/// How long a step may take to be reached; then the server is killed all the same, and the step is tried again later.
const STEP_WAIT: Duration = Duration::from_secs(30);

/// How often a step is tried.
const TRIES_MAX: usize = 4;

/// How many times shorter upkeep waits: a file that nothing names goes after eight seconds instead of five minutes.
const HASTE: &str = "40";

/// Steps that a short run does not reach: a table's log is folded after 64 commits, and a file is removed at the second look of the vacuum.
const LONG: [Step; 3] = [Step::LogFolded, Step::VacuumBegun, Step::Vacuumed];

/// What one life of the server is to end with.
#[derive(Debug, Clone, Copy)]
enum End {
    AtRandom,
    At(Step),
}

/// What all lives have shown.
#[derive(Debug, Default)]
struct Seen {
    reached: BTreeMap<Step, usize>,
    kills: usize,
    recoveries: Vec<Duration>,
    memory_peak_bytes: u64,
}

#[test]
fn what_was_acknowledged_is_stored_and_counted_once_through_kills_at_every_step() {
    let kills = std::env::var("AFFERENT_KILLS").ok().and_then(|n| n.parse().ok());
    let (times_each, kills) = kills.map_or((1, 0), |kills: usize| (TIMES_EACH, kills));
    let seed = now_ms() as u64;
    eprintln!("seed {seed}");
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(program(), folder.path(), CONFIG).unwrap();
    let door = server.door();
    let fleet = Fleet::new(seed, SENDERS, long_ago_ms());
    let mut seen = Seen::default();
    let sent = fleet.send_during(&door, || {
        thread::sleep(Duration::from_secs(1));
        server.kill().unwrap();
        torture(&mut server, &mut seen, seed, times_each, kills);
        server.restart().unwrap();
    });
    let (stored, panes) = sent.expect_to_last(&mut server, "after the kills");
    let rows = views::compare(&door);
    seen.report(stored, sent.events.len(), panes, rows);
    assert!(stored > 5000 && panes > 100 && rows > 50, "the load was too small to show anything");
}

/// Ends one life after the other: each step so many times, at random in between.
fn torture(server: &mut Server, seen: &mut Seen, seed: u64, times_each: usize, kills: usize) {
    let mut random = Dice::new(!seed);
    let steps = Step::ALL.into_iter().filter(|step| times_each > 1 || !LONG.contains(step));
    let mut ends: Vec<(End, usize)> = steps.flat_map(|step| std::iter::repeat_n((End::At(step), 1), times_each)).collect();
    let at_random = kills.saturating_sub(ends.len()).max(RANDOM_KILLS);
    ends.extend(std::iter::repeat_n((End::AtRandom, 1), at_random));
    shuffle(&mut ends, &mut random);
    // By then there are enough commits.
    ends.sort_by_key(|(end, _)| matches!(end, End::At(step) if LONG.contains(step)));
    let mut ends = std::collections::VecDeque::from(ends);
    while let Some((end, tries)) = ends.pop_front() {
        let reached = live(server, seen, end, &mut random);
        if seen.kills.is_multiple_of(25) {
            eprintln!("{} kills, {} to go", seen.kills, ends.len());
        }
        if let (End::At(step), false) = (end, reached) {
            assert!(tries < TRIES_MAX, "{step} was not reached in {tries} lives of {} s", STEP_WAIT.as_secs());
            ends.push_back((end, tries + 1));
        }
    }
}

/// One life of the server; true where it ended as it should.
fn live(server: &mut Server, seen: &mut Seen, end: End, random: &mut Dice) -> bool {
    let nth = match end {
        End::AtRandom => 0,
        End::At(step) => 1 + random.below(often(step)),
    };
    let started = Instant::now();
    server
        .spawn_with(|command| match end {
            End::AtRandom => command.env("AFFERENT_HASTE", HASTE),
            End::At(step) => command.env("AFFERENT_HASTE", HASTE).env("AFFERENT_AT_STEP", format!("{step}:{nth}:kill")),
        })
        .unwrap();
    let mut ended = server.wait_ready_or_end().unwrap();
    if ended.is_none() {
        seen.recoveries.push(started.elapsed());
        let limit = match end {
            End::AtRandom => Duration::from_millis(100 + random.below(2000)),
            End::At(_) => STEP_WAIT,
        };
        ended = seen.watch(server, limit);
    }
    seen.kills += 1;
    match (ended, end) {
        (None, End::AtRandom) => {
            server.kill().unwrap();
            true
        }
        (None, End::At(_)) => {
            server.kill().unwrap();
            false
        }
        // SIGABRT: the watcher ended it.
        (Some(status), End::At(step)) if status.signal() == Some(6) => {
            *seen.reached.entry(step).or_default() += 1;
            true
        }
        (Some(status), _) => panic!("the server ended by itself with {status}:\n{}", server.log()),
    }
}

/// Which of its times a step is waited for: up to so many.
fn often(step: Step) -> u64 {
    match step {
        Step::RecordsWritten | Step::RecordsSynced => 60,
        Step::TableBegun | Step::TableWritten | Step::TablePublished => 12,
        Step::StateWritten => 4,
        Step::StateRead | Step::LogFolded | Step::CheckpointsRemoved | Step::VacuumBegun | Step::Vacuumed => 1,
        _ => 2,
    }
}

fn shuffle<T>(items: &mut [T], random: &mut Dice) {
    for n in (1..items.len()).rev() {
        items.swap(n, random.below(n as u64 + 1) as usize);
    }
}

impl Seen {
    /// Waits for the end and keeps an eye on memory.
    fn watch(&mut self, server: &mut Server, limit: Duration) -> Option<std::process::ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            self.memory_peak_bytes = self.memory_peak_bytes.max(server.memory_peak_bytes().unwrap_or_default());
            let ended = server.wait_end(Duration::from_millis(50).min(deadline.saturating_duration_since(Instant::now()))).unwrap();
            if ended.is_some() || Instant::now() >= deadline {
                return ended;
            }
        }
    }

    fn report(&mut self, samples: usize, events: usize, panes: usize, rows: usize) {
        self.recoveries.sort_unstable();
        let (half, most) = (self.recoveries[self.recoveries.len() / 2].as_millis(), self.recoveries[self.recoveries.len() - 1].as_millis());
        let memory = self.memory_peak_bytes >> 20;
        let least = self.reached.values().min().copied().unwrap_or_default();
        eprintln!("{} kills, {} steps at least {least} times each: {:?}", self.kills, self.reached.len(), self.reached);
        eprintln!("{samples} samples, {events} acknowledged events, {panes} panes and {rows} rows of views are exact");
        eprintln!("from start to ready: {half} ms in the middle, {most} ms at most; peak memory {memory} MiB");
    }
}
