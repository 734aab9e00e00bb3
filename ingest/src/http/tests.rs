//! The doors over a real socket, with a log in memory.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::Secret;
use crate::remote_write::oracle::v1::{Exemplar, Label, Sample, TimeSeries, WriteRequest};
use crate::remote_write::tests::{histogram, rich_v2, snappy};
use crate::spread::Spread;
use afferent_engine::clock::ManualClock;
use afferent_engine::error::{Error as EngineError, Result as EngineResult};
use afferent_engine::intake::{Deliveries, intake};
use afferent_engine::log::{DecodedBody, LogName, LogWriter, Position, Record};
use afferent_engine::time::WallTime;
use prost::Message;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const NOW: i64 = crate::remote_write::tests::NOW;
const V1: &[(&str, &str)] = &[("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
const V2: &[(&str, &str)] = &[("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"), ("content-encoding", "snappy")];
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[derive(Default)]
struct MemoryLog {
    records: Mutex<Vec<(LogName, Record)>>,
    is_full: AtomicBool,
}

#[async_trait::async_trait]
impl LogWriter for MemoryLog {
    async fn append(&self, log: LogName, record: Record) -> EngineResult<Position> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(EngineError::unavailable("the log is full: 10 bytes of 10 are used"));
        }
        let mut records = self.records.lock().unwrap();
        records.push((log, record));
        Ok(Position(records.len() as u64 - 1))
    }
}

/// A running server.
struct Server {
    address: SocketAddr,
    log: Arc<MemoryLog>,
    deliveries: Deliveries,
}

struct Answer {
    status: u16,
    headers: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().filter_map(|line| line.split_once(": ")).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Samples, histograms, exemplars.
    fn written(&self) -> [&str; 3] {
        ["samples", "histograms", "exemplars"].map(|what| self.header(&format!("x-prometheus-remote-write-{what}-written")).unwrap())
    }

    fn error(&self) -> (String, String) {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert!(!body["error"]["hint"].as_str().unwrap().is_empty());
        (body["error"]["kind"].as_str().unwrap().to_owned(), body["error"]["message"].as_str().unwrap().to_owned())
    }
}

impl Server {
    async fn start(change: impl FnOnce(&mut IngestConfig)) -> Self {
        Self::start_on(Spread::default(), change).await
    }

    async fn start_on(spread: Spread, change: impl FnOnce(&mut IngestConfig)) -> Self {
        let mut config = IngestConfig::default();
        change(&mut config);
        config.validate().unwrap();
        let log = Arc::new(MemoryLog::default());
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(WallTime(NOW)));
        let (sender, deliveries) = intake();
        let appender = Appender::new(log.clone(), spread, sender, clock.clone());
        let decoders = Arc::new(Decoders::new(config.limits()));
        let router = router(IngestState::new(config, appender, decoders, clock));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        #[allow(clippy::disallowed_methods)]
        tokio::spawn(async move { axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await });
        Self { address, log, deliveries }
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let length = body.len().to_string();
        let mut all = vec![("content-length", length.as_str())];
        all.extend(headers);
        self.raw(path, &all, body).await
    }

    async fn raw(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // A refusal may come, and the connection close, before all of the body is sent.
        drop(stream.write_all(body).await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        let text = String::from_utf8(answer).unwrap();
        let (headers, body) = text.split_once("\r\n\r\n").unwrap();
        Answer { status: headers[9..12].parse().unwrap(), headers: headers.to_owned(), body: body.to_owned() }
    }

    fn logged(&self) -> usize {
        self.log.records.lock().unwrap().len()
    }

    fn last_source(&self) -> String {
        self.log.records.lock().unwrap().last().unwrap().1.source.to_string()
    }
}

fn series(labels: &[(&str, &str)], samples: usize) -> TimeSeries {
    TimeSeries {
        labels: labels.iter().map(|(name, value)| Label { name: (*name).into(), value: (*value).into() }).collect(),
        samples: vec![Sample { value: 1.0, timestamp: NOW }; samples],
        ..TimeSeries::default()
    }
}

fn v1(timeseries: Vec<TimeSeries>) -> Vec<u8> {
    snappy(&WriteRequest { timeseries, metadata: vec![] }.encode_to_vec())
}

fn good() -> Vec<u8> {
    let full = TimeSeries {
        histograms: vec![histogram(NOW)],
        exemplars: vec![Exemplar { labels: vec![], value: 1.0, timestamp: NOW }],
        ..series(&[("__name__", "up"), ("job", "a")], 2)
    };
    v1(vec![full])
}

