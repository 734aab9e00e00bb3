//! Real Prometheus servers with real node exporters against the real program, which is killed meanwhile; then both accounts are compared bit for bit.

use crate::minio::readers::read_bucket;
use crate::program;
use crate::readers::environment;
use afferent_tests::kafka::Kafka;
use afferent_tests::ledger::Key;
use afferent_tests::minio::{self, Minio, Wire};
use afferent_tests::prometheus::{NodeExporter, Prometheus, Protocol, installed, series_name};
use afferent_tests::rows;
use afferent_tests::server::{Server, wait_for};
use afferent_tests::skip::{skip, soak_seconds};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

const CONFIG: &str = "
[engine]
checkpoint_interval_ms = 3000
[sql]
rows_max = 100000000
seconds_max = 60
";

/// Kills of a short run; a longer one has one more per half minute, up to ten.
const KILLS: u64 = 3;
const KILLS_MAX: u64 = 10;

/// How much at the very start may be missing.
const START_MS_MAX: i64 = 15_000;

/// Panes, and those that are not the aggregation of their samples. Without what is out of range: a pane counts finite values.
const PANES_AGAINST_SAMPLES: &str = "
SELECT count(*), count(*) FILTER (WHERE ((p.n, p.low, p.high) IS DISTINCT FROM (s.n, s.low, s.high)) OR abs(p.total - s.total) > 1e-9 * s.size)
FROM (SELECT series_id, window_start, count AS n, min AS low, max AS high, sum AS total FROM rollup_1m WHERE count > 0) AS p
FULL JOIN (
  SELECT series_id, date_bin(INTERVAL '1 minute', time) AS window_start, count(*) AS n, min(value) AS low, max(value) AS high, sum(value) AS total,
    sum(abs(value)) AS size
  FROM samples WHERE abs(value) < 'Infinity' GROUP BY 1, 2
) AS s ON p.series_id = s.series_id AND p.window_start = s.window_start";

/// How long the senders may take to catch up after the last kill.
const CATCH_UP: Duration = Duration::from_secs(60);

/// What real senders need, or what to install.
fn programs() -> Result<(PathBuf, PathBuf), &'static str> {
    installed("prometheus").zip(installed("prometheus-node-exporter")).ok_or("apt-get install prometheus prometheus-node-exporter")
}

#[test]
fn both_halves_of_the_hosts_are_what_their_prometheus_servers_hold() {
    let programs = match programs() {
        Ok(programs) => programs,
        Err(install) => return skip("both_halves_of_the_hosts_are_what_their_prometheus_servers_hold", install),
    };
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(program(), folder.path(), CONFIG).unwrap();
    scraped(&programs, folder.path(), &mut server, |_| {});
}

/// The same with the log on three brokers, one of which dies, and the tables in a bucket that another program reads.
#[test]
fn on_kafka_and_minio_they_are_too() {
    let test = "on_kafka_and_minio_they_are_too";
    let programs = match programs() {
        Ok(programs) => programs,
        Err(install) => return skip(test, install),
    };
    if let Err(reason) = minio::installed() {
        return skip(test, &format!("{reason:#}"));
    }
    let python = match environment() {
        Ok(python) => python,
        Err(reason) => return skip(test, &reason),
    };
    let Some(kafka) = Kafka::start_or_skip(test, 3) else { return };
    let folder = tempfile::tempdir().unwrap();
    let minio = Minio::start(folder.path(), Wire::Plain).unwrap();
    let config = format!("[log]\nurl = {:?}\n{CONFIG}{}", kafka.url(), minio.config("whole"));
    let mut server = Server::start(program(), folder.path(), &config).unwrap();
    scraped(&programs, folder.path(), &mut server, |kill| {
        if kill == 0 {
            kafka.kill(2).unwrap();
        }
        if kill == 1 {
            kafka.restart([2]).unwrap();
        }
    });
    // A graceful stop leaves nothing behind in memory.
    assert!(server.stop().unwrap().success());
    let found = read_bucket(&python, &minio, "whole");
    server.restart().unwrap();
    wait_for("the log to be this process' again", || server.door().json("/readyz").is_ok_and(|ready| ready["status"] == "ready"));
    let own = &rows::sql(&server.door(), "SELECT count(*), count(DISTINCT series_id) FROM samples").unwrap()[0];
    assert_eq!(found["samples"]["rows"].as_i64(), Some(own[0].int()), "{found}");
    assert_eq!(found["samples"]["series"].as_i64(), Some(own[1].int()), "{found}");
    eprintln!("{} samples of {} series are read from the bucket by another program", own[0].int(), own[1].int());
}

/// Two real senders, each with a host of its own, while the program is killed again and again; then both accounts are compared. `between` is called
/// after each kill.
fn scraped(programs: &(PathBuf, PathBuf), folder: &Path, server: &mut Server, between: impl Fn(u64)) {
    let seconds = soak_seconds(40);
    let (prometheus, exporter) = programs;
    let write_url = format!("{}/api/v1/write", server.base());
    let second = std::env::var("AFFERENT_PROMETHEUS_3").ok().map(PathBuf::from);
    let senders = [(prometheus, Protocol::V1), second.as_ref().map_or((prometheus, Protocol::V1), |path| (path, Protocol::V2))];
    let exporters: Vec<NodeExporter> = (0..2).map(|n| NodeExporter::start(exporter, &folder.join(format!("host-{n}"))).unwrap()).collect();
    let half = |n: usize| {
        let (path, protocol) = senders[n];
        let (name, targets) = (format!("half-{n}"), [exporters[n].address.as_str()]);
        Prometheus::start(path, &folder.join(&name), &targets, &write_url, &name, protocol).unwrap()
    };
    let halves: Vec<Prometheus> = (0..2).map(half).collect();
    let kills = (seconds / 30).clamp(KILLS, KILLS_MAX);
    for kill in 0..kills {
        thread::sleep(Duration::from_millis(seconds * 1000 / (kills + 1) + kill * 137));
        server.kill().unwrap();
        server.restart().unwrap();
        between(kill);
    }
    thread::sleep(Duration::from_secs(seconds / (kills + 1)));
    compare(server, &halves, &exporters, seconds + 120);
}

