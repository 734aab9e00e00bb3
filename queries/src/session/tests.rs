//! What statements see, what they may not do, and what stops them.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::run::fixture::{self, Pane, START, dimensions, labels, times, words};
use afferent_engine::error::ErrorKind;
use afferent_engine::live::{LiveFilter, ViewInfo};
use afferent_engine::schema::{self, TableName};
use afferent_engine::status::Status;
use afferent_engine::time::EventTime;
use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

fn samples() -> RecordBatch {
    let rows: Vec<(&str, i64, i64, f64)> = (0..12).map(|i| (if i % 3 == 2 { "node_load1" } else { "up" }, i % 3, i / 3, i as f64)).collect();
    RecordBatch::try_new(
        schema::samples().schema,
        vec![
            words(rows.iter().map(|r| Some(r.0))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1))),
            times(rows.iter().map(|r| START + r.2 * 1_000_000)),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.3))),
        ],
    )
    .unwrap()
}

/// Series 0 and 1 are `up`, 2 is `node_load1`; series 0 was described twice.
fn series() -> RecordBatch {
    let rows: [(i64, &str, &str, i64); 4] = [(0, "up", "old", 1), (0, "up", "api", 9), (1, "up", "web", 2), (2, "node_load1", "api", 2)];
    let none = |f: &str| new_null_array(schema::series().schema.field_with_name(f).unwrap().data_type(), rows.len());
    RecordBatch::try_new(
        schema::series().schema,
        vec![
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0))),
            words(rows.iter().map(|r| Some(r.1))),
            labels(rows.iter().map(|r| vec![("instance", format!("h{}", r.0)), ("time", "late".to_owned())])),
            words(rows.iter().map(|r| Some(r.2))),
            times(rows.iter().map(|r| START + r.3)),
            times(rows.iter().map(|r| START + r.3)),
            none("type"),
            none("unit"),
            none("help"),
        ],
    )
    .unwrap()
}

/// Rows of a view: (key, value or none where it is retracted, minute, revision).
fn view_rows(windowed: bool, rows: &[(Option<&str>, Option<i64>, i64, i64)]) -> RecordBatch {
    let mut fields = vec![Field::new("service", DataType::Utf8, true), Field::new("n", DataType::Int64, true)];
    let mut columns: Vec<ArrayRef> =
        vec![Arc::new(rows.iter().map(|r| r.0).collect::<StringArray>()), Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>())];
    if windowed {
        fields.push(Field::new("window_start", schema::timestamp(), true));
        columns.push(times(rows.iter().map(|r| START + r.2 * fixture::PANE)));
    }
    fields.extend(schema::view_envelope());
    columns.push(times(rows.iter().map(|r| START + r.3)));
    columns.push(new_null_array(&DataType::Float64, rows.len()));
    columns.push(Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.3))));
    columns.push(Arc::new(Int64Array::from_iter_values(rows.iter().map(|_| 1))));
    columns.push(Arc::new(rows.iter().map(|r| r.1.is_none().then_some(true)).collect::<BooleanArray>()));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Panes of two series; the last one of series 0 was revised twice.
fn rollup() -> RecordBatch {
    let pane = |series: i64, minute: i64, value: i64| Pane { metric: 2, series, minute, count: value, value: Some(value as f64), service: None };
    let mut rows: Vec<Pane> = (0..6).map(|i| pane(i % 2, i, i)).collect();
    rows.extend([pane(0, 4, 40), pane(0, 4, 41)]);
    let mut columns = fixture::panes(&rows).columns().to_vec();
    columns.truncate(11);
    let revisions = [None, None, None, None, Some(0), None, Some(2), Some(1)];
    columns.push(Arc::new(Int64Array::from(revisions.to_vec())));
    RecordBatch::try_new(schema::rollup_1m().schema, columns).unwrap()
}

