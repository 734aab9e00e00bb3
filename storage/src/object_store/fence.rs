//! Whose a bucket is, or what a group wrote to it, by its checkpoints: the newest is one that this process began with or wrote. Not the fence
//! itself, which is the create-only put of a checkpoint; this lets upkeep see that the fence was passed by another.

use super::Store;
use crate::checkpoint;
use crate::error::StorageError;
use crate::layout::{self, Owner};
use afferent_engine::checkpoint::{Epoch, GroupName};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long one look is trusted, for upkeep asks before each of many small changes; tests look each time.
const LOOK_AGAIN: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 2 });

/// What this process knows of the groups it has to do with.
#[derive(Debug, Default)]
pub(crate) struct Fence {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    newest: BTreeMap<GroupName, Epoch>,
    /// The name of this process in checkpoints, once it wrote one.
    writer: Option<String>,
    looked: BTreeMap<Owner, Instant>,
}

impl Fence {
    /// This process begins where this checkpoint ends; later looks at the chain change nothing.
    pub(crate) fn begin(&self, group: &GroupName, epoch: Epoch) {
        self.known().newest.entry(group.clone()).or_insert(epoch);
    }

    /// This process wrote a checkpoint.
    pub(crate) fn wrote(&self, group: &GroupName, epoch: Epoch, writer: &str) {
        let mut known = self.known();
        known.newest.insert(group.clone(), epoch);
        known.writer = Some(writer.to_owned());
    }

    /// Looks whether another process has written a checkpoint that makes it the owner.
    ///
    /// # Errors
    /// `Conflict`, naming it; `Unavailable` where that cannot be told.
    pub(super) async fn check(&self, store: &Store, owner: &Owner) -> Result<(), StorageError> {
        let (groups, writer) = {
            let known = self.known();
            if known.looked.get(owner).is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
                return Ok(());
            }
            (known.newest.clone(), known.writer.clone())
        };
        let began = Instant::now();
        let concerns = |group: &GroupName| match owner {
            Owner::Sole => true,
            Owner::Group(own) => own == group,
        };
        for (group, known) in groups.into_iter().filter(|(group, _)| concerns(group)) {
            let Some(newest) = checkpoint::epochs(store, &group).await?.pop().filter(|newest| *newest > known) else { continue };
            let found = checkpoint::read(store, &group, newest).await?;
            if writer.as_ref() != Some(&found.writer) {
                return Err(StorageError::Fenced { path: layout::checkpoint(&group, newest).to_string(), holder: found.writer });
            }
        }
        self.known().looked.insert(owner.clone(), began);
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
