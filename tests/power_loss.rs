//! Power loss on the real program: its system calls are recorded, and the data folder is made again as a disk would hold it that lost everything
//! not synced at some moment. What was acknowledged before that moment must be there, once.

mod disk;
mod trace;

use crate::program;
use afferent_engine::sim::faults::Dice;
use afferent_engine::time::EventTime;
use afferent_tests::door::Door;
use afferent_tests::prometheus::installed;
use afferent_tests::rows;
use afferent_tests::sender::now_ms;
use afferent_tests::server::Server;
use afferent_tests::skip::skip;
use afferent_tests::wire;
use anyhow::{Context, Result, ensure};
use disk::Disk;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CONFIG: &str = "
[log]
segment_bytes = 16384
[engine]
checkpoint_interval_ms = 300
[maintain]
interval_s = 1
";

/// Trials of a short run; `AFFERENT_TRIALS` says otherwise. One recording serves so many of them.
const TRIALS: usize = 6;
const TRIALS_PER_RECORDING: usize = 25;

/// How long a recording goes on after the first acknowledged sample.
const RECORDED: Duration = Duration::from_secs(8);

/// When each sample (or event) was acknowledged, microseconds since 1970; none for one that never was.
type Told = BTreeMap<u64, Option<i64>>;

/// What was recorded.
struct Recording {
    calls: Vec<trace::Call>,
    samples: Told,
    events: Told,
    /// The first acknowledgement.
    from_us: i64,
}

#[test]
fn nothing_acknowledged_is_lost_with_the_power() {
    let name = "nothing_acknowledged_is_lost_with_the_power";
    if installed("strace").is_none() {
        return skip(name, "apt-get install strace");
    }
    let trials = std::env::var("AFFERENT_TRIALS").ok().and_then(|n| n.parse().ok()).unwrap_or(TRIALS);
    let seed = now_ms() as u64;
    eprintln!("seed {seed}");
    let mut random = Dice::new(seed);
    let (mut cuts, mut kept, mut calls) = (0, 0, 0);
    while cuts < trials {
        let folder = tempfile::tempdir().unwrap();
        let recording = record(folder.path()).unwrap();
        calls += recording.calls.len();
        for _ in 0..TRIALS_PER_RECORDING.min(trials - cuts) {
            kept += trial(&recording, &folder.path().join("traced").join("data"), &mut random);
            cuts += 1;
        }
    }
    eprintln!("{cuts} losses of power over {calls} recorded calls; {kept} acknowledged samples and events found again");
}

/// Runs the program under strace and sends until time is out.
fn record(folder: &Path) -> Result<Recording> {
    let (traced, lines) = (folder.join("traced"), folder.join("calls"));
    fs::create_dir_all(&traced)?;
    // -D: the program stays our child, so that it is the one that is killed.
    let script = format!(
        "#!/bin/sh\nexec strace -D -f -ttt -xx -v -s 100000000 --seccomp-bpf -e signal=none -e trace={} -o {} {} \"$@\"\n",
        trace::CALLS,
        lines.display(),
        program().display()
    );
    let wrapped = folder.join("traced.sh");
    fs::write(&wrapped, script)?;
    fs::set_permissions(&wrapped, fs::Permissions::from_mode(0o755))?;
    let mut server = Server::start(&wrapped, &traced, CONFIG)?;
    let door = server.door();
    let stop = AtomicBool::new(false);
    let start_ms = now_ms() - 86_400_000;
    let (samples, events) = thread::scope(|scope| {
        let samples = scope.spawn(|| tell(&stop, 10, |n| door.write_v1("power", &body(start_ms, n)).map(|a| a.status)));
        let events = scope.spawn(|| tell(&stop, 100, |n| door.post_json("/api/v1/webhooks/incidents", &event(start_ms, n)).map(|a| a.status)));
        let began = Instant::now();
        while began.elapsed() < RECORDED {
            thread::sleep(Duration::from_millis(50));
        }
        server.kill().unwrap();
        stop.store(true, Ordering::Relaxed);
        (samples.join().expect("the sender of samples"), events.join().expect("the sender of events"))
    });
    let text = whole(&lines)?;
    let calls = trace::read(&text)?;
    let from_us = samples.values().flatten().min().copied().context("nothing was acknowledged")?;
    ensure!(samples.len() > 50 && calls.len() > 1000, "only {} samples and {} calls", samples.len(), calls.len());
    Ok(Recording { calls, samples, events, from_us })
}

