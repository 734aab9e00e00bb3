//! Statistics hold every value of their file, and unknown is unknown.
#![allow(clippy::unwrap_used)]

use super::*;
use afferent_engine::schema;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

fn text(files: &[FileStats], column: &str, bound: Bound) -> Vec<Option<String>> {
    let array = bounds(files, column, &schema::word(), bound).unwrap();
    array.as_string::<i32>().iter().map(|v| v.map(str::to_owned)).collect()
}

#[test]
fn written_bounds_are_read_back() {
    let stats = r#"{"numRecords":5,"minValues":{"metric":"a","series_id":-3,"time":"2026-11-22T00:00:00.000001Z"},
        "maxValues":{"metric":"b","series_id":9,"time":"2026-11-22T00:00:01.500Z"},"nullCount":{"metric":0}}"#;
    let files = [FileStats::parse(stats), FileStats::parse("nonsense"), FileStats::parse("{}")];
    assert_eq!(text(&files, "metric", Bound::Least), [Some("a".to_owned()), None, None]);
    assert_eq!(text(&files, "metric", Bound::Greatest), [Some("b".to_owned()), None, None]);
    let series = bounds(&files, "series_id", &DataType::Int64, Bound::Greatest).unwrap();
    assert_eq!(series.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(9), None, None]);
    let micros = |bound| bounds(&files, "time", &schema::timestamp(), bound).unwrap().as_primitive::<TimestampMicrosecondType>().value(0);
    assert_eq!(micros(Bound::Least), 1_795_305_600_000_001);
    assert_eq!(micros(Bound::Greatest), 1_795_305_601_500_999, "whole milliseconds may have been cut off");
    assert_eq!(row_counts(&files).null_count(), 2);
    assert!(bounds(&files, "value", &DataType::Float64, Bound::Least).is_none(), "floating columns have no bounds");
}

#[test]
fn leaves_are_counted_through_nested_columns() {
    let schema = schema::series().schema;
    let columns: Vec<(&str, usize)> = plain_columns(&schema).map(|(name, _, leaf)| (name, leaf)).collect();
    assert_eq!(columns[..2], [("series_id", 0), ("metric", 1)]);
    // `labels` takes two leaves, its keys and its values.
    assert_eq!(columns[2], ("service", 4));
}
