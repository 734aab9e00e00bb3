//! Checkpoints and state files as objects. Not what they contain, nor the protocol around them (engine).

pub mod conformance;

use crate::error::{StorageError, object_error};
use crate::layout;
use crate::object_store::Store;
use crate::steps::Step;
use afferent_engine::checkpoint::{CHECKPOINT_VERSION, Checkpoint, CheckpointStore, Epoch, GroupName, StateFile};
use afferent_engine::error::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A checkpoint file that is bigger than this is not read: it cannot be one of ours.
const CHECKPOINT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The store of checkpoints.
#[derive(Debug)]
pub struct ObjectCheckpoints {
    store: Store,
}

impl ObjectCheckpoints {
    /// Keeps checkpoints in `store`.
    pub fn new(store: Store) -> Arc<Self> {
        Arc::new(Self { store })
    }

    /// Names the writer of the checkpoint that stands where another one was to be.
    async fn fenced(&self, group: &GroupName, epoch: Epoch) -> Error {
        let path = layout::checkpoint(group, epoch).to_string();
        let holder = match read(&self.store, group, epoch).await {
            Ok(found) => found.writer,
            Err(error) => format!("a writer that cannot be told ({error})"),
        };
        StorageError::Fenced { path, holder }.into()
    }
}

#[async_trait]
impl CheckpointStore for ObjectCheckpoints {
    async fn latest(&self, group: &GroupName) -> Result<Option<Checkpoint>> {
        match epochs(&self.store, group).await?.last() {
            Some(epoch) => {
                let newest = read(&self.store, group, *epoch).await?;
                self.store.reached(Step::CheckpointRead);
                if let Some(fence) = self.store.fence() {
                    fence.begin(group, newest.epoch);
                }
                Ok(Some(newest))
            }
            None => Ok(None),
        }
    }

    async fn write_state(&self, group: &GroupName, epoch: Epoch, name: &str, bytes: Bytes) -> Result<StateFile> {
        let path = layout::state(group, epoch, name, layout::fresh_token());
        let file = StateFile { name: name.to_owned(), path: path.to_string(), size_bytes: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) };
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.store.objects().put_opts(&path, bytes.into(), options).await.map_err(object_error("write", &path))?;
        self.store.reached(Step::StateWritten);
        Ok(file)
    }

    async fn read_state(&self, file: &StateFile) -> Result<Bytes> {
        let path = Path::from(file.path.as_str());
        let bytes = read_named(&self.store, &path, "a checkpoint").await?;
        self.store.reached(Step::StateRead);
        if bytes.len() as u64 != file.size_bytes {
            return Err(damaged(&path, format!("it has {} bytes, the checkpoint says {}", bytes.len(), file.size_bytes)).into());
        }
        let found = crc32c::crc32c(&bytes);
        if found != file.crc32c {
            return Err(damaged(&path, format!("its CRC-32C is {found:08x}, the checkpoint says {:08x}", file.crc32c)).into());
        }
        Ok(bytes)
    }

    async fn commit(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.store.check_owner()?;
        let path = layout::checkpoint(&checkpoint.group, checkpoint.epoch);
        let body = serde_json::to_vec(checkpoint).map_err(|e| damaged(&path, e.to_string()))?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.store.reached(Step::CheckpointBegun);
        match self.store.objects().put_opts(&path, body.into(), options).await {
            // A writer that slept may find the name free, because its successor came so far that the old checkpoints were pruned.
            Ok(_) => match epochs(&self.store, &checkpoint.group).await?.last() {
                Some(newest) if *newest > checkpoint.epoch => Err(self.fenced(&checkpoint.group, *newest).await),
                _ => {
                    if let Some(fence) = self.store.fence() {
                        fence.wrote(&checkpoint.group, checkpoint.epoch, &checkpoint.writer);
                    }
                    self.store.reached(Step::CheckpointCommitted);
                    Ok(())
                }
            },
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Err(self.fenced(&checkpoint.group, checkpoint.epoch).await)
            }
            Err(source) => Err(object_error("write", &path)(source).into()),
        }
    }

    async fn prune(&self, group: &GroupName, keep: usize) -> Result<()> {
        self.store.check_owner()?;
        self.store.reached(Step::PruneBegun);
        let epochs = epochs(&self.store, group).await?;
        // The newest is always kept: it is the fence and the way back.
        let kept = epochs.len().saturating_sub(keep.max(1));
        let (old, recent) = epochs.split_at(kept);
        let Some(oldest) = recent.first() else { return Ok(()) };
        let mut named = BTreeSet::new();
        for epoch in recent {
            named.extend(read(&self.store, group, *epoch).await?.states.into_iter().map(|s| s.path));
        }
        // Checkpoints go, durably, before the states they name, so that a cut in the middle leaves no checkpoint without its states.
        remove(&self.store, old.iter().map(|epoch| layout::checkpoint(group, *epoch)).collect()).await?;
        self.store.reached(Step::CheckpointsRemoved);
        let folder = layout::states(group);
        let states: Vec<_> = self.store.objects().list(Some(&folder)).try_collect().await.map_err(object_error("list", &folder))?;
        // A state of the oldest kept epoch or later may belong to a checkpoint that is just being made.
        let old = |state: &Path| layout::state_epoch(state).is_some_and(|epoch| epoch < *oldest);
        let unnamed = states.into_iter().map(|o| o.location).filter(|state| old(state) && !named.contains(state.as_ref()));
        remove(&self.store, unnamed.collect()).await?;
        self.store.reached(Step::Pruned);
        Ok(())
    }
}

