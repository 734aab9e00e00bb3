//! The store stands still, dies and comes back: writers are taken until the stated limits, readers are told, and nothing is lost.

use super::{CONFIG, started};
use crate::program;
use afferent_tests::door::Door;
use afferent_tests::minio::Wire;
use afferent_tests::sender::{BODY_MS, Fleet, now_ms};
use afferent_tests::server::{Server, wait_for};
use afferent_tests::{rows, wire};
use serde_json::Value;
use std::thread;
use std::time::{Duration, Instant};

const SENDERS: usize = 2;

/// How long the store is away each time.
const AWAY: Duration = Duration::from_secs(8);

/// What a request of the store may take in these tests, milliseconds.
const TIMEOUT_MS: u64 = 3000;

fn report(door: &Door) -> Value {
    door.json("/api/v1/freshness").unwrap()
}

fn taken(door: &Door) -> u64 {
    report(door)["logs"]["metrics/0"]["next_position"].as_u64().unwrap()
}

#[test]
fn what_was_acknowledged_stands_once_through_outages_and_kills() {
    let folder = tempfile::tempdir().unwrap();
    let Some(minio) = started("what_was_acknowledged_stands_once_through_outages_and_kills", folder.path(), Wire::Plain) else { return };
    let config = format!("{CONFIG}{}timeout_ms = {TIMEOUT_MS}\n", minio.config("outage"));
    let mut server = Server::start(program(), folder.path(), &config).unwrap();
    let door = server.door();
    let seed = now_ms() as u64;
    eprintln!("seed {seed}");
    let fleet = Fleet::new(seed, SENDERS, now_ms() - 3000 * BODY_MS);
    let sent = fleet.send_during(&door, || {
        wait_for("a few checkpoints", || report(&door)["epoch"].as_u64().unwrap() > 3);
        rows::sql(&door, SUM).unwrap();
        // It stands still: connections stay and nobody answers.
        minio.pause().unwrap();
        goes_on_without(&door, "stands still");
        minio.resume().unwrap();
        comes_back(&door);
        // It dies, and comes back on the same data.
        minio.kill().unwrap();
        goes_on_without(&door, "is dead");
        minio.restart().unwrap();
        comes_back(&door);
        // Both die; who is started without its store says so and ends.
        minio.kill().unwrap();
        server.kill().unwrap();
        server.spawn().unwrap();
        let ended = server.wait_end(Duration::from_secs(30)).unwrap().expect("it ends");
        assert_eq!(ended.code(), Some(1));
        minio.restart().unwrap();
        server.restart().unwrap();
        // It is killed in the middle of an outage.
        minio.pause().unwrap();
        thread::sleep(Duration::from_secs(1));
        server.kill().unwrap();
        minio.resume().unwrap();
        restarts(&mut server);
        thread::sleep(Duration::from_secs(2));
    });
    let (stored, panes) = sent.expect_to_last(&mut server, "after the outages");
    eprintln!("{stored} samples, {} events, {panes} panes exact", sent.events.len());
    assert!(stored > 5000 && panes > 100, "the load was too small to show anything");
}

/// A put that a dead process sent may still come in, and then stands before the new process' own: it stops and begins again behind it.
fn restarts(server: &mut Server) {
    server.restart().unwrap();
    if server.wait_end(Duration::from_secs(4)).unwrap().is_some() {
        assert!(server.log().contains("was written by pid-"), "{}", server.log());
        server.restart().unwrap();
    }
}

/// While the store is away.
fn goes_on_without(door: &Door, how: &str) {
    let began = Instant::now();
    wait_for("the outage to be told", || !report(door)["store"]["away_since"].is_null());
    eprintln!("the store {how}: told after {:?}: {}", began.elapsed(), report(door)["store"]["reason"]);
    let before = taken(door);
    // Of one table footers are remembered, of the other not.
    for statement in [SUM, "SELECT max(received_at) FROM events WHERE kind = 'incident'"] {
        refused(door, statement, how);
    }
    thread::sleep(AWAY);
    let status = report(door);
    assert!(taken(door) > before + 10, "writers are taken while it {how}: {before}, then {}", taken(door));
    let views = status["views"].as_object().unwrap();
    assert!(views.values().all(|view| view["error"].is_null()), "{status}");
    assert!(status["store"]["checkpoint_age_s"].as_f64().unwrap() >= AWAY.as_secs_f64(), "{}", status["store"]);
}

/// Reads every row.
const SUM: &str = "SELECT sum(value), avg(value * 1.5) FROM samples";

/// Rows that lie in the store cannot be read, and this is said in time.
fn refused(door: &Door, statement: &str, how: &str) {
    let asked = Instant::now();
    let answer = door.post("/api/v1/sql", &[], statement.as_bytes()).unwrap();
    assert_eq!(answer.status, 503, "{statement}: {}", answer.text());
    assert!(asked.elapsed() < Duration::from_secs(20), "answered after {:?}", asked.elapsed());
    eprintln!("{statement} while it {how} after {:?}: {}", asked.elapsed(), answer.text());
}

/// By itself, once it answers again.
fn comes_back(door: &Door) {
    let began = Instant::now();
    wait_for("the store to take checkpoints again", || {
        let store = &report(door)["store"];
        store["away_since"].is_null() && store["checkpoint_age_s"].as_f64().unwrap() < 5.0
    });
    eprintln!("it takes checkpoints again after {:?}", began.elapsed());
    assert!(rows::one_int(door, "SELECT count(*) FROM samples").unwrap() > 0);
}

/// So little room that an outage of seconds fills it.
const SMALL: &str = "
[log]
segment_bytes = 65536
[engine]
checkpoint_interval_ms = 500
tick_ms = 100
buffer_rows_max = 10000
";

#[test]
fn an_outage_longer_than_memory_is_answered_503_and_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let Some(minio) = started("an_outage_longer_than_memory_is_answered_503_and_ends_by_itself", folder.path(), Wire::Plain) else { return };
    let server = Server::start(program(), folder.path(), &format!("{SMALL}{}timeout_ms = {TIMEOUT_MS}\n", minio.config("full"))).unwrap();
    let door = server.door();
    minio.kill().unwrap();
    let start_ms = now_ms() - 3_600_000;
    let mut acknowledged = 0;
    let body = |n: i64| {
        let series = |k: i64| wire::series(&[("__name__", "full"), ("k", &k.to_string())], &[(start_ms + n * 100, n as f64)]);
        wire::body_v1((0..500).map(series).collect())
    };
    let refused = (0..1000).any(|n| match door.write_v1("full", &body(n)).unwrap().status {
        503 => true,
        status => {
            assert!(status < 300, "{status}");
            acknowledged += 1;
            false
        }
    });
    assert!(refused, "memory never got full");
    let samples = acknowledged * 500;
    let status = report(&door);
    eprintln!("refused after {samples} samples: {}", status["store"]["reason"]);
    assert!((20_000..=60_000).contains(&samples), "twice buffer_rows_max and what waits in the queue: {samples}");
    assert!(status["store"]["away_s"].as_f64().unwrap() > 0.0, "{status}");
    minio.restart().unwrap();
    comes_back(&door);
    wait_for("writers to be taken again", || door.write_v1("full", &body(acknowledged)).unwrap().status < 300);
    let wanted = samples + 500;
    wait_for("every acknowledged sample", || rows::one_int(&door, "SELECT count(*) FROM samples WHERE metric = 'full'").unwrap() == wanted);
}
