//! Rows as comparable text: exact for everything but floats, which are compared to 12 digits.

use afferent_engine::schema;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{cast, concat_batches, take};
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::collections::{BTreeMap, HashMap};

fn cell(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "null".into();
    }
    match column.data_type() {
        DataType::Float64 => format!("{:.11e}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Struct(_) => {
            let parts = column.as_struct().columns().iter().map(|c| cell(c, row)).collect::<Vec<_>>();
            format!("({})", parts.join(", "))
        }
        _ => ArrayFormatter::try_new(column, &FormatOptions::default().with_null("null")).unwrap().value(row).to_string(),
    }
}

fn line(batch: &RecordBatch, columns: &[String], row: usize) -> String {
    columns.iter().map(|name| format!("{name}={}", cell(batch.column_by_name(name).unwrap(), row))).collect::<Vec<_>>().join(" ")
}

fn names(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|f| f.name().clone()).collect()
}

/// The row of each key with the highest revision, without those that were retracted; a key must not stand twice with the same one.
pub(crate) fn newest(batches: &[RecordBatch], key: &[String], schema: &SchemaRef) -> Vec<String> {
    let mut by_key: BTreeMap<String, (i64, String, bool)> = BTreeMap::new();
    for batch in batches {
        let revision = batch.column_by_name("revision").unwrap().as_primitive::<Int64Type>();
        let gone = batch.column_by_name("retracted").unwrap().as_boolean();
        for row in 0..batch.num_rows() {
            let text = line(batch, &names(schema), row);
            let slot = by_key.entry(line(batch, key, row)).or_insert((i64::MIN, String::new(), false));
            assert!(slot.0 != revision.value(row) || slot.1 == text, "two rows of one key and revision:\n{}\n{text}", slot.1);
            if revision.value(row) > slot.0 {
                *slot = (revision.value(row), text, gone.is_valid(row) && gone.value(row));
            }
        }
    }
    let mut out: Vec<String> = by_key.into_values().filter(|(_, _, gone)| !gone).map(|(_, text, _)| text).collect();
    out.sort();
    out
}

/// Rows of a plain run.
pub(crate) fn plain(batches: &[RecordBatch], schema: &SchemaRef) -> Vec<String> {
    let mut out: Vec<String> = batches.iter().flat_map(|b| (0..b.num_rows()).map(|row| line(b, &names(schema), row))).collect();
    out.sort();
    out
}

/// The relation `panes`: the newest revision of each pane row, with service and labels of its series.
pub(crate) fn panes(rollup: &[RecordBatch], series: &[RecordBatch]) -> Vec<RecordBatch> {
    let series = concat_batches(&schema::series().schema, series).unwrap();
    let ids = series.column_by_name("series_id").unwrap().as_primitive::<Int64Type>();
    let place: HashMap<i64, u32> = ids.values().iter().enumerate().map(|(i, id)| (*id, i as u32)).collect();
    let all = concat_batches(&schema::rollup_1m().schema, rollup).unwrap();
    let ids = all.column_by_name("series_id").unwrap().as_primitive::<Int64Type>();
    let starts = all.column_by_name("window_start").unwrap().as_primitive::<TimestampMicrosecondType>();
    let revisions = all.column_by_name("revision").unwrap().as_primitive::<Int64Type>();
    let mut newest: BTreeMap<(i64, i64), (i64, u32)> = BTreeMap::new();
    for row in 0..all.num_rows() {
        let slot = newest.entry((ids.value(row), starts.value(row))).or_insert((i64::MIN, 0));
        assert_ne!(slot.0, revisions.value(row), "two pane rows of one revision");
        if revisions.value(row) > slot.0 {
            *slot = (revisions.value(row), row as u32);
        }
    }
    let rows = arrow::array::UInt32Array::from_iter_values(newest.values().map(|(_, row)| *row));
    let batch = arrow::compute::take_record_batch(&all, &rows).unwrap();
    let ids = batch.column_by_name("series_id").unwrap().as_primitive::<Int64Type>();
    let places = arrow::array::UInt32Array::from_iter_values(ids.values().iter().map(|id| place[id]));
    let own = schema::panes().fields().len() - 2;
    let mut columns = batch.columns()[..own].to_vec();
    for name in ["service", "labels"] {
        let column = take(series.column_by_name(name).unwrap(), &places, None).unwrap();
        let kind = schema::panes().field_with_name(name).unwrap().data_type().clone();
        columns.push(cast(&column, &kind).unwrap());
    }
    vec![RecordBatch::try_new(schema::panes(), columns).unwrap()]
}
