//! Senders with a memory: they make up samples and events, send them as real senders do (again and again until they are answered), and remember
//! what was acknowledged.

use crate::door::Door;
use crate::ledger::{Key, Ledger};
use crate::panes;
use crate::rows::{self, Cell};
use crate::server::Server;
use crate::wire;
use afferent_engine::sim::faults::Dice;
use afferent_engine::time::EventTime;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Event time that passes per body, and how often a sender sends one.
pub const BODY_MS: i64 = 1000;
const BODY_PAUSE: Duration = Duration::from_millis(50);

/// How far one sender may be ahead of another in event time: well within lateness, so that a sender that an outage held up is not late.
const AHEAD_MS_MAX: i64 = 60_000;

/// How long one body is tried.
const PATIENCE: Duration = Duration::from_secs(180);

/// Pause between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(30);

/// Series of each metric that one sender sends.
pub const SERIES: [(&str, usize); 3] = [("ledger", 50), ("http_requests_total", 6), ("up", 1)];

/// Milliseconds since 1970.
///
/// # Panics
/// With a clock before 1970.
#[allow(clippy::disallowed_methods, reason = "a test of the whole program runs in real time")]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_millis()).expect("a clock before the year 292 million")
}

/// What all senders of a run share.
#[derive(Debug)]
pub struct Fleet {
    seed: u64,
    start_ms: i64,
    /// Event time that each sender of samples has reached.
    reached: Vec<AtomicI64>,
    stop: AtomicBool,
    /// The run failed: nobody tries any further.
    failed: AtomicBool,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Sent {
    /// Samples.
    pub samples: Ledger,
    /// Ids of events that were acknowledged.
    pub events: BTreeSet<String>,
    /// Ids of events that nobody was told about.
    pub events_unknown: BTreeSet<String>,
}

/// A whole day, long enough ago that the clock does not move what answers are for.
pub fn long_ago_ms() -> i64 {
    now_ms() / 86_400_000 * 86_400_000 - 20 * 86_400_000 - BODY_MS
}

impl Fleet {
    /// So many senders of samples, their first ones at `start_ms`.
    pub fn new(seed: u64, senders: usize, start_ms: i64) -> Self {
        Self {
            seed,
            start_ms,
            reached: (0..senders).map(|_| AtomicI64::new(start_ms)).collect(),
            stop: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    /// Runs `work` while everybody sends; afterwards the last bodies are sent until they are acknowledged, as every other.
    ///
    /// # Panics
    /// As `work` does, or where a body is refused or never answered.
    pub fn send_during(&self, door: &Door, work: impl FnOnce()) -> Sent {
        thread::scope(|scope| {
            let samples: Vec<_> = (0..self.reached.len()).map(|n| scope.spawn(move || self.send_samples(door, n))).collect();
            let events = scope.spawn(|| self.send_events(door));
            // Senders must not be waited for when the main thread fails.
            let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            self.failed.store(worked.is_err(), Ordering::Relaxed);
            self.stop.store(true, Ordering::Relaxed);
            if let Err(panic) = worked {
                std::panic::resume_unwind(panic);
            }
            let (events, events_unknown) = events.join().expect("the sender of events");
            let mut sent = Sent { samples: Ledger::default(), events, events_unknown };
            samples.into_iter().for_each(|sender| sent.samples.merge(sender.join().expect("a sender of samples")));
            sent
        })
    }

    fn random(&self, n: usize) -> Dice {
        Dice::new(self.seed.wrapping_add(n as u64 + 1))
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn send_samples(&self, door: &Door, n: usize) -> Ledger {
        let mut random = self.random(n);
        let source = format!("sender-{n}");
        let mut values = vec![0.0f64; SERIES.iter().map(|(_, count)| count).sum()];
        let mut ledger = Ledger::default();
        let mut time = self.start_ms;
        while !self.stopped() {
            let slowest = self.reached.iter().map(|t| t.load(Ordering::Relaxed)).min().unwrap_or(time);
            if time > slowest + AHEAD_MS_MAX {
                thread::sleep(BODY_PAUSE);
                continue;
            }
            let (body, samples) = next_body(&source, time, &mut values, &mut random);
            time += BODY_MS;
            // Now and then a sender is shut down for good in the middle of an outage, and nobody knows what became of its last body.
            let patience = if random.below(10) == 0 { Duration::ZERO } else { PATIENCE };
            if self.post(patience, || Ok(door.write_v1(&source, &body)?.status)) {
                if random.below(50) == 0 {
                    // An answer that got lost: the same bytes again.
                    self.post(Duration::ZERO, || Ok(door.write_v1(&source, &body)?.status));
                }
                ledger.acknowledge(samples);
            } else {
                ledger.give_up(samples);
            }
            self.reached[n].store(time, Ordering::Relaxed);
            thread::sleep(BODY_PAUSE);
        }
        self.reached[n].store(i64::MAX - AHEAD_MS_MAX, Ordering::Relaxed);
        ledger
    }

    fn send_events(&self, door: &Door) -> (BTreeSet<String>, BTreeSet<String>) {
        let mut random = self.random(self.reached.len());
        let (mut acknowledged, mut unknown) = (BTreeSet::new(), BTreeSet::new());
        for n in 0.. {
            if self.stopped() {
                break;
            }
            let (path, id, body) = next_event(n, self.start_ms, &mut random);
            let patience = if random.below(10) == 0 { Duration::ZERO } else { PATIENCE };
            let taken = self.post(patience, || Ok(door.post_json(&format!("/api/v1/webhooks/{path}"), &body)?.status));
            if taken {
                acknowledged.insert(id)
            } else {
                unknown.insert(id)
            };
            thread::sleep(3 * BODY_PAUSE);
        }
        (acknowledged, unknown)
    }

    /// Posts until it is taken, or patience is out.
    fn post(&self, patience: Duration, request: impl Fn() -> Result<u16>) -> bool {
        let began = Instant::now();
        loop {
            match request() {
                Ok(status) if status < 300 => return true,
                Ok(status) => assert!(status == 429 || status >= 500, "answered {status}"),
                Err(_) => {}
            }
            if self.failed.load(Ordering::Relaxed) {
                return false;
            }
            if began.elapsed() >= patience {
                assert!(patience < PATIENCE, "not acknowledged for {} s", PATIENCE.as_secs());
                return false;
            }
            thread::sleep(RETRY_PAUSE);
        }
    }
}

/// Two samples of every series: most are counters that are reset at times, every tenth is a gauge.
fn next_body(source: &str, time: i64, values: &mut [f64], random: &mut Dice) -> (Vec<u8>, Vec<(Key, f64)>) {
    let (mut series, mut samples) = (Vec::new(), Vec::new());
    let mut values = values.iter_mut();
    for (metric, count) in SERIES {
        for (n, value) in (0..count).zip(values.by_ref()) {
            let n_text = format!("{n:02}");
            let mut points = Vec::new();
            for step in [0, BODY_MS / 2] {
                *value = match metric {
                    "up" => (random.below(20) > 0) as u64 as f64,
                    _ if n % 10 == 9 || random.below(500) == 0 => random.below(1000) as f64,
                    _ => *value + random.below(100) as f64,
                };
                points.push((time + step, *value));
                samples.push(((format!("{metric}/{source}/{n_text}"), time + step), *value));
            }
            let code = if n % 2 == 0 { "200" } else { "500" };
            series.push(wire::series(&[("__name__", metric), ("code", code), ("instance", source), ("job", "shop"), ("n", &n_text)], &points));
        }
    }
    (wire::body_v1(series), samples)
}

/// An incident's step or a model call, with an id of its own.
fn next_event(n: u64, start_ms: i64, random: &mut Dice) -> (&'static str, String, Value) {
    let at = EventTime(start_ms + n as i64 * 1500).to_string();
    let id = format!("event-{n}");
    if n.is_multiple_of(3) {
        let (provider, model) = [("ollama", "llama3"), ("anthropic", "claude-sonnet-4-5")][random.below(2) as usize];
        let body = json!({"id": id, "ts": at, "provider": provider, "model": model, "operation": "chat", "input_tokens": random.below(5000),
            "output_tokens": random.below(500), "status": "ok", "service": "shop"});
        return ("llm-usage", id, body);
    }
    let kind = if n % 3 == 1 { "opened" } else { "resolved" };
    let actor = ["ai", "human", "system"][random.below(3) as usize];
    let body = json!({"event_id": id, "incident_id": format!("incident-{}", n / 3), "type": kind, "occurred_at": at,
        "actor": {"kind": actor, "id": "x"}, "severity": "high", "service": "shop", "source": "prometheus"});
    ("incidents", id, body)
}

impl Sent {
    /// Every difference between what was sent and what the server holds, in words; and how many samples it holds.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn differences(&self, door: &Door) -> Result<(usize, Vec<String>)> {
        let mut samples = vec![];
        for (metric, _) in SERIES {
            for row in rows::sql(door, &format!("SELECT instance, n, time, value FROM metrics.\"{metric}\""))? {
                samples.push(((format!("{metric}/{}/{}", row[0].text(), row[1].text()), row[2].int() / 1000), row[3].float()));
            }
        }
        let count = samples.len();
        let mut found = self.samples.differences(samples);
        let counted = rows::one_int(door, "SELECT count(*) FROM samples")?;
        if found.is_empty() && counted as usize != count {
            found.push(format!("samples has {counted} rows, its metrics {count}"));
        }
        let events: Vec<String> = rows::sql(door, "SELECT event_id FROM events")?.iter().map(|row: &Vec<Cell>| row[0].text().to_owned()).collect();
        let distinct: BTreeSet<&String> = events.iter().collect();
        if distinct.len() != events.len() {
            found.push(format!("{} of {} events stand twice", events.len() - distinct.len(), events.len()));
        }
        found.extend(self.events.iter().filter(|id| !distinct.contains(*id)).take(5).map(|id| format!("{id} was acknowledged and is missing")));
        let sent = |id: &&&String| !self.events.contains(**id) && !self.events_unknown.contains(**id);
        found.extend(distinct.iter().filter(sent).take(5).map(|id| format!("{id} was never sent")));
        Ok((count, found))
    }

    /// Expects it of a server, after one more kill and after a graceful stop; and the panes of its samples. Says how many of both there are.
    ///
    /// # Panics
    /// Where a difference stays, or the server does not come back.
    pub fn expect_to_last(&self, server: &mut Server, when: &str) -> (usize, usize) {
        let door = server.door();
        let stored = self.expect(&door, when);
        server.kill().expect("a kill");
        server.restart().expect("a start after the kill");
        assert_eq!(self.expect(&door, "after one more kill"), stored);
        assert!(server.stop().expect("a stop").success(), "a graceful stop");
        server.restart().expect("a start after the stop");
        assert_eq!(self.expect(&door, "after a graceful stop"), stored);
        (stored, panes::compare(&door, &SERIES.map(|(metric, _)| metric)))
    }

    /// Waits until there is no difference any more; what is acknowledged is visible within two seconds of a release build's ticks, a debug
    /// build on a loaded machine is slower. Says how many samples there are.
    ///
    /// # Panics
    /// Where a difference stays.
    pub fn expect(&self, door: &Door, when: &str) -> usize {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let (count, differences) = self.differences(door).unwrap_or_else(|e| panic!("{when}: {e:#}"));
            if differences.is_empty() {
                return count;
            }
            let waiting = count < self.samples.len() && Instant::now() < deadline;
            assert!(waiting, "{when}, {count} rows against {} acknowledged samples:\n{}", self.samples.len(), differences.join("\n"));
            thread::sleep(Duration::from_millis(200));
        }
    }
}
