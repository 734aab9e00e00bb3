#![allow(clippy::unwrap_used)]

use super::*;
use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use http_body_util::BodyExt as _;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false), Field::new("text", DataType::Utf8, false)]))
}

/// About 100 KiB of JSON.
fn batch(first: i64) -> RecordBatch {
    let numbers = Int64Array::from_iter_values(first..first + 1000);
    let texts = StringArray::from_iter_values((0..1000).map(|_| "x".repeat(90)));
    RecordBatch::try_new(schema(), vec![Arc::new(numbers), Arc::new(texts)]).unwrap()
}

fn rows(batches: Vec<Result<RecordBatch, ApiError>>) -> Rows {
    Rows { schema: schema(), batches: stream::iter(batches).boxed(), stats: serde_json::Map::new(), started: Instant::now() }
}

async fn parts(body: Body) -> (Vec<u8>, Option<String>) {
    let mut stream = body.into_data_stream();
    let mut out = Vec::new();
    while let Some(part) = stream.next().await {
        match part {
            Ok(bytes) => out.extend_from_slice(&bytes),
            Err(error) => return (out, Some(error.to_string())),
        }
    }
    (out, None)
}

#[tokio::test]
async fn a_long_answer_is_one_document_in_parts() {
    let response = respond(rows((0..20).map(|i| Ok(batch(i * 1000))).collect()), Format::Json).await.unwrap();
    let (bytes, error) = parts(response.into_body()).await;
    assert_eq!(error, None);
    let read: Value = serde_json::from_slice(&bytes).unwrap();
    let numbers: Vec<i64> = read["rows"].as_array().unwrap().iter().map(|row| row[0].as_i64().unwrap()).collect();
    assert_eq!(numbers, (0..20_000).collect::<Vec<_>>());
    assert_eq!(read["stats"]["rows"], 20_000);
}

#[tokio::test]
async fn an_early_error_has_its_status_and_a_late_one_breaks_off() {
    let too_many = || Err(ApiError::new(axum::http::StatusCode::PAYLOAD_TOO_LARGE, "limit rows_max = 5 reached"));
    let early = respond(rows(vec![Ok(batch(0)), too_many()]), Format::Json).await.unwrap_err();
    assert_eq!(early.status, 413);

    let late = |format| async move {
        let mut batches: Vec<_> = (0..10).map(|i| Ok(batch(i * 1000))).collect();
        batches.push(too_many());
        parts(respond(rows(batches), format).await.unwrap().into_body()).await
    };
    let (bytes, error) = late(Format::Json).await;
    let read: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(read["error"]["message"], "limit rows_max = 5 reached");
    assert!(error.unwrap().contains("rows_max"));
    let (bytes, error) = late(Format::Csv).await;
    assert!(bytes.len() > HEAD_BYTES && error.is_some());
}

#[tokio::test]
async fn a_reader_who_leaves_stops_the_query() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let endless = stream::repeat_with(move || Ok(batch(1000 * count.fetch_add(1, Ordering::SeqCst) as i64)));
    let held = Arc::new(());
    let alive = Arc::downgrade(&held);
    let batches = endless.map(move |batch| (Arc::clone(&held), batch).1).boxed();
    let rows = Rows { schema: schema(), batches, stats: serde_json::Map::new(), started: Instant::now() };
    let mut body = respond(rows, Format::Csv).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert!(alive.upgrade().is_some());
    let before = made.load(Ordering::SeqCst);
    assert!(before <= 1 + HEAD_BYTES / 50_000, "{before} batches for the head");
    drop(body);
    assert!(alive.upgrade().is_none(), "the stream must be dropped with the body");
}
