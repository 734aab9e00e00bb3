//! From one log to another without losing the store's state, with `afferent move-log`: everything goes on, and what would lose or double something is refused.

use crate::group::{brokers_and_store, settings};
use crate::program;
use afferent_tests::door::Door;
use afferent_tests::kafka::Kafka;
use afferent_tests::minio::{ACCESS_KEY_ID, BUCKET, Minio, SECRET_ACCESS_KEY};
use afferent_tests::rows;
use afferent_tests::server::{Server, wait_for};
use afferent_tests::wire;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
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
fn a_store_goes_on_with_an_empty_log_and_with_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = begun(folder.path(), "");
    // What no checkpoint holds is in the old log only.
    send(&server.door(), MOVED_MS - STEP_MS, MOVED_MS);
    server.kill().unwrap();
    let (log, before) = (server.data().join("log"), folder.path().join("before"));
    fs::create_dir(&before).unwrap();
    fs::rename(&log, before.join("log")).unwrap();
    let from = config(&before, &format!("[data]\ndir = {:?}\n", before.display().to_string()));
    refused(&server, &from, "that the store does not have: start afferent with it once more");
    fs::remove_dir_all(&log).unwrap();
    fs::rename(before.join("log"), &log).unwrap();
    server.restart().unwrap();
    assert!(server.stop().unwrap().success());
    fs::rename(&log, before.join("log")).unwrap();

    // Not without being told, whether the other log is shorter or longer.
    is_another_log(&mut server);
    fs::remove_dir_all(&log).unwrap();
    let strange = folder.path().join("strange");
    let mut other = begun(&strange, "");
    (0..3).for_each(|_| send(&other.door(), START_MS, MOVED_MS));
    assert!(other.stop().unwrap().success());
    fs::rename(other.data().join("log"), &log).unwrap();
    is_another_log(&mut server);
    refused(&server, &from, "a store goes on with an empty log only");
    fs::rename(&log, other.data().join("log")).unwrap();
    let wrong = config(&strange, &format!("[data]\ndir = {:?}\n", other.data().display().to_string()));
    refused(&server, &wrong, "and the log given as the one before is the embedded log");

    moved(&server, &from, "goes on with the embedded log");
    moved(&server, &from, "already");
    server.restart().unwrap();
    refused(&server, &from, "in use");
    goes_on(&mut server);

    // Without the log, everything that a checkpoint holds is there.
    assert!(server.stop().unwrap().success());
    fs::remove_dir_all(&log).unwrap();
    is_another_log(&mut server);
    assert!(command(&server).arg("--old-log-is-lost").status().unwrap().success());
    server.restart().unwrap();
    check(&server.door());
}

#[test]
fn a_store_goes_on_from_the_embedded_log_to_kafka_and_from_topics_to_others() {
    let test = "a_store_goes_on_from_the_embedded_log_to_kafka_and_from_topics_to_others";
    let Some((folder, kafka, minio)) = brokers_and_store(test, 1) else { return };
    let on = |prefix: &str| on_topics(&kafka, &minio, prefix);
    let (first, second) = (kafka.prefix(), kafka.prefix());
    let mut server = begun(folder.path(), "");
    assert!(server.stop().unwrap().success());
    copy_to_bucket(&server.data().join("store"), &minio);
    let bucket = minio.config("group");
    let embedded = config(&folder.path().join("0"), &format!("[data]\ndir = {:?}\n{bucket}", server.data().display().to_string()));
    let mut server = Server::prepared(program(), folder.path(), &on(&first), &[]).unwrap();
    is_another_log(&mut server);
    moved(&server, &embedded, &format!("goes on with the topics {first}.* of the Kafka cluster"));
    server.restart().unwrap();
    goes_on(&mut server);

    assert!(server.stop().unwrap().success());
    // Three partitions of the metrics before, one from now on.
    let before = config(&folder.path().join("1"), &on(&first));
    let one = on(&second).replace("partitions = 3", "partitions = 1");
    let mut server = Server::prepared(program(), folder.path(), &one, &[]).unwrap();
    is_another_log(&mut server);
    moved(&server, &before, &format!("goes on with the topics {second}.* of the Kafka cluster"));
    server.restart().unwrap();
    check(&server.door());
    for n in 1..=20 {
        let series = wire::series(&[("__name__", "later"), ("job", "web"), ("n", &n.to_string())], &[(END_MS, 1.0)]);
        assert_eq!(server.door().write_v1("sender", &wire::body_v1(vec![series])).unwrap().status, 204);
    }
    assert!(server.stop().unwrap().success());
    server.restart().unwrap();
    wait_for("what came after", || rows::one_int(&server.door(), "SELECT count(*) FROM metrics.later").unwrap() == 20);

    // Of a process that has the wrong store, and of one that runs while its log is to be left, nothing is lost.
    refused(&server, &before, "a process works the log");
    let wrong = one.replace("/group\"", "/wrong\"");
    assert_ne!(wrong, one);
    let mut wrong = Server::prepared(program(), &folder.path().join("wrong"), &wrong, &[]).unwrap();
    wrong.spawn().unwrap();
    let ended = wrong.wait_end(REFUSED_WAIT).unwrap().expect("it does not begin a store on a log that another one works");
    assert!(!ended.success() && wrong.log().contains("another store has what came before"), "{}", wrong.log());
    wait_for("what came after", || rows::one_int(&server.door(), "SELECT count(*) FROM metrics.later").unwrap() == 20);
}

