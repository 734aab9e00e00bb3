use crate::layout;
use crate::object_store;
use ::object_store::ObjectStoreExt as _;
use afferent_engine::error::ErrorKind;

#[tokio::test]
async fn every_process_of_a_deployment_finds_the_same_and_no_other_deployment_has_it() {
    let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let store = || object_store::open(&one.path().to_string_lossy()).expect("opens");
    let first = store().shared_secret().await.expect("made");
    assert_eq!(store().shared_secret().await.expect("found"), first);
    assert_eq!(first.len(), 64);
    let elsewhere = object_store::open(&other.path().to_string_lossy()).expect("opens");
    assert_ne!(elsewhere.shared_secret().await.expect("made"), first);
}

#[tokio::test]
async fn what_is_no_secret_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = object_store::open(&folder.path().to_string_lossy()).expect("opens");
    store.objects().put(&layout::shared_secret(), "hello".into()).await.expect("written");
    let error = store.shared_secret().await.expect_err("no secret");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}
