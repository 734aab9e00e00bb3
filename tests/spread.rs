//! Statements over several processes on one Kafka log and one bucket: the answers of one process, whatever becomes of the others meanwhile, and
//! whoever else asks.

use crate::group::{Group, brokers_and_store, settings};
use crate::program;
use afferent_tests::door::Door;
use afferent_tests::sender::{Fleet, long_ago_ms, now_ms};
use afferent_tests::server::{Server, wait_for};
use serde_json::Value;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Of processes that spread every statement they can.
const ALWAYS: &str = "seconds_max = 60\nspread_bytes_min = 0";

/// Of one that spreads none.
const NEVER: &str = "seconds_max = 60\nspread_bytes_min = 1125899906842624";

/// What it takes the same rows for, wherever they are computed: every kind of stage, and every way of combining them.
const STATEMENTS: [&str; 22] = [
    "SELECT count(*) AS n FROM samples",
    "SELECT metric, count(*) AS n, min(value) AS low, max(value) AS high, round(sum(value), 3) AS total FROM samples GROUP BY metric ORDER BY metric",
    "SELECT series_id, count(*) AS n FROM samples GROUP BY series_id ORDER BY n DESC, series_id LIMIT 7",
    "SELECT tumble(time, INTERVAL '5 seconds') AS w, count(*) AS n, round(avg(value), 6) AS mean FROM samples GROUP BY 1 ORDER BY 1",
    "SELECT count(DISTINCT series_id) AS series, approx_distinct(series_id) AS about FROM samples",
    "SELECT metric, series_id, time, value FROM samples ORDER BY time DESC, series_id, metric LIMIT 20",
    "SELECT count(*) AS n, count(service) AS served FROM samples WHERE metric = 'up'",
    "SELECT label(d.labels, 'instance') AS instance, count(*) AS n FROM samples AS s JOIN series AS d ON s.series_id = d.series_id GROUP BY 1 ORDER BY 1",
    "SELECT d.metric, count(*) AS n FROM samples AS s JOIN series AS d ON s.series_id = d.series_id GROUP BY 1 ORDER BY 1",
    "SELECT count(*) AS n FROM samples AS a JOIN samples AS b ON a.series_id = b.series_id AND a.time = b.time",
    "SELECT count(*) AS n, count(r.count) AS panes FROM samples AS s LEFT JOIN rollup_1m AS r ON r.series_id = s.series_id AND r.window_start = date_trunc('minute', s.time)",
    "SELECT count(*) AS n FROM samples WHERE series_id NOT IN (SELECT series_id FROM samples WHERE metric = 'up')",
    "SELECT count(*) AS n FROM samples WHERE value > (SELECT avg(value) FROM samples)",
    "SELECT series_id, time, value - lag(value) OVER (PARTITION BY series_id ORDER BY time) AS change FROM samples ORDER BY series_id, time LIMIT 40",
    "SELECT metric, time, rank() OVER (PARTITION BY metric ORDER BY time, series_id) AS place FROM samples WHERE metric = 'up' ORDER BY place LIMIT 30",
    "SELECT metric, count(*) AS n FROM (SELECT metric FROM samples UNION ALL SELECT metric FROM rollup_1m) AS both_of_them GROUP BY 1 ORDER BY 1",
    "SELECT DISTINCT metric FROM samples ORDER BY 1",
    "SELECT sum(increase)::BIGINT AS total, sum(count)::BIGINT AS n FROM rollup_1m WHERE metric = 'http_requests_total'",
    "SELECT metric, last_value(value ORDER BY time, series_id) AS newest, approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY value) IS NULL AS none FROM samples GROUP BY 1 ORDER BY 1",
    "SELECT g.value AS n, (SELECT count(*) FROM samples WHERE metric = 'up') AS up FROM generate_series(1, 3) AS g ORDER BY 1",
    "SELECT metric, 1 / (count(*) - count(*)) FROM samples GROUP BY metric",
    "SELECT valeu FROM samples",
];

fn ask(door: &Door, statement: &str, format: &str) -> (u16, String) {
    let answer = door.post(&format!("/api/v1/sql?format={format}"), &[("Content-Type", "text/plain")], statement.as_bytes()).unwrap();
    (answer.status, answer.text())
}

fn json(door: &Door, statement: &str) -> Value {
    serde_json::from_str(&ask(door, statement, "json").1).unwrap()
}

