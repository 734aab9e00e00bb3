//! What an operator does while the program runs: imports files, defines views by statement and by file, computes a range again. All by the real program.

use crate::program;
use afferent_tests::door::Door;
use afferent_tests::rows;
use afferent_tests::server::{self, Server};
use std::fs;
use std::path::Path;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

/// Longest time until something that was asked for can be seen.
const SEEN_WAIT: Duration = Duration::from_secs(90);

/// 2025-01-01T00:00:00Z, seconds.
const START_S: i64 = 1_735_689_600;

/// Two counters over two hours, one sample in 15 s each, counting one each time; series by series, as a dump has them.
const SAMPLES: i64 = 480;

fn dump() -> String {
    let mut text = String::from("# TYPE imported_total counter\n");
    for job in ["api", "web"] {
        for i in 0..SAMPLES {
            text.push_str(&format!("imported_total{{job=\"{job}\", instance=\"a\"}} {i} {}.000\n", START_S + i * 15));
        }
    }
    text + "# EOF\n"
}

fn run(server: &Server, arguments: &[&str]) -> Output {
    server.ask(arguments).unwrap()
}

fn done(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{} {}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Waits until a statement gives this number.
fn wait_for(door: &Door, statement: &str, wanted: i64) {
    let deadline = Instant::now() + SEEN_WAIT;
    let mut last = rows::one_int(door, statement);
    while last.as_ref().ok() != Some(&wanted) {
        assert!(Instant::now() < deadline, "{statement}: {last:?} where {wanted} belongs");
        thread::sleep(Duration::from_millis(100));
        last = rows::one_int(door, statement);
    }
}

fn start(folder: &Path) -> Server {
    let views = folder.join("views");
    fs::create_dir_all(&views).unwrap();
    let config = format!("[engine]\ncheckpoint_interval_ms = 1000\nrepair_interval_ms = 500\n[files]\nviews = {:?}\n", views.display().to_string());
    Server::start(program(), folder, &config).unwrap()
}

fn definition(name: &str, minutes: i64) -> String {
    format!(
        "CREATE MATERIALIZED VIEW {name} AS SELECT label(labels, 'job') AS job, tumble(window_start, INTERVAL '{minutes} minutes') AS window_start, \
         sum(increase) AS n, sum(count) AS samples FROM panes WHERE metric = 'imported_total' GROUP BY 1, 2"
    )
}

/// The state of a view's newest generation.
fn state(server: &Server, name: &str) -> String {
    let csv = done(&run(server, &["sql", "--format", "csv", "SHOW VIEWS"]));
    let line = csv.lines().rev().find(|line| line.starts_with(&format!("{name},")));
    line.and_then(|line| line.split(',').nth(2)).unwrap_or_default().to_owned()
}

fn wait_for_state(server: &Server, name: &str, wanted: &str) {
    let deadline = Instant::now() + SEEN_WAIT;
    while state(server, name) != wanted {
        assert!(Instant::now() < deadline, "{name} is {:?} where {wanted:?} belongs: {}", state(server, name), server.log());
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_file_that_is_imported_twice_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let door = server.door();
    let file = folder.path().join("dump.om");
    fs::write(&file, dump()).unwrap();
    for _ in 0..2 {
        let said = done(&run(&server, &["import", &file.display().to_string()]));
        assert!(said.starts_with("960 samples of 2 series sent as import:dump.om"), "{said}");
    }
    // Past the window in which the same body counts as a retry, samples are judged one by one: another split of the same samples shows it.
    let other = folder.path().join("other.csv");
    let csv: String = (0..SAMPLES).map(|i| format!("imported_total,{},{i},api,a\n", (START_S + i * 15) * 1000)).collect();
    fs::write(&other, format!("metric,time,value,job,instance\n{csv}")).unwrap();
    done(&run(&server, &["import", &other.display().to_string(), "--source", "dump.om"]));
    wait_for(&door, "SELECT count(*) FROM samples WHERE metric = 'imported_total'", 2 * SAMPLES);
    wait_for(&door, "SELECT coalesce(sum(count), 0)::BIGINT FROM rollup_1m WHERE metric = 'imported_total'", 2 * SAMPLES);
    let answer = door.json("/api/v1/freshness").unwrap();
    assert!(answer["sources"]["import:dump.om"]["duplicate_count"].as_i64().unwrap() >= SAMPLES, "{answer}");
    // Parquet as the server itself writes it, into a second server.
    let parquet = folder.path().join("out.parquet");
    let rows = run(
        &server,
        &["sql", "--format", "parquet", "SELECT metric, time, value, label(labels, 'job') AS job FROM samples JOIN series USING (series_id, metric)"],
    );
    assert!(rows.status.success());
    fs::write(&parquet, rows.stdout).unwrap();
    let second = start(&folder.path().join("second"));
    done(&run(&second, &["import", &parquet.display().to_string()]));
    wait_for(&second.door(), "SELECT count(*) FROM metrics.imported_total WHERE job IN ('api', 'web')", 2 * SAMPLES);
}

#[test]
fn views_by_statement_and_by_file_equal_their_queries() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let door = server.door();
    let file = folder.path().join("dump.om");
    fs::write(&file, dump()).unwrap();
    done(&run(&server, &["import", &file.display().to_string()]));
    wait_for(&door, "SELECT coalesce(sum(count), 0)::BIGINT FROM rollup_1m WHERE metric = 'imported_total'", 2 * SAMPLES);

    done(&run(&server, &["sql", &definition("by_statement", 5)]));
    let by_file = folder.path().join("views").join("by_file.sql");
    fs::write(&by_file, definition("by_file", 10)).unwrap();
    for name in ["by_statement", "by_file"] {
        wait_for_state(&server, name, "serving");
    }
    let totals = "CREATE MATERIALIZED VIEW totals AS SELECT job, window_start, sum(samples) OVER (PARTITION BY job ORDER BY window_start) AS total FROM by_statement";
    done(&run(&server, &["sql", totals]));
    wait_for_state(&server, "totals", "serving");
    // Time goes on, so that the last windows become final.
    let later = folder.path().join("later.om");
    fs::write(&later, format!("tick 1 {}\n# EOF\n", START_S + SAMPLES * 15 + 1_800)).unwrap();
    done(&run(&server, &["import", &later.display().to_string(), "--source", "dump.om"]));
    for (name, minutes) in [("by_statement", 5), ("by_file", 10)] {
        wait_for(&door, &format!("SELECT coalesce(sum(samples), 0)::BIGINT FROM {name}"), 2 * SAMPLES);
        let windows = 2 * SAMPLES * 15 / (minutes * 60);
        wait_for(&door, &format!("SELECT count(*) FROM {name}"), windows);
        let query = definition(name, minutes);
        let (_, select) = query.split_once(" AS ").unwrap();
        let differs = format!(
            "SELECT count(*) FROM (SELECT job, window_start, n, samples FROM {name}) v FULL JOIN ({select}) q \
             ON v.job = q.job AND v.window_start = q.window_start AND v.n = q.n AND v.samples = q.samples WHERE v.job IS NULL OR q.job IS NULL"
        );
        assert_eq!(rows::one_int(&door, &differs).unwrap(), 0, "{name}");
    }

    // What a file defines is changed in the file.
    let refused = run(&server, &["sql", "DROP VIEW by_file"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("by_file.sql"));
    fs::write(&by_file, "CREATE MATERIALIZED VIEW by_file AS SELEC").unwrap();
    let deadline = Instant::now() + SEEN_WAIT;
    while door.json("/api/v1/freshness").unwrap()["view_files"]["errors"]["by_file"].is_null() {
        assert!(Instant::now() < deadline, "the wrong file is not told");
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(rows::one_int(&door, "SELECT coalesce(sum(samples), 0)::BIGINT FROM by_file").unwrap(), 2 * SAMPLES, "what served goes on serving");
    fs::remove_file(&by_file).unwrap();
    wait_for_state(&server, "by_file", "");

    let backfill = run(&server, &["backfill", "--view", "by_statement", "--from", "2025-01-01", "--to", "2025-01-01T01:00:00Z"]);
    done(&backfill);
    assert_eq!(rows::one_int(&door, "SELECT coalesce(sum(samples), 0)::BIGINT FROM by_statement").unwrap(), 2 * SAMPLES);
    // Frames over its rows, once they are written: computed again they are the same, and stand once.
    let written = folder.path().join("data/store/tables/totals");
    let has_rows = || fs::read_dir(&written).is_ok_and(|all| all.flatten().any(|e| e.file_name().to_string_lossy().starts_with("date=")));
    server::wait_for("rows of totals to be written", has_rows);
    done(&run(&server, &["backfill", "--view", "totals", "--from", "2025-01-01", "--to", "2025-01-02"]));
    assert_eq!(rows::one_int(&door, "SELECT count(*) - count(DISTINCT (job, window_start)) FROM totals").unwrap(), 0);
    assert_eq!(rows::one_int(&door, "SELECT max(revision) FROM totals").unwrap(), 0, "nothing differs, so nothing is written again");
    for view in ["totals", "by_statement"] {
        done(&run(&server, &["sql", &format!("DROP MATERIALIZED VIEW {view}")]));
    }
    assert_eq!(run(&server, &["sql", "SELECT * FROM by_statement"]).status.code(), Some(2));
}
