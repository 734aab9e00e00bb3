//! Reads equal a naive filter over everything that was written.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::table::delta::DeltaTables;
use crate::testing::{self, MIDNIGHT, Sample};
use afferent_engine::checkpoint::{Epoch, GroupName};
use afferent_engine::error::ErrorKind;
use afferent_engine::schema::{self, REVISION};
use afferent_engine::series::SeriesId;
use afferent_engine::table::{DataFile, TableStore};
use arrow::array::{Array, AsArray, Int64Array};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

async fn publish(store: &Store, def: &TableDef, epoch: u64, batches: Vec<RecordBatch>) -> Arc<TableFiles> {
    let tables = DeltaTables::new(store.clone());
    tables.ensure(def).await.unwrap();
    let files = tables.write(def, Epoch(epoch), Box::new(batches.into_iter())).await.unwrap();
    tables.publish(&GroupName::of_partition(0), Epoch(epoch), &BTreeMap::from([(def.name.clone(), files)])).await.unwrap();
    tables.files(&def.name).await.unwrap()
}

async fn published(store: &Store, epochs: &[Vec<Sample>]) -> Arc<TableFiles> {
    let mut files = Arc::default();
    for (n, rows) in (1..).zip(epochs) {
        let batches = testing::sorted(rows.clone()).chunks(100).map(testing::batch).collect();
        files = publish(store, &schema::samples(), n, batches).await;
    }
    files
}

fn of_series(ids: impl IntoIterator<Item = i64>, micros: Range<i64>) -> Wanted {
    Wanted { series: Some(ids.into_iter().map(SeriesId).collect()), micros: Some(micros), metrics: None }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Times half a day apart and a few microseconds around, so that dates, files and rows are all cut.
const HALF: i64 = 43_200_000_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn reads_equal_a_naive_filter(
        epochs in prop::collection::vec(
            prop::collection::vec(("[a-d]", 0i64..6, -3i64..3, prop::option::of(any::<u64>())), 0..300),
            1..4,
        ),
        series in prop::option::of(prop::collection::vec(0i64..8, 0..4)),
        metrics in prop::option::of(prop::collection::btree_set("[a-e]", 0..3)),
        range in prop::option::of((-3i64..3, 0i64..4, 0i64..1000)),
        (for_ever, since_ever) in any::<(bool, bool)>(),
    ) {
        let epochs: Vec<Vec<Sample>> = epochs
            .into_iter()
            .map(|rows| rows.into_iter().enumerate().map(|(i, (m, s, t, v))| (m, s, MIDNIGHT + t * HALF + i as i64, v)).collect())
            .collect();
        let micros = range.map(|(start, length, shift)| MIDNIGHT + start * HALF + shift % 7..MIDNIGHT + (start + length) * HALF + shift);
        // Ranges may reach into years that no calendar writes with four digits.
        let micros = micros.map(|m| if since_ever { i64::MIN / 2..m.end } else { m }).map(|m| if for_ever { m.start..i64::MAX / 2 } else { m });
        let wanted = Wanted { metrics: metrics.clone(), series: series.clone().map(|s| s.into_iter().map(SeriesId).collect()), micros: micros.clone() };
        let (_folder, store) = testing::store();
        let got = runtime().block_on(async {
            let files = published(&store, &epochs).await;
            ParquetHistory::new(store.clone()).read(&schema::samples(), &files, &wanted).await.unwrap()
        });
        let asked = |r: &&Sample| {
            metrics.as_ref().is_none_or(|m| m.contains(&r.0))
                && series.as_ref().is_none_or(|s| s.contains(&r.1))
                && micros.as_ref().is_none_or(|m| m.contains(&r.2))
        };
        let expected: Vec<Sample> = epochs.iter().flatten().filter(asked).cloned().collect();
        prop_assert_eq!(testing::sorted(testing::rows(&got)), testing::sorted(expected));
    }

    /// Every table with any columns, against the same filter over the rows in memory; some files of `rollup_1m` have no revisions yet.
    #[test]
    fn other_tables_and_files_of_older_versions_are_read_alike(
        which in 0usize..schema::fixed_tables().len(),
        older in any::<bool>(),
        words in prop::option::of(prop::collection::btree_set(0u8..9, 0..4)),
        some_series in any::<bool>(),
        range in prop::option::of((-2i64..2, 0i64..3)),
        seed in any::<u32>(),
    ) {
        let def = schema::fixed_tables().swap_remove(which);
        let has = |column: &str| def.schema.column_with_name(column).is_some();
        let rows: Vec<RecordBatch> = (0..3).map(|n| testing::any_rows(&def, 200, u64::from(seed) + n * 1000)).collect();
        let mut all = concat_batches(&def.schema, &rows).unwrap();
        let (_folder, store) = testing::store();
        let mut wanted = Wanted {
            metrics: words.filter(|_| has("metric")).map(|w| w.into_iter().map(|n| format!("word_{n}")).collect()),
            series: None,
            micros: range.map(|(start, length)| MIDNIGHT + start * HALF..MIDNIGHT + (start + length) * HALF),
        };
        if has("series_id") && some_series {
            let ids = all.column_by_name("series_id").unwrap().as_primitive::<Int64Type>();
            wanted.series = Some((0..600).step_by(3).map(|i| SeriesId(ids.value(i))).collect());
        }
        let got = runtime().block_on(async {
            let mut files = Arc::default();
            for (n, batch) in (1..).zip(&rows) {
                let lacks_revision = older && n == 1 && has(REVISION);
                let written = if lacks_revision { testing::without(&def, REVISION) } else { def.clone() };
                let batch = batch.project(&(0..written.schema.fields().len()).collect::<Vec<_>>()).unwrap();
                files = publish(&store, &written, n, vec![batch]).await;
            }
            ParquetHistory::new(store.clone()).read(&def, &files, &wanted).await.unwrap()
        });
        if older && has(REVISION) {
            let old = all.column_by_name(REVISION).unwrap().as_primitive::<Int64Type>().clone();
            let nulls: Int64Array = (0..600).map(|i| (i >= 200 && old.is_valid(i)).then(|| old.value(i))).collect();
            let mut columns = all.columns().to_vec();
            columns[def.schema.index_of(REVISION).unwrap()] = Arc::new(nulls);
            all = RecordBatch::try_new(def.schema.clone(), columns).unwrap();
        }
        let expected: Vec<String> = (0..600).filter(|row| chosen(&def, &all, *row, &wanted)).map(|row| text(&all, row)).collect();
        let got: Vec<String> = got.iter().flat_map(|b| (0..b.num_rows()).map(|row| text(b, row)).collect::<Vec<_>>()).collect();
        prop_assert_eq!(got.iter().collect::<BTreeSet<_>>(), expected.iter().collect::<BTreeSet<_>>());
        prop_assert_eq!(got.len(), expected.len());
    }
}

