#![allow(clippy::unwrap_used)]

use super::*;
use crate::command::ServerArgs;
use crate::command::remote::Remote;
use crate::config::{Config, Document};
use crate::telemetry;
use afferent_engine::clock::ManualClock;
use afferent_engine::control::Control;
use afferent_engine::live::{Live, LiveRows, ReadView};
use afferent_engine::schema::{self, SAMPLES, TableDef, TableName};
use afferent_engine::status::{LogStatus, Status};
use afferent_engine::time::{EventTime, WallTime};
use afferent_queries::dimensions::Dimensions;
use afferent_queries::plan::Statements;
use afferent_queries::session::{SqlEngine, TableSource};
use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::Int32Type;
use arrow::ipc::reader::StreamReader;
use arrow::record_batch::RecordBatch;
use axum::routing::post;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use std::sync::Arc;

/// Three samples of `up`, one of them a staleness marker.
fn samples() -> RecordBatch {
    let metric: DictionaryArray<Int32Type> = ["up", "up", "up"].into_iter().collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(metric),
        Arc::new(Int64Array::from(vec![i64::MAX; 3])),
        Arc::new(TimestampMicrosecondArray::from(vec![0, 1_000_000, 2_000_000]).with_timezone("UTC")),
        Arc::new(Float64Array::from(vec![Some(1.0), None, Some(f64::INFINITY)])),
    ];
    RecordBatch::try_new(schema::samples().schema, columns).unwrap()
}

/// A state whose tables are what `live` holds in memory.
pub(crate) fn state(settings: &str, recovered: bool) -> AppState {
    state_with(settings, recovered, afferent_engine::control::control().0)
}

/// The same with an engine that somebody plays.
pub(crate) fn state_with(settings: &str, recovered: bool, control: Control) -> AppState {
    let mut document = Document::reference().unwrap();
    document.overlay("test.toml", settings).unwrap();
    let config = Arc::new(Config::validate(&document).unwrap());
    let live = Arc::new(Live::default());
    live.update(|view| {
        let rows: Arc<dyn LiveRows> = Arc::new(vec![samples()]);
        view.live.insert(TableName::new(SAMPLES), rows);
        let metrics = [("up".to_owned(), Arc::from(vec![]))];
        view.metrics = Arc::new(metrics.into_iter().collect());
        view.status = Arc::new(Status { recovered, watermark: Some(EventTime(2_000)), as_of: Some(EventTime(2_000)), epoch: 3, ..Status::default() });
    });
    let dimensions = Arc::new(Dimensions::load(None, None, None).unwrap());
    let tables: TableSource = Arc::new(|def: &TableDef, view: &ReadView| {
        let rows = view.live.get(&def.name).map(|rows| rows.scan(&Default::default()).unwrap()).unwrap_or_default();
        let table: Arc<dyn TableProvider> = Arc::new(MemTable::try_new(def.schema.clone(), vec![rows]).unwrap());
        table
    });
    let sql = Arc::new(SqlEngine::new(&dimensions, live.clone(), tables, config.sql.clone()).unwrap());
    let metrics = telemetry::recorder().unwrap().handle();
    AppState {
        sql,
        live,
        control,
        compiler: Statements::new(dimensions.clone()).unwrap(),
        view_files: Arc::default(),
        dimensions,
        clock: Arc::new(ManualClock::at(WallTime(60_000))),
        config,
        metrics,
        standby: Arc::default(),
        replica: Arc::default(),
        partitions: Arc::default(),
        reads: Arc::default(),
        started_at: WallTime(0),
    }
}

/// A server on a port of its own; it goes when the test's runtime goes.
pub(crate) struct Loopback {
    pub(crate) base: String,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<io::Result<()>>,
}

pub(crate) async fn serve_with(state: AppState, ingest: Router) -> Loopback {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (stop, config) = (CancellationToken::new(), state.config.clone());
    let (router, token) = (router(state, ingest), stop.clone());
    #[expect(clippy::disallowed_methods, reason = "the test joins it or ends with it")]
    let served = tokio::spawn(async move { serve(listener, router, &config.server, token).await });
    Loopback { base, stop, served }
}

async fn start() -> Loopback {
    serve_with(state("", true), Router::new()).await
}