#[tokio::test]
async fn a_good_write_is_logged_as_sent_delivered_and_answered_204() {
    let mut server = Server::start(|_| {}).await;
    for (headers, body, written) in [(V1, good(), ["2", "1", "1"]), (V2, snappy(&rich_v2()), ["12", "8", "8"])] {
        let answer = server.post("/api/v1/write", headers, &body).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{}", answer.headers);
        assert_eq!(answer.written(), written);
        let delivery = server.deliveries.recv().await.unwrap().remove(0);
        assert!(delivery.decoded.rejects.is_empty());
        let (log, record) = server.log.records.lock().unwrap().last().unwrap().clone();
        assert_eq!((log.to_string().as_str(), &record.body[..], record.received_at), ("metrics/0", &body[..], WallTime(NOW)));
        assert_eq!(record.body_hash, xxhash_rust::xxh3::xxh3_128(&body));
        assert_eq!((delivery.record.request_id, delivery.record.body_hash), (record.request_id, record.body_hash));
    }
}

#[tokio::test]
async fn a_partial_write_is_durable_first_and_then_400() {
    let mut server = Server::start(|_| {}).await;
    let bad = |n: usize| series(&[("job", &format!("no-name-{n}"))], 3);
    let mut all = vec![series(&[("__name__", "up")], 5)];
    all.extend((0..7).map(bad));
    let answer = server.post("/api/v1/write", V1, &v1(all)).await;
    assert_eq!((answer.status, answer.written()), (400, ["5", "0", "0"]));
    let (kind, message) = answer.error();
    assert_eq!(kind, "invalid");
    for text in ["21 of 26 items refused", "no-name-0", "no-name-4", "metric_missing", "and 2 more"] {
        assert!(message.contains(text), "{text}: {message}");
    }
    assert!(!message.contains("no-name-5"), "{message}");
    let delivery = server.deliveries.recv().await.unwrap().remove(0);
    assert_eq!(delivery.decoded.rejects.len(), 7);
    assert!(matches!(delivery.decoded.body, DecodedBody::Samples(batch) if batch.times.len() == 5));
}

#[tokio::test]
async fn a_write_of_which_all_is_refused_is_logged_too() {
    let server = Server::start(|_| {}).await;
    let answer = server.post("/api/v1/write", V1, &v1(vec![series(&[("job", "a")], 1)])).await;
    assert_eq!((answer.status, answer.written(), server.logged()), (400, ["0", "0", "0"], 1));
}

#[tokio::test]
async fn an_empty_write_is_fine_and_not_logged() {
    let server = Server::start(|_| {}).await;
    let answer = server.post("/api/v1/write", V1, &v1(vec![])).await;
    assert_eq!((answer.status, server.logged()), (204, 0));
}

#[tokio::test]
async fn unreadable_writes_are_refused_whole() {
    let server = Server::start(|_| {}).await;
    let proto = |name: &str| format!("application/x-protobuf;proto={name}");
    let (unknown, quoted) = (proto("io.prometheus.write.v3.Request"), proto("\"prometheus.WriteRequest\"; charset=x"));
    let snappy_of = |kind| [("content-type", kind), ("content-encoding", "snappy")];
    for (headers, body, status) in [
        (&snappy_of("text/plain")[..], good(), 415),
        (&snappy_of("application/json"), good(), 415),
        (&snappy_of(&unknown), good(), 415),
        (&[("content-type", "application/x-protobuf"), ("content-encoding", "gzip")], good(), 415),
        (V1, b"not snappy".to_vec(), 400),
        (V1, snappy(b"\xff\xff\xff\xff"), 400),
        (V2, snappy(b"\x22\x01x\x2a\x00"), 400),
        // Each in the name of the other version.
        (V2, good(), 400),
        (V1, snappy(b"\x22\x00\x22\x01x\x2a\x00"), 400),
        (V1, vec![0xff, 0xff, 0xff, 0x7f, 0, 0], 413),
    ] {
        let answer = server.post("/api/v1/write", headers, &body).await;
        assert_eq!(answer.status, status, "{headers:?} {}", answer.body);
        assert_eq!((answer.error().0.as_str(), answer.written(), server.logged()), ("invalid", ["0", "0", "0"], 0));
    }
    // What names nothing speaks 1.0, and parameters may be quoted or unknown.
    assert_eq!(server.post("/api/v1/write", &[], &good()).await.status, 204);
    assert_eq!(server.post("/api/v1/write", &snappy_of(&quoted), &good()).await.status, 204);
}

