//! Acknowledged means kept, once: senders with a memory, a server that is killed again and again, and every row compared at the end.

use crate::program;
use afferent_tests::door::Door;
use afferent_tests::ledger::{Key, Ledger};
use afferent_tests::oracle::counter::{self, Pane, Series};
use afferent_tests::rows::{self, Cell};
use afferent_tests::server::Server;
use afferent_tests::skip::soak_seconds;
use afferent_tests::wire;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Epochs and segments much smaller than usual, so that every kill meets a different moment of both.
const CONFIG: &str = "
[log]
segment_bytes = 65536
[engine]
checkpoint_interval_ms = 2000
[maintain]
interval_s = 2
[sql]
rows_max = 100000000
seconds_max = 60
";

const SENDERS: u64 = 4;
const SERIES: usize = 50;
const KILLS: u64 = 5;

/// Event time that passes per body, and how often a sender sends one.
const BODY_MS: i64 = 2000;
const BODY_PAUSE: Duration = Duration::from_millis(50);

/// What is acknowledged is visible within two seconds of a release build's ticks; a debug build on a loaded machine is slower.
const VISIBLE_WAIT: Duration = Duration::from_secs(20);

/// A small random generator (xorshift64*), so that a failure names its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

#[allow(clippy::disallowed_methods, reason = "a test of the whole program runs in real time")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_millis()).expect("a clock before the year 292 million")
}

#[test]
fn every_acknowledged_sample_stands_exactly_once_through_kills() {
    let seconds = soak_seconds(25);
    let seed = now_ms() as u64 | 1;
    eprintln!("seed {seed}");
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(program(), folder.path(), CONFIG).unwrap();
    let door = server.door();
    let start_ms = now_ms() - (seconds as i64 * 1000 / BODY_PAUSE.as_millis() as i64) * BODY_MS - 600_000;
    let stop = AtomicBool::new(false);
    let ledger = thread::scope(|scope| {
        let send = |sender| {
            let (door, stop) = (&door, &stop);
            scope.spawn(move || send(door, sender, seed, start_ms, stop))
        };
        let senders: Vec<_> = (0..SENDERS).map(send).collect();
        // Senders must not be waited for when the main thread fails.
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| kill_at_random(&mut server, seed, seconds)));
        stop.store(true, Ordering::Relaxed);
        let mut ledger = Ledger::default();
        senders.into_iter().for_each(|sender| ledger.merge(sender.join().unwrap()));
        killed.unwrap();
        ledger
    });
    assert!(ledger.len() > 10_000, "only {} samples were acknowledged", ledger.len());
    let after_kills = compare(&door, &ledger, "after the kills");
    server.kill().unwrap();
    server.restart().unwrap();
    assert_eq!(compare(&door, &ledger, "after one more kill"), after_kills);
    assert!(server.stop().unwrap().success(), "a graceful stop");
    server.restart().unwrap();
    assert_eq!(compare(&door, &ledger, "after a graceful stop"), after_kills);
    compare_panes(&door);
}

fn kill_at_random(server: &mut Server, seed: u64, seconds: u64) {
    let mut random = Random(seed ^ 0x9e37_79b9_7f4a_7c15);
    let share_ms = seconds * 1000 / (KILLS + 1);
    for _ in 0..KILLS {
        thread::sleep(Duration::from_millis(share_ms / 2 + random.below(share_ms)));
        server.kill().unwrap();
        thread::sleep(Duration::from_millis(random.below(300)));
        server.restart().unwrap();
    }
    thread::sleep(Duration::from_millis(share_ms / 2));
}

