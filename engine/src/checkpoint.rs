//! The checkpoint: what one epoch consists of, and the port that commits it. The protocol stands in `pipeline/commit.rs`.

use crate::error::Result;
use crate::log::Position;
use crate::schema::TableName;
use crate::table::DataFile;
use crate::time::WallTime;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;

/// Number of a checkpoint within its group, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The owner of a chain of checkpoints: one partition's worker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct GroupName(pub String);

impl GroupName {
    /// The group of one partition.
    pub fn of_partition(partition: u32) -> Self {
        Self(format!("partition-{partition}"))
    }

    /// The group of one partition of the metrics, where each has an engine of its own.
    pub fn of_metrics(partition: u32) -> Self {
        Self(format!("metrics-{partition}"))
    }

    /// The group of the engine of events and views, beside those of the metrics.
    pub fn of_views() -> Self {
        Self("views".to_owned())
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A state file named by a checkpoint; written once, read by every later checkpoint that still names it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StateFile {
    /// What it holds.
    pub name: String,
    /// Path in the checkpoint store.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// CRC-32C of its bytes.
    pub crc32c: u32,
}

/// The body of `checkpoints/<group>/<epoch>`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Checkpoint {
    /// Version of this format; readers refuse a newer one.
    pub version: u32,
    /// The chain.
    pub group: GroupName,
    /// The link.
    pub epoch: Epoch,
    /// Which process wrote it.
    pub writer: String,
    /// When, by the writer's clock.
    pub created_at: WallTime,
    /// What holds the records that the positions count, see [`crate::log::LogReader::identity`]; `None` where that was not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Per log (`metrics/0`): the position from which a replay starts.
    pub positions: BTreeMap<String, Position>,
    /// Files to publish per table.
    pub tables: BTreeMap<TableName, Vec<DataFile>>,
    /// State to load before the replay.
    pub states: Vec<StateFile>,
}

/// The newest version of [`Checkpoint`].
pub const CHECKPOINT_VERSION: u32 = 1;

/// Keeps checkpoints and their state files.
#[async_trait]
pub trait CheckpointStore: Send + Sync + 'static {
    /// The newest checkpoint of a group.
    ///
    /// # Errors
    /// `Corrupt` where it cannot be read, `Unavailable` where the store is away.
    async fn latest(&self, group: &GroupName) -> Result<Option<Checkpoint>>;

    /// Writes a state file; durable on return, not yet named by anything.
    ///
    /// # Errors
    /// `Unavailable` when the disk is full or the store is away.
    async fn write_state(&self, group: &GroupName, epoch: Epoch, name: &str, bytes: Bytes) -> Result<StateFile>;

    /// Reads a state file and checks its checksum.
    ///
    /// # Errors
    /// `Corrupt` where it is missing or differs.
    async fn read_state(&self, file: &StateFile) -> Result<Bytes>;

    /// Creates the checkpoint, only if none of that number exists: the commit point and the fence.
    ///
    /// # Errors
    /// `Conflict` where it exists: another writer owns the group.
    async fn commit(&self, checkpoint: &Checkpoint) -> Result<()>;

    /// Removes checkpoints and state files that only checkpoints older than the newest `keep` name.
    ///
    /// # Errors
    /// `Unavailable`; trying again later is right.
    async fn prune(&self, group: &GroupName, keep: usize) -> Result<()>;
}
