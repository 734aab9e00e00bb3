//! Where everything durable lies: a folder or a bucket seen through the object store interface. Not a cache.
//!
//! A bucket's service answers a put when it is durable. In a folder every write is synced:
//! `object_store`'s own file system never calls fsync. Here a write returns only after the file *and* the directory entry that
//! names it are synced, because the log is trimmed on the strength of it.

use crate::error::StorageError;
use crate::layout::Owner;
use crate::lock::{FolderLock, NotOurs};
use crate::steps::{Step, Steps};
use crate::table::pins::Pins;
use afferent_engine::clock::{Clock, SystemClock};
use afferent_engine::error::Result;
use fence::Fence;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

mod durable;
mod fence;
pub mod s3;

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
    place: Place,
    steps: Steps,
}

/// What kind of place it is, and what keeps other writers out.
#[derive(Debug, Clone)]
enum Place {
    Folder {
        root: Arc<FilePath>,
        lock: Option<Arc<FolderLock>>,
    },
    /// There is nothing to lock: the checkpoints alone tell whose it is.
    Bucket(Arc<Fence>),
}

/// Smallest part of an upload to a bucket, except the last: a rule of the protocol.
const BUCKET_PART_BYTES_MIN: usize = 5 << 20;

impl Store {
    /// A bucket in memory, as one of the processes that have it.
    #[cfg(test)]
    pub(crate) fn shared(objects: Arc<dyn ObjectStore>) -> Self {
        let url = Url::parse("afferent://memory/").unwrap_or_else(|e| unreachable!("{e}"));
        Self { objects, url, shown: "memory".into(), pins: Arc::default(), place: Place::Bucket(Arc::default()), steps: Steps::default() }
    }

    /// The same store, with this process as its only writer for as long as a clone of it lives. Readers need no such thing. A bucket cannot be
    /// locked: there the first checkpoint that somebody else writes ends it.
    ///
    /// # Errors
    /// `Conflict`, naming the holder, where another process has it; `Unavailable` where the folder cannot be locked.
    pub fn owned(mut self) -> Result<Self> {
        if let Place::Folder { root, lock } = &mut self.place {
            let taken = FolderLock::take(root).map(|taken| *lock = Some(Arc::new(taken)));
            taken.map_err(|why| self.not_ours(why))?;
        }
        Ok(self)
    }

    /// Checks, before anything is changed that others see, that no other process took the store's lock. In a bucket there is none: what calls only
    /// this is a create-only put, which is refused to the second writer.
    ///
    /// # Errors
    /// `Conflict`, naming the new holder.
    pub(crate) fn check_owner(&self) -> Result<(), StorageError> {
        match &self.place {
            Place::Folder { lock: Some(lock), .. } => lock.check().map_err(|why| self.not_ours(why)),
            Place::Folder { lock: None, .. } | Place::Bucket(_) => Ok(()),
        }
    }

    /// The same before upkeep of what `owner` wrote, which no create-only put protects: in a bucket it looks whether another process has written a
    /// checkpoint.
    ///
    /// # Errors
    /// `Conflict`, naming the new holder; `Unavailable` where that cannot be told.
    pub(crate) async fn check_writer(&self, owner: &Owner) -> Result<(), StorageError> {
        match &self.place {
            Place::Folder { .. } => self.check_owner(),
            Place::Bucket(fence) => fence.check(self, owner).await,
        }
    }

    /// What is known of the checkpoints; none where a lock protects them.
    pub(crate) fn fence(&self) -> Option<&Fence> {
        match &self.place {
            Place::Folder { .. } => None,
            Place::Bucket(fence) => Some(fence),
        }
    }

    /// Whether another process may be writing without this one knowing.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.place, Place::Bucket(_))
    }

    /// Smallest part of an upload, except the last.
    pub(crate) fn part_bytes_min(&self) -> usize {
        match self.place {
            Place::Folder { .. } => 1,
            Place::Bucket(_) => BUCKET_PART_BYTES_MIN,
        }
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

/// Opens a store in a folder: its path or a `file://` URL. The folder is made if need be. [`s3::Bucket::open`] opens one in a bucket.
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
    let place = Place::Folder { root: root.into(), lock: None };
    Ok(Store { objects, url, shown: store.into(), pins, place, steps: Steps::default() })
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
        s3::S3_SCHEME => Err(bad(store, "this opens folders; a bucket is opened with its endpoint and keys".to_owned())),
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
