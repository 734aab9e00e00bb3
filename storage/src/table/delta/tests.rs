//! The suite on a folder, other writers, reopening, and a log that stays short.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::table::conformance;
use crate::testing::{self, MIDNIGHT};
use afferent_engine::error::ErrorKind;
use afferent_engine::schema;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake_core::kernel::{Add, Transaction};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use object_store::ObjectStoreExt as _;
use std::collections::BTreeSet;
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
    theirs.replace(&samples(), &old, merged.clone(), false).await.unwrap();
    let error = ours.replace(&samples(), &old, also_merged, false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(&old[0].path));
    assert_eq!(ours.replace(&samples(), &merged, old, false).await.unwrap().files.len(), 1, "the refused change left the newest state behind");
}

/// Two processes on one bucket, in which nothing is locked.
fn bucket() -> (Store, Store) {
    let objects: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    (Store::shared(objects.clone()), Store::shared(objects))
}

fn paths(files: &TableFiles) -> BTreeSet<String> {
    files.files.iter().map(|file| file.path.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_of_one_table_see_their_own_files_wherever_they_run() {
    let (here, there) = bucket();
    let (here, there) = (opened(&here).await, opened(&there).await);
    let groups = [GroupName::of_metrics(0), GroupName::of_metrics(1), GroupName::of_metrics(11)];
    let [first, second, third] = [here.of(&groups[0]), here.of(&groups[1]), there.of(&groups[2])];
    let mut own: [BTreeSet<String>; 3] = Default::default();
    for n in 1..=5 {
        for (at, tables) in [&first, &second, &third].into_iter().enumerate() {
            let files = epoch(tables, n).await;
            own[at].extend(files.iter().map(|file| file.path.clone()));
            tables.publish(&groups[at], Epoch(n), &named(files.clone())).await.unwrap();
            // Published again by its own, whoever wrote in between, it stands once.
            tables.publish(&groups[at], Epoch(n), &named(files)).await.unwrap();
            assert_eq!(paths(&tables.files(&samples()).await.unwrap()), own[at], "of {}", groups[at]);
        }
    }
    here.catch_up(&samples()).await.unwrap();
    let whole = here.files(&samples()).await.unwrap();
    assert_eq!((whole.version, whole.files.len()), (15, 15));
    // Read entry by entry, the state is that of one who reads the whole log.
    let read = DeltaTables::new(here.store.clone()).files(&samples()).await.unwrap();
    assert_eq!((paths(&whole), whole.version), (paths(&read), read.version));
    assert_eq!(whole.files.iter().map(|file| file.row_count).sum::<u64>(), read.files.iter().map(|file| file.row_count).sum::<u64>());

    // A merge takes its own files alone; the others are as they were, the same allocation.
    let before = second.files(&samples()).await.unwrap();
    let old = first.files(&samples()).await.unwrap();
    let merged = first.replace(&samples(), &old.files, epoch(&first, 6).await, false).await.unwrap();
    assert_eq!(merged.files.len(), 1);
    assert!(Arc::ptr_eq(&before, &second.files(&samples()).await.unwrap()));

    // The engine of the third comes here, where its table was opened long ago: what it published there is known.
    let moved = here.of(&groups[2]);
    assert_eq!(paths(&moved.files(&samples()).await.unwrap()), own[2]);
    let sixth = epoch(&there.of(&groups[2]), 6).await;
    there.of(&groups[2]).publish(&groups[2], Epoch(6), &named(sixth.clone())).await.unwrap();
    here.of(&groups[2]).publish(&groups[2], Epoch(6), &named(sixth)).await.unwrap();
    assert_eq!(here.of(&groups[2]).files(&samples()).await.unwrap().files.len(), 6);
}

/// Entries that a fold covers are removed after a while, and their names are free again: one who slept must not write there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_slept_while_the_log_was_shortened_reads_it_anew() {
    let (here, there) = bucket();
    let group = GroupName::of_metrics(0);
    let (sleeper, other) = (opened(&here).await, opened(&there).await);
    let late = epoch(&sleeper, 1).await;
    for n in 1..=70 {
        let file = DataFile { path: late[0].path.replace(".parquet", &format!("-{n}.parquet")), ..late[0].clone() };
        other.publish(&GroupName::of_metrics(1), Epoch(n), &named(vec![file])).await.unwrap();
    }
    other.tend_log(&samples()).await.unwrap();
    for version in 1..70 {
        let entry = layout::delta_log(&samples()).join(format!("{version:020}.json"));
        here.objects().delete(&entry).await.unwrap();
    }
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    sleeper.publish(&group, Epoch(1), &named(late)).await.unwrap();
    let files = DeltaTables::new(there).files(&samples()).await.unwrap();
    assert_eq!((files.version, files.files.len()), (71, 71));
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

fn entry(folder: &tempfile::TempDir, table: &str, version: u64) -> Vec<serde_json::Value> {
    let path = folder.path().join(format!("tables/{table}/_delta_log/{version:020}.json"));
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_an_earlier_version_gets_the_new_columns() {
    let (folder, store) = testing::store();
    let group = GroupName::of_partition(0);
    let new = schema::rollup_1m();
    let old = testing::without(&new, schema::REVISION);
    let publish = async |tables: &DeltaTables, def: &TableDef, epoch: u64| {
        let rows = testing::any_rows(def, 100, epoch);
        let files = tables.write(def, Epoch(epoch), Box::new(std::iter::once(rows))).await.unwrap();
        tables.publish(&group, Epoch(epoch), &BTreeMap::from([(def.name.clone(), files)])).await.unwrap();
    };
    let before = DeltaTables::new(store.clone());
    before.ensure(&old).await.unwrap();
    publish(&before, &old, 1).await;
    let tables = DeltaTables::new(store.clone());
    tables.ensure(&new).await.unwrap();
    let widened = tables.files(&new.name).await.unwrap();
    assert_eq!((widened.version, widened.files.iter().map(|f| f.row_count).sum::<u64>()), (2, 100), "no row came or went");
    // What another program sees: the same table, one more column that may be null, and no word of a newer protocol.
    let (made, changed) = (entry(&folder, "rollup_1m", 0), entry(&folder, "rollup_1m", 2));
    let action = |entry: &[serde_json::Value], kind: &str| entry.iter().find_map(|a| a.get(kind).cloned());
    assert_eq!(action(&changed, "protocol"), None);
    assert_eq!(action(&made, "protocol").unwrap()["minReaderVersion"], 1);
    let (made, changed) = (action(&made, "metaData").unwrap(), action(&changed, "metaData").unwrap());
    assert_eq!((&made["id"], &made["partitionColumns"]), (&changed["id"], &changed["partitionColumns"]));
    let names = |meta: &serde_json::Value| -> Vec<String> {
        let schema: serde_json::Value = serde_json::from_str(meta["schemaString"].as_str().unwrap()).unwrap();
        schema["fields"].as_array().unwrap().iter().map(|f| format!("{} {} {}", f["name"], f["type"], f["nullable"])).collect()
    };
    let (made, changed) = (names(&made), names(&changed));
    assert_eq!(changed, [made, vec!["\"revision\" \"long\" true".to_owned()]].concat());
    // The next epoch has it; a second look changes nothing; the old program is told.
    publish(&tables, &new, 2).await;
    tables.ensure(&new).await.unwrap();
    DeltaTables::new(store.clone()).ensure(&new).await.unwrap();
    assert_eq!(tables.files(&new.name).await.unwrap().version, 3);
    let error = DeltaTables::new(store.clone()).ensure(&old).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("column revision is on disk only"), "{error}");
    // A writer that opened the table before reads on.
    publish(&before, &old, 3).await;
    assert_eq!(before.files(&old.name).await.unwrap().files.iter().map(|f| f.row_count).sum::<u64>(), 300);
    if let Ok(keep) = std::env::var("AFFERENT_KEEP_LAKE") {
        std::fs::rename(folder.path(), keep).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_table_is_made_again_with_any_columns_and_keeps_its_epochs() {
    let (folder, store) = testing::store();
    let group = GroupName::of_partition(0);
    let tables = opened(&store).await;
    let first = epoch(&tables, 1).await;
    tables.publish(&group, Epoch(1), &named(first.clone())).await.unwrap();
    tables.drop_table(&samples()).await.unwrap();
    assert!(tables.defs().is_empty() && tables.files(&samples()).await.unwrap().files.is_empty());
    // A recovery that publishes an older checkpoint brings nothing back; an epoch that was under way is taken away again.
    tables.publish(&group, Epoch(1), &named(first.clone())).await.unwrap();
    assert!(tables.files(&samples()).await.unwrap().files.is_empty());
    let late = epoch(&tables, 2).await;
    tables.publish(&group, Epoch(2), &named(late)).await.unwrap();
    tables.keep_dropped(&samples()).await.unwrap();
    assert!(tables.files(&samples()).await.unwrap().files.is_empty());
    let other = TableDef { name: samples(), ..schema::events() };
    tables.ensure(&other).await.unwrap();
    assert_eq!(tables.defs(), std::slice::from_ref(&other));
    let again = DeltaTables::new(store.clone());
    again.ensure(&other).await.unwrap();
    again.publish(&group, Epoch(1), &named(first)).await.unwrap();
    assert!(again.files(&samples()).await.unwrap().files.is_empty());
    assert!(!tables.purge(&samples()).await.unwrap(), "it is no longer dropped");
    // Purged half way: what is left is no table, and is made afresh.
    tables.drop_table(&samples()).await.unwrap();
    let root = folder.path().join("tables/samples");
    std::fs::write(root.join("_purging"), "").unwrap();
    std::fs::remove_file(root.join("_delta_log/00000000000000000000.json")).unwrap();
    let third = DeltaTables::new(store.clone());
    assert_eq!(third.files(&samples()).await.unwrap().version, -1);
    third.ensure(&schema::samples()).await.unwrap();
    assert_eq!(third.files(&samples()).await.unwrap().version, 0);
    third.drop_table(&samples()).await.unwrap();
    assert!(third.purge(&samples()).await.unwrap());
    assert_eq!(third.files(&samples()).await.unwrap().version, -1);
    assert_eq!(std::fs::read_dir(root.join("_delta_log")).unwrap().count(), 0);
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
