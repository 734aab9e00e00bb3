//! Where everything durable lies: a folder seen through the object store interface, with every write synced. Not a cache, not a network client.
//!
//! `object_store`'s own file system never calls fsync. Here a write returns only after the file *and* the directory entry that
//! names it are synced, because the log is trimmed on the strength of it.

use crate::error::StorageError;
use crate::lock::{FolderLock, NotOurs};
use crate::steps::{Step, Steps};
use crate::table::pins::Pins;
use afferent_engine::clock::{Clock, SystemClock};
use afferent_engine::error::Result;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

mod durable;

pub(crate) use durable::{RealSyncs, Syncs};

/// Half-written files older than this are left over from a process that died, and are removed when the store is opened.
const STAGED_AGE_MAX: Duration = Duration::from_secs(3600);

/// Folders below the root that may hold half-written files are searched this deep: `tables/<table>/<folder>/<file>`.
const STAGED_DEPTH_MAX: usize = 5;

/// An opened store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    url: Url,
    shown: Arc<str>,
    pins: Arc<Pins>,
    root: Arc<FilePath>,
    lock: Option<Arc<FolderLock>>,
    steps: Steps,
}

impl Store {
    /// The same store, with this process as its only writer for as long as a clone of it lives. Readers need no such thing.
    ///
    /// # Errors
    /// `Conflict`, naming the holder, where another process has it; `Unavailable` where the folder cannot be locked.
    pub fn owned(mut self) -> Result<Self> {
        let lock = FolderLock::take(&self.root).map_err(|why| self.not_ours(why))?;
        self.lock = Some(Arc::new(lock));
        Ok(self)
    }

    /// Checks, before anything is changed that others see, that no other process took the store over.
    ///
    /// # Errors
    /// `Conflict`, naming the new holder.
    pub(crate) fn check_owner(&self) -> Result<(), StorageError> {
        self.lock.as_ref().map_or(Ok(()), |lock| lock.check().map_err(|why| self.not_ours(why)))
    }

    fn not_ours(&self, why: NotOurs) -> StorageError {
        let store = self.shown.to_string();
        match why {
            NotOurs::Held { holder } => StorageError::InUse { store, holder },
            NotOurs::Failed { path, source } => {
                let path = path.display().to_string();
                StorageError::Object { doing: "lock", path, source: object_store::Error::Generic { store: "lock", source: source.into() } }
            }
        }
    }

    /// The objects; every put, copy and rename is durable on return.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// The address under which query engines and Delta know this store: the same for the same folder, different for another.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// The same store, whose users tell a watcher what they have done.
    #[must_use]
    pub fn watched(self, steps: Steps) -> Self {
        Self { steps, ..self }
    }

    /// Something durable is half done.
    pub(crate) fn reached(&self, step: Step) {
        self.steps.reached(step);
    }

    pub(crate) fn haste(&self) -> u32 {
        self.steps.haste()
    }

    /// Files that reads of this process still use.
    pub(crate) fn pins(&self) -> &Pins {
        &self.pins
    }

    /// The place as the operator named it, for messages.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

/// The scheme of [`Store::url`]; it never leaves the process.
pub(crate) const SCHEME: &str = "afferent";

/// Opens a store: a folder path or a `file://` URL. The folder is made if need be.
///
/// # Errors
/// `Invalid` where the place cannot be used, with what to do.
pub fn open(store: &str) -> Result<Store> {
    open_with(store, Arc::new(RealSyncs))
}

/// The same with other ways to sync.
pub(crate) fn open_with(store: &str, syncs: Arc<dyn Syncs>) -> Result<Store> {
    let root = folder_of(store)?;
    durable::create_root(&root).map_err(|e| bad(store, format!("the folder cannot be made: {e}")))?;
    let files = LocalFileSystem::new_with_prefix(&root).map_err(|e| bad(store, e.to_string()))?;
    let root = root.canonicalize().map_err(|e| bad(store, format!("the folder cannot be opened: {e}")))?;
    remove_staged(&root, STAGED_DEPTH_MAX);
    durable::sync_tree(&root, STAGED_DEPTH_MAX, &*syncs).map_err(|e| bad(store, format!("its folders cannot be synced: {e}")))?;
    let pins = Arc::default();
    let host = crc32c::crc32c(root.as_os_str().as_encoded_bytes());
    let url = Url::parse(&format!("{SCHEME}://store-{host:08x}/")).map_err(|e| bad(store, e.to_string()))?;
    let objects = Arc::new(durable::DurableFiles::new(files, &root, syncs));
    Ok(Store { objects, url, shown: store.into(), pins, root: root.into(), lock: None, steps: Steps::default() })
}

fn folder_of(store: &str) -> Result<PathBuf, StorageError> {
    let Some((scheme, _)) = store.split_once("://") else {
        if store.is_empty() {
            return Err(bad(store, "the path is empty".to_owned()));
        }
        return Ok(PathBuf::from(store));
    };
    match scheme {
        "file" => Url::parse(store)
            .ok()
            .and_then(|url| url.to_file_path().ok())
            .ok_or_else(|| bad(store, "not a file URL with an absolute path (file:///var/lib/afferent)".to_owned())),
        "s3" => Err(bad(store, "S3 comes in a later version; give a folder or a file:// URL".to_owned())),
        other => Err(bad(store, format!("unknown scheme {other:?}; give a folder or a file:// URL"))),
    }
}

fn bad(store: &str, reason: String) -> StorageError {
    StorageError::BadStore { store: store.to_owned(), reason }
}

/// Removes half-written files of processes that died. Failing to is harmless: nothing names them.
fn remove_staged(folder: &FilePath, depth: usize) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 0 {
            remove_staged(&entry.path(), depth - 1);
        } else if kind.is_file() && durable::is_staged(&entry.path()) && age_of(&entry) > STAGED_AGE_MAX {
            match std::fs::remove_file(entry.path()) {
                Ok(()) => tracing::info!(path = %entry.path().display(), "removed a half-written file"),
                Err(error) => tracing::warn!(path = %entry.path().display(), %error, "cannot remove a half-written file"),
            }
        }
    }
}

fn age_of(entry: &std::fs::DirEntry) -> Duration {
    let modified = entry.metadata().and_then(|m| m.modified()).ok();
    let since_epoch = modified.and_then(|m| m.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    let now = Duration::from_millis(u64::try_from(SystemClock.now().0).unwrap_or_default());
    now.saturating_sub(since_epoch)
}

#[cfg(test)]
mod tests;
