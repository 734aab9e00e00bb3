//! Two processes on one bucket, where nothing can be locked: the first checkpoint decides, the other stops and says why, and its rows do not stand.

use super::{CONFIG, started};
use crate::program;
use afferent_tests::door::Door;
use afferent_tests::minio::Wire;
use afferent_tests::rows;
use afferent_tests::sender::now_ms;
use afferent_tests::server::{Server, wait_for};
use afferent_tests::wire;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Sends one sample after the other; gives how many were acknowledged.
fn send(door: &Door, writer: &str, start_ms: i64, stop: &AtomicBool, acknowledged: &AtomicU64) {
    for n in 0u64.. {
        let series = wire::series(&[("__name__", "duel"), ("instance", writer), ("job", "duel")], &[(start_ms + n as i64 * 100, n as f64)]);
        let body = wire::body_v1(vec![series]);
        while !door.write_v1(writer, &body).is_ok_and(|answer| answer.status < 300) {
            if stop.load(Relaxed) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        acknowledged.store(n + 1, Relaxed);
        if stop.load(Relaxed) {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn of_two_writers_on_one_bucket_one_stops_and_its_rows_do_not_stand() {
    let folder = tempfile::tempdir().unwrap();
    let Some(minio) = started("of_two_writers_on_one_bucket_one_stops_and_its_rows_do_not_stand", folder.path(), Wire::Plain) else { return };
    let config = format!("{CONFIG}{}", minio.config("duel"));
    let mut first = Server::prepared(program(), &folder.path().join("first"), &config, &[]).unwrap();
    let mut second = Server::prepared(program(), &folder.path().join("second"), &config, &[]).unwrap();
    first.restart().unwrap();
    let start_ms = now_ms() - 3_600_000;
    let (stop_old, stop_new) = (AtomicBool::new(false), AtomicBool::new(false));
    let (old, new) = (AtomicU64::new(0), AtomicU64::new(0));
    let (first_door, second_door) = (first.door(), second.door());
    thread::scope(|scope| {
        scope.spawn(|| send(&first_door, "first", start_ms, &stop_old, &old));
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("a few samples", || old.load(Relaxed) > 50);
            first.signal("STOP").unwrap();
            // It goes on with a copy of the log, as after a restore on another machine.
            let data = second.data();
            std::fs::create_dir_all(&data).unwrap();
            assert!(Command::new("cp").arg("-a").arg(first.data().join("log")).arg(&data).status().unwrap().success());
            second.restart().unwrap();
            let before = old.load(Relaxed);
            scope.spawn(|| send(&second_door, "second", start_ms, &stop_new, &new));
            wait_for("the second to write a checkpoint of its own", || new.load(Relaxed) > 50 && checkpointed(&second_door));
            first.signal("CONT").unwrap();
            let ended = first.wait_end(Duration::from_secs(60)).unwrap().expect("the first ends by itself");
            assert!(!ended.success(), "{ended}");
            let named = format!("written by pid-{}-at-", second.process_id().unwrap());
            assert!(first.log().contains(&named), "it does not name {named}:\n{}", first.log());
            let more = new.load(Relaxed) + 20;
            wait_for("the second to take more", || new.load(Relaxed) > more);
            before
        }));
        stop_old.store(true, Relaxed);
        stop_new.store(true, Relaxed);
        let before = played.unwrap_or_else(|panic| {
            first.kill().ok();
            second.kill().ok();
            std::panic::resume_unwind(panic)
        });
        // A request that was under way when it stood still may have been in the log already.
        let wanted = |stands: &BTreeMap<String, u64>| {
            let (old, new) = (stands.get("first").copied().unwrap_or_default(), stands.get("second").copied().unwrap_or_default());
            (before..=before + 1).contains(&old) && new >= 70
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !wanted(&stored(&second_door)) {
            assert!(Instant::now() < deadline, "{before} of the first were acknowledged before the second took over: {:?}", stored(&second_door));
            thread::sleep(Duration::from_millis(200));
        }
    });
    wait_for("every acknowledged sample to be shown", || stored(&second_door)["second"] >= new.load(Relaxed));
    let stood = stored(&second_door);
    second.kill().unwrap();
    second.restart().unwrap();
    assert_eq!(stored(&second_door), stood, "after a kill");
}

fn checkpointed(door: &Door) -> bool {
    let report = door.json("/api/v1/freshness").unwrap();
    let log = &report["logs"]["metrics/0"];
    report["store"]["checkpoint_age_s"].as_f64().is_some_and(|age| age < 2.0) && log["checkpointed_position"].as_u64() > Some(50)
}

/// Distinct samples of each writer; none may stand twice.
fn stored(door: &Door) -> BTreeMap<String, u64> {
    let found = rows::sql(door, "SELECT instance, count(*), count(DISTINCT value) FROM metrics.\"duel\" GROUP BY instance").unwrap();
    let count = |row: &Vec<rows::Cell>| {
        assert_eq!(row[1].int(), row[2].int(), "a sample of {} stands twice", row[0].text());
        (row[0].text().to_owned(), row[1].int() as u64)
    };
    found.iter().map(count).collect()
}

#[test]
fn a_process_with_another_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Some(minio) = started("a_process_with_another_log_is_refused", folder.path(), Wire::Plain) else { return };
    let config = format!("{CONFIG}{}", minio.config("strangers"));
    let first = Server::start(program(), &folder.path().join("first"), &config).unwrap();
    let (door, stop, acknowledged) = (first.door(), AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| send(&door, "first", now_ms() - 3_600_000, &stop, &acknowledged));
        wait_for("a checkpoint", || acknowledged.load(Relaxed) > 80 && checkpointed(&door));
        stop.store(true, Relaxed);
    });
    let mut second = Server::prepared(program(), &folder.path().join("second"), &config, &[]).unwrap();
    second.spawn().unwrap();
    let ended = second.wait_end(Duration::from_secs(60)).unwrap().expect("it ends by itself");
    assert!(!ended.success() && second.log().contains("the store belongs to another log"), "{}", second.log());
    assert_eq!(stored(&door)["first"], acknowledged.load(Relaxed), "the first goes on");
}
