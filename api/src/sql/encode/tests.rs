#![allow(clippy::unwrap_used)]

use super::*;
use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::reader::StreamReader;
use bytes::Bytes;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;
use std::sync::Arc;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("a,\"b\"", DataType::Int64, true),
        Field::new("value", DataType::Float64, true),
    ]))
}

fn rows(first: i64) -> RecordBatch {
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("plain"), Some(""), None, Some("with \"quotes\",\r\nand lines")]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(first), None, Some(first + 2), Some(first + 3)]));
    let values: ArrayRef = Arc::new(Float64Array::from(vec![0.5, f64::NAN, 2.0, f64::INFINITY]));
    RecordBatch::try_new(schema(), vec![names, numbers, values]).unwrap()
}

fn encode(format: Format, batches: &[RecordBatch]) -> Vec<u8> {
    let mut encoder = Encoder::new(format, schema()).unwrap();
    let mut out = Vec::new();
    for batch in batches {
        out.extend(encoder.batch(batch).unwrap());
    }
    out.extend(encoder.finish(&json!({ "rows": 7 })).unwrap());
    out
}

#[test]
fn json_is_one_document_for_any_split_into_batches() {
    let read = |batches: &[RecordBatch]| serde_json::from_slice::<serde_json::Value>(&encode(Format::Json, batches)).unwrap();
    let whole = read(&[rows(1)]);
    assert_eq!(
        whole["columns"],
        json!([{"name": "name", "type": "string"}, {"name": "a,\"b\"", "type": "int64"}, {"name": "value", "type": "float64"}])
    );
    assert_eq!(whole["rows"][1], json!(["", null, "NaN"]));
    assert_eq!(whole["rows"][3], json!(["with \"quotes\",\r\nand lines", 4, "Inf"]));
    assert_eq!(whole["stats"], json!({ "rows": 7 }));
    let empty = rows(1).slice(0, 0);
    assert_eq!(read(&[empty.clone(), rows(1).slice(0, 1), empty, rows(1).slice(1, 3)]), whole);
    assert_eq!(read(&[])["rows"], json!([]));
    assert_eq!(read(&[rows(1).slice(0, 0)])["rows"], json!([]));
}

#[test]
fn csv_tells_null_from_the_empty_string() {
    let text = String::from_utf8(encode(Format::Csv, &[rows(1)])).unwrap();
    let expected = "name,\"a,\"\"b\"\"\",value\r\nplain,1,0.5\r\n\"\",,NaN\r\n,3,2.0\r\n\"with \"\"quotes\"\",\r\nand lines\",4,Inf\r\n";
    assert_eq!(text, expected);
    assert_eq!(String::from_utf8(encode(Format::Csv, &[])).unwrap(), "name,\"a,\"\"b\"\"\",value\r\n");
}

/// NaN differs from itself, so batches are compared as text.
fn lines(batches: impl Iterator<Item = RecordBatch>) -> Vec<u8> {
    encode(Format::Csv, &batches.collect::<Vec<_>>())
}

#[test]
fn arrow_and_parquet_read_back_the_same_rows() {
    let batches = [rows(1), rows(100)];
    let expected = lines(batches.iter().cloned());
    let stream = encode(Format::Arrow, &batches);
    let reader = StreamReader::try_new(stream.as_slice(), None).unwrap();
    assert_eq!(lines(reader.map(Result::unwrap)), expected);
    let file = Bytes::from(encode(Format::Parquet, &batches));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    assert_eq!(lines(reader.map(Result::unwrap)), expected);
}

#[test]
fn parquet_leaves_in_parts_that_fit_together() {
    let many = RecordBatch::try_new(
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)])),
        vec![Arc::new(Int64Array::from_iter_values(0..ROW_GROUP_ROWS_MAX as i64 + 10))],
    )
    .unwrap();
    let mut encoder = Encoder::new(Format::Parquet, many.schema()).unwrap();
    let first = encoder.batch(&many).unwrap();
    assert!(!first.is_empty(), "a full row group should be on its way");
    let mut file = first;
    file.extend(encoder.finish(&json!({})).unwrap());
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap().build().unwrap();
    assert_eq!(reader.map(|b| b.unwrap().num_rows()).sum::<usize>(), ROW_GROUP_ROWS_MAX + 10);
}

#[test]
fn a_broken_answer_is_still_json_and_says_why() {
    let mut encoder = Encoder::new(Format::Json, schema()).unwrap();
    let mut out = encoder.batch(&rows(1)).unwrap();
    out.extend(encoder.broken(&json!({ "kind": "invalid", "message": "limit", "hint": null })));
    let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(read["error"]["message"], "limit");
    assert!(read.get("stats").is_none());
}