/// The recording once its writer has finished it.
fn whole(lines: &Path) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let text = fs::read_to_string(lines)?;
        if text.ends_with('\n') && text.trim_end().ends_with("+++") || Instant::now() > deadline {
            return Ok(text);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Sends one thing after the other.
fn tell(stop: &AtomicBool, pause_ms: u64, send: impl Fn(u64) -> Result<u16>) -> Told {
    let mut told = Told::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let taken = send(n).is_ok_and(|status| status < 300);
        told.insert(n, taken.then(now_us));
        thread::sleep(Duration::from_millis(pause_ms));
    }
    told
}

#[allow(clippy::disallowed_methods, reason = "compared with what strace writes")]
fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_micros()).expect("a clock before the year 292 million")
}

/// Ten series with one sample each, `n` is the value.
fn body(start_ms: i64, n: u64) -> Vec<u8> {
    let one = |k: u64| {
        wire::series(&[("__name__", "power"), ("instance", "a"), ("job", "power"), ("k", &k.to_string())], &[(start_ms + n as i64 * 1000, n as f64)])
    };
    wire::body_v1((0..10).map(one).collect())
}

fn event(start_ms: i64, n: u64) -> serde_json::Value {
    json!({"event_id": format!("e{n}"), "incident_id": format!("i{}", n / 2), "type": if n.is_multiple_of(2) { "opened" } else { "resolved" },
        "occurred_at": EventTime(start_ms + n as i64 * 1000).to_string(), "actor": {"kind": "ai", "id": "x"}, "severity": "low", "service": "power"})
}

/// Cuts the power at some call, starts on what is left, and compares; says how much of what was acknowledged there was.
fn trial(recording: &Recording, root: &Path, random: &mut Dice) -> usize {
    let first = recording.calls.iter().position(|call| call.began_us >= recording.from_us).expect("calls after the first acknowledgement");
    let cut = first + random.below((recording.calls.len() - first) as u64) as usize;
    let mut disk = Disk::new(root);
    for call in &recording.calls[..cut] {
        disk.apply(call).unwrap_or_else(|e| panic!("{call:?}: {e:#}"));
    }
    let cut_us = recording.calls[cut].began_us;
    let folder = tempfile::tempdir().unwrap();
    let lucky = random.below(2) == 0;
    let files = disk.after_power_loss(&folder.path().join("data"), lucky.then_some(random)).unwrap();
    let what = format!(
        "cut before call {cut} of {}, {files} files left, {}",
        recording.calls.len(),
        if lucky { "some writes kept" } else { "nothing else kept" }
    );
    let mut server = Server::start(program(), folder.path(), CONFIG).unwrap_or_else(|e| panic!("{what}: {e:#}"));
    let door = server.door();
    let samples =
        found(&door, "SELECT CAST(value AS BIGINT), count(*), count(DISTINCT series_id) FROM samples WHERE metric = 'power' GROUP BY value");
    let events = found(&door, "SELECT CAST(substr(event_id, 2) AS BIGINT), count(*), count(DISTINCT event_id) FROM events GROUP BY event_id");
    let kept = check(&samples, &recording.samples, 10, cut_us, &what) + check(&events, &recording.events, 1, cut_us, &what);
    let counted = rows::one_int(&door, "SELECT coalesce(sum(count), 0) FROM rollup_1m WHERE metric = 'power'").unwrap();
    assert_eq!(counted, samples.values().map(|(rows, _)| rows).sum::<i64>(), "{what}: panes count other samples");
    server.kill().unwrap();
    kept
}

/// By number: rows, and how many of them differ.
fn found(door: &Door, statement: &str) -> BTreeMap<u64, (i64, i64)> {
    rows::sql(door, statement).unwrap().iter().map(|row| (row[0].int() as u64, (row[1].int(), row[2].int()))).collect()
}

fn check(found: &BTreeMap<u64, (i64, i64)>, told: &Told, each: i64, cut_us: i64, what: &str) -> usize {
    let mut kept = 0;
    for (n, acknowledged) in told {
        let must = acknowledged.is_some_and(|at| at < cut_us);
        match found.get(n) {
            Some((rows, distinct)) => assert!(*rows == each && *distinct == each, "{what}: number {n} stands as {rows} rows, {distinct} different"),
            None => assert!(!must, "{what}: number {n} was acknowledged and is lost"),
        }
        kept += usize::from(must);
    }
    assert!(found.keys().all(|n| told.contains_key(n)), "{what}: something that was never sent");
    kept
}