#[tokio::test]
async fn bodies_over_the_limit_are_413_with_and_without_a_length() {
    let server = Server::start(|config| config.body_bytes_max = 1024).await;
    let body = vec![b'x'; 2000];
    let answer = server.post("/api/v1/write", V1, &body).await;
    assert_eq!(answer.status, 413);
    assert!(answer.error().1.contains("2000 bytes, more than the 1024"), "{}", answer.body);
    let chunked: Vec<(&str, &str)> = V1.iter().copied().chain([("transfer-encoding", "chunked")]).collect();
    let body = [b"7d0\r\n".as_slice(), &body, b"\r\n0\r\n\r\n"].concat();
    assert_eq!(server.raw("/api/v1/write", &chunked, &body).await.status, 413);
}

#[tokio::test]
async fn overload_and_a_full_log_are_503_with_retry_after() {
    let server = Server::start(|_| {}).await;
    server.log.is_full.store(true, Ordering::SeqCst);
    let answer = server.post("/api/v1/write", V1, &good()).await;
    assert_eq!((answer.status, answer.header("retry-after"), answer.written()), (503, Some("5"), ["0", "0", "0"]));
    assert_eq!(answer.error(), ("unavailable".to_owned(), "the log is full: 10 bytes of 10 are used".to_owned()));
    server.log.is_full.store(false, Ordering::SeqCst);
    assert_eq!(server.post("/api/v1/write", V1, &good()).await.status, 204, "and it goes on by itself");

    let server = Server::start(|config| (config.in_flight_bytes_max, config.body_wait_ms_max) = (1 << 20, 300)).await;
    let mut slow = tokio::net::TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"POST /api/v1/write HTTP/1.1\r\nhost: t\r\ncontent-length: 1048576\r\n\r\n").await.unwrap();
    let mut refused = server.post("/api/v1/write", V1, &good()).await;
    while refused.status == 204 {
        // The slow request's head may be read after ours.
        refused = server.post("/api/v1/write", V1, &good()).await;
    }
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    let mut text = String::new();
    slow.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 503") && text.contains("did not arrive within 300 ms"), "{text}");
    assert_eq!(server.post("/api/v1/write", V1, &good()).await.status, 204, "its room came back");
}

#[tokio::test]
async fn the_source_is_the_header_the_parameter_or_the_address() {
    let server = Server::start(|_| {}).await;
    let with = |name, value| V1.iter().copied().chain([(name, value)]).collect::<Vec<_>>();
    server.post("/api/v1/write", V1, &good()).await;
    assert_eq!(server.last_source(), "127.0.0.1");
    server.post("/api/v1/write?source=prom%2Da", V1, &good()).await;
    assert_eq!(server.last_source(), "prom-a");
    server.post("/api/v1/write?source=prom-a", &with("x-afferent-source", "prom-b"), &good()).await;
    assert_eq!(server.last_source(), "prom-b");
    let long = "x".repeat(201);
    assert_eq!(server.post("/api/v1/write", &with("x-afferent-source", &long), &good()).await.status, 400);
}

#[tokio::test]
async fn tokens_are_required_where_there_are_any_and_name_the_source() {
    let server = Server::start(|config| drop(config.write_tokens.insert("alice".to_owned(), Secret::new("t0ken")))).await;
    let with = |value| V1.iter().copied().chain([("authorization", value), ("x-afferent-source", "mallory")]).collect::<Vec<_>>();
    assert_eq!(server.post("/api/v1/write", &with("Bearer t0ken"), &good()).await.status, 204);
    assert_eq!(server.last_source(), "alice");
    for headers in [V1.to_vec(), with("Bearer wrong"), with("Basic t0ken"), with("t0ken")] {
        let answer = server.post("/api/v1/write", &headers, &good()).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")));
        assert!(!answer.body.contains("t0ken"));
    }
    assert_eq!(server.post("/api/v1/webhooks/incidents", JSON, INCIDENT.as_bytes()).await.status, 401);
}

const INCIDENT: &str = include_str!("../webhook/golden/incident.json");

#[tokio::test]
async fn webhooks_answer_what_they_accepted() {
    let mut server = Server::start(|_| {}).await;
    for (name, body, status, accepted) in [
        ("alertmanager", include_str!("../webhook/golden/alertmanager.json"), 200, 2),
        ("incidents", INCIDENT, 202, 1),
        ("approvals", include_str!("../webhook/golden/approval.json"), 202, 1),
        ("llm-usage", include_str!("../webhook/golden/llm_usage.json"), 202, 2),
    ] {
        let answer = server.post(&format!("/api/v1/webhooks/{name}"), JSON, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&answer.body).unwrap(), serde_json::json!({"accepted": accepted, "rejected": 0}));
        let delivery = server.deliveries.recv().await.unwrap().remove(0);
        assert_eq!(delivery.log.to_string(), "events/0");
        assert!(matches!(delivery.decoded.body, DecodedBody::Events(events) if events.len() == accepted));
        assert_eq!(server.log.records.lock().unwrap().last().unwrap().1.body, body);
    }
    assert_eq!(server.post("/api/v1/webhooks/unheard-of", JSON, b"{}").await.status, 404);
}

