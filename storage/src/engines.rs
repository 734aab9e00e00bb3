//! How a bucket's log is worked, as the first process wrote it down: whoever would work it in another way would count records again that are counted.

use crate::layout;
use crate::object_store::Store;
use afferent_engine::error::Result;

impl Store {
    /// What stands there; `ours` from now on, where nothing does.
    ///
    /// # Errors
    /// `Unavailable` where the store is away.
    pub async fn engines(&self, ours: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.first(&layout::engines(), ours.to_owned()).await?).into_owned())
    }
}
