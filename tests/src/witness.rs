//! A witness: sends to whichever process takes it, asks all of them the whole time, and knows of every answer what it may lack. An answer that lacks
//! more without saying so is a lie, whatever is away.

use crate::door::Door;
use crate::ledger::Ledger;
use crate::wire;
use afferent_engine::status::UNREAD_MAX;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Series of a body: enough for every partition to have some.
const SERIES: i64 = 24;

const BODY_PAUSE: Duration = Duration::from_millis(400);
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// What was acknowledged longer ago is in an answer, or the answer says that it may not be; beside the engine's own limit a tick or two on a loaded
/// machine.
const TOLD_AFTER: Duration = UNREAD_MAX.saturating_add(Duration::from_secs(2));

/// Characters of a reason by which it is counted.
const REASON_CHARS: usize = 120;

/// See the module.
#[derive(Debug)]
pub struct Witness {
    doors: Vec<Door>,
    start_ms: i64,
    stop: AtomicBool,
    /// Bodies that were sent at least once.
    sent: AtomicUsize,
    /// When each of them was acknowledged.
    taken: Mutex<Vec<Instant>>,
    seen: Mutex<Seen>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Seen {
    /// Answers that said nothing of what they lack.
    pub whole: usize,
    /// Answers that said what they lack, or may lack.
    pub partial: usize,
    /// Questions that were not answered, by what was said instead.
    pub refused: BTreeMap<String, usize>,
    /// What was wrong.
    pub lies: Vec<String>,
    /// What it sent.
    pub samples: Ledger,
}

impl Witness {
    /// Of the processes behind these doors; its samples are of the metric `ledger`, the first at `start_ms`.
    pub fn new(doors: Vec<Door>, start_ms: i64) -> Self {
        Self { doors, start_ms, stop: AtomicBool::new(false), sent: AtomicUsize::new(0), taken: Mutex::default(), seen: Mutex::default() }
    }

    /// Sends and asks while `work` runs.
    ///
    /// # Panics
    /// As `work` does.
    pub fn watch_during(self, work: impl FnOnce()) -> Seen {
        thread::scope(|scope| {
            scope.spawn(|| self.send());
            self.doors.iter().for_each(|door| drop(scope.spawn(|| self.ask_on(door))));
            let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            self.stop.store(true, Ordering::Relaxed);
            if let Err(panic) = worked {
                std::panic::resume_unwind(panic);
            }
        });
        self.seen.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self) {
        let mut door = 0;
        for n in 0.. {
            let time = self.start_ms + n * 1000;
            let text = |n: i64| format!("{n:02}");
            let series = |s: i64| wire::series(&[("__name__", "ledger"), ("instance", "witness"), ("n", &text(s))], &[(time, n as f64)]);
            let samples = (0..SERIES).map(|s| ((format!("ledger/witness/{}", text(s)), time), n as f64));
            let body = wire::body_v1((0..SERIES).map(series).collect());
            self.sent.fetch_add(1, Ordering::SeqCst);
            while !self.doors[door].write_v1("witness", &body).is_ok_and(|answer| answer.status < 300) {
                if self.stopped() {
                    self.seen().samples.give_up(samples);
                    return;
                }
                // Another one, in turns, so that each of them reads what others took.
                door = (door + 1) % self.doors.len();
                thread::sleep(BODY_PAUSE);
            }
            self.taken.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
            self.seen().samples.acknowledge(samples);
            if self.stopped() {
                return;
            }
            if n % 8 == 0 {
                door = (door + 1) % self.doors.len();
            }
            thread::sleep(BODY_PAUSE);
        }
    }

    fn ask_on(&self, door: &Door) {
        while !self.stopped() {
            let asked = Instant::now();
            let long_ago = asked.checked_sub(TOLD_AFTER);
            let low =
                self.taken.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|at| long_ago.is_some_and(|limit| **at < limit)).count();
            let answer = ask(door);
            let high = self.sent.load(Ordering::SeqCst);
            let mut seen = self.seen();
            match answer {
                Err(error) => *seen.refused.entry(error.to_string().chars().take(REASON_CHARS).collect()).or_default() += 1,
                Ok((rows, partial)) => {
                    let bodies = rows as f64 / SERIES as f64;
                    let took_s = asked.elapsed().as_secs_f64();
                    let lacks = partial.is_none() && bodies < low as f64;
                    if lacks || bodies > high as f64 {
                        let lie = format!("{}: {bodies} bodies of {low} to {high}, after {took_s:.1} s: {partial:?}", door.base());
                        eprintln!("{lie}");
                        seen.lies.push(lie);
                    }
                    if partial.is_some() { seen.partial += 1 } else { seen.whole += 1 }
                }
            }
            drop(seen);
            thread::sleep(ASK_PAUSE);
        }
    }
}

/// How many samples there are, and what the answer says that it lacks.
fn ask(door: &Door) -> Result<(u64, Option<String>)> {
    let statement = b"SELECT count(*) FROM metrics.\"ledger\" WHERE instance = 'witness'";
    let answer = door.post("/api/v1/sql?format=json", &[("Content-Type", "text/plain")], statement)?;
    let text = answer.text();
    ensure!(answer.status == 200, "{}: {}", answer.status, text.split("\"message\":").nth(1).unwrap_or(&text));
    let rows = answer.json()?["rows"][0][0].as_u64().unwrap_or_default();
    Ok((rows, answer.header("x-afferent-partial").map(str::to_owned)))
}
