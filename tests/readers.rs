//! Tables are open: DuckDB and the Python `deltalake` package, neither ours, read every one of them and agree with the program's own SQL.

use crate::program;
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

/// What the script needs, from the package index.
const PACKAGES: [&str; 3] = ["duckdb>=1.4,<2", "deltalake>=1.2,<2", "pyarrow>=21"];

/// 2026-03-31T00:00:00Z.
const START_MS: i64 = 1_774_915_200_000;
const MINUTES: i64 = 30;

/// Statements that both dialects know, with `relation` where the table goes. Floating sums leave out what is not finite.
const STATEMENTS: [(&str, &str); 8] = [
    (
        "samples",
        "SELECT count(*), count(value), sum(CASE WHEN abs(value) < 1e300 THEN value ELSE 0.0 END), sum(series_id % 1000003), count(DISTINCT time) FROM relation",
    ),
    ("series", "SELECT count(DISTINCT series_id), min(series_id), max(series_id) FROM relation"),
    (
        "rollup_1m",
        "SELECT count(*), sum(count), sum(sum), sum(increase), sum(resets) FROM relation WHERE window_start < TIMESTAMP '2026-03-31 00:20:00+00'",
    ),
    ("histograms", "SELECT count(*), sum(count_int), sum(sum), max(schema) FROM relation"),
    ("exemplars", "SELECT count(*), sum(value) FROM relation"),
    ("events", "SELECT count(*), count(DISTINCT event_id), sum(length(attributes)) FROM relation"),
    ("late_samples", "SELECT count(*), sum(value) FROM relation"),
    ("dead_letters", "SELECT count(*), sum(count) FROM relation"),
];

#[test]
fn duckdb_and_deltalake_read_every_table_and_agree() {
    let name = "duckdb_and_deltalake_read_every_table_and_agree";
    let python = match environment() {
        Ok(python) => python,
        Err(reason) => return skip(name, &reason),
    };
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(program(), folder.path(), "[engine]\ncheckpoint_interval_ms = 1000\n[maintain]\ninterval_s = 1\n").unwrap();
    let door = server.door();
    fill(&door);
    // A graceful stop leaves nothing behind in memory.
    assert!(server.stop().unwrap().success());
    let read = run(&python, &server.data());
    server.restart().unwrap();
    for (table, statement) in STATEMENTS {
        let own: Vec<f64> = rows::sql(&door, &statement.replace("FROM relation", &format!("FROM {table}"))).unwrap()[0].iter().map(number).collect();
        let others: Vec<f64> = read[table]["duckdb"].as_array().expect("a row").iter().map(|cell| cell.as_f64().unwrap_or(0.0)).collect();
        assert_eq!(own.len(), others.len(), "{table}");
        for (own, other) in own.iter().zip(&others) {
            assert!((own - other).abs() <= own.abs() * 1e-12, "{table}: {statement}\nSQL {own}, DuckDB {other}");
        }
        assert!(own[0] > 0.0, "{table} is empty");
        let all = rows::one_int(&door, &format!("SELECT count(*) FROM {table}")).unwrap();
        let counted = read[table]["rows"].as_i64().expect("a count");
        // Rows that are still open stand in memory only, and a series may be described by several rows.
        assert!(table == "rollup_1m" || table == "series" || all == counted, "{table}: SQL counts {all}, deltalake {counted}");
    }
    let views = read.as_object().expect("tables").keys().filter(|table| !STATEMENTS.iter().any(|(name, _)| name == table)).count();
    assert!(views >= 10, "only {views} tables of views: {read}");
}

fn number(cell: &Cell) -> f64 {
    match cell {
        Cell::Null => 0.0,
        other => other.float(),
    }
}

/// A virtual environment with the packages, made once per build folder.
fn environment() -> Result<PathBuf, String> {
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

fn run(python: &Path, data: &Path) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("readers.py");
    let mut child = Command::new(python).arg(script).arg(data).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let statements: BTreeMap<_, _> = STATEMENTS.into_iter().collect();
    child.stdin.take().expect("piped").write_all(json!(statements).to_string().as_bytes()).unwrap();
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
    send(door, vec![gauge(START_MS + 61_234, 1.25)], 204);
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
