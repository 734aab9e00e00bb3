//! Bounds cover what is in the file, memory is bounded, bad rows are refused.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::layout::Owner;
use crate::testing::{self, MIDNIGHT, Sample};
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use afferent_engine::checkpoint::Epoch;
use afferent_engine::schema;
use proptest::prelude::*;
use serde_json::Value;

fn write(store: &Store, table: TableDef, effort: Effort, batches: Vec<RecordBatch>) -> Result<Vec<DataFile>, StorageError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let name = |date: &str, token: u64| Owner::Sole.epoch_file(date, Epoch(1), token);
    write_files(store, runtime.handle(), &table, effort, &name, batches.into_iter().map(Ok))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn statistics_hold_every_row(
        rows in prop::collection::vec(("\\PC{0,80}", any::<i64>(), 0i64..86_400_000_000, prop::option::of(any::<u64>())), 1..200),
    ) {
        let rows: Vec<Sample> = rows.into_iter().map(|(m, s, t, v)| (m, s, MIDNIGHT + t, v)).collect();
        let (_folder, store) = testing::store();
        let files = write(&store, schema::samples(), Effort::Fresh, rows.chunks(50).map(testing::batch).collect()).unwrap();
        prop_assert_eq!(files.len(), 1);
        let stats: Value = serde_json::from_str(&files[0].stats).unwrap();
        prop_assert_eq!(&stats["numRecords"], &Value::from(rows.len()));
        let (least, greatest) = (&stats["minValues"], &stats["maxValues"]);
        for (metric, series, time, _) in &rows {
            prop_assert!(least["series_id"].as_i64().unwrap() <= *series && *series <= greatest["series_id"].as_i64().unwrap());
            // A long text's greatest value may be unknown, when no longer prefix of it is greater.
            prop_assert!(least["metric"].as_str().is_none_or(|m| m <= metric.as_str()) && greatest["metric"].as_str().is_none_or(|m| metric.as_str() <= m));
            let micros = |v: &Value| chrono::DateTime::parse_from_rfc3339(v.as_str().unwrap()).unwrap().timestamp_micros();
            prop_assert!(micros(&least["time"]) <= *time && *time <= micros(&greatest["time"]));
        }
        prop_assert!(least.get("value").is_none());
    }
}

#[test]
fn encodings_are_the_chosen_ones() {
    let (folder, store) = testing::store();
    let rows = testing::sorted(testing::grid(MIDNIGHT, 50, 100));
    for effort in [Effort::Fresh, Effort::Compacted] {
        let files = write(&store, schema::samples(), effort, vec![testing::batch(&rows)]).unwrap();
        let path = folder.path().join("tables/samples").join(&files[0].path);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), files[0].size_bytes);
        let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
        let group = reader.metadata().row_group(0);
        let column = |i: usize| group.column(i);
        assert!(group.columns().iter().all(|c| matches!(c.compression(), Compression::ZSTD(_))));
        assert!(column(0).dictionary_page_offset().is_some(), "metric");
        assert!(column(1).dictionary_page_offset().is_none(), "series_id");
        assert!(column(2).encodings().any(|e| e == Encoding::DELTA_BINARY_PACKED), "time");
        assert!(column(3).encodings().any(|e| e == Encoding::PLAIN) && column(3).dictionary_page_offset().is_none(), "value");
        assert!(column(3).statistics().is_none_or(|s| s.min_bytes_opt().is_none()), "NaN makes bounds of values wrong");
        assert!(column(0).column_index_offset().is_some(), "pages can be left out");
    }
}

#[test]
fn bad_rows_are_refused_with_the_reason() {
    let (_folder, store) = testing::store();
    let other = RecordBatch::try_from_iter([("x", std::sync::Arc::new(arrow::array::Int64Array::from(vec![1])) as arrow::array::ArrayRef)]).unwrap();
    let error = write(&store, schema::samples(), Effort::Fresh, vec![other]).unwrap_err();
    assert!(error.to_string().contains("no column time"), "{error}");
    let far = testing::batch(&[("m".to_owned(), 1, i64::MAX, None)]);
    let error = write(&store, schema::samples(), Effort::Fresh, vec![far]).unwrap_err();
    assert!(error.to_string().contains("outside the calendar"), "{error}");
    let many: Vec<Sample> = (0..500).map(|d| ("m".to_owned(), 1, MIDNIGHT + d * MICROS_PER_DAY, None)).collect();
    let error = write(&store, schema::samples(), Effort::Fresh, vec![testing::batch(&many)]).unwrap_err();
    assert!(error.to_string().contains("400 dates"), "{error}");
    assert!(write(&store, schema::samples(), Effort::Fresh, vec![]).unwrap().is_empty());
}
