//! What the processes of one deployment know each other by. It lies in the store: who can read that can read everything they would tell each other, and
//! who cannot is none of them. Not how they use it (api).

use crate::error::{StorageError, object_error};
use crate::layout;
use crate::object_store::Store;
use afferent_engine::error::{Error, Result};
use object_store::{ObjectStoreExt as _, PutMode, PutOptions};

/// Bytes of chance in it.
const SECRET_BYTES: usize = 32;

/// How often it is looked for where it is found missing and then there.
const TRIES: usize = 3;

impl Store {
    /// The secret, which the first process that asks makes.
    ///
    /// # Errors
    /// `Unavailable` where the store is away or there is no chance to be had; `Corrupt` where something else lies there.
    pub async fn shared_secret(&self) -> Result<String> {
        let path = layout::shared_secret();
        let mut bytes = [0u8; SECRET_BYTES];
        getrandom::fill(&mut bytes).map_err(|e| Error::unavailable(format!("the system gives no random bytes: {e}")))?;
        let made: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        for _ in 0..TRIES {
            if let Some(found) = self.kept_secret().await? {
                return Ok(found);
            }
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.objects().put_opts(&path, made.clone().into(), options).await {
                // Another process was faster, or an answer to this one got lost.
                Err(object_store::Error::AlreadyExists { .. }) => {}
                done => return done.map(|_| made).map_err(|error| object_error("write", &path)(error).into()),
            }
        }
        Err(Error::unavailable(format!("{path} is there and is not there")))
    }

    async fn kept_secret(&self) -> Result<Option<String>> {
        let path = layout::shared_secret();
        let read = async { self.objects().get(&path).await?.bytes().await };
        let bytes = match read.await {
            Ok(bytes) => bytes,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(object_error("read", &path)(error).into()),
        };
        let text = std::str::from_utf8(&bytes).ok().filter(|t| t.len() == 2 * SECRET_BYTES && t.bytes().all(|b| b.is_ascii_hexdigit()));
        let wrong = || StorageError::Damaged {
            path: path.to_string(),
            reason: "it is no secret of a deployment; remove it and start all processes again".into(),
        };
        Ok(Some(text.ok_or_else(wrong)?.to_owned()))
    }
}

#[cfg(test)]
mod tests;
