#![allow(clippy::unwrap_used)]

use super::*;
use arrow::array::{BooleanArray, Float64Array, Int32Array, NullArray, StringArray, TimestampMillisecondArray};
use arrow::datatypes::Int32Type;
use std::sync::Arc;

#[test]
fn any_exact_type_is_read_and_nan_is_unknown() {
    let words: arrow::array::DictionaryArray<Int32Type> = vec![Some("a"), None].into_iter().collect();
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("word", Arc::new(words) as ArrayRef, true),
        ("text", Arc::new(StringArray::from(vec!["x", "y"])) as ArrayRef, true),
        ("int", Arc::new(Int32Array::from(vec![Some(7), None])) as ArrayRef, true),
        ("float", Arc::new(Float64Array::from(vec![1.5, f64::NAN])) as ArrayRef, true),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None])) as ArrayRef, true),
        ("time", Arc::new(TimestampMillisecondArray::from(vec![Some(-1), None])) as ArrayRef, true),
        ("nothing", Arc::new(NullArray::new(2)) as ArrayRef, true),
    ])
    .unwrap();
    let columns = Columns::new(&batch).unwrap();
    let rows: Vec<Row<'_>> = columns.rows().collect();
    assert_eq!(rows[0].text("word").unwrap().as_deref(), Some("a"));
    assert_eq!(rows[1].text("word").unwrap(), None);
    assert_eq!(rows[1].word("text").unwrap(), "y");
    assert!(rows[1].word("word").is_err());
    assert_eq!(rows[0].count("int").unwrap(), 7);
    assert_eq!(rows[1].int("int").unwrap(), None);
    assert_eq!(rows[0].float("float").unwrap(), Some(1.5));
    assert_eq!(rows[1].float("float").unwrap(), None);
    assert!(rows[0].flag("flag").unwrap() && !rows[1].flag("flag").unwrap());
    assert_eq!(rows[0].time("time").unwrap(), Some(EventTime(-1)));
    assert_eq!(rows[0].text("nothing").unwrap(), None);
    assert!(rows[0].int("text").is_err());
    assert!(rows[0].int("absent").unwrap_err().to_string().contains("absent"));
}