/// The sum of a metric over its labels.
fn metric(door: &Door, name: &str) -> f64 {
    let page = door.get("/metrics").unwrap().text();
    page.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// A process that spreads nothing, beside the others.
fn alone(folder: &Path, config: &str) -> Server {
    let own = folder.join("alone");
    std::fs::create_dir_all(&own).unwrap();
    let mut server = Server::prepared(program(), &own, config, &["--roles", "query"]).unwrap();
    server.spawn().unwrap();
    server.wait_ready().unwrap();
    server
}

/// Three processes that spread everything, one that spreads nothing, and what was sent to them, published.
fn loaded(folder: &Path, config: &str, meanwhile: impl FnOnce(&Group)) -> (Group, Server) {
    let spreads = format!("{}\n[telemetry]\nlog_level = \"info,afferent_queries=debug\"\n", config.replace("seconds_max = 60", ALWAYS));
    let group = Group::start(3, folder, &spreads);
    wait_for("one of them to work", || group.works().is_some());
    let alone = alone(folder, &config.replace("seconds_max = 60", NEVER));
    let seed = now_ms() as u64;
    eprintln!("seed {seed}");
    Fleet::new(seed, 2, long_ago_ms()).send_during(&group.door(0), || meanwhile(&group));
    let works = group.door(group.works().expect("one works"));
    wait_for("the last rows to be published", || {
        let before = json(&works, "SELECT count(*) FROM samples")["stats"]["epoch"].as_u64();
        std::thread::sleep(Duration::from_secs(2));
        json(&works, "SELECT count(*) FROM samples")["stats"]["epoch"].as_u64() > before
    });
    (group, alone)
}

/// Who does not show what lies in the bucket can neither have stages run nor offer to run them.
fn strangers_are_not_heard(works: &Door) {
    for path in ["/internal/v1/stages/plan", "/internal/v1/stages/run"] {
        for key in ["", "0000000000000000000000000000000000000000000000000000000000000000"] {
            let answer = works.post(path, &[("X-Afferent-Process", key)], b"a plan").unwrap();
            assert_eq!(answer.status, 403, "{path}: {}", answer.text());
        }
    }
    let asked = r#"{"versions":{},"catalog":0,"over":[],"from":{"at":"http://127.0.0.1:9/","version":"any"}}"#;
    let told = works.post("/internal/v1/view", &[("Content-Type", "application/json")], asked.as_bytes()).unwrap();
    let told: Value = serde_json::from_str(&told.text()).unwrap();
    assert_eq!(told["places"], Value::Array(vec![]));
}

/// While rows are sent, some are published and some in memory: each is in an answer once, however its parts were spread.
fn whole_while_rows_come(group: &Group) {
    let statement = "SELECT sum(by_series.n)::BIGINT - (SELECT count(*) FROM samples) AS missing, sum(by_series.n)::BIGINT > 0 AS some \
                     FROM (SELECT series_id, count(*) AS n FROM samples GROUP BY series_id) AS by_series";
    let (until, mut spread) = (Instant::now() + Duration::from_secs(6), 0);
    while Instant::now() < until {
        for n in 0..3 {
            let answer = json(&group.door(n), statement);
            assert!(answer["rows"][0][0].as_i64().is_none_or(|missing| missing == 0), "{answer}");
            spread += usize::from(answer["stats"]["processes"].as_u64() > Some(1) && answer["rows"][0][1] == true);
        }
    }
    eprintln!("{spread} answers of several processes were whole while rows came");
    assert!(spread > 0, "no statement was spread while rows came");
}

#[test]
fn several_processes_answer_what_one_does_and_stop_when_nobody_listens() {
    let test = "several_processes_answer_what_one_does_and_stop_when_nobody_listens";
    let Some((folder, kafka, minio)) = brokers_and_store(test, 1) else { return };
    let (group, alone) = loaded(folder.path(), &settings(&kafka, &minio), whole_while_rows_come);
    let alone = alone.door();
    let works = group.works().expect("one works");
    strangers_are_not_heard(&group.door(works));
    for asked in [works, (works + 1) % 3] {
        let door = group.door(asked);
        let processes = || json(&door, "SELECT metric, count(*) FROM samples GROUP BY metric")["stats"]["processes"].as_u64();
        wait_for("the others to be known", || processes().is_some_and(|n| n >= 3));
        let (mut spread, before) = (0, metric(&door, "afferent_queries_statements_alone_total"));
        for statement in STATEMENTS {
            let (here, there) = (ask(&door, statement, "csv"), ask(&alone, statement, "csv"));
            assert_eq!(here, there, "{statement}");
            let answer = json(&door, statement);
            spread += u64::from(answer["stats"]["processes"].as_u64().is_some_and(|n| n >= 3));
            eprintln!("{} | {statement}", answer["stats"]["processes"]);
        }
        assert!(json(&alone, STATEMENTS[1])["stats"]["processes"].is_null());
        for line in group.log(asked).lines().filter(|line| line.contains("computed by this one alone")) {
            eprintln!("{line}");
        }
        let fell_back = metric(&door, "afferent_queries_statements_alone_total") - before;
        eprintln!("{spread} of {} statements were spread; {fell_back} tries fell back", STATEMENTS.len());
        assert!(spread >= 17, "{spread} of {} statements were spread", STATEMENTS.len());
        let explained = ask(&door, &format!("EXPLAIN {}", STATEMENTS[1]), "csv").1;
        assert!(explained.contains(" processes:") && explained.contains("Stage 1"), "{explained}");
    }
    let others: Vec<Door> = (0..3).filter(|n| *n != works).map(|n| group.door(n)).collect();
    let running = || others.iter().map(|door| metric(door, "afferent_queries_stages_running")).sum::<f64>();
    assert!(others.iter().all(|door| metric(door, "afferent_queries_stages_run_total") > 0.0));
    wait_for("no stage to be left over", || running() == 0.0);
    // Longer than anybody waits; its client goes away.
    let endless = "SELECT count(*) FROM samples a JOIN samples b ON a.metric = b.metric JOIN samples c ON a.metric = c.metric WHERE a.value + b.value + c.value < -1";
    let address = group.door(works).base().trim_start_matches("http://").to_owned();
    let mut client = TcpStream::connect(&address).unwrap();
    let head = "POST /api/v1/sql HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n";
    write!(client, "{head}Content-Length: {}\r\n\r\n{endless}", endless.len()).unwrap();
    wait_for("its stages to run on the others", || running() > 0.0);
    drop(client);
    let since = Instant::now();
    wait_for("its stages to end with it", || running() == 0.0);
    eprintln!("the stages of a statement that nobody listens to ended after {:.2} s", since.elapsed().as_secs_f64());
    assert!(since.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_process_that_dies_or_stands_still_makes_no_answer_smaller() {
    let test = "a_process_that_dies_or_stands_still_makes_no_answer_smaller";
    let Some((folder, kafka, minio)) = brokers_and_store(test, 1) else { return };
    let (mut group, alone) = loaded(folder.path(), &settings(&kafka, &minio), |_| std::thread::sleep(Duration::from_secs(3)));
    let statement = "SELECT metric, count(*) AS n, count(DISTINCT series_id) AS series FROM samples GROUP BY metric ORDER BY metric";
    let right = ask(&alone.door(), statement, "csv");
    assert_eq!(right.0, 200, "{}", right.1);
    let works = group.works().expect("one works");
    let door = group.door(works);
    wait_for("the others to be known", || json(&door, statement)["stats"]["processes"].as_u64().is_some_and(|n| n >= 3));
    let (stop, asking) = (AtomicBool::new(false), door.clone());
    let reader = || {
        let (mut count, mut slowest) = (0, Duration::ZERO);
        while !stop.load(Ordering::Relaxed) {
            let since = Instant::now();
            assert_eq!(ask(&asking, statement, "csv"), right);
            (count, slowest) = (count + 1, slowest.max(since.elapsed()));
        }
        (count, slowest)
    };
    let answers = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(reader)).collect();
        let others = [(works + 1) % 3, (works + 2) % 3];
        let disturbed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..4 {
                let other = others[round % 2];
                std::thread::sleep(Duration::from_secs(1));
                if round < 2 {
                    group.server(other).kill().unwrap();
                    std::thread::sleep(Duration::from_secs(1));
                    group.server(other).spawn().unwrap();
                } else {
                    group.server(other).signal("STOP").unwrap();
                    std::thread::sleep(Duration::from_secs(6));
                    group.server(other).signal("CONT").unwrap();
                }
                std::thread::sleep(Duration::from_secs(4));
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let answers: Vec<(usize, Duration)> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        disturbed.unwrap();
        answers
    });
    let (spread, fell_back) = (metric(&door, "afferent_queries_statements_spread_total"), metric(&door, "afferent_queries_statements_alone_total"));
    eprintln!("answers and the slowest of them: {answers:?}; {spread} were spread, {fell_back} were computed again by one");
    assert!(fell_back > 0.0, "nothing was in the way of any statement");
}
