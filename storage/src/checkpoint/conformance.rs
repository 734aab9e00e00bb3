//! What every checkpoint store must do, against the port alone: each backend runs it.
#![allow(clippy::unwrap_used)]

use afferent_engine::checkpoint::{CHECKPOINT_VERSION, Checkpoint, CheckpointStore, Epoch, GroupName, StateFile};
use afferent_engine::error::ErrorKind;
use afferent_engine::log::Position;
use afferent_engine::schema::TableName;
use afferent_engine::table::DataFile;
use afferent_engine::time::WallTime;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) fn checkpoint(group: &GroupName, epoch: u64, writer: &str, states: Vec<StateFile>) -> Checkpoint {
    let file = DataFile {
        path: format!("date=2026-11-22/{epoch}.parquet"),
        date: "2026-11-22".to_owned(),
        size_bytes: 7,
        row_count: 3,
        stats: "{\"numRecords\":3}".to_owned(),
    };
    Checkpoint {
        version: CHECKPOINT_VERSION,
        group: group.clone(),
        epoch: Epoch(epoch),
        writer: writer.to_owned(),
        created_at: WallTime(1_795_305_600_000),
        log: None,
        positions: BTreeMap::from([("metrics/0".to_owned(), Position(epoch * 10))]),
        tables: BTreeMap::from([(TableName::new("samples"), vec![file])]),
        states,
    }
}

/// Runs the suite on an empty store.
///
/// # Panics
/// Where a promise is broken.
pub async fn suite(store: Arc<dyn CheckpointStore>) {
    the_newest_is_found(&store).await;
    the_second_of_one_epoch_is_fenced(&store).await;
    a_writer_that_slept_is_fenced(&store).await;
    states_come_back_or_are_called_corrupt(&store).await;
    pruning_keeps_what_is_named(&store).await;
}

async fn the_newest_is_found(store: &Arc<dyn CheckpointStore>) {
    let (group, other) = (GroupName("newest".to_owned()), GroupName("other".to_owned()));
    assert_eq!(store.latest(&group).await.unwrap(), None);
    // 9 to 10 and 99 to 100 change the number of digits.
    for epoch in [1, 2, 9, 10, 99, 100] {
        store.commit(&checkpoint(&group, epoch, "a", vec![])).await.unwrap();
        assert_eq!(store.latest(&group).await.unwrap(), Some(checkpoint(&group, epoch, "a", vec![])));
    }
    assert_eq!(store.latest(&other).await.unwrap(), None, "groups are apart");
}

async fn the_second_of_one_epoch_is_fenced(store: &Arc<dyn CheckpointStore>) {
    let group = GroupName("fence".to_owned());
    let contenders = (0..8).map(|i| {
        let (store, group) = (store.clone(), group.clone());
        async move { store.commit(&checkpoint(&group, 1, &format!("writer {i}"), vec![])).await.map(|()| format!("writer {i}")) }
    });
    let results = futures::future::join_all(contenders).await;
    let winners: Vec<_> = results.iter().filter_map(|r| r.as_ref().ok()).collect();
    assert_eq!(winners.len(), 1);
    assert!(results.iter().filter_map(|r| r.as_ref().err()).all(|e| e.kind() == ErrorKind::Conflict));
    assert_eq!(&store.latest(&group).await.unwrap().unwrap().writer, winners[0]);
    // The same writer cannot commit twice either.
    assert_eq!(store.commit(&checkpoint(&group, 1, winners[0], vec![])).await.unwrap_err().kind(), ErrorKind::Conflict);
}

/// It looked, slept, and finds its number free again, because its successor pruned that far.
async fn a_writer_that_slept_is_fenced(store: &Arc<dyn CheckpointStore>) {
    let group = GroupName("slept".to_owned());
    store.commit(&checkpoint(&group, 1, "sleeper", vec![])).await.unwrap();
    for epoch in 2..=9 {
        store.commit(&checkpoint(&group, epoch, "successor", vec![])).await.unwrap();
        store.prune(&group, 3).await.unwrap();
    }
    for epoch in [2, 3, 9] {
        let error = store.commit(&checkpoint(&group, epoch, "sleeper", vec![])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains("written by successor"), "{error}");
    }
    let latest = store.latest(&group).await.unwrap().unwrap();
    assert_eq!((latest.epoch, latest.writer.as_str()), (Epoch(9), "successor"));
}

async fn states_come_back_or_are_called_corrupt(store: &Arc<dyn CheckpointStore>) {
    let group = GroupName("states".to_owned());
    for bytes in [Bytes::new(), Bytes::from_static(b"x"), Bytes::from(vec![7; 3_000_000])] {
        let file = store.write_state(&group, Epoch(1), "registry", bytes.clone()).await.unwrap();
        assert_eq!((file.name.as_str(), file.size_bytes), ("registry", bytes.len() as u64));
        assert_eq!(store.read_state(&file).await.unwrap(), bytes);
    }
    // Two attempts at one epoch do not overwrite each other.
    let first = store.write_state(&group, Epoch(2), "panes", Bytes::from_static(b"first")).await.unwrap();
    let second = store.write_state(&group, Epoch(2), "panes", Bytes::from_static(b"second")).await.unwrap();
    assert_eq!(store.read_state(&first).await.unwrap(), "first");
    assert_eq!(store.read_state(&second).await.unwrap(), "second");
    for wrong in [
        StateFile { crc32c: first.crc32c ^ 1, ..first.clone() },
        StateFile { size_bytes: 4, ..first.clone() },
        StateFile { path: format!("{}-gone", first.path), ..first.clone() },
    ] {
        let error = store.read_state(&wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(&wrong.path), "{error}");
    }
}

async fn pruning_keeps_what_is_named(store: &Arc<dyn CheckpointStore>) {
    let group = GroupName("prune".to_owned());
    store.prune(&group, 3).await.unwrap();
    let shared = store.write_state(&group, Epoch(1), "shared", Bytes::from_static(b"shared")).await.unwrap();
    let mut own = Vec::new();
    for epoch in 1..=6 {
        let state = store.write_state(&group, Epoch(epoch), "own", Bytes::from(format!("own {epoch}"))).await.unwrap();
        store.commit(&checkpoint(&group, epoch, "a", vec![shared.clone(), state.clone()])).await.unwrap();
        own.push(state);
    }
    let orphan = store.write_state(&group, Epoch(3), "orphan", Bytes::from_static(b"of a writer that died")).await.unwrap();
    let coming = store.write_state(&group, Epoch(7), "own", Bytes::from_static(b"of the epoch being made")).await.unwrap();
    store.prune(&group, 2).await.unwrap();
    assert_eq!(store.latest(&group).await.unwrap().unwrap().epoch, Epoch(6));
    for kept in [&shared, &own[4], &own[5], &coming] {
        store.read_state(kept).await.unwrap();
    }
    for gone in own[..4].iter().chain([&orphan]) {
        assert_eq!(store.read_state(gone).await.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    // A pruned number is free again, but the chain goes on from the newest.
    store.prune(&group, 0).await.unwrap();
    assert_eq!(store.latest(&group).await.unwrap().unwrap().epoch, Epoch(6), "the newest is never removed");
}
