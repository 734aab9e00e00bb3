//! Bad input through the doors: each kind gets its status, a message that names what is wrong and where, and nothing good of the same body is lost.

use crate::program;
use afferent_tests::door::{Answer, Door};
use afferent_tests::rows;
use afferent_tests::server::Server;
use afferent_tests::wire::{self, BucketSpan, Histogram, RequestV2, SampleV2, TimeSeries, TimeSeriesV2, WriteRequest, compress};
use prost::Message;
use serde_json::json;
use std::fs;
use std::process::Command;

/// 2026-03-31T00:00:00Z.
const T: i64 = 1_774_915_200_000;

const CONFIG: &str = "
[ingest]
body_bytes_max = 100000
[ingest.webhook_secrets]
approvals = \"s3cret\"
[sql]
rows_max = 1000
seconds_max = 5
";

/// One bad thing and what it must be answered with.
struct Case {
    what: &'static str,
    answer: Answer,
    status: u16,
    /// Texts the answer must hold, in any case.
    names: &'static [&'static str],
}

#[test]
fn every_bad_input_has_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(program(), folder.path(), CONFIG).unwrap();
    let door = server.door();
    let mut failures = Vec::new();
    for case in [whole_bodies(&door), bad_parts(&door), version_2(&door), webhooks(&door), statements(&door)].into_iter().flatten() {
        let text = case.answer.text().to_lowercase();
        let shaped = case.answer.json().is_ok_and(|body| body["error"]["kind"].is_string() && body["error"]["message"].is_string());
        if case.answer.status != case.status || !shaped {
            failures.push(format!("{}: answered {}, wanted {}: {text}", case.what, case.answer.status, case.status));
        }
        let silent = case.names.iter().filter(|name| !text.contains(&name.to_lowercase()));
        failures.extend(silent.map(|name| format!("{}: does not name {name:?}: {text}", case.what)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    good_parts_are_kept(&door);
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert!(server.stop().unwrap().success());
}

fn raw(door: &Door, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    door.post("/api/v1/write", headers, body).unwrap()
}

const V1: [(&str, &str); 2] = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];

fn whole_bodies(door: &Door) -> Vec<Case> {
    let good = wire::body_v1(vec![wire::series(&[("__name__", "m")], &[(T, 1.0)])]);
    let case = |what, status, names, answer| Case { what, answer, status, names };
    // Declares 64 MiB and holds nothing.
    let bomb = [0x80u8, 0x80, 0x80, 0x20, 0x00];
    vec![
        case("no snappy", 400, &["snappy"], raw(door, &V1, b"\xff\xff\xff\xff\xffnot snappy")),
        case("no protobuf", 400, &["WriteRequest", "byte"], raw(door, &V1, &compress(b"this is no protobuf"))),
        case("a snappy bomb", 413, &["bytes"], raw(door, &V1, &bomb)),
        case("a large body", 413, &["100000"], raw(door, &V1, &vec![0u8; 200_000])),
        case("a wrong type", 415, &["text/plain"], raw(door, &[("Content-Type", "text/plain"), ("Content-Encoding", "snappy")], &good)),
        case(
            "an unknown message",
            415,
            &["x.Y"],
            raw(door, &[("Content-Type", "application/x-protobuf;proto=x.Y"), ("Content-Encoding", "snappy")], &good),
        ),
        case("a wrong encoding", 415, &["gzip"], raw(door, &[("Content-Type", "application/x-protobuf"), ("Content-Encoding", "gzip")], &good)),
        case("a wrong method", 405, &["POST"], door.get("/api/v1/write").unwrap()),
        case("a wrong path", 404, &["/api/v1/writes", "/api/v1/write"], door.post("/api/v1/writes", &V1, &good).unwrap()),
    ]
}

/// A body with one bad series between two good ones.
fn around(bad: TimeSeries, name: &str) -> Vec<u8> {
    let good = |place: &str| wire::series(&[("__name__", "kept"), ("beside", name), ("place", place)], &[(T, 1.0)]);
    compress(&WriteRequest { timeseries: vec![good("before"), bad, good("after")], metadata: vec![] }.encode_to_vec())
}

/// Label pairs in the order given.
fn unsorted(pairs: &[(&str, &str)]) -> TimeSeries {
    let mut series = wire::series(&[], &[(T, 1.0)]);
    series.labels = pairs.iter().map(|(n, v)| wire::Label { name: (*n).to_owned(), value: (*v).to_owned() }).collect();
    series
}

/// Kinds of bad series; each leaves two good samples behind.
const BAD_PARTS: usize = 6;

fn bad_parts(door: &Door) -> Vec<Case> {
    let case = |what: &'static str, names, bad| Case { what, answer: raw(door, &V1, &around(bad, what)), status: 400, names };
    let mut histogram = wire::series(&[("__name__", "uneven")], &[]);
    histogram.histograms.push(Histogram {
        count_int: Some(99),
        schema: 3,
        zero_count_int: Some(1),
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        positive_deltas: vec![4, 1],
        sum: 1.0,
        timestamp: T,
        ..Histogram::default()
    });
    let future = afferent_future();
    let cases = vec![
        case("unsorted labels", &["sorted", "zz"], unsorted(&[("__name__", "m"), ("zz", "1"), ("aa", "2")])),
        case("duplicate labels", &["twice", "aa"], unsorted(&[("__name__", "m"), ("aa", "1"), ("aa", "2")])),
        case("no metric name", &["__name__"], unsorted(&[("aa", "1")])),
        case("an empty label name", &["empty"], unsorted(&[("", "1"), ("__name__", "m")])),
        case("the future", &["from_tomorrow"], wire::series(&[("__name__", "from_tomorrow")], &[(future, 1.0)])),
        case("uneven buckets", &["uneven"], histogram),
    ];
    assert_eq!(cases.len(), BAD_PARTS);
    cases
}

#[allow(clippy::disallowed_methods, reason = "the future begins at the real now")]
fn afferent_future() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_millis()).expect("a clock before the year 292 million") + 86_400_000
}