#[tokio::test]
async fn bad_webhook_items_are_named_after_the_good_ones_are_durable() {
    let mut server = Server::start(|_| {}).await;
    let body = br#"[{"id":"a","ts":1,"provider":"p","model":"m"},{"id":"b","ts":1,"provider":"p"}]"#;
    let answer = server.post("/api/v1/webhooks/llm-usage", JSON, body).await;
    assert_eq!(answer.status, 400);
    assert!(answer.error().1.contains("1 of 2 events refused, the rest is kept: $[1].model: is missing"), "{}", answer.body);
    let delivery = server.deliveries.recv().await.unwrap().remove(0);
    assert_eq!(delivery.decoded.rejects.len(), 1);
    let answer = server.post("/api/v1/webhooks/llm-usage", JSON, b"{\"id\": ").await;
    assert_eq!((answer.status, server.logged()), (400, 1), "nothing of it can be kept");
    assert!(answer.error().1.contains("line 1 column 7"), "{}", answer.body);
}

#[tokio::test]
async fn signatures_are_checked_before_parsing() {
    let server = Server::start(|config| drop(config.webhook_secrets.insert("incidents".to_owned(), Secret::new("Jefe")))).await;
    // The body and key of RFC 4231, test case 2: signed, but no JSON.
    let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let signed = [("x-afferent-signature", hex)];
    let answer = server.post("/api/v1/webhooks/incidents", &signed, b"what do ya want for nothing?").await;
    assert_eq!(answer.status, 400, "the signature is right, the JSON is not");
    for headers in [&signed[..], JSON] {
        let answer = server.post("/api/v1/webhooks/incidents", headers, INCIDENT.as_bytes()).await;
        assert_eq!((answer.status, server.logged()), (401, 0));
    }
    let body = include_bytes!("../webhook/golden/approval.json");
    assert_eq!(server.post("/api/v1/webhooks/approvals", JSON, body).await.status, 202, "the other webhooks have no secret");
}

#[tokio::test]
async fn large_bodies_are_decoded_off_the_async_threads_and_come_out_alike() {
    let mut server = Server::start(|_| {}).await;
    let all = (0..8000).map(|n| series(&[("__name__", "up"), ("instance", &format!("a-rather-long-host-name-{n}.example:9100"))], 1)).collect();
    let answer = server.post("/api/v1/write", V1, &v1(all)).await;
    assert_eq!((answer.status, answer.written()), (204, ["8000", "0", "0"]));
    let delivery = server.deliveries.recv().await.unwrap().remove(0);
    assert!(matches!(delivery.decoded.body, DecodedBody::Samples(batch) if batch.series.len() == 8000));
}

#[tokio::test]
async fn a_body_that_is_spread_is_answered_as_one() {
    let mut server = Server::start_on(Spread { partitions: 4, ..Spread::default() }, |_| {}).await;
    let answer = server.post("/api/v1/write", V2, &snappy(&rich_v2())).await;
    let deliveries = server.deliveries.recv().await.unwrap();
    assert!(deliveries.len() > 1, "{}", deliveries.len());
    let sum = |count: fn(&afferent_engine::sample::SampleBatch) -> usize| {
        let batches = deliveries.iter().map(|d| match &d.decoded.body {
            DecodedBody::Samples(batch) => count(batch),
            DecodedBody::Events(_) => 0,
        });
        batches.sum::<usize>().to_string()
    };
    assert_eq!(answer.written(), [sum(|b| b.times.len()), sum(|b| b.histograms.len()), sum(|b| b.exemplars.len())]);
    let whole = Server::start(|_| {}).await.post("/api/v1/write", V2, &snappy(&rich_v2())).await;
    assert_eq!((answer.status, answer.written()), (whole.status, whole.written()));
}

#[tokio::test]
async fn a_webhook_larger_than_a_record_may_be_is_413() {
    let server = Server::start_on(Spread { partitions: 1, body_bytes_max: 2048 }, |_| {}).await;
    let answer = server.post("/api/v1/webhooks/incidents", JSON, &[b' '; 4096]).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
}
