//! Rows and comparisons for this crate's tests.
#![allow(clippy::unwrap_used)]

use crate::dimensions::Dimensions;
use crate::inventory::ServiceInventory;
use afferent_engine::schema;
use arrow::array::{
    ArrayRef, Float64Array, Int64Array, MapBuilder, MapFieldNames, StringArray, StringBuilder, StringDictionaryBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use std::sync::Arc;

/// The first instant of the tests' data, a whole hour.
pub(crate) const START: i64 = 1_763_820_000_000_000;
/// Microseconds of a pane.
pub(crate) const PANE: i64 = 60_000_000;

/// One pane row.
#[derive(Debug, Clone)]
pub(crate) struct Pane {
    pub(crate) metric: usize,
    pub(crate) series: i64,
    pub(crate) minute: i64,
    pub(crate) count: i64,
    pub(crate) value: Option<f64>,
    pub(crate) service: Option<usize>,
}

pub(crate) const METRICS: [&str; 3] = ["http_requests_total", "node_load1", "up"];
pub(crate) const SERVICES: [&str; 4] = ["api", "web", "worker", "redis"];

pub(crate) fn words<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    values.for_each(|v| builder.append_option(v));
    Arc::new(builder.finish())
}

pub(crate) fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

pub(crate) fn labels<'a>(rows: impl Iterator<Item = Vec<(&'a str, String)>>) -> ArrayRef {
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (name, value) in row {
            builder.keys().append_value(name);
            builder.values().append_value(value);
        }
        builder.append(true).unwrap();
    }
    let array = builder.finish();
    arrow::compute::cast(&array, &schema::labels()).unwrap()
}

pub(crate) fn panes(rows: &[Pane]) -> RecordBatch {
    let value = || Arc::new(rows.iter().map(|r| r.value).collect::<Float64Array>()) as ArrayRef;
    let zero = || Arc::new(rows.iter().map(|r| Some(r.value.unwrap_or(0.0))).collect::<Float64Array>()) as ArrayRef;
    let int = |f: fn(&Pane) -> i64| Arc::new(rows.iter().map(|r| Some(f(r))).collect::<Int64Array>()) as ArrayRef;
    RecordBatch::try_new(
        schema::panes(),
        vec![
            words(rows.iter().map(|r| Some(METRICS[r.metric]))),
            int(|r| r.series),
            times(rows.iter().map(|r| START + r.minute * PANE)),
            int(|r| r.count),
            zero(),
            value(),
            value(),
            value(),
            value(),
            zero(),
            int(|_| 0),
            words(rows.iter().map(|r| r.service.map(|s| SERVICES[s]))),
            labels(rows.iter().map(|r| vec![("instance", format!("host-{}", r.series % 5)), ("code", format!("{}", 200 + 100 * (r.series % 4)))])),
        ],
    )
    .unwrap()
}

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) at: i64,
    pub(crate) sequence: i64,
    pub(crate) incident: u8,
    pub(crate) resolved: bool,
    pub(crate) tokens: i64,
}

pub(crate) fn events(rows: &[Event]) -> RecordBatch {
    let text = |f: &dyn Fn(&Event) -> String| Arc::new(StringArray::from_iter_values(rows.iter().map(f))) as ArrayRef;
    RecordBatch::try_new(
        schema::events().schema,
        vec![
            text(&|r| format!("e{}", r.sequence)),
            times(rows.iter().map(|r| START + r.at * 1_000_000)),
            times(rows.iter().map(|r| START + r.at * 1_000_000 + 5)),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.sequence))),
            words(rows.iter().map(|_| Some("pager"))),
            words(rows.iter().map(|r| Some(if r.tokens % 2 == 0 { "llm_usage" } else { "incident" }))),
            words(rows.iter().map(|r| (r.tokens % 3 != 0).then_some("high"))),
            words(rows.iter().map(|r| Some(SERVICES[usize::from(r.incident) % SERVICES.len()]))),
            text(&|r| format!("i{}", r.incident)),
            words(rows.iter().map(|r| Some(if r.resolved { "resolved" } else { "opened" }))),
            text(&|r| format!("title {}", r.sequence)),
            text(&|r| format!("{{\"input_tokens\": {}, \"model\": \"m{}\"}}", r.tokens, r.incident % 3)),
        ],
    )
    .unwrap()
}

/// Dimensions with two layers of services.
pub(crate) fn dimensions() -> Dimensions {
    let text = "services:\n  - { name: api, layer: L1, match: [{ job: api }] }\n  - { name: web, layer: L1, match: [{ job: web }] }\n  - { name: worker, layer: L2, match: [{ job: worker }] }\n";
    let empty = Dimensions::load(None, None, None).unwrap();
    Dimensions::of(ServiceInventory::from_yaml(text, "services.yaml").unwrap(), empty.objectives, empty.prices).unwrap()
}

/// All rows, in an order of their own.
pub(crate) fn rows(batches: &[RecordBatch]) -> Vec<Vec<ScalarValue>> {
    let mut all = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            all.push(batch.columns().iter().map(|c| ScalarValue::try_from_array(c, row).unwrap()).collect::<Vec<_>>());
        }
    }
    let exact = |row: &Vec<ScalarValue>| row.iter().filter(|v| !matches!(v, ScalarValue::Float64(_))).map(|v| format!("{v:?}|")).collect::<String>();
    all.sort_by_key(exact);
    all
}

/// Equal, floats within 1e-12.
pub(crate) fn same(got: &[RecordBatch], want: &[RecordBatch]) -> Result<(), String> {
    let (got, want) = (rows(got), rows(want));
    if got.len() != want.len() {
        return Err(format!("{} rows where {} belong\n got {got:?}\nwant {want:?}", got.len(), want.len()));
    }
    let close = |a: &ScalarValue, b: &ScalarValue| match (a, b) {
        (ScalarValue::Float64(Some(a)), ScalarValue::Float64(Some(b))) => {
            a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * a.abs().max(b.abs()).max(1.0)
        }
        (a, b) => a == b,
    };
    for (g, w) in got.iter().zip(&want) {
        if g.len() != w.len() || !g.iter().zip(w).all(|(a, b)| close(a, b)) {
            return Err(format!(" got {g:?}\nwant {w:?}"));
        }
    }
    Ok(())
}

/// Through Arrow IPC and back.
pub(crate) fn shipped(batch: &RecordBatch) -> RecordBatch {
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    let bytes = writer.into_inner().unwrap();
    let back: Vec<RecordBatch> = arrow::ipc::reader::StreamReader::try_new(bytes.as_slice(), None).unwrap().collect::<Result<_, _>>().unwrap();
    back.into_iter().next().unwrap_or_else(|| RecordBatch::new_empty(batch.schema()))
}
