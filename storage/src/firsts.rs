//! Objects that whoever comes first writes, and everybody after reads: written once, never changed.

use crate::error::object_error;
use crate::object_store::Store;
use afferent_engine::error::{Error, Result};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutMode, PutOptions};

/// How often it is looked for where it is found missing and then there.
const TRIES: usize = 3;

impl Store {
    /// What stands at `path`; `ours` from now on, where nothing does.
    ///
    /// # Errors
    /// `Unavailable` where the store is away.
    pub(crate) async fn first(&self, path: &Path, ours: String) -> Result<Bytes> {
        let ours = Bytes::from(ours);
        for _ in 0..TRIES {
            let read = async { self.objects().get(path).await?.bytes().await };
            match read.await {
                Err(object_store::Error::NotFound { .. }) => {}
                read => return read.map_err(|error| object_error("read", path)(error).into()),
            }
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.objects().put_opts(path, ours.clone().into(), options).await {
                // Another process was faster, or an answer to this one got lost.
                Err(object_store::Error::AlreadyExists { .. }) => {}
                put => return put.map(|_| ours).map_err(|error| object_error("write", path)(error).into()),
            }
        }
        Err(Error::unavailable(format!("{path} is there and is not there")))
    }
}
