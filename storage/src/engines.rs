//! How a bucket's log is worked, as the first process wrote it down: whoever would work it in another way would count records again that are counted.

use crate::error::object_error;
use crate::layout;
use crate::object_store::Store;
use afferent_engine::error::{Error, Result};
use object_store::{ObjectStoreExt as _, PutMode, PutOptions};

/// How often it is looked for where it is found missing and then there.
const TRIES: usize = 3;

impl Store {
    /// What stands there; `ours` from now on, where nothing does.
    ///
    /// # Errors
    /// `Unavailable` where the store is away.
    pub async fn engines(&self, ours: &str) -> Result<String> {
        let path = layout::engines();
        for _ in 0..TRIES {
            let read = async { self.objects().get(&path).await?.bytes().await };
            match read.await {
                Ok(bytes) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(object_error("read", &path)(error).into()),
            }
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.objects().put_opts(&path, ours.to_owned().into(), options).await {
                // Another process was faster, or an answer to this one got lost.
                Err(object_store::Error::AlreadyExists { .. }) => {}
                done => return done.map(|_| ours.to_owned()).map_err(|error| object_error("write", &path)(error).into()),
            }
        }
        Err(Error::unavailable(format!("{path} is there and is not there")))
    }
}
