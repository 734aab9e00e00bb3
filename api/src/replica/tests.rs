use super::report::{Asked, Told};
use super::serve::Reads;
use crate::http::tests::{Loopback, serve_with, state};
use afferent_engine::live::{ReadView, ViewInfo};
use afferent_engine::schema::{self, SAMPLES, SERIES, TableName};
use afferent_engine::status::Status;
use afferent_engine::table::{DataFile, TableFiles};
use afferent_engine::time::EventTime;
use axum::Router;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const COUNT: &str = "SELECT count(*) AS n FROM samples";

fn files(version: i64, count: u64) -> Arc<TableFiles> {
    let file = |n: u64| DataFile { path: format!("{n}.parquet"), date: "2026-11-22".to_owned(), size_bytes: n, row_count: n, stats: "{}".to_owned() };
    Arc::new(TableFiles { version, files: (0..count).map(file).collect() })
}

fn shown() -> ReadView {
    let (name, table) = (TableName::new("mttr"), TableName::new("mttr_g2"));
    let info = ViewInfo { schema: schema::samples().schema, key: vec!["team".to_owned()], sql: "SELECT 1".to_owned(), generation: 2, table };
    ReadView {
        files: BTreeMap::from([(TableName::new(SAMPLES), files(3, 2)), (TableName::new(SERIES), files(0, 1))]),
        views: BTreeMap::from([(name, info)]),
        metrics: Arc::new(BTreeMap::from([("up".to_owned(), Arc::from(["job".to_owned()]))])),
        status: Arc::new(Status { recovered: true, watermark: Some(EventTime(7)), epoch: 5, ..Status::default() }),
        ..ReadView::default()
    }
}

