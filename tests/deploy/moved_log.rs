//! The way of deploy/README.md from one log to another without losing the store's state: one checkpoint, made by hand, that begins at the new log.

use crate::program;
use afferent_tests::door::Door;
use afferent_tests::rows;
use afferent_tests::server::{Server, wait_for};
use afferent_tests::wire;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// 2026-03-31T00:00:00Z.
const START_MS: i64 = 1_774_915_200_000;

/// A sample every ten seconds of each series, each more than the one before by the number of its series.
const STEP_MS: i64 = 10_000;
const SERIES: i64 = 4;

/// The log changes in the middle of a window and of a pane.
const MOVED_MS: i64 = START_MS + 17 * 60_000 + 30_000;
const END_MS: i64 = START_MS + 35 * 60_000;

const VIEW: &str = "CREATE MATERIALIZED VIEW growth AS SELECT label(labels, 'job') AS job, tumble(window_start, INTERVAL '5 minutes') AS window_start, \
                    sum(increase) AS n FROM panes WHERE metric = 'requests_total' GROUP BY 1, 2";

/// How long a process may take to refuse a log.
const REFUSED_WAIT: Duration = Duration::from_secs(60);

#[test]
fn a_store_goes_on_with_an_empty_log_after_the_step_of_the_manual() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(program(), folder.path(), "").unwrap();
    let answer = server.door().post("/api/v1/sql", &[("Content-Type", "text/plain")], VIEW.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    send(&server.door(), START_MS, MOVED_MS);
    incident(&server.door(), "1", "opened", "2026-03-31T00:10:00Z");
    assert!(server.stop().unwrap().success());

    let log = server.data().join("log");
    fs::rename(&log, folder.path().join("old-log")).unwrap();
    server.spawn().unwrap();
    let ended = server.wait_end(REFUSED_WAIT).unwrap().expect("it does not run on another log");
    assert!(!ended.success() && server.log().contains("the store belongs to another log"), "{}", server.log());

    begin_at_a_new_log(&server.data().join("store").join("checkpoints").join("partition-0"));
    server.restart().unwrap();
    // The last body again: what counts as a retry is part of the state, not of the log.
    send(&server.door(), MOVED_MS - STEP_MS, MOVED_MS);
    send(&server.door(), MOVED_MS, END_MS);
    incident(&server.door(), "2", "resolved", "2026-03-31T00:20:00Z");
    check(&server.door());
    // The chain goes on from there: graceful and not.
    assert!(server.stop().unwrap().success());
    server.restart().unwrap();
    server.kill().unwrap();
    server.restart().unwrap();
    check(&server.door());
}

/// What deploy/README.md does with `jq`: the newest checkpoint with the next number, the beginning of the new log, and nothing to publish.
fn begin_at_a_new_log(checkpoints: &Path) {
    let newest: PathBuf = fs::read_dir(checkpoints)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .max()
        .expect("a checkpoint");
    let mut checkpoint: Value = serde_json::from_slice(&fs::read(&newest).unwrap()).unwrap();
    let epoch = checkpoint["epoch"].as_u64().unwrap() + 1;
    checkpoint["epoch"] = epoch.into();
    checkpoint["tables"] = json!({});
    checkpoint["writer"] = "moved-to-another-log".into();
    for position in checkpoint["positions"].as_object_mut().unwrap().values_mut() {
        assert!(position.as_u64().unwrap() > 0, "the old log had records");
        *position = 0.into();
    }
    fs::write(checkpoints.join(format!("{epoch:020}.json")), checkpoint.to_string()).unwrap();
}

fn send(door: &Door, from: i64, until: i64) {
    for at in (from..until).step_by(STEP_MS as usize) {
        let passed = (at - START_MS) / STEP_MS;
        let all = (1..=SERIES).map(|n| {
            let instance = n.to_string();
            wire::series(&[("__name__", "requests_total"), ("instance", &instance), ("job", "web")], &[(at, (passed * n) as f64)])
        });
        assert_eq!(door.write_v1("sender", &wire::body_v1(all.collect())).unwrap().status, 204);
    }
}

fn incident(door: &Door, id: &str, kind: &str, at: &str) {
    let event = json!({"event_id": id, "incident_id": "INC-1", "type": kind, "occurred_at": at, "actor": {"kind": "ai", "id": "x"},
        "severity": "high", "service": "shop", "source": "prometheus"});
    let answer = door.post_json("/api/v1/webhooks/incidents", &event).unwrap();
    assert!(answer.status < 300, "{}", answer.text());
}

/// Everything counted once, over both logs.
fn check(door: &Door) {
    let samples = (END_MS - START_MS) / STEP_MS * SERIES;
    wait_for("every sample", || rows::one_int(door, "SELECT count(*) FROM samples").unwrap() == samples);
    assert_eq!(rows::one_int(door, "SELECT count(*) FROM events").unwrap(), 2);
    let duration = "SELECT count(*) FROM incidents WHERE incident_id = 'INC-1' AND duration_s = 600";
    wait_for("the incident's duration, its two events from two logs", || rows::one_int(door, duration).unwrap() == 1);
    // A series grows by its number every ten seconds; the first window lacks the first step, which nothing came before.
    let a_step: i64 = (1..=SERIES).sum();
    let (steps, windows) = (5 * 60_000 / STEP_MS, (END_MS - START_MS) / (5 * 60_000));
    let grown = "SELECT CAST(n AS BIGINT) FROM growth ORDER BY window_start";
    let wanted: Vec<i64> = (0..windows).map(|window| if window == 0 { (steps - 1) * a_step } else { steps * a_step }).collect();
    wait_for("every window", || rows::sql(door, grown).unwrap().len() == wanted.len());
    let found: Vec<i64> = rows::sql(door, grown).unwrap().iter().map(|row| row[0].int()).collect();
    assert_eq!(found, wanted, "windows of both logs, and the one between them");
}