#[test]
fn a_store_of_an_engine_for_each_partition_goes_on_with_other_topics() {
    let test = "a_store_of_an_engine_for_each_partition_goes_on_with_other_topics";
    let Some((folder, kafka, minio)) = brokers_and_store(test, 1) else { return };
    let on = |prefix: &str| format!("{}\n[server]\nengine_per_partition = true\n", on_topics(&kafka, &minio, prefix));
    let (first, second) = (kafka.prefix(), kafka.prefix());
    let mut server = begun(folder.path(), &on(&first));
    assert!(server.stop().unwrap().success());
    let before = config(&folder.path().join("before"), &on(&first));
    let mut server = Server::prepared(program(), folder.path(), &on(&second), &[]).unwrap();
    is_another_log(&mut server);
    moved(&server, &before, &format!("goes on with the topics {second}.* of the Kafka cluster"));
    server.restart().unwrap();
    goes_on(&mut server);
}

/// With the log in topics of this prefix.
fn on_topics(kafka: &Kafka, minio: &Minio, prefix: &str) -> String {
    settings(kafka, minio).replace("[log]\n", &format!("[log]\ntopic_prefix = {prefix:?}\n"))
}

/// A server with a view, half of the samples and an incident that is open.
fn begun(folder: &Path, config: &str) -> Server {
    fs::create_dir_all(folder).unwrap();
    let server = Server::start(program(), folder, config).unwrap();
    let answer = server.door().post("/api/v1/sql", &[("Content-Type", "text/plain")], VIEW.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    send(&server.door(), START_MS, MOVED_MS);
    incident(&server.door(), "1", "opened", "2026-03-31T00:10:00Z");
    server
}

/// Everything goes on in the new log, gracefully and not.
fn goes_on(server: &mut Server) {
    // The last body again: what counts as a retry is part of the state, not of the log.
    send(&server.door(), MOVED_MS - STEP_MS, MOVED_MS);
    send(&server.door(), MOVED_MS, END_MS);
    incident(&server.door(), "2", "resolved", "2026-03-31T00:20:00Z");
    check(&server.door());
    assert!(server.stop().unwrap().success());
    server.restart().unwrap();
    server.kill().unwrap();
    server.restart().unwrap();
    check(&server.door());
}

/// What deploy/README.md does with `aws s3 sync`.
fn copy_to_bucket(store: &Path, minio: &Minio) {
    let mut folders = vec![store.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name != "LOCK") {
                let object = format!("{}/{BUCKET}/group/{}", minio.endpoint(), path.strip_prefix(store).unwrap().display());
                // What is signed is the encoded name.
                let object = object.replace('=', "%3D");
                let keys = format!("{ACCESS_KEY_ID}:{SECRET_ACCESS_KEY}");
                let mut curl = Command::new("curl");
                let done = curl.args(["-sSf", "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", &keys, "-T"]).arg(&path).arg(&object).output().unwrap();
                assert!(done.status.success(), "{object}: {}", String::from_utf8_lossy(&done.stderr));
            }
        }
    }
}

/// It ends by itself, and says why.
fn is_another_log(server: &mut Server) {
    let before = server.log().len();
    server.spawn().unwrap();
    let ended = server.wait_end(REFUSED_WAIT).unwrap().expect("it does not run on another log");
    assert!(!ended.success() && server.log()[before..].contains("the store belongs to another log"), "{}", server.log());
}

/// A configuration file in this folder.
fn config(folder: &Path, text: &str) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let path = folder.join("before.toml");
    fs::write(&path, text).unwrap();
    path
}

/// The command with what the server has.
fn command(server: &Server) -> Command {
    let mut command = Command::new(program());
    command.arg("move-log").arg("--config").arg(server.write_config().unwrap()).arg("--data").arg(server.data());
    command
}

/// Runs it, from the log of this configuration.
fn move_log(server: &Server, from: &Path) -> (Option<i32>, String) {
    let done = command(server).arg("--from-config").arg(from).output().unwrap();
    (done.status.code(), format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)))
}

fn moved(server: &Server, from: &Path, said: &str) {
    let (code, text) = move_log(server, from);
    assert!(code == Some(0) && text.contains(said), "{code:?} {text}");
}

fn refused(server: &Server, from: &Path, why: &str) {
    let (code, text) = move_log(server, from);
    assert!(code.is_some_and(|code| code != 0) && text.contains(why), "{code:?} {text}");
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
    // Of another engine than samples, where each partition has one.
    wait_for("both events", || rows::one_int(door, "SELECT count(*) FROM events").unwrap() == 2);
    let duration = "SELECT count(*) FROM incidents WHERE incident_id = 'INC-1' AND duration_s = 600";
    wait_for("the incident's duration, its two events from two logs", || rows::one_int(door, duration).unwrap() == 1);
    // A series grows by its number every ten seconds; the first window lacks the first step, which nothing came before.
    let a_step: i64 = (1..=SERIES).sum();
    let (steps, windows) = (5 * 60_000 / STEP_MS, (END_MS - START_MS) / (5 * 60_000));
    let grown = "SELECT CAST(n AS BIGINT) FROM growth ORDER BY window_start";
    let wanted: Vec<i64> = (0..windows).map(|window| if window == 0 { (steps - 1) * a_step } else { steps * a_step }).collect();
    let found = || -> Vec<i64> { rows::sql(door, grown).unwrap().iter().map(|row| row[0].int()).collect() };
    // Those that are not final may lack for a moment what a partition has not told yet; none of them is ever more.
    wait_for("every window", || {
        let found = found();
        assert!(found.iter().zip(&wanted).all(|(found, wanted)| found <= wanted), "{found:?}");
        found.len() == wanted.len() && found.iter().sum::<i64>() >= wanted.iter().sum()
    });
    let found = found();
    assert_eq!(found, wanted, "windows of both logs, and the one between them");
}
