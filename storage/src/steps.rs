//! Named places at which something durable is half done, and who is told when one is reached. The product tells nobody; a test ends the process there.

use std::fmt;
use std::sync::Arc;

/// A place in the work on files. What comes after it in the same piece of work is not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A group of records is written to the log and not synced.
    RecordsWritten,
    /// It is synced, and nobody was answered.
    RecordsSynced,
    /// A new segment is durable under the name of an unfinished one.
    SegmentWritten,
    /// It has its name, and nothing was written to it.
    SegmentNamed,
    /// A segment was chosen by a trim.
    SegmentChosen,
    /// It is gone; others that were chosen with it are not.
    SegmentRemoved,
    /// Records were read back for a replay.
    RecordsRead,
    /// The newest checkpoint was read.
    CheckpointRead,
    /// One of its state files was read.
    StateRead,
    /// An epoch was taken out of the stream, and its first table is about to be written.
    TableBegun,
    /// One table's files are written, not yet seen.
    TableWritten,
    /// One state file is written, named by nothing.
    StateWritten,
    /// Everything the checkpoint names is durable.
    CheckpointBegun,
    /// The checkpoint exists; no table shows its rows.
    CheckpointCommitted,
    /// One table shows its rows, others may not.
    TablePublished,
    /// Every table shows them; the log was not trimmed.
    EpochPublished,
    /// The log is trimmed; old checkpoints are about to go.
    PruneBegun,
    /// Old checkpoints are gone, their state is not.
    CheckpointsRemoved,
    /// Old checkpoints and their state are gone.
    Pruned,
    /// Merged files are written, and the table names their sources.
    MergeWritten,
    /// The table names the merged files; readers do not see them yet.
    MergeCommitted,
    /// A table's log was folded into a checkpoint of Delta's.
    LogFolded,
    /// The vacuum has chosen what nothing names.
    VacuumBegun,
    /// It has removed it.
    Vacuumed,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 24] = [
        Self::RecordsWritten,
        Self::RecordsSynced,
        Self::SegmentWritten,
        Self::SegmentNamed,
        Self::SegmentChosen,
        Self::SegmentRemoved,
        Self::RecordsRead,
        Self::CheckpointRead,
        Self::StateRead,
        Self::TableBegun,
        Self::TableWritten,
        Self::StateWritten,
        Self::CheckpointBegun,
        Self::CheckpointCommitted,
        Self::TablePublished,
        Self::EpochPublished,
        Self::PruneBegun,
        Self::CheckpointsRemoved,
        Self::Pruned,
        Self::MergeWritten,
        Self::MergeCommitted,
        Self::LogFolded,
        Self::VacuumBegun,
        Self::Vacuumed,
    ];

    /// The step of that name, as [`fmt::Display`] writes it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.to_string() == name)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Tells a watcher, if there is one.
#[derive(Clone, Default)]
pub struct Steps {
    watcher: Option<Arc<dyn Fn(Step) + Send + Sync>>,
    haste: u32,
}

impl Steps {
    /// Calls `watcher` at each step, on the thread that reached it; the work waits for it.
    pub fn watched(watcher: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self { watcher: Some(Arc::new(watcher)), haste: 0 }
    }

    /// Upkeep waits so many times shorter: what waits for minutes is reached within a test.
    pub fn in_haste(self, times: u32) -> Self {
        Self { haste: times, ..self }
    }

    /// How many times shorter upkeep waits.
    pub(crate) fn haste(&self) -> u32 {
        self.haste.max(1)
    }

    /// A step is reached.
    pub fn reached(&self, step: Step) {
        if let Some(watcher) = &self.watcher {
            watcher(step);
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.watcher.is_some() { "Steps(watched)" } else { "Steps(unwatched)" })
    }
}

#[cfg(test)]
mod tests;
