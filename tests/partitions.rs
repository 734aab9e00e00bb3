//! An engine for each partition, over two processes: both work, answers are of all partitions wherever they are asked, a process that stands still is missed
//! aloud, strangers give no orders, and a store goes on the way it was begun. What becomes of it all under faults is in `faults`.

use crate::group::{Group, brokers_and_store, settings};
use crate::program;
use afferent_tests::door::Door;
use afferent_tests::sender::long_ago_ms;
use afferent_tests::server::{Server, wait_for};
use afferent_tests::wire;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const PARTITIONS: usize = 6;

/// Series of one body: enough for every partition to have some.
const SERIES: i64 = 60;

/// What one process says when it starts an engine.
const WORKS: &str = "this process works the partition";

/// How long a process stands still: less than the group waits for it.
const STANDSTILL: Duration = Duration::from_secs(6);

fn write(door: &Door, time_ms: i64) {
    let series = |n: i64| wire::series(&[("__name__", "spread"), ("job", "shop"), ("n", &format!("{n:02}"))], &[(time_ms, n as f64)]);
    let answer = door.write_v1("sender", &wire::body_v1((0..SERIES).map(series).collect())).unwrap();
    assert!(answer.status < 300, "{}", answer.text());
}

/// Status, number of samples, and what is missing.
fn count(door: &Door) -> (u16, Option<i64>, Option<String>) {
    let answer = door.post("/api/v1/sql?format=json", &[], b"SELECT count(*) FROM samples").unwrap();
    let rows: Value = serde_json::from_str(&answer.text()).unwrap_or_default();
    (answer.status, rows["rows"][0][0].as_i64(), answer.header("x-afferent-partial").map(str::to_owned))
}

fn shows(door: &Door, samples: i64) -> bool {
    count(door) == (200, Some(samples), None)
}

fn start(folder: &Path, config: &str) -> Group {
    let mut group = Group::start(1, folder, config);
    wait_for("every partition to be heard of", || {
        let report = group.door(0).json("/api/v1/freshness").unwrap_or_default();
        report["partitions"].as_object().is_some_and(|all| all.len() == PARTITIONS && all.values().all(|one| one["known"] == true))
    });
    group.join(folder, config);
    wait_for("the second process to have its share", || group.log(1).matches(WORKS).count() == PARTITIONS / 2);
    group
}

#[test]
fn two_processes_share_the_partitions_and_what_is_missing_is_said() {
    let Some((folder, kafka, minio)) = brokers_and_store("two_processes_share_the_partitions_and_what_is_missing_is_said", 1) else { return };
    let whole = settings(&kafka, &minio).replace("partitions = 3", &format!("partitions = {PARTITIONS}"));
    let config = format!("{whole}\n[server]\nengine_per_partition = true\n");
    let mut group = start(folder.path(), &config);
    let (views, other) = (group.door(0), group.door(1));
    assert_eq!(group.works(), Some(0), "who has the views keeps them");

    // Sent to either, asked of either; views over all partitions are there.
    let start_ms = long_ago_ms();
    write(&views, start_ms);
    write(&other, start_ms + 1000);
    for door in [&views, &other] {
        wait_for("every sample", || shows(door, 2 * SERIES));
    }
    write(&views, start_ms + 3_600_000);
    let traffic = || views.post("/api/v1/sql?format=csv", &[], b"SELECT sum(count) FROM rollup_1m").unwrap().text();
    wait_for("panes of all partitions", || traffic().trim().ends_with(&format!("{}", 3 * SERIES)));

    // Orders make panes final: only processes of the deployment give them.
    for partition in 0..PARTITIONS {
        for door in [&views, &other] {
            let answer = door.post(&format!("/internal/v1/partitions/{partition}"), &[("X-Afferent-Process", "guessed")], b"[]").unwrap();
            assert_eq!(answer.status, 403, "{}", answer.text());
        }
    }

    // Answers are of everything, or say what they lack; cards, of which a part says little, wait.
    let since = Instant::now();
    group.server(1).signal("STOP").unwrap();
    let mut lacks = None;
    while since.elapsed() < STANDSTILL {
        let (status, found, missing) = count(&views);
        match &missing {
            // It has not said how far it has read for as long.
            Some(missing) if missing.starts_with("records of the last ") => {}
            Some(missing) => {
                assert!(
                    missing.contains("rows of partition ") && missing.contains(&format!("the process at {} does not give them", other.base())),
                    "{missing}"
                );
                assert_eq!(views.get("/api/v1/stats/mttr").unwrap().status, 503);
                lacks.get_or_insert(since.elapsed());
            }
            None => assert!(status != 200 || found == Some(3 * SERIES), "{status} {found:?}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    group.server(1).signal("CONT").unwrap();
    eprintln!("missed aloud after {:.1} s", lacks.expect("a process stands still and nothing is said of it").as_secs_f64());
    for door in [&views, &other] {
        wait_for("everything to be there again", || shows(door, 3 * SERIES));
    }
    wait_for("nothing to be missing", || views.json("/api/v1/freshness").unwrap()["missing"] == json!([]));

    // Two, one, two; then as one engine for the whole log, which is refused, and as before.
    group.stop(1);
    wait_for("the first process to have all partitions", || shows(&views, 3 * SERIES));
    write(&views, start_ms + 3_601_000);
    wait_for("what came to one process", || shows(&views, 4 * SERIES));
    group.server(1).restart().unwrap();
    wait_for("what it shows of all", || shows(&other, 4 * SERIES));
    group.stop(1);
    let own = folder.path().join("0");
    let refused = |config: &str, code: i32, told: &str| {
        let mut refused = Server::prepared(program(), &own, config, &[]).unwrap();
        refused.spawn().unwrap();
        let ended = refused.wait_end(Duration::from_secs(60)).unwrap().expect("it is refused");
        assert!(ended.code() == Some(code) && refused.log().contains(told), "{ended}: {}", refused.log());
    };
    refused(&config, 1, "another process has the folder ");
    group.stop(0);
    refused(&whole, 2, "was begun with an engine for each of 6 partitions");
    group.server(0).restart().unwrap();
    wait_for("everything after the restart", || shows(&views, 4 * SERIES));
}