fn version_2(door: &Door) -> Vec<Case> {
    let series = |refs: &[u32]| TimeSeriesV2 {
        labels_refs: refs.to_vec(),
        samples: vec![SampleV2 { value: 1.0, timestamp: T, start_timestamp: 0 }],
        ..TimeSeriesV2::default()
    };
    let send = |symbols: &[&str], refs: &[u32]| {
        let symbols = symbols.iter().map(|s| (*s).to_owned()).collect();
        let body = compress(&RequestV2 { symbols, timeseries: vec![series(refs)] }.encode_to_vec());
        door.write_v2("bad", &body).unwrap()
    };
    let case = |what, names, answer| Case { what, answer, status: 400, names };
    vec![
        case("a symbol out of range", &["7"], send(&["", "__name__", "m"], &[1, 7])),
        case("an odd number of references", &[], send(&["", "__name__", "m"], &[1])),
        case("a table without the empty symbol", &["symbols[0]"], send(&["x", "__name__", "m"], &[1, 2])),
    ]
}

fn webhooks(door: &Door) -> Vec<Case> {
    let hook = |name: &str, headers: &[(&str, &str)], body: &str| door.post(&format!("/api/v1/webhooks/{name}"), headers, body.as_bytes()).unwrap();
    let json_type = [("Content-Type", "application/json")];
    let unknown = json!({"incident_id": "i", "type": "exploded", "occurred_at": "2026-03-31T00:00:00Z"}).to_string();
    let no_time = json!({"id": "c", "provider": "p", "model": "m", "ts": "yesterday"}).to_string();
    let signed = [("Content-Type", "application/json"), ("X-Afferent-Signature", "00"), ("X-PagerDuty-Signature", "v1=00")];
    let case = |what, status, names, answer| Case { what, answer, status, names };
    vec![
        case("no JSON", 400, &["JSON", "line"], hook("incidents", &json_type, "{\"incident_id\": ")),
        case("an unknown transition", 400, &["exploded"], hook("incidents", &json_type, &unknown)),
        case("no time", 400, &["ts"], hook("llm-usage", &json_type, &no_time)),
        case("alerts of another shape", 400, &["alerts"], hook("alertmanager", &json_type, "{\"version\": \"4\"}")),
        case("no signature", 401, &["signature"], hook("approvals", &json_type, "{}")),
        case("a wrong signature", 401, &["signature"], hook("approvals", &signed, "{}")),
    ]
}