fn live() -> Arc<Live> {
    let live = Arc::new(Live::default());
    let windowed = view_rows(
        true,
        &[
            (Some("api"), Some(1), 0, 0),
            (Some("api"), Some(2), 1, 0),
            (Some("api"), Some(3), 1, 2),
            (Some("api"), Some(4), 1, 1),
            (None, Some(5), 1, 0),
            (None, Some(6), 1, 1),
            (Some("web"), Some(7), 0, 0),
            (Some("web"), None, 0, 1),
            (Some("web"), Some(8), 1, 0),
            (Some("web"), None, 1, 1),
            (Some("web"), Some(9), 1, 2),
        ],
    );
    let keyed = view_rows(
        false,
        &[
            (Some("api"), Some(1), 0, 0),
            (Some("api"), Some(2), 0, 1),
            (Some("web"), Some(3), 0, 0),
            (Some("web"), Some(4), 0, 4),
            (None, Some(5), 0, 0),
            (None, Some(6), 0, 7),
            (Some("gone"), Some(7), 0, 0),
            (Some("gone"), None, 0, 1),
        ],
    );
    let once = view_rows(true, &[(Some("api"), Some(1), 0, 0), (Some("web"), Some(2), 0, 0)]);
    live.update(|v| {
        for (name, rows) in
            [("samples", samples()), ("series", series()), ("rollup_1m", rollup()), ("traffic__g2", windowed.clone()), ("incidents", keyed.clone())]
        {
            v.live.insert(TableName::new(name), Arc::new(vec![rows]));
        }
        v.live.insert(TableName::new("once"), Arc::new(vec![once.clone()]));
        let info = |table: &str, rows: &RecordBatch, key: &[&str]| ViewInfo {
            schema: rows.schema(),
            key: key.iter().map(|k| (*k).to_owned()).collect(),
            sql: "SELECT".to_owned(),
            generation: 1,
            table: TableName::new(table),
        };
        v.views.insert(TableName::new("traffic"), info("traffic__g2", &windowed, &["service", "window_start"]));
        v.views.insert(TableName::new("once"), info("once", &once, &["service", "window_start"]));
        v.views.insert(TableName::new("incidents"), info("incidents", &keyed, &["service"]));
        let names = |l: &[&str]| l.iter().map(|l| (*l).to_owned()).collect::<Arc<[String]>>();
        v.metrics = Arc::new([("up".to_owned(), names(&["instance", "time"])), ("node_load1".to_owned(), names(&["instance"]))].into());
        v.status = Arc::new(Status { as_of: Some(EventTime(START / 1000)), ..Status::default() });
    });
    live
}

/// Rows in memory that, like files by their statistics, leave out those of too low a revision where they are asked to.
#[derive(Debug)]
struct Stored {
    schema: Arc<Schema>,
    rows: Vec<RecordBatch>,
}

#[async_trait]
impl TableProvider for Stored {
    fn schema(&self) -> Arc<Schema> {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> PlanResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let again = filters.iter().any(|f| f.to_string().contains("revision > Int64(0)"));
        let revised = |b: &RecordBatch| b.column_by_name("revision").unwrap().as_primitive::<Int64Type>().iter().any(|r| r.is_some_and(|r| r > 0));
        let rows = self.rows.iter().filter(|b| !again || revised(b)).cloned().collect();
        MemTable::try_new(Arc::clone(&self.schema), vec![rows])?.scan(state, projection, &[], limit).await
    }
}

fn engine_with(limits: SqlLimits) -> SqlEngine {
    let tables: TableSource = Arc::new(|def, view| {
        let rows = view.live.get(&def.name).map(|l| l.scan(&LiveFilter::default()).unwrap()).unwrap_or_default();
        Arc::new(Stored { schema: Arc::clone(&def.schema), rows })
    });
    SqlEngine::new(&dimensions(), live(), tables, limits).unwrap()
}

fn engine() -> SqlEngine {
    engine_with(SqlLimits::default())
}

async fn rows(engine: &SqlEngine, sql: &str) -> Result<Vec<RecordBatch>> {
    Ok(engine.query(sql).await?.collect().await?.1)
}

async fn text(engine: &SqlEngine, sql: &str) -> String {
    match rows(engine, sql).await {
        Ok(batches) => pretty_format_batches(&batches).unwrap().to_string(),
        Err(error) => panic!("{sql}: {error}"),
    }
}

