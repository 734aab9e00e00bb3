//! What the processes of one deployment know each other by. It lies in the store: who can read that can read everything they would tell each other, and
//! who cannot is none of them. Not how they use it (api).

use crate::error::StorageError;
use crate::layout;
use crate::object_store::Store;
use afferent_engine::error::{Error, Result};

/// Bytes of chance in it.
const SECRET_BYTES: usize = 32;

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
        let bytes = self.first(&path, made).await?;
        let text = std::str::from_utf8(&bytes).ok().filter(|t| t.len() == 2 * SECRET_BYTES && t.bytes().all(|b| b.is_ascii_hexdigit()));
        let wrong = || StorageError::Damaged {
            path: path.to_string(),
            reason: "it is no secret of a deployment; remove it and start all processes again".into(),
        };
        Ok(text.ok_or_else(wrong)?.to_owned())
    }
}

#[cfg(test)]
mod tests;
