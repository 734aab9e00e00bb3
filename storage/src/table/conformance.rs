//! What every table store must do, against the port alone: each backend runs it.
#![allow(clippy::unwrap_used)]

use afferent_engine::checkpoint::{Epoch, GroupName};
use afferent_engine::error::ErrorKind;
use afferent_engine::schema::{self, TableDef, TableName};
use afferent_engine::table::{DataFile, TableStore};
use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;
use std::sync::Arc;

async fn write(store: &Arc<dyn TableStore>, epoch: u64, rows: &[Sample]) -> Vec<DataFile> {
    let batches: Vec<_> = sorted(rows.to_vec()).chunks(500).map(batch).collect();
    store.write(&schema::samples(), Epoch(epoch), Box::new(batches.into_iter())).await.unwrap()
}

fn named(files: Vec<DataFile>) -> BTreeMap<TableName, Vec<DataFile>> {
    BTreeMap::from([(TableName::new(schema::SAMPLES), files)])
}

/// Runs the suite on an empty store.
///
/// # Panics
/// Where a promise is broken.
pub async fn suite(store: Arc<dyn TableStore>) {
    let (samples, group) = (TableName::new(schema::SAMPLES), GroupName::of_partition(0));
    assert_eq!(store.files(&samples).await.unwrap().version, -1);
    let unknown = named(vec![DataFile { path: "x".to_owned(), date: String::new(), size_bytes: 0, row_count: 0, stats: String::new() }]);
    assert_eq!(store.publish(&group, Epoch(1), &unknown).await.unwrap_err().kind(), ErrorKind::Internal);

    for table in schema::fixed_tables() {
        store.ensure(&table).await.unwrap();
        store.ensure(&table).await.unwrap();
    }
    let created = store.files(&samples).await.unwrap();
    assert_eq!((created.version, created.files.len()), (0, 0));
    other_columns_are_corrupt(&store).await;
    files_are_split_by_date(&store).await;

    // What is written is not seen until it is published, and published once.
    let first = write(&store, 1, &grid(MIDNIGHT, 10, 100)).await;
    assert_eq!(store.files(&samples).await.unwrap().files, []);
    store.publish(&group, Epoch(1), &named(first.clone())).await.unwrap();
    let published = store.files(&samples).await.unwrap();
    assert_eq!((published.version, &published.files), (1, &first));
    store.publish(&group, Epoch(1), &named(first.clone())).await.unwrap();
    assert_eq!(store.files(&samples).await.unwrap().version, 1, "the same epoch again changes nothing");

    let second = write(&store, 2, &grid(MIDNIGHT + 100_000_000, 10, 100)).await;
    let at_once = (0..8).map(|_| {
        let (store, group, files) = (store.clone(), group.clone(), named(second.clone()));
        async move { store.publish(&group, Epoch(2), &files).await }
    });
    futures::future::try_join_all(at_once).await.unwrap();
    let published = store.files(&samples).await.unwrap();
    assert_eq!((published.version, published.files.len()), (2, 2), "eight publishers of one epoch commit it once");

    // An older epoch is what a recovery publishes again; an empty one has nothing to commit; another group has its own count.
    store.publish(&group, Epoch(1), &named(first)).await.unwrap();
    store.publish(&group, Epoch(3), &named(vec![])).await.unwrap();
    assert_eq!(store.files(&samples).await.unwrap().version, 2);
    let third = write(&store, 1, &grid(MIDNIGHT, 1, 1)).await;
    store.publish(&GroupName::of_partition(1), Epoch(1), &named(third)).await.unwrap();
    assert_eq!(store.files(&samples).await.unwrap().files.len(), 3);
}

async fn other_columns_are_corrupt(store: &Arc<dyn TableStore>) {
    let changed = |change: &dyn Fn(&mut Vec<Field>)| {
        let mut fields: Vec<Field> = schema::samples().schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        change(&mut fields);
        TableDef { schema: Arc::new(Schema::new(fields)), ..schema::samples() }
    };
    let wrong: [(TableDef, &str); 6] = [
        (changed(&|f| f.push(Field::new("extra", DataType::Int64, false))), "extra is not on disk"),
        (changed(&|f| drop(f.pop())), "value is on disk only"),
        (changed(&|f| f[3] = Field::new("value", DataType::Int64, true)), "value on disk has type"),
        (changed(&|f| f[3] = Field::new("value", DataType::Float64, false)), "value on disk is nullable"),
        (changed(&|f| f[0] = Field::new("name", DataType::Utf8, false)), "name is not on disk"),
        (changed(&|f| f.swap(0, 1)), "column 1 on disk is metric, here series_id"),
    ];
    for (def, says) in wrong {
        let error = store.ensure(&def).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(says), "{error}");
    }
}

async fn files_are_split_by_date(store: &Arc<dyn TableStore>) {
    let day = 86_400_000_000;
    let mut rows = grid(MIDNIGHT - 5_000_000, 3, 10);
    rows.extend(grid(MIDNIGHT + 3 * day, 1, 1));
    rows.extend(grid(-1, 1, 1));
    let files = write(store, 1, &rows).await;
    let found: Vec<(&str, u64)> = files.iter().map(|f| (f.date.as_str(), f.row_count)).collect();
    assert_eq!(found, [("1969-12-31", 2), ("2026-11-21", 30), ("2026-11-22", 30), ("2026-11-25", 2)]);
    assert!(files.iter().all(|f| f.path.starts_with(&format!("date={}/", f.date)) && f.size_bytes > 0));
}

/// One sample: metric, series, microseconds, bits of the value (none is a staleness marker).
pub(crate) type Sample = (String, i64, i64, Option<u64>);

/// 2026-11-22T00:00:00Z.
pub(crate) const MIDNIGHT: i64 = 1_795_305_600_000_000;

pub(crate) fn batch(rows: &[Sample]) -> RecordBatch {
    let metrics: DictionaryArray<Int32Type> = rows.iter().map(|r| r.0.as_str()).collect();
    let values: Float64Array = rows.iter().map(|r| r.3.map(f64::from_bits)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(metrics),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.2)).with_timezone("UTC")),
        Arc::new(values),
    ];
    RecordBatch::try_new(schema::samples().schema, columns).unwrap()
}

pub(crate) fn sorted(mut rows: Vec<Sample>) -> Vec<Sample> {
    rows.sort();
    rows
}

/// Samples of `series` series of each of two metrics, one a second from `start`.
pub(crate) fn grid(start: i64, series: i64, seconds: i64) -> Vec<Sample> {
    let mut rows = Vec::new();
    for metric in ["cpu", "mem"] {
        for id in 0..series {
            for second in 0..seconds {
                rows.push((metric.to_owned(), id, start + second * 1_000_000, Some((second as f64 * 0.5 + id as f64).to_bits())));
            }
        }
    }
    rows
}
