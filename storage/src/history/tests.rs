//! Reads equal a naive filter over everything that was written.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::table::delta::DeltaTables;
use crate::testing::{self, MIDNIGHT, Sample};
use afferent_engine::checkpoint::{Epoch, GroupName};
use afferent_engine::error::ErrorKind;
use afferent_engine::schema::TableName;
use afferent_engine::table::{DataFile, TableStore};
use proptest::prelude::*;
use std::collections::BTreeMap;

async fn published(store: &Store, epochs: &[Vec<Sample>]) -> Arc<TableFiles> {
    let tables = DeltaTables::new(store.clone());
    let def = schema::samples();
    tables.ensure(&def).await.unwrap();
    for (n, rows) in (1..).zip(epochs) {
        let batches: Vec<_> = testing::sorted(rows.clone()).chunks(100).map(testing::batch).collect();
        let files = tables.write(&def, Epoch(n), Box::new(batches.into_iter())).await.unwrap();
        tables.publish(&GroupName::of_partition(0), Epoch(n), &BTreeMap::from([(def.name.clone(), files)])).await.unwrap();
    }
    tables.files(&TableName::new(schema::SAMPLES)).await.unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn reads_equal_a_naive_filter(
        epochs in prop::collection::vec(
            prop::collection::vec(("[ab]", 0i64..6, -3i64..3, prop::option::of(any::<u64>())), 0..300),
            1..4,
        ),
        series in prop::collection::vec(0i64..8, 0..4),
        start in -3i64..3,
        length in 0i64..4,
        shift in 0i64..1000,
    ) {
        // Times half a day apart and a few microseconds around, so that dates, files and rows are all cut.
        let half = 43_200_000_000;
        let epochs: Vec<Vec<Sample>> = epochs
            .into_iter()
            .map(|rows| rows.into_iter().enumerate().map(|(i, (m, s, t, v))| (m, s, MIDNIGHT + t * half + i as i64, v)).collect())
            .collect();
        let range = MIDNIGHT + start * half + shift % 7..MIDNIGHT + (start + length) * half + shift;
        let (_folder, store) = testing::store();
        let got = runtime().block_on(async {
            let files = published(&store, &epochs).await;
            let ids: Vec<SeriesId> = series.iter().copied().map(SeriesId).collect();
            ParquetHistory::new(store.clone()).samples(&files, &ids, range.clone()).await.unwrap()
        });
        let wanted: Vec<Sample> = epochs.iter().flatten().filter(|r| series.contains(&r.1) && range.contains(&r.2)).cloned().collect();
        prop_assert_eq!(testing::sorted(testing::rows(&got)), testing::sorted(wanted));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_series_and_whole_time_are_read() {
    let (_folder, store) = testing::store();
    let rows = testing::grid(MIDNIGHT, 2000, 5);
    let files = published(&store, std::slice::from_ref(&rows)).await;
    let ids: Vec<SeriesId> = (0..1500).map(SeriesId).collect();
    let got = ParquetHistory::new(store).samples(&files, &ids, i64::MIN..i64::MAX).await.unwrap();
    let wanted: Vec<Sample> = rows.into_iter().filter(|r| r.1 < 1500).collect();
    assert_eq!(testing::sorted(testing::rows(&got)), testing::sorted(wanted));
    assert!(got.iter().all(|b| b.schema() == schema::samples().schema), "columns are those of the table");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_gone_is_an_error_and_not_a_gap() {
    let (folder, store) = testing::store();
    let files = published(&store, &[testing::grid(MIDNIGHT, 2, 5)]).await;
    let path = folder.path().join("tables/samples").join(&files.files[0].path);
    std::fs::remove_file(&path).unwrap();
    let history = ParquetHistory::new(store);
    let error = history.samples(&files, &[SeriesId(0)], 0..i64::MAX).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    std::fs::write(&path, vec![7; files.files[0].size_bytes as usize]).unwrap();
    let error = history.samples(&files, &[SeriesId(0)], 0..i64::MAX).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let too_many: Vec<SeriesId> = (0..=HISTORY_SERIES_MAX as i64).map(SeriesId).collect();
    assert_eq!(history.samples(&files, &too_many, 0..1).await.unwrap_err().kind(), ErrorKind::Invalid);
    let none: [DataFile; 0] = [];
    assert!(history.samples(&TableFiles { version: 0, files: none.to_vec() }, &[SeriesId(0)], 0..1).await.unwrap().is_empty());
}
