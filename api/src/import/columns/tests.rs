#![allow(clippy::unwrap_used)]

use super::*;
use arrow::array::{Float32Array, Int64Array, MapBuilder, StringBuilder, TimestampMicrosecondArray, TimestampNanosecondArray};
use arrow::datatypes::{Field, Int32Type};
use std::sync::Arc;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn take(batch: &RecordBatch) -> anyhow::Result<(Samples, Layout)> {
    let mut samples = Samples::new()?;
    let layout = Layout::of(&batch.schema())?;
    layout.take(batch, &mut samples)?;
    Ok((samples, layout))
}

fn words(words: [Option<&str>; 3]) -> ArrayRef {
    Arc::new(words.into_iter().collect::<arrow::array::DictionaryArray<Int32Type>>())
}

#[test]
fn labels_are_columns_or_a_map_and_times_of_any_unit() {
    let micros: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_000_000, 2_000_000, 3_000_500]).with_timezone("UTC"));
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_000_000_000, 2_000_000_000, 3_000_500_000]));
    let millis: ArrayRef = Arc::new(Int64Array::from(vec![1_000, 2_000, 3_000]));
    let metric = words([Some("up"), Some("up"), Some("down")]);
    let value: ArrayRef = Arc::new(Float32Array::from(vec![Some(1.0), None, Some(3.0)]));
    for time in [micros, nanos, millis] {
        let jobs: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("")]));
        let (samples, layout) = take(&batch(vec![
            ("metric", metric.clone()),
            ("time", time.clone()),
            ("value", value.clone()),
            ("job", jobs),
            ("n", Arc::new(Int64Array::from(vec![1; 3]))),
        ]))
        .unwrap();
        assert_eq!((samples.count(), samples.series_count(), samples.span()), (3, 3, Some((1_000, 3_000))));
        assert_eq!(layout.left_out, ["n Int64"]);
        let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for row in 0..3 {
            if row < 2 {
                map.keys().append_value("job");
                map.values().append_value("a");
            }
            map.append(true).unwrap();
        }
        let (samples, _) =
            take(&batch(vec![("metric", metric.clone()), ("time", time), ("value", value.clone()), ("labels", Arc::new(map.finish()))])).unwrap();
        assert_eq!((samples.count(), samples.series_count()), (3, 2));
    }
}

#[test]
fn columns_that_do_not_fit_are_named() {
    let text = || Arc::new(StringArray::from(vec!["x"])) as ArrayRef;
    let number = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    for (columns, says) in [
        (vec![("time", number()), ("value", number())], "no column \"metric\""),
        (vec![("metric", number()), ("time", number()), ("value", number())], "column metric is Int64"),
        (vec![("metric", text()), ("time", text()), ("value", number())], "column time is Utf8"),
        (vec![("metric", text()), ("time", number()), ("value", text())], "column value is Utf8"),
    ] {
        let error = take(&batch(columns)).err().unwrap().to_string();
        assert!(error.contains(says), "{error}");
    }
    let nulls: ArrayRef = Arc::new(StringArray::from(vec![Some("up"), None]));
    let two: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let error = take(&batch(vec![("metric", nulls), ("time", two.clone()), ("value", two)])).err().unwrap();
    assert_eq!(format!("{error:#}"), "row 1: metric and time must not be null");
    assert!(Layout::of(&Schema::new(vec![Field::new("x", DataType::Int64, true)])).unwrap_err().to_string().contains("x Int64"));
}