/// Sends until it is told to stop; the last body is sent until it is acknowledged, as every other.
fn send(door: &Door, sender: u64, seed: u64, start_ms: i64, stop: &AtomicBool) -> Ledger {
    let mut random = Random(seed.wrapping_add(sender + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let source = format!("sender-{sender}");
    let mut values = vec![0.0f64; SERIES];
    let mut ledger = Ledger::default();
    let mut time = start_ms;
    while !stop.load(Ordering::Relaxed) {
        let (body, samples) = next_body(&source, time, &mut values, &mut random);
        time += BODY_MS;
        // Now and then a sender is shut down for good in the middle of an outage, and nobody knows what became of its last body.
        let gives_up = random.below(10) == 0;
        if post(door, &source, &body, gives_up) {
            if random.below(50) == 0 {
                // An answer that got lost: the same bytes again.
                post(door, &source, &body, true);
            }
            ledger.acknowledge(samples);
        } else {
            ledger.give_up(samples);
        }
        thread::sleep(BODY_PAUSE);
    }
    ledger
}

/// Two samples of every series: most are counters that are reset at times, every tenth is a gauge.
fn next_body(source: &str, time: i64, values: &mut [f64], random: &mut Random) -> (Vec<u8>, Vec<(Key, f64)>) {
    let mut series = Vec::new();
    let mut samples = Vec::new();
    for (n, value) in values.iter_mut().enumerate() {
        let n_text = format!("{n:02}");
        let mut points = Vec::new();
        for step in [0, BODY_MS / 2] {
            *value = if n % 10 == 9 || random.below(500) == 0 { random.below(1000) as f64 } else { *value + random.below(100) as f64 };
            points.push((time + step, *value));
            samples.push(((format!("{source}/{n_text}"), time + step), *value));
        }
        series.push(wire::series(&[("__name__", "ledger"), ("job", "ledger"), ("instance", source), ("n", &n_text)], &points));
    }
    (wire::body_v1(series), samples)
}

/// Posts until it is taken; with `gives_up`, only once.
fn post(door: &Door, source: &str, body: &[u8], gives_up: bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(180);
    while Instant::now() < deadline {
        match door.write_v1(source, body) {
            Ok(answer) if answer.status < 300 => return true,
            Ok(answer) => assert!(answer.status == 429 || answer.status >= 500, "{}: {}", answer.status, answer.text()),
            Err(_) => {}
        }
        if gives_up {
            return false;
        }
        thread::sleep(Duration::from_millis(30));
    }
    panic!("not acknowledged for three minutes");
}

/// Compares every row with the ledger and says how many there are.
fn compare(door: &Door, ledger: &Ledger, when: &str) -> usize {
    let deadline = Instant::now() + VISIBLE_WAIT;
    let count = loop {
        let rows = rows::sql(door, "SELECT instance, n, time, value FROM metrics.\"ledger\"").unwrap();
        let sample = |row: &Vec<Cell>| ((format!("{}/{}", row[0].text(), row[1].text()), row[2].int() / 1000), row[3].float());
        let differences = ledger.differences(rows.iter().map(sample));
        if differences.is_empty() {
            break rows.len();
        }
        let fewer = rows.len() < ledger.len() && Instant::now() < deadline;
        assert!(fewer, "{when}, {} rows against {} acknowledged samples:\n{}", rows.len(), ledger.len(), differences.join("\n"));
        thread::sleep(Duration::from_millis(200));
    };
    let counted = rows::one_int(door, "SELECT count(*) FROM samples WHERE metric = 'ledger'").unwrap();
    assert_eq!(counted as usize, count, "{when}");
    count
}

/// `rollup_1m` against the panes of the rows in `samples`.
fn compare_panes(door: &Door) {
    let mut series: BTreeMap<String, Series> = BTreeMap::new();
    for row in rows::sql(door, "SELECT instance, n, time, value FROM metrics.\"ledger\"").unwrap() {
        let name = format!("{}/{}", row[0].text(), row[1].text());
        let target = Some(("ledger".to_owned(), row[0].text().to_owned()));
        let one = series.entry(name.clone()).or_insert(Series { name, target, samples: BTreeMap::new() });
        one.samples.insert(row[2].int() / 1000, row[3].float());
    }
    let wanted = counter::panes(&series.into_values().collect::<Vec<_>>());
    let columns = "instance, n, window_start, count, sum, min, max, first, last, increase, resets";
    let mut found: BTreeMap<(String, i64), Pane> = BTreeMap::new();
    for row in rows::sql(door, &format!("SELECT {columns} FROM rollup.\"ledger\"")).unwrap() {
        let key = (format!("{}/{}", row[0].text(), row[1].text()), row[2].int() / 1000);
        let value = |cell: &Cell| (*cell != Cell::Null).then(|| cell.float());
        let pane = Pane {
            count: row[3].int(),
            sum: row[4].float(),
            min: value(&row[5]),
            max: value(&row[6]),
            first: value(&row[7]),
            last: value(&row[8]),
            increase: row[9].float(),
            resets: row[10].int(),
        };
        assert!(found.insert(key.clone(), pane).is_none(), "{key:?} has two pane rows");
    }
    let last = wanted.keys().map(|(_, start)| *start).max().expect("panes");
    let mut compared = 0;
    for (key, pane) in wanted.iter().filter(|((_, start), _)| *start < last - 120_000) {
        assert_eq!(found.get(key), Some(pane), "{key:?}");
        compared += 1;
    }
    assert!(compared > 500, "only {compared} panes were final");
}
