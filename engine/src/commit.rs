//! The checkpoint protocol. One epoch: (1) write its files and state, still invisible; (2) create its checkpoint, only if none of that number
//! exists: the commit point and the fence; (3) publish to each table, idempotently; (4) trim the log. Recovery does (3) again, then loads and replays.

use crate::checkpoint::{CHECKPOINT_VERSION, Checkpoint, CheckpointStore, Epoch, GroupName, StateFile};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::live::Live;
use crate::log::{LogName, LogReader, Position};
use crate::pipeline::Cut;
use crate::schema::TableName;
use crate::state::{PartContent, StatePart};
use crate::table::{DataFile, TableFiles, TableStore};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// Checkpoints that are kept besides the newest; older ones and their state go.
const CHECKPOINTS_KEPT: usize = 3;

/// How often a start looks again at a log that does not fit, and the pause before.
const START_TRIES: usize = 3;
const START_AGAIN: Duration = Duration::from_millis(500);

/// What to do where the positions are not those of this log.
const OTHER_LOG: &str = "the store belongs to another log; start with that one, with an empty store, or let the store go on with this log \
                         (`afferent move-log --help`)";

/// Name of the state file that holds everything that changes with every checkpoint.
const BUNDLE: &str = "state";

/// The ports of one partition's chain.
#[derive(Clone)]
pub struct Chain {
    /// Which chain.
    pub group: GroupName,
    /// Which process.
    pub writer: String,
    /// The tables.
    pub tables: Arc<dyn TableStore>,
    /// The checkpoints.
    pub checkpoints: Arc<dyn CheckpointStore>,
    /// The log to trim.
    pub log: Arc<dyn LogReader>,
    /// What readers see.
    pub live: Arc<Live>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
}

/// A published epoch; readers must be shown `files` before `guard` is let go.
pub struct Published {
    /// The epoch's checkpoint.
    pub checkpoint: Checkpoint,
    /// New files of the tables it wrote.
    pub files: BTreeMap<TableName, Arc<TableFiles>>,
    /// Keeps compaction from showing files in between.
    pub guard: OwnedMutexGuard<()>,
}

impl Chain {
    /// Steps 1 to 4 for one cut. May be called again with the same cut after `Unavailable`.
    ///
    /// # Errors
    /// `Unavailable`: nothing is visible, try again. `Conflict`: another writer owns the chain. Others: a person must look.
    pub async fn commit(&self, cut: &Cut, previous: Option<&Checkpoint>, epoch: Epoch) -> Result<Published> {
        let checkpoint = match self.own_attempt(epoch).await? {
            Some(done) => done,
            None => {
                let made = self.write(cut, previous, epoch).await?;
                // A number that was pruned can be created again, by a writer that stood still for long: only the newest checkpoint is the fence.
                self.own_attempt(epoch).await?.unwrap_or(made)
            }
        };
        let guard = self.live.commit.clone().lock_owned().await;
        let files = self.publish(&checkpoint).await?;
        for (log, position) in &cut.positions {
            if let Err(error) = self.log.trim(*log, *position).await {
                tracing::warn!(%log, %error, "the log could not be trimmed; the next checkpoint tries again");
            }
        }
        if let Err(error) = self.checkpoints.prune(&self.group, CHECKPOINTS_KEPT).await {
            tracing::warn!(%error, "old checkpoints could not be removed; the next checkpoint tries again");
        }
        Ok(Published { checkpoint, files, guard })
    }

    /// A try that failed after the commit point has committed: the checkpoint that stands is ours.
    async fn own_attempt(&self, epoch: Epoch) -> Result<Option<Checkpoint>> {
        match self.checkpoints.latest(&self.group).await? {
            Some(latest) if latest.epoch == epoch && latest.writer == self.writer => Ok(Some(latest)),
            Some(latest) if latest.epoch >= epoch => Err(self.fenced(&latest)),
            _ => Ok(None),
        }
    }

    fn fenced(&self, latest: &Checkpoint) -> Error {
        let (group, epoch, other) = (&self.group, latest.epoch, &latest.writer);
        Error::new(ErrorKind::Conflict, format!("{group}: epoch {epoch} was written by {other}; this process ({}) stops", self.writer))
    }

