//! A put whose answer is lost and that is sent again is ours; everybody else's is not.
#![allow(clippy::unwrap_used)]

use super::*;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use std::sync::atomic::{AtomicBool, Ordering};

/// A client below that sends a put again, the answer to which was lost.
#[derive(Debug)]
struct SendsAgain {
    objects: InMemory,
    lost: AtomicBool,
    /// Looking fails too.
    away: AtomicBool,
}

impl std::fmt::Display for SendsAgain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SendsAgain")
    }
}

#[async_trait]
impl ObjectStore for SendsAgain {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if self.lost.swap(false, Ordering::Relaxed) {
            drop(self.objects.put_opts(location, payload.clone(), opts.clone()).await);
        }
        self.objects.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if self.away.load(Ordering::Relaxed) {
            return Err(Error::Generic { store: "test", source: "away".into() });
        }
        self.objects.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

fn store() -> OwnPuts<SendsAgain> {
    OwnPuts::new(SendsAgain { objects: InMemory::new(), lost: AtomicBool::new(false), away: AtomicBool::new(false) })
}

async fn create(store: &OwnPuts<SendsAgain>, body: &'static str) -> Result<PutResult> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    store.put_opts(&Path::from("a"), body.into(), options).await
}

async fn body(store: &OwnPuts<SendsAgain>) -> Bytes {
    store.get(&Path::from("a")).await.unwrap().bytes().await.unwrap()
}

#[tokio::test]
async fn a_put_that_was_sent_again_is_ours() {
    let store = store();
    store.objects.lost.store(true, Ordering::Relaxed);
    create(&store, "ours").await.unwrap();
    assert_eq!(body(&store).await, "ours");
}

#[tokio::test]
async fn a_put_of_the_same_bytes_by_another_is_not() {
    let store = store();
    create(&store, "same").await.unwrap();
    store.objects.lost.store(true, Ordering::Relaxed);
    assert!(matches!(create(&store, "same").await, Err(Error::AlreadyExists { .. })));
    assert!(matches!(create(&store, "other").await, Err(Error::AlreadyExists { .. })));
    assert_eq!(body(&store).await, "same");
}

#[tokio::test]
async fn whose_it_is_stays_open_while_nobody_can_look() {
    let store = store();
    create(&store, "somebody's").await.unwrap();
    store.objects.away.store(true, Ordering::Relaxed);
    let error = create(&store, "ours").await.unwrap_err();
    assert!(matches!(error, Error::Generic { .. }), "it is tried again, not given up: {error}");
}
