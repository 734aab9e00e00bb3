//! Tables are open: DuckDB and the Python `deltalake` package, neither ours, read every one of them and agree with the program's own SQL.

use crate::continuous::input;
use crate::program;
use afferent_engine::log::{Format, Record};
use afferent_queries::dimensions::Dimensions;
use afferent_queries::plan::shipped;
use afferent_tests::door::Door;
use afferent_tests::rows::{self, Cell};
use afferent_tests::server::Server;
use afferent_tests::skip::skip;
use afferent_tests::wire::{BucketSpan, Exemplar, Histogram, Label, TimeSeries, WriteRequest, compress, series};
use prost::Message;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What the script needs, from the package index.
const PACKAGES: [&str; 3] = ["duckdb>=1.4,<2", "deltalake>=1.2,<2", "pyarrow>=21"];

/// 2026-03-31T00:00:00Z.
const START_MS: i64 = 1_774_915_200_000;
const MINUTES: i64 = 30;

/// The late sample's time, and how long its repair may take.
const LATE_MS: i64 = START_MS + 61_234;
const REPAIR_WAIT: Duration = Duration::from_secs(90);

/// Silence after which a source is idle.
const IDLE_MS: u64 = 1000;

/// Rounding of a floating sum, as a share of the sum of its magnitudes: readers add in different orders.
const ROUNDING: f64 = 1e-12;

/// Tables whose rows SQL answers as they stand on disk. The others it makes one row per key of, and adds what is still open in memory.
const PLAIN: [&str; 6] = ["samples", "histograms", "exemplars", "events", "late_samples", "dead_letters"];

/// Windows before this are final in the stream that is sent; later ones stand in memory only.
const FINAL: &str = "WHERE window_start < TIMESTAMP '2026-03-31 00:15:00+00'";

#[test]
fn duckdb_and_deltalake_read_every_table_and_agree() {
    let name = "duckdb_and_deltalake_read_every_table_and_agree";
    let python = match environment() {
        Ok(python) => python,
        Err(reason) => return skip(name, &reason),
    };
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(program(), folder.path(), &config()).unwrap();
    let door = server.door();
    for record in input::records() {
        post(&door, &record);
    }
    // Its sources hold nobody back once they are idle.
    thread::sleep(Duration::from_millis(3 * IDLE_MS / 2));
    fill(&door);
    let late = format!("SELECT count(*) FROM samples WHERE metric = 'load' AND time = to_timestamp_millis({LATE_MS})");
    let deadline = Instant::now() + REPAIR_WAIT;
    while rows::one_int(&door, &late).unwrap() == 0 {
        assert!(Instant::now() < deadline, "the late sample was not repaired");
        thread::sleep(Duration::from_millis(200));
    }
    // A graceful stop leaves nothing behind in memory.
    assert!(server.stop().unwrap().success());
    let keys = keys();
    let read = run(&python, &server.data(), &keys);
    server.restart().unwrap();
    let tables = read.as_object().expect("tables");
    let mut compared = 0;
    for (table, found) in tables {
        for sum in found["raw"].as_array().expect("sums") {
            agree(table, sum, &sum["deltalake"], &sum["duckdb"]);
            compared += 1;
        }
        assert!(found["rows"].as_i64().expect("a count") > 0, "{table} is empty");
    }
    for table in PLAIN {
        let found = &tables[table];
        let all = rows::one_int(&door, &format!("SELECT count(*) FROM {table}")).unwrap();
        assert_eq!(all, found["rows"].as_i64().expect("a count"), "{table}");
        compared += compare_with_sql(&door, table, &found["raw"], "");
    }
    for (table, key) in &keys {
        let filter = if key.iter().any(|column| column == "window_start") { FINAL } else { "" };
        compared += compare_with_sql(&door, table, &tables[table]["newest"], filter);
    }
    let described = rows::one_int(&door, "SELECT count(*) FROM series").unwrap();
    let sampled = rows::one_int(&door, "SELECT count(DISTINCT series_id) FROM samples").unwrap();
    assert!(described >= sampled && sampled > 10, "{described} series are described, {sampled} have samples");
    eprintln!("{} tables, {compared} sums compared", tables.len());
    assert!(keys.len() > 20 && compared > 500, "only {compared} sums of {} tables with revisions were compared", keys.len());
}

/// The program's own SQL against what DuckDB found.
fn compare_with_sql(door: &Door, table: &str, sums: &Value, filter: &str) -> usize {
    let sums = sums.as_array().expect("sums");
    let expressions: Vec<&str> = sums.iter().map(|sum| sum["expression"].as_str().expect("an expression")).collect();
    let statement = format!("SELECT {} FROM {table} {filter}", expressions.join(", "));
    let row = rows::sql(door, &statement).unwrap().remove(0);
    assert_eq!(row.len(), sums.len(), "{table}");
    for (own, sum) in row.iter().zip(sums) {
        agree(table, sum, &json!(number(own)), &sum["duckdb"]);
    }
    sums.len()
}

fn agree(table: &str, sum: &Value, one: &Value, other: &Value) {
    let (one, other) = (one.as_f64().expect("a number"), other.as_f64().expect("a number"));
    let magnitude = sum["magnitude"].as_f64().expect("a number");
    assert!((one - other).abs() <= magnitude.max(other.abs()) * ROUNDING, "{table}: {}: {one} against {other}\n{sum}", sum["expression"]);
}