    async fn write(&self, cut: &Cut, previous: Option<&Checkpoint>, epoch: Epoch) -> Result<Checkpoint> {
        let mut tables = BTreeMap::new();
        for (table, rows) in &cut.tables {
            self.tables.ensure(table).await?;
            let files = self.tables.write(table, epoch, rows()).await?;
            if !files.is_empty() {
                tables.insert(table.name.clone(), files);
            }
        }
        let states = self.write_states(&cut.states, previous, epoch).await?;
        let checkpoint = self.checkpoint(epoch, &cut.positions, tables, states);
        match self.checkpoints.commit(&checkpoint).await {
            Ok(()) => Ok(checkpoint),
            // The store knows only that the name is taken; who took it stands in the checkpoint.
            Err(error) if error.kind() == ErrorKind::Conflict => self.own_attempt(epoch).await?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// The link of this number in this log, of this process and now.
    fn checkpoint(
        &self,
        epoch: Epoch,
        positions: &BTreeMap<LogName, Position>,
        tables: BTreeMap<TableName, Vec<DataFile>>,
        states: Vec<StateFile>,
    ) -> Checkpoint {
        Checkpoint {
            version: CHECKPOINT_VERSION,
            group: self.group.clone(),
            epoch,
            writer: self.writer.clone(),
            created_at: self.clock.now(),
            log: self.log.identity(),
            positions: positions.iter().map(|(log, at)| (log.to_string(), *at)).collect(),
            tables,
            states,
        }
    }

    async fn write_states(&self, parts: &[StatePart], previous: Option<&Checkpoint>, epoch: Epoch) -> Result<Vec<StateFile>> {
        let mut files = vec![];
        let mut bundle = vec![];
        for part in parts {
            match &part.content {
                PartContent::Bytes(bytes) => bundle.push((part.name.as_str(), bytes)),
                PartContent::File(bytes) => files.push(self.checkpoints.write_state(&self.group, epoch, &part.name, bytes.clone()).await?),
                PartContent::Unchanged => {
                    let kept = previous.and_then(|p| p.states.iter().find(|s| s.name == part.name));
                    files.push(kept.ok_or_else(|| Error::internal(format!("no earlier file of state part {}", part.name)))?.clone());
                }
            }
        }
        files.push(self.checkpoints.write_state(&self.group, epoch, BUNDLE, pack(&bundle)).await?);
        Ok(files)
    }

    /// Step 3, idempotent: makes a committed epoch visible and gives the new files of its tables.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn publish(&self, checkpoint: &Checkpoint) -> Result<BTreeMap<TableName, Arc<TableFiles>>> {
        self.tables.publish(&self.group, checkpoint.epoch, &checkpoint.tables).await?;
        let mut files = BTreeMap::new();
        for table in checkpoint.tables.keys() {
            files.insert(table.clone(), self.tables.files(table).await?);
        }
        Ok(files)
    }

    /// The newest checkpoint with its state parts.
    ///
    /// # Errors
    /// `Corrupt` where a part cannot be read; `Invalid` where a newer program wrote it.
    pub async fn recover(&self) -> Result<Option<(Checkpoint, BTreeMap<String, Bytes>)>> {
        let Some(checkpoint) = self.newest().await? else { return Ok(None) };
        self.check_log(&checkpoint).await?;
        let mut parts = BTreeMap::new();
        for file in &checkpoint.states {
            let bytes = self.checkpoints.read_state(file).await?;
            if file.name == BUNDLE {
                parts.extend(unpack(&bytes).ok_or_else(|| Error::corrupt(format!("state file {} cannot be read", file.path)))?);
            } else {
                parts.insert(file.name.clone(), bytes);
            }
        }
        Ok(Some((checkpoint, parts)))
    }

    /// The newest checkpoint, if this program can read it.
    ///
    /// # Errors
    /// `Invalid` where a newer program wrote it; `Unavailable`, `Corrupt`.
    pub async fn newest(&self) -> Result<Option<Checkpoint>> {
        let newest = self.checkpoints.latest(&self.group).await?;
        if let Some(found) = newest.as_ref().map(|c| c.version).filter(|version| *version > CHECKPOINT_VERSION) {
            return Err(Error::invalid(format!(
                "the checkpoint has version {found}; this program reads up to {CHECKPOINT_VERSION}: use a newer one"
            )));
        }
        Ok(newest)
    }

    /// Lets the chain go on in this log from `positions` on, where everything of the log before is in `newest`: one more checkpoint with its state, which
    /// publishes nothing. Nobody else may write the chain meanwhile.
    ///
    /// # Errors
    /// `Conflict` where somebody did; `Unavailable`: again is right.
    pub async fn begin_log(&self, newest: &Checkpoint, positions: &BTreeMap<LogName, Position>) -> Result<Checkpoint> {
        // What is committed and not published would be passed by.
        self.publish(newest).await?;
        let checkpoint = self.checkpoint(newest.epoch.next(), positions, BTreeMap::new(), newest.states.clone());
        self.checkpoints.commit(&checkpoint).await?;
        Ok(checkpoint)
    }

    /// Checks, before anything is taken in, that the newest checkpoint goes on in this log, or that all of `logs` is still there where there is none.
    ///
    /// # Errors
    /// `Conflict` where it does not, with what to do; `Unavailable`.
    pub async fn check_start(&self, logs: &[LogName]) -> Result<()> {
        let mut tries = START_TRIES;
        loop {
            let checked = match self.newest().await? {
                Some(newest) => self.check_log(&newest).await,
                None => self.check_untrimmed(logs).await,
            };
            match checked {
                // Whoever works the log may have written a checkpoint, and trimmed the log, since the newest one was read.
                Err(error) if error.kind() == ErrorKind::Conflict && tries > 0 => tokio::time::sleep(START_AGAIN).await,
                checked => return checked,
            }
            tries -= 1;
        }
    }

    /// What a log holds no more is in some store.
    async fn check_untrimmed(&self, logs: &[LogName]) -> Result<()> {
        for log in logs {
            let (first, _) = self.log.bounds(*log).await?;
            if first > Position::default() {
                let (group, ours) = (&self.group, self.log.identity().unwrap_or_else(|| "the log".to_owned()));
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "the store has no checkpoint of {group}, and {ours} begins at record {} of {log}: another store has what came before. Start \
                         with that store, or with a log that was never used",
                        first.0
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Positions of another log mean nothing in this one.
    async fn check_log(&self, checkpoint: &Checkpoint) -> Result<()> {
        if let (Some(theirs), Some(ours)) = (&checkpoint.log, self.log.identity())
            && *theirs != ours
        {
            let (group, epoch, other) = (&self.group, checkpoint.epoch, &checkpoint.writer);
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("{group}: epoch {epoch} by {other} goes on in {theirs}, and this is {ours}: {OTHER_LOG}"),
            ));
        }
        for (log, at) in Self::positions(checkpoint) {
            let (first, next) = self.log.bounds(log).await?;
            let (group, epoch, other) = (&self.group, checkpoint.epoch, &checkpoint.writer);
            if at < first {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "{group}: epoch {epoch} by {other} goes on at record {} of {log}, but the log begins at {}: another process trims it, \
                         or it has lost records that were not stored yet",
                        at.0, first.0
                    ),
                ));
            }
            if at > next {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("{group}: epoch {epoch} by {other} stands at record {} of {log}, but the log here ends at {}: {OTHER_LOG}", at.0, next.0),
                ));
            }
        }
        Ok(())
    }

    /// Where the log stands for `cut`'s successor.
    pub fn positions(checkpoint: &Checkpoint) -> BTreeMap<LogName, Position> {
        checkpoint.positions.iter().filter_map(|(log, at)| Some((LogName::parse(log)?, *at))).collect()
    }
}

/// Length-prefixed names and bytes.
/// Named sections in one piece of bytes.
pub(crate) fn pack(parts: &[(&str, &Bytes)]) -> Bytes {
    let mut out = Vec::with_capacity(parts.iter().map(|(n, b)| n.len() + b.len() + 12).sum());
    for (name, bytes) in parts {
        out.extend((name.len() as u32).to_le_bytes());
        out.extend(name.as_bytes());
        out.extend((bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes);
    }
    out.into()
}

/// What [`pack`] made; `None` where it is cut off or something else.
pub(crate) fn unpack(bytes: &Bytes) -> Option<BTreeMap<String, Bytes>> {
    let mut parts = BTreeMap::new();
    let mut at = 0usize;
    while at < bytes.len() {
        let len = u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize;
        at += 4;
        let name = std::str::from_utf8(bytes.get(at..at.checked_add(len)?)?).ok()?.to_owned();
        at += len;
        let len = usize::try_from(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?)).ok()?;
        at += 8;
        bytes.get(at..at.checked_add(len)?)?;
        parts.insert(name, bytes.slice(at..at + len));
        at += len;
    }
    Some(parts)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
