//! Trying out a bucket when it is opened: rights, and the create-only put. Each failure says what to check.

use super::Bucket;
use crate::error::{StorageError, causes};
use crate::layout;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

/// Puts a small object twice, reads, lists and removes it.
pub(super) async fn run(objects: &dyn ObjectStore, bucket: &Bucket, endpoint: Option<&str>) -> Result<(), StorageError> {
    let path = layout::trial(layout::fresh_token());
    let failed = |doing: &'static str| move |source: Error| explain(bucket, endpoint, doing, source);
    put(objects, &path, "first").await.map_err(failed("write"))?;
    let second = put(objects, &path, "second").await;
    let read = async { objects.get(&path).await?.bytes().await }.await.map_err(failed("read"))?;
    let listed = objects.list_with_delimiter(Some(&layout::trials())).await.map_err(failed("list"))?;
    objects.delete(&path).await.map_err(failed("remove"))?;
    match second {
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
        Ok(()) => return Err(bucket.bad(NO_CREATE)),
        Err(source) => return Err(explain(bucket, endpoint, "write", source)),
    }
    if read != "first" {
        return Err(bucket.bad(NO_CREATE));
    }
    if !listed.objects.iter().any(|object| object.location == path) {
        return Err(
            bucket.bad(format!("{path} was written and is not listed: the service's listings lag behind, which this program cannot work with"))
        );
    }
    Ok(())
}

/// Why a service that overwrites is refused.
const NO_CREATE: &str = "the service does not refuse a create-only put (If-None-Match: *) of an object that exists, so two writers would \
                         overwrite each other's checkpoints; use one that does: AWS S3, MinIO of 2024-08 or later";

async fn put(objects: &dyn ObjectStore, path: &Path, body: &'static str) -> Result<(), Error> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    objects.put_opts(path, PutPayload::from_static(body.as_bytes()), options).await.map(drop)
}

/// What to check, by what the service answered.
fn explain(bucket: &Bucket, endpoint: Option<&str>, doing: &'static str, source: Error) -> StorageError {
    let (name, said) = (&bucket.name, causes(&source));
    let at = endpoint.unwrap_or("AWS");
    let coded = |code: &str| said.contains(code);
    let place = || format!("{at} (store.endpoint, AWS_ENDPOINT_URL)");
    let keys = "check store.access_key_id and store.secret_access_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
    let reason = if coded("NoSuchBucket") {
        format!("bucket {name:?} does not exist at {}: make it, or correct the name", place())
    } else if coded("InvalidAccessKeyId") {
        format!("the access key is not known at {}: {keys}", place())
    } else if coded("SignatureDoesNotMatch") {
        format!("the secret key does not fit the access key at {}: {keys}", place())
    } else if coded("ExpiredToken") || coded("InvalidToken") {
        format!("the session token is not valid at {}: check AWS_SESSION_TOKEN", place())
    } else if coded("AuthorizationHeaderMalformed") || coded("PermanentRedirect") || coded("Received redirect") {
        format!(
            "the bucket lies in another region or at another address than {}: check store.region (AWS_REGION) and store.endpoint; {said}",
            place()
        )
    } else if coded("AccessDenied") || matches!(source, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) {
        format!(
            "no right to {doing} objects of bucket {name:?}: the key needs GetObject, PutObject, DeleteObject and ListBucket below the prefix; {said}"
        )
    } else if coded("169.254.169.254") || coded("instance metadata") {
        format!("no keys: {keys}, or run it on a machine with a role")
    } else if coded("NotImplemented") || matches!(source, Error::NotImplemented { .. } | Error::NotSupported { .. }) {
        format!("{NO_CREATE}; {said}")
    } else if coded("certificate") || coded("UnknownIssuer") {
        format!("the certificate of {} is not trusted: name the file of who signed it in store.ca_file; {said}", place())
    } else {
        return StorageError::Away { store: bucket.address(), endpoint: at.to_owned(), source };
    };
    bucket.bad(reason)
}