pub(crate) struct Got {
    pub(crate) status: u16,
    headers: ureq::http::HeaderMap,
    body: Vec<u8>,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn error(&self) -> (u16, String, String) {
        let error = &self.json()["error"];
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        (self.status, text("message"), text("hint"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

impl Loopback {
    /// Ends it, and waits until nobody listens.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
    }

    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.to_owned()).unwrap();
        let blocking = move || {
            let config = ureq::Agent::config_builder().http_status_as_error(false).allow_non_standard_methods(true);
            let agent: ureq::Agent = config.build().into();
            let mut response = agent.run(request).unwrap();
            let body = response.body_mut().read_to_vec().unwrap();
            Got { status: response.status().as_u16(), headers: response.headers().clone(), body }
        };
        tokio::task::spawn_blocking(blocking).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        let blocking = {
            let url = format!("{}{path}", self.base);
            move || {
                let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
                let mut response = agent.get(&url).call().unwrap();
                let body = response.body_mut().read_to_vec().unwrap();
                Got { status: response.status().as_u16(), headers: response.headers().clone(), body }
            }
        };
        tokio::task::spawn_blocking(blocking).await.unwrap()
    }

    pub(crate) async fn ask(&self, statement: &str, format: &str) -> Got {
        self.send("POST", &format!("/api/v1/sql?format={format}"), &[("content-type", "text/plain")], statement).await
    }
}

const STATEMENT: &str = "SELECT metric, series_id, time, value FROM samples ORDER BY time";

#[tokio::test]
async fn sql_answers_json_with_what_it_stands_on() {
    let server = start().await;
    let got = server.ask(STATEMENT, "json").await;
    assert_eq!(got.status, 200, "{:?}", String::from_utf8_lossy(&got.body));
    let answer = got.json();
    let columns = json!([
        {"name": "metric", "type": "string"}, {"name": "series_id", "type": "int64"},
        {"name": "time", "type": "timestamp"}, {"name": "value", "type": "float64"},
    ]);
    assert_eq!(answer["columns"], columns);
    assert_eq!(answer["rows"][0], json!(["up", i64::MAX, "1970-01-01T00:00:00.000000Z", 1.0]));
    assert_eq!(answer["rows"][1][3], Value::Null);
    assert_eq!(answer["rows"][2][3], "Inf");
    assert_eq!(answer["stats"]["rows"], 3);
    assert_eq!(answer["stats"]["watermark"], "1970-01-01T00:00:02.000Z");
    assert_eq!(answer["stats"]["epoch"], 3);
    assert_eq!((got.header("x-afferent-watermark"), got.header("content-type")), ("1970-01-01T00:00:02.000Z", "application/json"));
}

#[tokio::test]
async fn who_waits_for_the_log_sends_readers_to_the_one_that_works() {
    let works = start().await;
    let state = state("", true);
    let standby = Arc::clone(&state.standby);
    let server = serve_with(state, Router::new()).await;
    standby.wait(None);
    assert_eq!((server.get("/readyz").await.status, server.ask(STATEMENT, "csv").await.status), (503, 503), "nobody is known");
    standby.wait(Some(works.base.clone()));
    let ready = server.get("/readyz").await;
    assert_eq!((ready.status, ready.json()), (200, json!({"status": "standby", "works_at": works.base})));
    // Statements over rows are answered here (replica), those about views are not.
    const VIEWS: &str = "SHOW VIEWS";
    let url = format!("{}/api/v1/sql?format=csv", server.base);
    let raw = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().max_redirects(0).build().into();
        agent.post(&url).header("content-type", "text/plain").send(VIEWS).unwrap()
    });
    let raw = raw.await.unwrap();
    assert_eq!((raw.status().as_u16(), raw.headers()["location"].to_str().unwrap()), (307, format!("{}/api/v1/sql?format=csv", works.base).as_str()));
    // The commands go on by themselves, with their bodies.
    let args = ServerArgs { url: server.base.clone(), token: None };
    let followed = tokio::task::spawn_blocking(move || {
        Remote::new(&args).post("/api/v1/sql?format=csv", &[("content-type", "text/plain")], VIEWS.as_bytes()).unwrap()
    });
    assert!(followed.await.unwrap().is_success());
    standby.work();
    assert_eq!(server.ask(STATEMENT, "csv").await.status, 200);
}