/// As it goes over the wire.
fn told(view: &ReadView, mark: u64, asked: &Asked) -> Told {
    let bytes = serde_json::to_vec(&Told::of(view, 1, mark, asked).unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn versions(view: &ReadView) -> Vec<(String, i64, usize)> {
    view.files.iter().map(|(table, files)| (table.to_string(), files.version, files.files.len())).collect()
}

#[test]
fn what_is_told_first_is_everything_and_then_only_what_is_new() {
    let mut shows = shown();
    let first = told(&shows, 10, &Asked::new(None, vec![]));
    let (known, mark) = first.onto(None).unwrap();
    assert_eq!((versions(&known), mark), (versions(&shows), 10));
    let info = &known.views[&TableName::new("mttr")];
    assert_eq!((info.schema.clone(), info.generation, info.table.as_str()), (schema::samples().schema, 2, "mttr_g2"));
    assert_eq!((known.metrics["up"].to_vec(), known.status.epoch, known.status.watermark), (vec!["job".to_owned()], 5, Some(EventTime(7))));

    shows.files.insert(TableName::new(SAMPLES), files(4, 3));
    let asked = Asked::new(Some((&known, mark)), vec![]);
    let text = serde_json::to_string(&Told::of(&shows, 2, 10, &asked).unwrap()).unwrap();
    assert!(!text.contains("SELECT 1") && !text.contains("\"job\""), "the catalog goes once: {text}");
    assert_eq!(text.matches(".parquet").count(), 3, "files of the table that has changed: {text}");
    let (next, _) = told(&shows, 10, &asked).onto(Some((&known, mark))).unwrap();
    assert_eq!((versions(&next), next.views.len(), next.metrics.len()), (versions(&shows), 1, 1));

    // A table that is gone is gone, and a catalog that has changed comes again.
    shows.files.remove(&TableName::new(SERIES));
    shows.views.clear();
    let asked = Asked::new(Some((&next, 10)), vec![]);
    let (last, mark) = told(&shows, 11, &asked).onto(Some((&next, 10))).unwrap();
    assert_eq!((versions(&last), last.views.len(), mark), (versions(&shows), 0, 11));
}

#[test]
fn what_is_not_told_is_no_empty_table() {
    let shows = shown();
    let known = told(&shows, 10, &Asked::new(None, vec![])).onto(None).unwrap();
    let asked = Asked::new(Some((&known.0, known.1)), vec![]);
    let nothing_known = told(&shows, 10, &asked).onto(None);
    assert!(nothing_known.err().unwrap().to_string().contains("did not tell the files of"));
}

#[test]
fn a_state_is_kept_until_its_reader_is_done_or_forgets_it() {
    let reads = Reads::default();
    let start = Instant::now();
    let keep_at = |now: Instant, over: &[u64]| reads.keep(Arc::default(), over, now, LIMIT);
    let keep = |over: &[u64]| keep_at(start, over);
    let (first, second) = (keep(&[]), keep(&[]));
    assert!(first != second && reads.find(first).is_some() && reads.find(second).is_some());
    let third = keep(&[first]);
    assert!(reads.find(first).is_none() && reads.find(second).is_some());
    keep_at(start + LIMIT * 2, &[]);
    assert!(reads.find(second).is_none() && reads.find(third).is_none());
    let reads = Reads::default();
    let keep = || reads.keep(Arc::default(), &[], start, LIMIT);
    let oldest = keep();
    for _ in 0..255 {
        keep();
    }
    assert!(reads.find(oldest).is_some());
    keep();
    assert!(reads.find(oldest).is_none(), "a crowd of readers does not fill the memory");
}

async fn pair() -> (Loopback, Loopback) {
    let works = serve_with(state("", true), Router::new()).await;
    let waits = state("", false);
    waits.live.update(|view| *view = ReadView::default());
    waits.standby.wait(Some(works.base.clone()));
    (works, serve_with(waits, Router::new()).await)
}

#[tokio::test]
async fn who_waits_answers_from_the_memory_of_the_one_that_works_and_says_what_is_missing_without_it() {
    let (works, waits) = pair().await;
    for statement in [COUNT, "SELECT time, value FROM samples ORDER BY time", "SELECT count(*) FROM metrics.up"] {
        let (here, there) = (waits.ask(statement, "csv").await, works.ask(statement, "csv").await);
        assert_eq!((here.status, here.text(), here.header("x-afferent-partial")), (200, there.text(), ""), "{statement}");
    }
    let whole = waits.ask(COUNT, "json").await.json();
    assert_eq!((&whole["rows"][0][0], &whole["stats"]["epoch"], &whole["stats"]["partial"]), (&json!(3), &json!(3), &json!(null)), "{whole}");
    let (here, there) = (waits.get("/api/v1/cards").await, works.get("/api/v1/cards").await);
    assert_eq!((here.status, here.text(), here.header("etag")), (200, there.text(), there.header("etag")));
    let wrong = waits.ask("SELECT nothing FROM samples", "json").await;
    assert_eq!(wrong.status, 400);
    works.stop().await;
    let stopped = Instant::now();
    let part = waits.ask(COUNT, "json").await;
    let told = "rows that came after epoch 3 was published are missing";
    assert!(part.status == 200 && part.header("x-afferent-partial").starts_with(told), "{}", part.header("x-afferent-partial"));
    // It may have failed once only.
    assert_eq!((sent_on(&waits, "cards").await, sent_on(&waits, "freshness").await), (307, 307), "a card is whole or not there");
    let part = part.json();
    assert!(part["stats"]["partial"].as_str().unwrap().starts_with(told) && part["rows"][0][0] == 0, "{part}");

    // By now it has not: nobody is sent there any more.
    tokio::time::sleep(super::SILENT_AFTER.saturating_sub(stopped.elapsed())).await;
    let (card, created) = (waits.get("/api/v1/cards").await, waits.ask("DROP VIEW mttr", "json").await);
    for refused in [card, created] {
        assert!(refused.status == 503 && refused.text().contains(told), "{}", refused.text());
    }
    let fresh = waits.get("/api/v1/freshness").await.json();
    assert_eq!(
        (&fresh["epoch"], &fresh["recovered"], &fresh["watermark"]),
        (&json!(3), &json!(false), &json!("1970-01-01T00:00:02.000Z")),
        "{fresh}"
    );
    assert!(fresh["missing"][0].as_str().unwrap().starts_with(told), "{fresh}");
}

/// The status of an answer that sends readers on, or not.
async fn sent_on(waits: &Loopback, what: &str) -> u16 {
    let url = format!("{}/api/v1/{what}", waits.base);
    let asked = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().max_redirects(0).http_status_as_error(false).build().into();
        agent.get(&url).call().unwrap().status().as_u16()
    });
    asked.await.unwrap()
}

#[tokio::test]
async fn who_does_not_work_gives_no_rows_away() {
    let (works, waits) = pair().await;
    let asked = |path: &'static str, body: &'static str| (path, body);
    for (path, body) in [asked(super::VIEW_PATH, r#"{"versions":{},"catalog":0,"over":[]}"#), asked(super::ROWS_PATH, "{}")] {
        let answer = waits.send("POST", path, &[], body).await;
        assert!([400, 503].contains(&answer.status), "{path}");
        assert_eq!(works.send("POST", path, &[], "nonsense").await.status, 400, "{path}");
    }
    let gone = r#"{"read":1,"table":"samples","filter":{"metric":null,"micros":null}}"#;
    assert_eq!(works.send("POST", super::ROWS_PATH, &[], gone).await.status, 404);
    assert_eq!(waits.send("POST", super::ROWS_PATH, &[], gone).await.status, 503);
}
