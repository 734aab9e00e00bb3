//! Addresses, and what is shown of keys. What a real service answers is shown by the workspace's own tests.
#![allow(clippy::unwrap_used)]

use super::*;
use afferent_engine::error::ErrorKind;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn addresses_name_a_bucket_and_a_folder() {
    for (address, name, prefix) in
        [("s3://lake", "lake", ""), ("s3://lake/", "lake", ""), ("s3://lake/a/b/", "lake", "a/b"), ("s3://my.lake-1/a b", "my.lake-1", "a b")]
    {
        let bucket = Bucket::parse(address, SECOND).unwrap();
        assert_eq!((bucket.name.as_str(), bucket.prefix.as_str()), (name, prefix), "{address}");
        assert_eq!(bucket.address(), address.trim_end_matches('/'));
    }
    for wrong in ["s3://", "s3:///a", "s3://Lake/a", "s3://l/a", "s3://lake//a//b/../c", "lake/a"] {
        let error = Bucket::parse(wrong, SECOND).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("s3://BUCKET/PREFIX"), "{error}");
    }
}

#[test]
fn the_secret_is_not_shown() {
    let keys = Some(("the-id".to_owned(), "the-secret".to_owned()));
    let shown = format!("{:?}", Bucket { keys, ..Bucket::parse("s3://lake", SECOND).unwrap() });
    assert!(shown.contains("the-id") && !shown.contains("the-secret"), "{shown}");
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let mut bucket = Bucket::parse("s3://lake", SECOND).unwrap();
    bucket.ca_file = Some(file.clone());
    for text in [None, Some("no certificate")] {
        text.inspect(|text| std::fs::write(&file, text).unwrap());
        let error = bucket.open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("ca.pem cannot be used"), "{error}");
    }
}
