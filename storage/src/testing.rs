//! Rows and stores for this crate's tests.
#![allow(clippy::unwrap_used)]

pub(crate) mod power;

use crate::object_store::{Store, open};
pub(crate) use crate::table::conformance::{MIDNIGHT, Sample, batch, grid, sorted};
use afferent_engine::schema::TableDef;
use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray, MapArray, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, Schema, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path().to_str().unwrap()).unwrap();
    (folder, store)
}

/// Rows of batches that have the columns metric, series_id, time, value.
pub(crate) fn rows(batches: &[RecordBatch]) -> Vec<Sample> {
    let mut out = Vec::new();
    for batch in batches {
        let column = |name: &str| batch.column_by_name(name).unwrap().clone();
        let metric = cast(&column("metric"), &DataType::Utf8).unwrap();
        let metric: &StringArray = metric.as_string();
        let series = column("series_id");
        let time = column("time");
        let value = column("value");
        let value = value.as_primitive::<Float64Type>();
        for i in 0..batch.num_rows() {
            out.push((
                metric.value(i).to_owned(),
                series.as_primitive::<Int64Type>().value(i),
                time.as_primitive::<TimestampMicrosecondType>().value(i),
                value.is_valid(i).then(|| value.value(i).to_bits()),
            ));
        }
    }
    out
}

/// The table as a version knew it that did not have this column yet.
pub(crate) fn without(def: &TableDef, column: &str) -> TableDef {
    let fields: Vec<Field> = def.schema.fields().iter().filter(|f| f.name() != column).map(|f| f.as_ref().clone()).collect();
    TableDef { schema: Arc::new(Schema::new(fields)), ..def.clone() }
}

/// Made-up rows of any table, in no order; the same `seed` gives the same rows.
pub(crate) fn any_rows(def: &TableDef, count: usize, seed: u64) -> RecordBatch {
    let columns = (0u64..).zip(def.schema.fields()).map(|(i, f)| any_column(f.data_type(), f.is_nullable(), count, seed ^ (i << 32)));
    RecordBatch::try_new(def.schema.clone(), columns.collect()).unwrap()
}

fn any_number(seed: u64, row: usize) -> u64 {
    let mut x = seed.wrapping_add(row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 27)
}

fn any_column(kind: &DataType, nullable: bool, count: usize, seed: u64) -> ArrayRef {
    let number = |row: usize| any_number(seed, row);
    let present = |row: usize| !nullable || !any_number(seed ^ 77, row).is_multiple_of(5);
    match kind {
        DataType::Int64 => Arc::new((0..count).map(|r| present(r).then(|| number(r) as i64 >> 8)).collect::<Int64Array>()),
        DataType::Int32 => Arc::new((0..count).map(|r| present(r).then(|| number(r) as i32 >> 8)).collect::<Int32Array>()),
        DataType::Float64 => Arc::new((0..count).map(|r| present(r).then(|| (number(r) % 1_000_000) as f64 / 8.0)).collect::<Float64Array>()),
        DataType::Utf8 => Arc::new((0..count).map(|r| present(r).then(|| format!("text \u{96ea} {}", number(r) % 90))).collect::<StringArray>()),
        DataType::Dictionary(_, _) => {
            let words: Vec<Option<String>> = (0..count).map(|r| present(r).then(|| format!("word_{}", number(r) % 9))).collect();
            Arc::new(words.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>())
        }
        DataType::Timestamp(_, _) => {
            let times = (0..count).map(|r| present(r).then(|| MIDNIGHT - 86_400_000_000 + (number(r) % 172_800_000) as i64 * 1000));
            Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        DataType::List(item) => {
            let lengths = (0..count).map(|r| (number(r) % 4) as usize);
            let offsets = OffsetBuffer::from_lengths(lengths);
            let values = any_column(item.data_type(), false, *offsets.last().unwrap() as usize, seed ^ 3);
            let nulls = nullable.then(|| NullBuffer::from_iter((0..count).map(present)));
            Arc::new(ListArray::try_new(item.clone(), offsets, values, nulls).unwrap())
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(pair) = entries.data_type() else { panic!("a map of {entries}") };
            let offsets = OffsetBuffer::from_lengths((0..count).map(|r| (number(r) % 4) as usize));
            let total = *offsets.last().unwrap() as usize;
            let keys: ArrayRef = Arc::new((0..total).map(|i| Some(format!("label_{i}"))).collect::<StringArray>());
            let pairs = StructArray::try_new(pair.clone(), vec![keys, any_column(&DataType::Utf8, false, total, seed ^ 5)], None).unwrap();
            Arc::new(MapArray::try_new(entries.clone(), offsets, pairs, None, false).unwrap())
        }
        other => panic!("no rows of type {other} are made up here"),
    }
}