async fn numbers(engine: &SqlEngine, sql: &str) -> Vec<i64> {
    let batches = rows(engine, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

#[tokio::test]
async fn relations_of_metrics_have_labels_and_service() {
    let engine = engine();
    assert_eq!(numbers(&engine, "SELECT COUNT(*) FROM metrics.up").await, [8]);
    let got =
        text(&engine, "SELECT series_id, service, instance, label_time, MAX(value) AS v FROM metrics.\"up\" GROUP BY 1, 2, 3, 4 ORDER BY 1").await;
    assert!(got.contains("| 0         | api     | h0       | late       | 9.0  |"), "{got}");
    assert!(got.contains("| 1         | web     | h1       | late       | 10.0 |"), "{got}");
    assert_eq!(numbers(&engine, "SELECT count FROM rollup.up WHERE service = 'web' AND instance = 'h1' ORDER BY window_start").await, [1, 3, 5]);
    assert_eq!(numbers(&engine, "SELECT SUM(increase)::BIGINT FROM panes WHERE service = 'api' AND label(labels, 'instance') = 'h0'").await, [42]);
}

#[tokio::test]
async fn service_is_joined_only_where_it_is_asked_for() {
    let engine = engine();
    let with = text(&engine, "EXPLAIN SELECT service, value FROM samples WHERE metric = 'up'").await;
    let without = text(&engine, "EXPLAIN SELECT series_id, value FROM samples WHERE metric = 'up'").await;
    assert!(with.contains("HashJoinExec") && !without.contains("HashJoinExec"), "{with}\n{without}");
    assert_eq!(numbers(&engine, "SELECT COUNT(*) FROM samples WHERE service = 'api'").await, [8]);
    assert_eq!(numbers(&engine, "SELECT series_id FROM series WHERE service = 'api' ORDER BY 1").await, [0, 2]);
    assert_eq!(numbers(&engine, "SELECT COUNT(*) FROM series").await, [3]);
    assert_eq!(numbers(&engine, "SELECT COUNT(*) FROM samples s JOIN series d ON s.series_id = d.series_id AND d.service = s.service").await, [12]);
}

#[tokio::test]
async fn views_show_the_newest_revision_per_key() {
    let engine = engine();
    assert_eq!(numbers(&engine, "SELECT n FROM traffic ORDER BY n").await, [1, 3, 6, 9]);
    assert_eq!(numbers(&engine, "SELECT COUNT(*) FROM traffic").await, [4]);
    assert_eq!(numbers(&engine, "SELECT n FROM traffic WHERE n IN (2, 4, 7, 8)").await, Vec::<i64>::new());
    assert_eq!(numbers(&engine, "SELECT n FROM traffic WHERE service IS NULL AND n > 5").await, [6]);
    assert_eq!(
        numbers(&engine, "SELECT n FROM traffic WHERE service = 'api' AND window_start > to_timestamp_micros(1763820000000000) ORDER BY n").await,
        [3]
    );
    assert_eq!(numbers(&engine, "SELECT n FROM incidents ORDER BY n").await, [2, 4, 6]);
    assert_eq!(numbers(&engine, "SELECT n FROM incidents WHERE service = 'web'").await, [4]);
    assert_eq!(numbers(&engine, "SELECT n FROM incidents WHERE n = 3").await, Vec::<i64>::new());
}

#[tokio::test]
async fn panes_show_their_newest_revision_only() {
    let engine = engine();
    let all = "SELECT count FROM %";
    for (relation, condition) in [("rollup_1m", "metric = 'up'"), ("panes", "metric = 'up'"), ("rollup.up", "true")] {
        let ask = |rest: &str| format!("{} WHERE {condition} {rest}", all.replace('%', relation));
        assert_eq!(numbers(&engine, &ask("ORDER BY count")).await, [0, 1, 2, 3, 5, 40], "{relation}");
        assert_eq!(numbers(&engine, &ask("AND count IN (4, 41)")).await, Vec::<i64>::new(), "{relation}");
        assert_eq!(numbers(&engine, &ask("AND service = 'api' ORDER BY count")).await, [0, 2, 40], "{relation}");
        assert_eq!(numbers(&engine, &format!("SELECT COUNT(*) FROM {relation}")).await, [6], "{relation}");
    }
    assert_eq!(numbers(&engine, "SELECT revision FROM rollup_1m WHERE count = 40").await, [2]);
    assert!(rows(&engine, "SELECT revision FROM panes").await.is_err());
    assert!(rows(&engine, "SELECT retracted FROM traffic").await.is_err() && rows(&engine, "SELECT retracted FROM incidents").await.is_err());
}

#[tokio::test]
async fn what_was_never_revised_is_read_without_a_join() {
    let engine = engine();
    for (sql, joins) in [
        ("SELECT SUM(n) FROM once", 0),
        ("SELECT SUM(n) FROM traffic", 1),
        ("SELECT SUM(increase) FROM rollup_1m", 1),
        ("SELECT SUM(increase) FROM rollup_1m a WHERE service = 'api'", 2),
    ] {
        let plan = text(&engine, &format!("EXPLAIN {sql}")).await;
        assert_eq!(plan.matches("HashJoinExec").count(), joins, "{sql}: {plan}");
    }
    assert_eq!(numbers(&engine, "SELECT COUNT(*) FROM once").await, [2]);
    assert_eq!(numbers(&engine, "SELECT n FROM once WHERE service = 'web'").await, [2]);
}

#[tokio::test]
async fn answers_without_relations_and_about_relations() {
    let engine = engine();
    assert_eq!(numbers(&engine, "SELECT 1").await, [1]);
    assert_eq!(numbers(&engine, "WITH x AS (SELECT 2 AS a) SELECT a FROM x;").await, [2]);
    let tables = text(&engine, "SHOW TABLES").await;
    for name in ["samples", "panes", "traffic", "services", "slo_objectives", "node_load1", "dead_letters"] {
        assert!(tables.contains(&format!("| {name} ")), "{name}: {tables}");
    }
    assert!(text(&engine, "DESCRIBE samples").await.contains("service"));
    assert!(text(&engine, "SHOW COLUMNS FROM metrics.up").await.contains("instance"));
    assert!(text(&engine, "EXPLAIN SELECT * FROM events").await.contains("plan"));
    assert!(text(&engine, "SELECT as_of() AS t").await.contains("2025-11-22T14:00:00"), "{}", text(&engine, "SELECT as_of() AS t").await);
    let answer = engine.query("SELECT * FROM services WHERE false").await.unwrap();
    assert_eq!(answer.schema().field(0).name(), "service");
    let (_, batches, stats) = answer.collect().await.unwrap();
    assert_eq!((batches.iter().map(RecordBatch::num_rows).sum::<usize>(), stats.rows), (0, 0));
}

#[tokio::test]
async fn errors_name_what_is_near() {
    let engine = engine();
    for (sql, says) in [
        ("SELECT valeu FROM metrics.up", "value"),
        ("SELECT * FROM metrics.node_laod1", "node_load1"),
        ("SELECT * FROM trafic", "near it: traffic"),
        ("SELECT * FROM sampels", "samples"),
        ("SELEC 1", "ParserError"),
        ("SELECT nosuch(1)", "nosuch"),
        ("SELECT 1 / 0 FROM samples", "Divide by zero"),
    ] {
        let error = rows(&engine, sql).await.unwrap_err();
        assert!(error.to_string().contains(says), "{sql}: {error}");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error}");
    }
}

#[tokio::test]
async fn what_would_take_the_process_down_is_refused() {
    // It is the memory that has to stop them, also on a machine that is slow.
    let engine = engine_with(SqlLimits { seconds_max: 300, ..SqlLimits::default() });
    for (sql, limit) in [
        (format!("SELECT {}", vec!["1"; 2_000].join("+")), "levels_max"),
        (format!("SELECT * FROM samples WHERE {}", vec!["value = 0"; 2_000].join(" OR ")), "levels_max"),
        ("SELECT repeat('x', 200000000)".to_owned(), "memory_bytes_max"),
        ("SELECT lpad('x', 2000000000)".to_owned(), "memory_bytes_max"),
        ("SELECT max(length(repeat('x', 200000 + CAST(value AS INT)))) FROM generate_series(1, 16000)".to_owned(), "memory_bytes_max"),
        ("SELECT length(replace(repeat('a', 1000000), 'a', repeat('b', 100000)))".to_owned(), "memory_bytes_max"),
        ("SELECT length(regexp_replace(repeat('a', 1000000), 'a', repeat('b', 100000), 'g'))".to_owned(), "memory_bytes_max"),
        (format!("SELECT length({})", vec!["repeat('a', 1000000)"; 20].join("||")), "memory_bytes_max"),
        (format!("SELECT length(concat({}))", vec!["repeat('a', 1000000)"; 20].join(",")), "memory_bytes_max"),
        (format!("SELECT length(concat_ws({}))", vec!["repeat('a', 1000000)"; 20].join(",")), "memory_bytes_max"),
    ] {
        let error = rows(&engine, &sql).await.unwrap_err();
        assert!(error.to_string().contains(limit), "{error}");
    }
    rows(&engine, "SELECT generate_series(1, 1000000000)").await.unwrap_err();
    rows(&engine, "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 1000000) SELECT count(*) FROM t").await.unwrap_err();
    let deep = rows(&engine, &format!("SELECT {}", vec!["1"; 900].join("+"))).await.unwrap();
    assert_eq!(deep[0].num_rows(), 1);
    rows(&engine, "SELECT repeat('=', 40), rpad('a', 10, '.'), lpad('7', 3, '0')").await.unwrap();
    // What could make much and makes little goes through, in parts.
    let sql = "SELECT sum(length(replace(repeat('ab', 1000), 'x' || CAST(value AS VARCHAR), repeat('c', 20)))) AS n FROM generate_series(1, 2000)";
    let made = rows(&engine, sql).await.unwrap();
    assert_eq!(made[0].column(0).as_primitive::<Int64Type>().value(0), 4_000_000);
    let texts = rows(
        &engine,
        "SELECT 'a' || 1 || NULL AS none, 'a' || 1 || 'b' AS three, concat('a', NULL, 2) AS two, length(concat(X'61', X'62')) AS of_bytes, 'x' || value AS of_rows FROM generate_series(7, 7)",
    )
    .await
    .unwrap();
    let texts: Vec<Option<String>> =
        texts[0].columns().iter().map(|c| c.is_valid(0).then(|| arrow::util::display::array_value_to_string(c, 0).unwrap())).collect();
    assert_eq!(texts, [None, Some("a1b".to_owned()), Some("a2".to_owned()), Some("2".to_owned()), Some("x7".to_owned())]);
}

#[tokio::test]
async fn nothing_but_reading_is_let_in() {
    let engine = engine();
    for sql in [
        "",
        "  ;",
        "-- nothing",
        "SELECT 1; SELECT 2",
        "COPY samples TO '/tmp/x.parquet'",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "CREATE TABLE x (a INT)",
        "CREATE TABLE x AS SELECT 1",
        "CREATE VIEW x AS SELECT 1",
        "CREATE OR REPLACE VIEW traffic AS SELECT 1",
        "CREATE MATERIALIZED VIEW x AS SELECT 1",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE SCHEMA x",
        "CREATE DATABASE x",
        "CREATE FUNCTION f() RETURNS INT RETURN 1",
        "DROP TABLE samples",
        "DROP VIEW traffic",
        "DROP SCHEMA public CASCADE",
        "ALTER TABLE samples ADD COLUMN x INT",
        "TRUNCATE TABLE samples",
        "INSERT INTO samples SELECT * FROM samples",
        "UPDATE samples SET value = 0",
        "DELETE FROM samples",
        "MERGE INTO samples USING series ON true WHEN MATCHED THEN DELETE",
        "SET datafusion.execution.batch_size = 1",
        "RESET datafusion.execution.batch_size",
        "SHOW ALL",
        "SHOW datafusion.execution.batch_size",
        "SELECT 1 INTO x",
        "WITH x AS (INSERT INTO samples SELECT 1) SELECT 1",
        "EXPLAIN COPY samples TO '/tmp/x'",
        "EXPLAIN INSERT INTO samples SELECT * FROM samples",
        "EXPLAIN ANALYZE INSERT INTO samples SELECT * FROM samples",
        "EXPLAIN CREATE TABLE x AS SELECT 1",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "DEALLOCATE p",
        "BEGIN",
        "COMMIT",
        "USE afferent",
        "ANALYZE TABLE samples",
        "GRANT ALL ON samples TO x",
        "KILL 1",
        "LOAD 'x'",
        "ATTACH DATABASE 'x' AS y",
        "VACUUM samples",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM 'file:///etc/passwd'",
        "SELECT * FROM \"/etc/hosts.csv\"",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('x')",
        "SELECT * FROM parquet_metadata('x')",
        "SELECT * FROM metadata_cache()",
    ] {
        let error = rows(&engine, sql).await.err().unwrap_or_else(|| panic!("let in: {sql}"));
        assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error}");
    }
    for (sql, says) in [
        ("DROP TABLE samples", "DROP TABLE is not allowed"),
        ("COPY samples TO 'x'", "COPY is not allowed"),
        ("SELECT 1; SELECT 2", "more than one statement is not allowed"),
        ("SET a = 1", "SET is not allowed"),
    ] {
        let error = rows(&engine, sql).await.unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
    }
    assert_eq!(numbers(&engine, "SELECT COUNT(*) FROM samples").await, [12]);
}

