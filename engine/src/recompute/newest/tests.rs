use super::*;
use crate::schema::{TableName, timestamp};
use arrow::array::{Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema};
use std::sync::Arc;

fn table() -> TableDef {
    let own = vec![
        Field::new("service", DataType::Utf8, true),
        Field::new("window_start", timestamp(), true),
        Field::new("n", DataType::Int64, true),
        Field::new("ratio", DataType::Float64, true),
    ];
    let schema = Arc::new(Schema::new(own.into_iter().chain(view_envelope()).collect::<Vec<_>>()));
    TableDef { name: TableName::new("v"), schema, date_from: "window_start", sort: vec!["service".into(), "window_start".into()], supersedes: None }
}

fn rows(rows: &[(&str, i64, Option<i64>, Option<f64>)]) -> RecordBatch {
    let own = Arc::new(Schema::new(table().schema.fields().iter().take(4).cloned().collect::<Vec<_>>()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.0))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.1 * 1000)).with_timezone("UTC")),
        Arc::new(rows.iter().map(|r| r.2).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.3).collect::<Float64Array>()),
    ];
    RecordBatch::try_new(own, columns).expect("columns fit")
}

fn stored(own: &RecordBatch, revision: i64) -> RecordBatch {
    let envelope = Envelope { watermark: None, coverage: None, revision, generation: 1 };
    with_envelope(&table().schema, own, &envelope, None).expect("columns fit")
}

/// Service, window start, value, revision and retraction of each row.
fn told(batch: &RecordBatch) -> Vec<(String, i64, Option<i64>, i64, bool)> {
    let (service, n) = (batch.column(0).as_string::<i32>(), batch.column(2).as_primitive::<Int64Type>());
    let (times, gone) = (batch.column(1).as_primitive::<TimestampMicrosecondType>(), retracted(batch).expect("column"));
    (0..batch.num_rows())
        .map(|i| {
            let value = n.is_valid(i).then(|| n.value(i));
            let gone = gone.is_valid(i) && gone.value(i);
            (service.value(i).to_owned(), times.value(i) / 1000, value, revisions(batch).expect("column").value(i), gone)
        })
        .collect()
}

#[test]
fn only_differences_are_written_and_what_is_gone_is_retracted() {
    let table = table();
    let stamp = Stamp { table: &table, watermark: Some(EventTime(7)), generation: 1 };
    let before = stored(&rows(&[("a", 0, Some(1), Some(0.1 + 0.2)), ("b", 0, Some(2), None), ("c", 0, Some(3), None)]), 4);
    let now = rows(&[("a", 0, Some(1), Some(0.3)), ("b", 0, None, None), ("d", 60_000, Some(4), None)]);
    let compared = compare(&stamp, &before, &now).expect("compares");
    assert_eq!(
        told(&compared.rows),
        [("b".to_owned(), 0, None, 5, false), ("d".to_owned(), 60_000, Some(4), 0, false), ("c".to_owned(), 0, Some(3), 5, true)]
    );
    assert_eq!(difference(&table.sort, &before, &now).expect("compares"), Difference { same: 1, changed: 1, added: 1, gone: 1 });
    assert_eq!(compared.changed, [0, 60_000].into());
    // A second computation over what stands now finds nothing to do, and a key that comes back counts on.
    let newest = per_key(&table, &[before, compared.rows]).expect("keys");
    assert_eq!(told(&newest).iter().filter(|r| r.4).count(), 1);
    assert_eq!(compare(&stamp, &newest, &now).expect("compares").rows.num_rows(), 0);
    let back = rows(&[("a", 0, Some(1), Some(0.3)), ("b", 0, None, None), ("c", 0, Some(3), None), ("d", 60_000, Some(4), None)]);
    assert_eq!(told(&compare(&stamp, &newest, &back).expect("compares").rows), [("c".to_owned(), 0, Some(3), 6, false)]);
    assert_eq!(standing(&newest).expect("columns").num_rows(), 3);
}