/// The epochs of a group that have a checkpoint, ascending.
pub(crate) async fn epochs(store: &Store, group: &GroupName) -> Result<Vec<Epoch>, StorageError> {
    let folder = layout::checkpoints(group);
    let listed = store.objects().list_with_delimiter(Some(&folder)).await.map_err(object_error("list", &folder))?;
    let mut epochs: Vec<_> = listed.objects.iter().filter_map(|o| layout::checkpoint_epoch(&o.location)).collect();
    epochs.sort_unstable();
    Ok(epochs)
}

pub(crate) async fn read(store: &Store, group: &GroupName, epoch: Epoch) -> Result<Checkpoint, StorageError> {
    let path = layout::checkpoint(group, epoch);
    let body = read_named(store, &path, "a listing").await?;
    // The version is read first, so that a newer format is called that and not damage.
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_slice(&body).map_err(|e| damaged(&path, format!("it is not a checkpoint: {e}")))?;
    if version > CHECKPOINT_VERSION {
        return Err(damaged(&path, format!("it has format version {version}, this program reads up to {CHECKPOINT_VERSION}: run the newer program")));
    }
    let checkpoint: Checkpoint = serde_json::from_slice(&body).map_err(|e| damaged(&path, format!("it is not a checkpoint: {e}")))?;
    if checkpoint.epoch != epoch || checkpoint.group != *group {
        return Err(damaged(&path, format!("it calls itself epoch {} of {}", checkpoint.epoch, checkpoint.group)));
    }
    Ok(checkpoint)
}

/// Every checkpoint there is, of all groups: what the vacuum must not touch.
pub(crate) async fn all(store: &Store) -> Result<Vec<Checkpoint>, StorageError> {
    let root = layout::checkpoints_root();
    let groups = store.objects().list_with_delimiter(Some(&root)).await.map_err(object_error("list", &root))?.common_prefixes;
    let mut found = Vec::new();
    for group in groups.iter().filter_map(|p| p.filename()).map(|name| GroupName(name.to_owned())) {
        for epoch in epochs(store, &group).await? {
            match read(store, &group, epoch).await {
                Ok(checkpoint) => found.push(checkpoint),
                // It was pruned between the listing and the read.
                Err(StorageError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

async fn read_named(store: &Store, path: &Path, named_by: &'static str) -> Result<Bytes, StorageError> {
    let missing = || StorageError::Missing { path: path.to_string(), named_by };
    let got = match store.objects().get(path).await {
        Ok(got) => got,
        Err(object_store::Error::NotFound { .. }) => return Err(missing()),
        Err(source) => return Err(object_error("read", path)(source)),
    };
    if got.meta.size > CHECKPOINT_BYTES_MAX && layout::checkpoint_epoch(path).is_some() {
        return Err(damaged(path, format!("it has {} bytes, more than {CHECKPOINT_BYTES_MAX}", got.meta.size)));
    }
    got.bytes().await.map_err(object_error("read", path))
}

/// Removes objects; the removals are durable together on return. What is gone already is fine.
async fn remove(store: &Store, doomed: Vec<Path>) -> Result<(), StorageError> {
    let Some(first) = doomed.first().cloned() else { return Ok(()) };
    let doomed = futures::stream::iter(doomed.into_iter().map(Ok)).boxed();
    let mut removed = store.objects().delete_stream(doomed);
    while let Some(done) = removed.next().await {
        match done {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => return Err(object_error("remove", &first)(source)),
        }
    }
    Ok(())
}

fn damaged(path: &Path, reason: String) -> StorageError {
    StorageError::Damaged { path: path.to_string(), reason }
}

#[cfg(test)]
mod tests;
