//! Writes are atomic, create-only ones exclusive, listings ordered, leftovers removed.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing;
use ::object_store::path::Path;
use ::object_store::{Error, MultipartUpload, ObjectStoreExt, PutMode, PutOptions};
use afferent_engine::error::ErrorKind;
use futures::TryStreamExt;
use std::time::SystemTime;

fn create() -> PutOptions {
    PutOptions { mode: PutMode::Create, ..PutOptions::default() }
}

async fn body(store: &Store, path: &Path) -> Vec<u8> {
    store.objects().get(path).await.unwrap().bytes().await.unwrap().to_vec()
}

fn names_in(folder: &FilePath) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_create_only_put_has_one_winner() {
    let (folder, store) = testing::store();
    let path = Path::from("a/b/c.json");
    let attempts = (0..32).map(|i| {
        let (store, path) = (store.clone(), path.clone());
        async move { store.objects().put_opts(&path, format!("writer {i}").into(), create()).await.map(|_| i) }
    });
    let results = futures::future::join_all(attempts).await;
    let winners: Vec<i32> = results.iter().filter_map(|r| r.as_ref().ok().copied()).collect();
    assert_eq!(winners.len(), 1);
    assert!(results.iter().filter_map(|r| r.as_ref().err()).all(|e| matches!(e, Error::AlreadyExists { .. })));
    assert_eq!(body(&store, &path).await, format!("writer {}", winners[0]).into_bytes());
    assert_eq!(names_in(&folder.path().join("a/b")), ["c.json"], "no half-written file is left");
}

#[tokio::test]
async fn an_overwriting_put_replaces() {
    let (_folder, store) = testing::store();
    let path = Path::from("x");
    store.objects().put(&path, "old".into()).await.unwrap();
    store.objects().put(&path, "new".into()).await.unwrap();
    assert_eq!(body(&store, &path).await, b"new");
}

#[tokio::test]
async fn an_upload_is_seen_when_it_is_complete() {
    let (folder, store) = testing::store();
    let path = Path::from("t/data.parquet");
    let mut upload = store.objects().put_multipart(&path).await.unwrap();
    // Parts may be in flight together and end in any order.
    let (first, second) = (upload.put_part("hello ".into()), upload.put_part("world".into()));
    second.await.unwrap();
    first.await.unwrap();
    assert!(store.objects().list(None).try_collect::<Vec<_>>().await.unwrap().is_empty());
    upload.complete().await.unwrap();
    assert_eq!(body(&store, &path).await, b"hello world");
    assert!(upload.complete().await.is_err(), "an upload is completed once");

    let mut aborted = store.objects().put_multipart(&Path::from("t/other")).await.unwrap();
    aborted.put_part("x".into()).await.unwrap();
    aborted.abort().await.unwrap();
    drop(store.objects().put_multipart(&Path::from("t/dropped")).await.unwrap());
    assert_eq!(names_in(&folder.path().join("t")), ["data.parquet"]);
}

#[tokio::test]
async fn listings_are_in_order_of_name() {
    let (_folder, store) = testing::store();
    for name in ["b/2", "a", "b/10", "b/1", "c"] {
        store.objects().put(&Path::from(name), "x".into()).await.unwrap();
    }
    let list = |listing: futures::stream::BoxStream<'static, _>| async move {
        let objects: Vec<::object_store::ObjectMeta> = listing.try_collect().await.unwrap();
        objects.into_iter().map(|o| o.location.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(list(store.objects().list(None)).await, ["a", "b/1", "b/10", "b/2", "c"]);
    assert_eq!(list(store.objects().list_with_offset(None, &Path::from("b/10"))).await, ["b/2", "c"]);
    assert!(store.objects().list_with_delimiter(Some(&Path::from("missing"))).await.unwrap().objects.is_empty());
}

#[tokio::test]
async fn copies_and_renames_keep_their_rules() {
    let (_folder, store) = testing::store();
    let (a, b, c) = (Path::from("a"), Path::from("d/b"), Path::from("d/c"));
    store.objects().put(&a, "a".into()).await.unwrap();
    store.objects().copy(&a, &b).await.unwrap();
    assert!(matches!(store.objects().copy_if_not_exists(&a, &b).await, Err(Error::AlreadyExists { .. })));
    store.objects().rename_if_not_exists(&b, &c).await.unwrap();
    assert_eq!(body(&store, &c).await, b"a");
    assert!(matches!(store.objects().get(&b).await, Err(Error::NotFound { .. })));
}

#[test]
fn opening_removes_what_a_dead_writer_left() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("tables/samples/date=2026-11-22");
    std::fs::create_dir_all(&inside).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH;
    for (name, age) in
        [("old.parquet#1000001", Some(long_ago)), ("young.parquet#1000002", None), ("kept.parquet", Some(long_ago)), ("no#tdigits", Some(long_ago))]
    {
        let file = std::fs::File::create(inside.join(name)).unwrap();
        if let Some(age) = age {
            file.set_modified(age).unwrap();
        }
    }
    open(folder.path().to_str().unwrap()).unwrap();
    assert_eq!(names_in(&inside), ["kept.parquet", "no#tdigits", "young.parquet#1000002"]);
}

#[test]
fn places_are_paths_or_file_urls() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/store");
    let by_path = open(path.to_str().unwrap()).unwrap();
    let by_url = open(Url::from_file_path(&path).unwrap().as_str()).unwrap();
    assert_eq!(by_path.url(), by_url.url());
    assert_ne!(by_path.url(), open(folder.path().to_str().unwrap()).unwrap().url());
    for (wrong, says) in
        [("s3://bucket/prefix", "opens folders"), ("gs://bucket", "unknown scheme \"gs\""), ("", "empty"), ("file://relative", "file:///")]
    {
        let error = open(wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong}");
        assert!(error.to_string().contains(says), "{error}");
    }
    std::fs::write(folder.path().join("plain"), "x").unwrap();
    assert_eq!(open(folder.path().join("plain").to_str().unwrap()).unwrap_err().kind(), ErrorKind::Invalid);
}