#[tokio::test]
async fn sql_answers_csv_arrow_and_parquet() {
    let server = start().await;
    let csv = server.ask(STATEMENT, "csv").await;
    let expected = format!(
        "metric,series_id,time,value\r\nup,{0},1970-01-01T00:00:00.000000Z,1.0\r\nup,{0},1970-01-01T00:00:01.000000Z,\r\nup,{0},1970-01-01T00:00:02.000000Z,Inf\r\n",
        i64::MAX
    );
    assert_eq!(String::from_utf8(csv.body).unwrap(), expected);
    assert!(csv.headers["content-type"].to_str().unwrap().starts_with("text/csv"));

    let arrow = server.ask(STATEMENT, "arrow").await;
    let batches: Vec<_> = StreamReader::try_new(arrow.body.as_slice(), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);

    // By Accept this time.
    let path = format!("/api/v1/sql?query={}", STATEMENT.replace(' ', "%20"));
    let parquet = server.send("GET", &path, &[("accept", "application/vnd.apache.parquet")], "").await;
    assert_eq!(parquet.header("content-type"), "application/vnd.apache.parquet");
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(parquet.body)).unwrap().build().unwrap();
    assert_eq!(reader.map(|b| b.unwrap().num_rows()).sum::<usize>(), 3);
}

#[tokio::test]
async fn sql_errors_have_their_status_and_say_what_is_wrong() {
    let server = serve_with(state("[sql]\nrows_max = 2\nseconds_max = 1\n", true), Router::new()).await;
    let (status, message, hint) = server.ask("SELECT * FROM smaples", "json").await.error();
    assert_eq!(status, 400);
    assert!(message.contains("smaples") && !hint.is_empty(), "{message} / {hint}");
    for forbidden in ["COPY samples TO 'x'", "CREATE TABLE t AS SELECT 1", "DROP TABLE samples", "SET x = 1", "SELECT 1; SELECT 2"] {
        assert_eq!(server.ask(forbidden, "json").await.status, 400, "{forbidden}");
    }
    let (status, message, _) = server.ask(STATEMENT, "json").await.error();
    assert_eq!(status, 413);
    assert!(message.contains("rows_max"), "{message}");
    let slow = "SELECT count(*) FROM generate_series(1, 100000000000) a";
    let (status, message, _) = server.ask(slow, "json").await.error();
    assert_eq!(status, 408, "{message}");
    assert!(message.contains("seconds_max"), "{message}");
    assert_eq!(server.ask("", "json").await.status, 400);
    assert_eq!(server.ask("SELECT 1", "xml").await.status, 400);
    assert_eq!(server.send("POST", "/api/v1/sql", &[("content-type", "image/png")], "SELECT 1").await.status, 415);
    let huge = format!("SELECT '{}'", "x".repeat(2 << 20));
    assert_eq!(server.ask(&huge, "json").await.status, 413);
    // Limits leave the server whole.
    assert_eq!(server.ask("SELECT 1", "json").await.json()["rows"], json!([[1]]));
}

