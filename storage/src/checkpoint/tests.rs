//! The suite on a folder, and what only this implementation has.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing;
use afferent_engine::error::ErrorKind;
use conformance::checkpoint;

#[tokio::test]
async fn a_folder_conforms() {
    let (_folder, store) = testing::store();
    conformance::suite(ObjectCheckpoints::new(store)).await;
}

#[tokio::test]
async fn a_checkpoint_outlives_its_process() {
    let (folder, store) = testing::store();
    let group = GroupName::of_partition(0);
    ObjectCheckpoints::new(store).commit(&checkpoint(&group, 41, "a", vec![])).await.unwrap();
    let reopened = crate::object_store::open(folder.path().to_str().unwrap()).unwrap();
    assert_eq!(ObjectCheckpoints::new(reopened.clone()).latest(&group).await.unwrap().unwrap().epoch, Epoch(41));
    assert_eq!(all(&reopened).await.unwrap().len(), 1);
    assert!(folder.path().join("checkpoints/partition-0/00000000000000000041.json").is_file());
}

#[tokio::test]
async fn damage_and_newer_formats_are_named() {
    let (_folder, store) = testing::store();
    let group = GroupName::of_partition(0);
    let checkpoints = ObjectCheckpoints::new(store.clone());
    for (epoch, body, says) in [(1, "{\"version\":1", "not a checkpoint"), (2, "{\"version\":99}", "version 99"), (3, "[]", "not a checkpoint")] {
        let path = layout::checkpoint(&group, Epoch(epoch));
        store.objects().put(&path, body.into()).await.unwrap();
        let error = checkpoints.latest(&group).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(says) && error.to_string().contains(path.as_ref()), "{error}");
    }
    let misplaced = serde_json::to_vec(&checkpoint(&group, 9, "a", vec![])).unwrap();
    store.objects().put(&layout::checkpoint(&group, Epoch(10)), misplaced.into()).await.unwrap();
    assert!(checkpoints.latest(&group).await.unwrap_err().to_string().contains("calls itself epoch 9"));
}
