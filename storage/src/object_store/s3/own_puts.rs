//! Create-only puts whose answer got lost. Not a retry: the client below does those.
//!
//! The client sends a put again when the connection breaks, and is then told that the object exists: by its own first try. Every create-only
//! put therefore carries a token, and one that is refused looks whose token the object has.

use crate::layout;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    Attribute, AttributeValue, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use std::ops::Range;

/// The name under which the token is kept with the object.
const TOKEN: &str = "afferent-put";

/// A store that knows its own create-only puts.
#[derive(Debug)]
pub(super) struct OwnPuts<T> {
    objects: T,
}

impl<T: ObjectStore> OwnPuts<T> {
    pub(super) fn new(objects: T) -> Self {
        Self { objects }
    }

    async fn create(&self, location: &Path, payload: PutPayload, mut opts: PutOptions) -> Result<PutResult> {
        let token = AttributeValue::from(format!("{:016x}{:016x}", layout::fresh_token(), layout::fresh_token()));
        opts.attributes.insert(Attribute::Metadata(TOKEN.into()), token.clone());
        match self.objects.put_opts(location, payload, opts).await {
            Err(refused @ (Error::AlreadyExists { .. } | Error::Precondition { .. })) => {
                let look = GetOptions { head: true, ..GetOptions::default() };
                match self.objects.get_opts(location, look).await {
                    Ok(found) if found.attributes.get(&Attribute::Metadata(TOKEN.into())) == Some(&token) => {
                        tracing::debug!(%location, "the answer to a create-only put was lost; the object is ours");
                        Ok(PutResult { e_tag: found.meta.e_tag, version: found.meta.version })
                    }
                    Ok(_) => Err(refused),
                    // Another put of that name was under way and did not come to its end, or the object has gone since.
                    Err(Error::NotFound { .. }) => Err(Error::Generic { store: "S3", source: Box::new(refused) }),
                    // Whose object it is cannot be told at the moment.
                    Err(unknown) => Err(Error::Generic { store: "S3", source: Box::new(unknown) }),
                }
            }
            done => done,
        }
    }
}

impl<T: std::fmt::Display> std::fmt::Display for OwnPuts<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnPuts({})", self.objects)
    }
}

#[async_trait]
impl<T: ObjectStore> ObjectStore for OwnPuts<T> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        match opts.mode {
            PutMode::Create => self.create(location, payload, opts).await,
            PutMode::Overwrite | PutMode::Update(_) => self.objects.put_opts(location, payload, opts).await,
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.objects.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.objects.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.objects.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests;