/// The key columns of every table whose rows have revisions: views, and panes.
fn keys() -> BTreeMap<String, Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("continuous");
    let dimensions = Dimensions::load(Some(&folder.join("inventory.yaml")), Some(&folder.join("slo")), None).unwrap();
    let views = shipped(&dimensions).unwrap().into_iter().map(|view| (view.spec.name.to_string(), view.spec.key));
    views.chain([("rollup_1m".to_owned(), vec!["series_id".to_owned(), "window_start".to_owned()])]).collect()
}

fn config() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("continuous");
    let (inventory, slo) = (folder.join("inventory.yaml"), folder.join("slo"));
    format!(
        "[engine]\ncheckpoint_interval_ms = 1000\nidle_ms = {IDLE_MS}\n[maintain]\ninterval_s = 1\n[files]\ninventory = {:?}\nslo = {:?}\n",
        inventory.display().to_string(),
        slo.display().to_string()
    )
}

/// Sends a record of the stream that reaches every view through the door that it came from.
fn post(door: &Door, record: &Record) {
    let webhook = |path: &str| door.post(&format!("/api/v1/webhooks/{path}"), &[("Content-Type", "application/json")], &record.body);
    let answer = match record.format {
        Format::RemoteWriteV1 => door.write_v1(&record.source, &record.body),
        Format::RemoteWriteV2 => door.write_v2(&record.source, &record.body),
        Format::Alertmanager => webhook("alertmanager"),
        Format::Incidents => webhook("incidents"),
        Format::Approvals => webhook("approvals"),
        Format::LlmUsage => webhook("llm-usage"),
    };
    let answer = answer.unwrap();
    assert!(answer.status < 300, "{:?}: {} {}", record.format, answer.status, answer.text());
}

fn number(cell: &Cell) -> f64 {
    match cell {
        Cell::Null => 0.0,
        other => other.float(),
    }
}

/// A virtual environment with the packages, made once per build folder.
pub(crate) fn environment() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readers");
    let python = folder.join("bin").join("python");
    if check(Command::new(&python).args(["-c", "import duckdb, deltalake, pyarrow"])).is_ok() {
        return Ok(python);
    }
    check(Command::new("python3").arg("-m").arg("venv").arg(&folder))?;
    check(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES))?;
    Ok(python)
}

fn check(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))) }
}

fn run(python: &Path, data: &Path, keys: &BTreeMap<String, Vec<String>>) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("readers.py");
    let mut child = Command::new(python).arg(script).arg(data).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().expect("piped").write_all(json!(keys).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the readers failed");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Something for every table.
fn fill(door: &Door) {
    for minute in 0..MINUTES {
        let timeseries = (0..6).map(|second| START_MS + minute * 60_000 + second * 10_000).flat_map(scrape).collect();
        send(door, timeseries, 204);
    }
    // One sample again with another value, and one from long ago.
    send(door, vec![gauge(START_MS + (MINUTES - 1) * 60_000, 4711.0)], 204);
    send(door, vec![gauge(LATE_MS, 1.25)], 204);
    let post = |path: &str, body: &Value| {
        let answer = door.post_json(&format!("/api/v1/webhooks/{path}"), body).unwrap();
        assert!(answer.status < 300, "{path}: {}", answer.text());
    };
    for n in 0..20 {
        let at = format!("2026-03-31T00:{:02}:00Z", n + 1);
        post(
            "incidents",
            &json!({"event_id": format!("e{n}"), "incident_id": format!("i{}", n / 2), "type": if n % 2 == 0 { "opened" } else { "resolved" },
            "occurred_at": at, "actor": {"kind": "ai", "id": "x"}, "severity": "low", "service": "web"}),
        );
        post(
            "llm-usage",
            &json!({"id": format!("c{n}"), "ts": at, "provider": "ollama", "model": "llama3", "input_tokens": n, "output_tokens": 2 * n}),
        );
    }
}

fn send(door: &Door, timeseries: Vec<TimeSeries>, status: u16) {
    let body = compress(&WriteRequest { timeseries, metadata: vec![] }.encode_to_vec());
    let answer = door.write_v1("readers", &body).unwrap();
    assert_eq!(answer.status, status, "{}", answer.text());
}

fn gauge(time: i64, value: f64) -> TimeSeries {
    series(&[("__name__", "load"), ("instance", "a"), ("job", "readers")], &[(time, value)])
}

fn scrape(time: i64) -> Vec<TimeSeries> {
    let passed = (time - START_MS) as f64 / 1000.0;
    let mut requests = series(&[("__name__", "http_requests_total"), ("instance", "a"), ("job", "web"), ("code", "200")], &[(time, passed * 3.0)]);
    let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
    requests.exemplars.push(Exemplar { labels: vec![label("trace_id", "abc")], value: passed, timestamp: time });
    let mut sizes = series(&[("__name__", "sizes"), ("instance", "a"), ("job", "readers")], &[]);
    sizes.histograms.push(Histogram {
        count_int: Some(10),
        sum: passed,
        schema: 3,
        zero_threshold: 1e-9,
        zero_count_int: Some(1),
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        positive_deltas: vec![4, 1],
        timestamp: time,
        ..Histogram::default()
    });
    let odd = if passed % 60.0 == 0.0 { f64::from_bits(0x7ff0_0000_0000_0002) } else { f64::NAN };
    vec![gauge(time, (passed / 7.0).sin()), requests, sizes, series(&[("__name__", "odd"), ("instance", "a"), ("job", "readers")], &[(time, odd)])]
}