#[tokio::test]
async fn before_recovery_there_is_no_answer_but_there_is_health() {
    let server = serve_with(state("", false), Router::new()).await;
    for path in ["/readyz", "/api/v1/sql?query=SELECT%201", "/api/v1/cards", "/api/v1/slo/status"] {
        let got = server.get(path).await;
        assert_eq!((got.status, got.header("retry-after")), (503, "1"), "{path}");
    }
    for path in ["/", "/healthz", "/metrics", "/openapi.json", "/api/v1/freshness"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn where_the_log_cannot_be_read_answers_say_so_and_where_a_partition_is_missing_cards_are_none() {
    let state = state("", true);
    let live = state.live.clone();
    let server = serve_with(state, Router::new()).await;
    assert_eq!(server.get("/api/v1/cards").await.header("x-afferent-partial"), "");
    let read_until = Instant::now().checked_sub(Duration::from_secs(9));
    let change = |change: &dyn Fn(&mut Status)| {
        live.update(|view| {
            let mut status = Status::clone(&view.status);
            change(&mut status);
            view.status = Arc::new(status);
        });
    };
    change(&|status| status.logs.extend([("metrics/0".to_owned(), LogStatus { read_until, ..LogStatus::default() })]));
    let told = " s may be missing: metrics/0 could not be read to the end since";
    for path in ["/api/v1/cards", "/api/v1/sql?query=SELECT%20count(*)%20FROM%20samples"] {
        let got = server.get(path).await;
        assert!(got.status == 200 && got.header("x-afferent-partial").ends_with(told), "{path}: {}", got.header("x-afferent-partial"));
    }
    change(&|status| status.missing.push("a partition".to_owned()));
    for path in ["/api/v1/cards", "/api/v1/slo/status"] {
        let (status, message, _) = server.get(path).await.error();
        assert_eq!((status, message.as_str()), (503, "a partition"), "{path}");
    }
    let got = server.ask("SELECT count(*) FROM samples", "json").await;
    let both = got.header("x-afferent-partial");
    assert!(got.status == 200 && both.starts_with("a partition; records of the last ") && both.ends_with(told), "{both}");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_json_with_a_way_on() {
    let server = start().await;
    let (status, message, hint) = server.get("/api/v1/freshnes").await.error();
    assert_eq!((status, hint.as_str()), (404, "did you mean /api/v1/freshness?"));
    assert_eq!(message, "there is nothing at GET /api/v1/freshnes");
    let got = server.send("DELETE", "/api/v1/freshness", &[], "").await;
    assert_eq!((got.status, got.header("allow")), (405, "GET,HEAD"));
    let (_, message, hint) = got.error();
    assert_eq!((message.as_str(), hint.as_str()), ("DELETE is not possible at /api/v1/freshness", "possible here: GET"));
    assert_eq!(got.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_request_keeps_its_id_and_gets_one_if_it_has_none() {
    let server = start().await;
    let own = server.send("GET", "/healthz", &[("x-request-id", "abc-1")], "").await;
    assert_eq!(own.header("x-request-id"), "abc-1");
    let (first, second) = (server.get("/healthz").await, server.get("/nowhere").await);
    assert_eq!(first.header("x-request-id").len(), 16);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    let hostile = "x".repeat(REQUEST_ID_BYTES_MAX + 1);
    assert_eq!(server.send("GET", "/healthz", &[("x-request-id", hostile.as_str())], "").await.header("x-request-id").len(), 16);
}

/// The description may not promise a path that is not there.
#[tokio::test]
async fn every_described_path_of_this_crate_is_there() {
    let server = start().await;
    for path in openapi::paths().iter().filter(|path| !path.contains('{') && !path.contains("/webhooks/") && !path.ends_with("/write")) {
        let got = server.get(path).await;
        assert!(got.status != 404 && got.status != 405, "{path}: {}", got.status);
    }
}

#[tokio::test]
async fn a_panicking_and_a_slow_handler_are_answered() {
    async fn panics() -> &'static str {
        panic!("on purpose")
    }
    async fn sleeps() -> &'static str {
        tokio::time::sleep(Duration::from_secs(60)).await;
        "late"
    }
    let doors = Router::new().route("/panics", post(panics).get(panics)).route("/sleeps", get(sleeps));
    let server = serve_with(state("[server]\nrequest_s_max = 1\n", true), doors).await;
    let (status, message, _) = server.get("/panics").await.error();
    assert_eq!(status, 500);
    assert!(!message.contains("on purpose"), "a panic's words may hold data");
    let (status, message, _) = server.get("/sleeps").await.error();
    assert_eq!(status, 503);
    assert!(message.contains("request_s_max"), "{message}");
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_waits_for_no_stuck_request() {
    async fn sleeps() -> &'static str {
        tokio::time::sleep(Duration::from_secs(60)).await;
        "late"
    }
    let settings = "[server]\nstop_wait_s = 1\nrequest_s_max = 600\n";
    let server = serve_with(state(settings, true), Router::new().route("/sleeps", get(sleeps))).await;
    let _idle = tokio::net::TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    let url = format!("{}/sleeps", server.base);
    let stuck = tokio::task::spawn_blocking(move || ureq::get(&url).config().timeout_global(Some(Duration::from_secs(3))).build().call().is_ok());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    server.stop.cancel();
    server.served.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    stuck.await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_silent_ones_are_closed() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limited = LimitedListener::new(listener, 1, Duration::from_secs(1)).tap_io(|_| ());
    let app = Router::new().route("/", get(|| async { "hello" }));
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    let _server = tokio::spawn(async move { axum::serve(limited, app).await });
    let mut silent = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    let mut second = tokio::net::TcpStream::connect(address).await.unwrap();
    second.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    second.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    assert!(began.elapsed() > Duration::from_millis(300), "the second was served while the first held the only place");
    assert_eq!(silent.read(&mut [0; 8]).await.unwrap_or(0), 0, "the silent one should be closed");
}

#[tokio::test]
async fn freshness_tells_the_settings_of_time_and_metrics_the_repairs() {
    let server = serve_with(state("[engine]\nslack_ms = 5000\n", true), Router::new()).await;
    let report = server.get("/api/v1/freshness").await.json();
    assert_eq!(report["settings"], json!({ "slack_ms": 5000, "idle_ms": 120_000, "lateness_ms": 300_000, "future_ms_max": 300_000 }));
    assert_eq!((&report["view_files"], &report["backfills"]), (&json!({ "errors": {} }), &json!([])));
    assert_eq!(server.get("/metrics").await.status, 200);
}