fn chosen(def: &TableDef, rows: &RecordBatch, row: usize, wanted: &Wanted) -> bool {
    let column = |name: &str| rows.column_by_name(name).unwrap();
    let metric = |m: &BTreeSet<String>| m.contains(cast(column("metric"), &DataType::Utf8).unwrap().as_string::<i32>().value(row));
    let series = |s: &Vec<SeriesId>| s.contains(&SeriesId(column("series_id").as_primitive::<Int64Type>().value(row)));
    let micros = |m: &Range<i64>| m.contains(&column(def.date_from).as_primitive::<TimestampMicrosecondType>().value(row));
    wanted.metrics.as_ref().is_none_or(metric) && wanted.series.as_ref().is_none_or(series) && wanted.micros.as_ref().is_none_or(micros)
}

/// One row as text that tells nulls from values and every float from every other.
fn text(rows: &RecordBatch, row: usize) -> String {
    let columns = rows.columns().iter().map(|c| {
        let plain = match c.data_type() {
            DataType::Dictionary(_, value) => cast(c, value).unwrap(),
            _ => c.clone(),
        };
        if plain.is_null(row) { "null".to_owned() } else { format!("{:?}", plain.slice(row, 1)) }
    });
    columns.collect::<Vec<_>>().join("|")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_series_and_whole_time_are_read() {
    let (_folder, store) = testing::store();
    let rows = testing::grid(MIDNIGHT, 2000, 5);
    let files = published(&store, std::slice::from_ref(&rows)).await;
    let wanted = of_series(0..1500, i64::MIN..i64::MAX);
    let got = ParquetHistory::new(store).read(&schema::samples(), &files, &wanted).await.unwrap();
    let expected: Vec<Sample> = rows.into_iter().filter(|r| r.1 < 1500).collect();
    assert_eq!(testing::sorted(testing::rows(&got)), testing::sorted(expected));
    assert!(got.iter().all(|b| b.schema() == schema::samples().schema), "columns are those of the table");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_gone_is_an_error_and_not_a_gap() {
    let (folder, store) = testing::store();
    let files = published(&store, &[testing::grid(MIDNIGHT, 2, 5)]).await;
    let path = folder.path().join("tables/samples").join(&files.files[0].path);
    std::fs::remove_file(&path).unwrap();
    let history = ParquetHistory::new(store);
    let (table, wanted) = (schema::samples(), of_series([0], 0..i64::MAX));
    let error = history.read(&table, &files, &wanted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    std::fs::write(&path, vec![7; files.files[0].size_bytes as usize]).unwrap();
    let error = history.read(&table, &files, &wanted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let too_many = of_series(0..=HISTORY_SERIES_MAX as i64, 0..1);
    assert_eq!(history.read(&table, &files, &too_many).await.unwrap_err().kind(), ErrorKind::Invalid);
    let none: [DataFile; 0] = [];
    assert!(history.read(&table, &TableFiles { version: 0, files: none.to_vec() }, &wanted).await.unwrap().is_empty());
    let events = schema::events();
    let error = history.read(&events, &TableFiles::default(), &wanted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("events has no column series_id"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_goes_on_only_as_fast_as_batches_are_taken() {
    let (_folder, store) = testing::store();
    let files = published(&store, &[testing::grid(MIDNIGHT, 2000, 50)]).await;
    let mut scanned = ParquetHistory::new(store).scan(&schema::samples(), &files, &Wanted::default()).await.unwrap();
    let first = scanned.recv().await.unwrap().unwrap();
    assert!(first.num_rows() < 100_000, "batches are of bounded size");
    assert!(scanned.max_capacity() <= BATCHES_WAITING_MAX);
}
