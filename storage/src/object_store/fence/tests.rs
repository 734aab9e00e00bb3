//! Upkeep of a process that was passed by another stops; its own checkpoints and those it began with do not stop it.
#![allow(clippy::unwrap_used)]

use super::super::Store;
use super::*;
use crate::checkpoint::ObjectCheckpoints;
use crate::checkpoint::conformance::checkpoint;
use afferent_engine::checkpoint::CheckpointStore;
use afferent_engine::error::ErrorKind;
use object_store::memory::InMemory;
use std::sync::Arc;

/// Two processes on one bucket.
fn two() -> (Store, Store) {
    let objects: Arc<dyn object_store::ObjectStore> = Arc::new(InMemory::new());
    let open = || Store::shared(objects.clone());
    (open(), open())
}

#[tokio::test]
async fn a_checkpoint_of_another_process_ends_upkeep() {
    let (ours, theirs) = two();
    let group = GroupName::of_partition(0);
    let (first, second) = (ObjectCheckpoints::new(ours.clone()), ObjectCheckpoints::new(theirs.clone()));
    first.commit(&checkpoint(&group, 1, "first", vec![])).await.unwrap();
    ours.check_writer(&Owner::Sole).await.unwrap();
    // The second begins where the first ended; looking at the chain later does not make the first forget whose it is.
    assert_eq!(second.latest(&group).await.unwrap().unwrap().epoch, Epoch(1));
    theirs.check_writer(&Owner::Sole).await.unwrap();
    second.commit(&checkpoint(&group, 2, "second", vec![])).await.unwrap();
    assert_eq!(first.latest(&group).await.unwrap().unwrap().epoch, Epoch(2));
    let error = ours.check_writer(&Owner::Sole).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("written by second"), "{error}");
    theirs.check_writer(&Owner::Sole).await.unwrap();
}

#[tokio::test]
async fn a_checkpoint_of_ours_that_we_were_not_told_of_does_not() {
    let (ours, elsewhere) = two();
    let group = GroupName::of_partition(0);
    ObjectCheckpoints::new(ours.clone()).commit(&checkpoint(&group, 1, "first", vec![])).await.unwrap();
    // As a put whose answer was lost: it stands, under our name.
    ObjectCheckpoints::new(elsewhere).commit(&checkpoint(&group, 2, "first", vec![])).await.unwrap();
    ours.check_writer(&Owner::Sole).await.unwrap();
}

#[tokio::test]
async fn where_several_engines_write_each_is_ended_by_its_own_group_alone() {
    let (ours, theirs) = two();
    let (one, other) = (GroupName::of_metrics(0), GroupName::of_metrics(1));
    let (first, second) = (ObjectCheckpoints::new(ours.clone()), ObjectCheckpoints::new(theirs.clone()));
    for group in [&one, &other] {
        first.commit(&checkpoint(group, 1, "first", vec![])).await.unwrap();
    }
    second.commit(&checkpoint(&other, 2, "second", vec![])).await.unwrap();
    ours.check_writer(&Owner::Group(one)).await.unwrap();
    assert_eq!(ours.check_writer(&Owner::Group(other)).await.unwrap_err().kind(), ErrorKind::Conflict);
}
