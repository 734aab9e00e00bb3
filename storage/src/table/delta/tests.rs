//! The suite on a folder, other writers, reopening, and a log that stays short.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::table::conformance;
use crate::testing::{self, MIDNIGHT};
use afferent_engine::error::ErrorKind;
use afferent_engine::schema;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake_core::kernel::{Add, Transaction};
use deltalake_core::protocol::DeltaOperation;
use std::time::Instant;

fn samples() -> TableName {
    TableName::new(schema::SAMPLES)
}

fn named(files: Vec<DataFile>) -> BTreeMap<TableName, Vec<DataFile>> {
    BTreeMap::from([(samples(), files)])
}

async fn epoch(tables: &DeltaTables, epoch: u64) -> Vec<DataFile> {
    let rows = testing::sorted(testing::grid(MIDNIGHT + epoch as i64 * 30_000_000, 4, 30));
    tables.write(&schema::samples(), Epoch(epoch), Box::new(std::iter::once(testing::batch(&rows)))).await.unwrap()
}

async fn opened(store: &Store) -> Arc<DeltaTables> {
    let tables = DeltaTables::new(store.clone());
    tables.ensure(&schema::samples()).await.unwrap();
    tables
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_conforms() {
    let (_folder, store) = testing::store();
    conformance::suite(DeltaTables::new(store)).await;
}

#[tokio::test]
async fn a_folder_conforms_on_one_thread() {
    let (_folder, store) = testing::store();
    conformance::suite(DeltaTables::new(store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_is_found_again() {
    let (_folder, store) = testing::store();
    let group = GroupName::of_partition(0);
    let tables = opened(&store).await;
    for n in 1..=3 {
        let files = epoch(&tables, n).await;
        tables.publish(&group, Epoch(n), &named(files)).await.unwrap();
    }
    let before = tables.files(&samples()).await.unwrap();
    let again = DeltaTables::new(store);
    let after = again.files(&samples()).await.unwrap();
    assert_eq!(after.version, 3);
    let by_path = |files: &TableFiles| {
        let mut files = files.files.clone();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    };
    let (before, after) = (by_path(&before), by_path(&after));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&before.path, &before.date, before.size_bytes, before.row_count), (&after.path, &after.date, after.size_bytes, after.row_count));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&before.stats).unwrap(),
            serde_json::from_str::<serde_json::Value>(&after.stats).unwrap()
        );
    }
    // A restarted process publishes its last checkpoint again.
    again.publish(&group, Epoch(3), &named(before.clone())).await.unwrap();
    assert_eq!(again.files(&samples()).await.unwrap().version, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_writer_is_noticed_and_nothing_is_published_twice() {
    let (_folder, store) = testing::store();
    let (ours, theirs) = (opened(&store).await, opened(&store).await);
    let (group, other) = (GroupName::of_partition(0), GroupName::of_partition(1));
    let first = epoch(&ours, 1).await;
    ours.publish(&group, Epoch(1), &named(first.clone())).await.unwrap();
    // The other process does not know of version 1 yet, and publishes the same epoch of the same group, then one of its own.
    theirs.publish(&group, Epoch(1), &named(first)).await.unwrap();
    let second = epoch(&theirs, 2).await;
    theirs.publish(&other, Epoch(2), &named(second)).await.unwrap();
    let files = theirs.files(&samples()).await.unwrap();
    assert_eq!((files.version, files.files.len()), (2, 2));
    let third = epoch(&ours, 3).await;
    ours.publish(&group, Epoch(3), &named(third)).await.unwrap();
    let files = ours.files(&samples()).await.unwrap();
    assert_eq!((files.version, files.files.len()), (3, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_gone_are_not_replaced() {
    let (_folder, store) = testing::store();
    let (ours, theirs) = (opened(&store).await, opened(&store).await);
    let group = GroupName::of_partition(0);
    let old = epoch(&ours, 1).await;
    ours.publish(&group, Epoch(1), &named(old.clone())).await.unwrap();
    let (merged, also_merged) = (epoch(&ours, 2).await, epoch(&ours, 3).await);
    theirs.replace(&samples(), &old, merged.clone()).await.unwrap();
    let error = ours.replace(&samples(), &old, also_merged).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(&old[0].path));
    assert_eq!(ours.replace(&samples(), &merged, old).await.unwrap().files.len(), 1, "the refused change left the newest state behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_folded() {
    let (folder, store) = testing::store();
    let group = GroupName::of_partition(0);
    let tables = opened(&store).await;
    let files = epoch(&tables, 1).await;
    for n in 1..=130 {
        let file = DataFile { path: files[0].path.replace(".parquet", &format!("-{n}.parquet")), ..files[0].clone() };
        tables.publish(&group, Epoch(n), &named(vec![file])).await.unwrap();
        tables.tend_log(&samples()).await.unwrap();
    }
    let log = folder.path().join("tables/samples/_delta_log");
    let names: Vec<String> = std::fs::read_dir(log).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let folds = names.iter().filter(|n| n.contains(".checkpoint.")).count();
    assert_eq!(folds, 2, "{names:?}");
    let again = DeltaTables::new(store);
    assert_eq!(again.files(&samples()).await.unwrap().files.len(), 130);
    // The statistics survive in the folded log.
    assert!(again.files(&samples()).await.unwrap().files.iter().all(|f| f.row_count == 240 && f.stats.contains("minValues")));
    again.publish(&group, Epoch(130), &named(files)).await.unwrap();
    assert_eq!(again.files(&samples()).await.unwrap().version, 130, "and so do the transactions");
}

/// Prints what a commit costs beside Delta's own commit builder; the figures stand in the README.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_costs_less_than_the_commit_builder() {
    let (_folder, store) = testing::store();
    let group = GroupName::of_partition(0);
    let tables = opened(&store).await;
    let files = epoch(&tables, 1).await;
    let file = |n: u64| DataFile { path: files[0].path.replace(".parquet", &format!("-{n}.parquet")), ..files[0].clone() };
    tables.publish(&group, Epoch(1), &named(vec![file(1)])).await.unwrap();
    let started = Instant::now();
    for n in 2..=41 {
        tables.publish(&group, Epoch(n), &named(vec![file(n)])).await.unwrap();
    }
    let ours = started.elapsed() / 40;

    let log = tables.log_store(&samples()).unwrap();
    let mut table = DeltaTable::new(log.clone());
    table.load().await.unwrap();
    let started = Instant::now();
    for n in 42..=81 {
        let file = file(n);
        let add = Add { path: file.path, size: 1, stats: Some(file.stats), data_change: true, ..Add::default() };
        let properties = CommitProperties::default().with_application_transaction(Transaction::new("g", n as i64)).with_create_checkpoint(false);
        let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        let actions = vec![deltalake_core::kernel::Action::Add(add)];
        let state = table.snapshot().unwrap();
        let done =
            CommitBuilder::from(properties).with_actions(actions).build(Some(state as &dyn TableReference), log.clone(), operation).await.unwrap();
        table.state = Some(done.snapshot());
    }
    let builder = started.elapsed() / 40;
    eprintln!("one commit: {ours:?}; by the commit builder: {builder:?}");
    assert!(ours < builder);
}