#[tokio::test]
async fn every_limit_is_named() {
    let limits = || SqlLimits { threads: 1, ..SqlLimits::default() };
    let many = "SELECT a.value FROM generate_series(1, 3000) AS a, generate_series(1, 3000) AS b";
    let engine = engine_with(SqlLimits { rows_max: 1_000_000, ..limits() });
    let mut answer = engine.query(many).await.unwrap();
    let (mut seen, mut failure) = (0, None);
    while let Some(batch) = answer.next().await {
        match batch {
            Ok(batch) => seen += batch.num_rows(),
            Err(error) => failure = Some(error),
        }
    }
    assert!(seen <= 1_000_000);
    assert!(failure.unwrap().to_string().starts_with("limit rows_max = 1000000 reached"));
    drop(engine);

    let engine = engine_with(SqlLimits { memory_bytes_max: 1 << 20, ..limits() });
    let sorted = "SELECT value * 7919 % 1000003 AS v, count(*) FROM generate_series(1, 1000000) GROUP BY 1 ORDER BY 2, 1 DESC LIMIT 5";
    let error = rows(&engine, sorted).await.unwrap_err();
    assert!(error.to_string().starts_with("limit memory_bytes_max = 1048576 reached"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Invalid);

    let engine = engine_with(SqlLimits { seconds_max: 1, rows_max: 1_000_000_000, ..limits() });
    let endless = "SELECT COUNT(*) FROM generate_series(1, 100000000) AS a, generate_series(1, 1000000) AS b WHERE a.value + b.value < 0";
    let started = std::time::Instant::now();
    let error = rows(&engine, endless).await.unwrap_err();
    assert!(error.to_string().starts_with("limit seconds_max = 1 reached"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
    let long = format!("SELECT '{}'", "x".repeat(crate::config::STATEMENT_BYTES_MAX));
    assert!(rows(&engine, &long).await.unwrap_err().to_string().starts_with("limit statement_bytes_max"));
}

#[tokio::test]
async fn slots_are_limited_and_a_dropped_answer_gives_its_slot_back() {
    let engine = engine_with(SqlLimits { concurrent_max: 1, threads: 1, ..SqlLimits::default() });
    let many = "SELECT a.value FROM generate_series(1, 100000) AS a, generate_series(1, 100000) AS b";
    let held = engine.query(many).await.unwrap();
    let error = engine.query("SELECT 1").await.err().unwrap();
    assert!(error.to_string().starts_with("limit concurrent_max = 1 reached"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    drop(held);
    assert_eq!(numbers(&engine, "SELECT 1").await, [1]);
}

#[tokio::test]
async fn a_reader_that_stalls_is_told_so() {
    let engine = engine_with(SqlLimits { seconds_max: 1, threads: 1, ..SqlLimits::default() });
    let mut answer = engine.query("SELECT a.value FROM generate_series(1, 100000) AS a").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mut failure = None;
    while let Some(batch) = answer.next().await {
        failure = batch.err().or(failure);
    }
    assert!(failure.unwrap().to_string().starts_with("limit seconds_max = 1 reached"));
    assert_eq!(numbers(&engine, "SELECT 1").await, [1]);
}

#[test]
fn limits_are_checked() {
    let error = SqlLimits { seconds_max: 0, ..SqlLimits::default() }.check().unwrap_err();
    assert!(error.to_string().contains("sql.seconds_max = 0 must lie in 1..=3600"), "{error}");
}

/// Prints what a trivial statement costs.
#[tokio::test]
async fn cost_of_a_statement() {
    let engine = engine();
    for sql in ["SELECT 1", "SELECT value FROM metrics.up WHERE instance = 'h0'"] {
        let started = std::time::Instant::now();
        for _ in 0..20 {
            text(&engine, sql).await;
        }
        eprintln!("{:?} per statement | {sql}", started.elapsed() / 20);
    }
}