fn compare(server: &Server, halves: &[Prometheus], exporters: &[NodeExporter], seconds: u64) {
    let door = server.door();
    let newest = "SELECT max(time) FROM metrics.\"up\"";
    let cut_ms = rows::one_int(&door, newest).unwrap() / 1000;
    // Everything up to the cut must be there once both senders are past it.
    let deadline = Instant::now() + CATCH_UP;
    for exporter in exporters {
        let statement = format!("SELECT coalesce(max(time), to_timestamp_micros(0)) FROM metrics.\"up\" WHERE instance = '{}'", exporter.address);
        while rows::one_int(&door, &statement).unwrap() / 1000 < cut_ms + 5000 {
            assert!(Instant::now() < deadline, "a sender did not catch up:\n{}\n{}", halves[0].log(), halves[1].log());
            thread::sleep(Duration::from_millis(500));
        }
    }
    // A Prometheus server does not forward what it scraped before its forwarding began, a few scrapes at the very start.
    let first = "SELECT max(first) FROM (SELECT instance, min(time) AS first FROM metrics.\"up\" GROUP BY instance) AS firsts";
    let from_ms = rows::one_int(&door, first).unwrap() / 1000;
    let found = stored(server, from_ms, cut_ms);
    let mut wanted: BTreeMap<Key, f64> = BTreeMap::new();
    for half in halves {
        wanted.extend(half.samples(cut_ms, seconds).unwrap());
    }
    let earliest_ms = wanted.keys().map(|(_, time)| *time).min().expect("samples");
    assert!(from_ms - earliest_ms < START_MS_MAX, "the first {} ms are missing", from_ms - earliest_ms);
    wanted.retain(|(_, time), _| *time >= from_ms);
    assert!(wanted.len() > 20_000, "Prometheus holds only {} samples", wanted.len());
    let mut differences = Vec::new();
    for (key, value) in &wanted {
        match found.get(key) {
            None => differences.push(format!("{key:?} is missing")),
            // The API prints every NaN alike.
            Some(stored) if stored.to_bits() != value.to_bits() && !(stored.is_nan() && value.is_nan()) => {
                differences.push(format!("{key:?} is {stored}, in Prometheus {value}"));
            }
            Some(_) => {}
        }
    }
    differences.extend(found.keys().filter(|key| !wanted.contains_key(*key)).map(|key| format!("{key:?} is not in Prometheus")));
    let count = differences.len();
    differences.truncate(20);
    assert!(count == 0, "{count} differences among {} samples:\n{}", wanted.len(), differences.join("\n"));
    let instances = rows::one_int(&door, "SELECT count(DISTINCT instance) FROM metrics.\"node_load1\"").unwrap();
    assert_eq!(instances, 2, "both halves of the hosts stand in one relation");
    let panes = rows::sql(&door, PANES_AGAINST_SAMPLES).unwrap().remove(0);
    assert!(panes[0].int() > 1000 && panes[1].int() == 0, "{} of {} panes differ from their samples", panes[1].int(), panes[0].int());
    eprintln!("{} samples and {} panes are equal", wanted.len(), panes[0].int());
}

/// Every float sample between the two instants, bit for bit; none may stand twice.
fn stored(server: &Server, from_ms: i64, cut_ms: i64) -> BTreeMap<Key, f64> {
    let door = server.door();
    let mut names: BTreeMap<i64, String> = BTreeMap::new();
    for batch in rows::batches(&door, "SELECT series_id, CAST(metric AS VARCHAR) AS metric, labels FROM series").unwrap() {
        for row in 0..batch.num_rows() {
            names.insert(batch.column(0).as_primitive::<Int64Type>().value(row), name_of(&batch, row));
        }
    }
    let statement = format!(
        "SELECT series_id, time, value FROM samples
         WHERE value IS NOT NULL AND time >= to_timestamp_millis({from_ms}) AND time <= to_timestamp_millis({cut_ms})"
    );
    let mut found = BTreeMap::new();
    for batch in rows::batches(&door, &statement).unwrap() {
        let (ids, values) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(2).as_primitive::<Float64Type>());
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let name = names.get(&ids.value(row)).unwrap_or_else(|| panic!("series {} is not described", ids.value(row)));
            let key = (name.clone(), times.value(row) / 1000);
            assert!(found.insert(key.clone(), values.value(row)).is_none(), "{key:?} stands twice");
        }
    }
    found
}

fn name_of(batch: &RecordBatch, row: usize) -> String {
    let text = |array: &dyn Array| cast(array, &DataType::Utf8).unwrap();
    let metric = text(batch.column(1));
    let entries = batch.column(2).as_map().value(row);
    let (names, values) = (text(entries.column(0)), text(entries.column(1)));
    let (names, values) = (names.as_string::<i32>(), values.as_string::<i32>());
    let labels = (0..entries.len()).map(|n| (names.value(n), values.value(n)));
    series_name(labels.chain([("__name__", metric.as_string::<i32>().value(row))]))
}