fn statements(door: &Door) -> Vec<Case> {
    let sql = |statement: &str| door.post("/api/v1/sql", &[("Content-Type", "text/plain")], statement.as_bytes()).unwrap();
    let case = |what, status, names, answer| Case { what, answer, status, names };
    vec![
        case("no SQL", 400, &["SELEKT"], sql("SELEKT 1")),
        case("an unknown table", 400, &["nowhere"], sql("SELECT * FROM nowhere")),
        case("an unknown column", 400, &["vlaue"], sql("SELECT vlaue FROM samples")),
        case("a write", 400, &[], sql("DROP TABLE samples")),
        case("an insert", 400, &[], sql("INSERT INTO samples SELECT * FROM samples")),
        case("a copy", 400, &[], sql("COPY (SELECT 1) TO '/tmp/x.csv'")),
        case("an external table", 400, &[], sql("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'")),
        case("a file as a table", 400, &[], sql("SELECT * FROM '/etc/passwd'")),
        case("a change of limits", 400, &[], sql("SET datafusion.execution.batch_size = 1")),
        case("too many rows", 413, &["rows_max", "1000"], sql("SELECT a.value FROM generate_series(1, 2000) AS a")),
        case(
            "too long",
            408,
            &["seconds_max"],
            sql("SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b WHERE a.value * b.value = 7"),
        ),
    ]
}

/// What stood beside the bad parts is there, and what was refused stands in `dead_letters`.
fn good_parts_are_kept(door: &Door) {
    let kept = rows::one_int(door, "SELECT count(*) FROM metrics.\"kept\"").unwrap();
    assert_eq!(kept, 2 * BAD_PARTS as i64);
    assert!(rows::one_int(door, "SELECT sum(count) FROM dead_letters").unwrap() >= BAD_PARTS as i64);
    let page = door.get("/metrics").unwrap().text();
    for reason in ["snappy", "protobuf", "future"] {
        assert!(page.lines().any(|line| line.contains("_rejected_total") && line.contains(reason)), "no counter with the reason {reason}");
    }
}

#[test]
fn a_bad_configuration_is_named_with_file_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let slo = folder.path().join("slo");
    fs::create_dir_all(&slo).unwrap();
    fs::write(slo.join("bad.yaml"), "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: x}\nspec: {service: s, objectives: [{target: 1.5}]}\n")
        .unwrap();
    fs::write(folder.path().join("prices.json"), "{\"m\": {\"input_cost_per_token\": \"cheap\"}").unwrap();
    let slo_file = format!("[files]\nslo = {slo:?}\n");
    let price_file = format!("[files]\nprices = {:?}\n", folder.path().join("prices.json"));
    let cases = [
        ("[server]\nlisten = \"127.0.0.1:9600\"\n[engine]\nlatenes_ms = 5\n", vec!["latenes_ms", "lateness_ms", ":4"]),
        ("[engine]\nlateness_ms = \"long\"\n", vec!["lateness_ms", ":2"]),
        ("[engine]\ncheckpoint_interval_ms = 0\n", vec!["checkpoint_interval_ms", "0"]),
        ("[server\n", vec![":1"]),
        (slo_file.as_str(), vec!["bad.yaml"]),
        (price_file.as_str(), vec!["prices.json"]),
    ];
    for (text, names) in cases {
        let file = folder.path().join("afferent.toml");
        fs::write(&file, text).unwrap();
        let output = Command::new(program()).arg("serve").arg("--config").arg(&file).arg("--data").arg(folder.path().join("data")).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(2), "{text}\n{said}");
        for name in names {
            assert!(said.contains(name), "{text}\ndoes not name {name:?}:\n{said}");
        }
    }
}
