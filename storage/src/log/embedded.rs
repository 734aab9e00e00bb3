//! The embedded log: one process, one folder, one series of append-only segment files per log. Not a network service and
//! not a store of anything else.
//!
//! ```text
//! LOCK                        held for as long as the log is open
//! identity                    names the log for those that keep positions in it
//! metrics/0/durable           up to where the log is known to be on disk (see `mark`)
//! metrics/0/00000000000000000000.log
//! metrics/0/00000000000000001523.log
//! events/0/...
//! ```
//!
//! # Invariants
//! - An append returns after its bytes are synced; a reader sees nothing else.
//! - Positions are dense: 0, 1, 2, and so on, across segments and restarts.
//! - A group is written only after the group before it was synced, and each record says up to where the log was durable
//!   when it was written. So a damaged place followed by a record of a later group was acknowledged: that is `Corrupt`.
//!   Damage at the very end that neither a later record nor the mark proves to have been acknowledged is a torn tail: cut.
//! - After a failed write or sync nothing is written to that file again.
//! - A segment gets its name after its header is durable; the next one is made after this one is durable to its last byte.
//!
//! # Decisions
//! | date | decision | figure |
//! |---|---|---|
//! | 2026-11-22 | own segmented append-only files instead of the store fjall | Group commit of real remote-write bodies costs 0.7 to 3 CPU-ms per MB here and 3 to 5 with fjall 3.1, that is 15 to 50 against 60 to 100 ns per sample. And a store that silently truncates its journal at the first bad checksum cannot tell a torn tail from corruption. |
//! | 2026-11-22 | the `durable` mark is written after each sync but synced only now and then | One small write per group; it is exact after `kill -9`, which is where damage and an unfinished write would otherwise look alike. |
//!
//! # Known gaps
//! - A record whose append failed with `Unavailable` can still be in the log if the process is killed before the writer cut
//!   its file back. Its sender retries the same bytes, which count once by their hash.
//! - `bytes_max` is shared by all logs of the folder: a log that nobody trims can fill it for the others.
//! - A copy of the folder made file by file while the log is open may hold a mark newer than its segments and is then
//!   reported as `Corrupt`. Copy a stopped log or a snapshot of the volume.
//! - Unix only: it reads and writes at offsets through `std::os::unix`.

mod budget;
mod disk;
mod frame;
mod identity;
mod mark;
mod partition;
mod read;
mod recovery;
mod segment;
mod segments;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use super::config::EmbeddedLogConfig;
use super::error::LogError;
use crate::lock::FolderLock;
use crate::steps::{Step, Steps};
use afferent_engine::error::Result;
use afferent_engine::log::{LogName, LogReader, LogWriter, Position, Record, Topic};
use async_trait::async_trait;
use budget::Budget;
use disk::{Disk, WatchedDisk};
use partition::Partition;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// All logs of one folder.
pub struct EmbeddedLog {
    rooms: Arc<Rooms>,
    identity: String,
    /// Let go after the writers have ended.
    _lock: Arc<FolderLock>,
}

/// The open logs and what is needed to open one more.
struct Rooms {
    dir: PathBuf,
    config: EmbeddedLogConfig,
    budget: Arc<Budget>,
    disk: Arc<dyn Disk>,
    lock: Arc<FolderLock>,
    open: RwLock<BTreeMap<LogName, Arc<Partition>>>,
    /// Held while a log is opened, so that it is opened once; true when no more are to be opened.
    closed: Mutex<bool>,
}

impl EmbeddedLog {
    /// Opens the folder and every log in it; reads and checks all records. Blocks: call it before serving, or apart from
    /// the async threads.
    ///
    /// # Errors
    /// `Conflict` when another process has the folder, `Corrupt` naming file and byte, `Invalid` for a config out of range,
    /// `Unavailable` when files cannot be read or made.
    pub fn open(dir: &Path, config: EmbeddedLogConfig) -> Result<Arc<Self>> {
        Self::open_watched(dir, config, Steps::default())
    }

    /// The same, and tells a watcher what it has done.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_watched(dir: &Path, config: EmbeddedLogConfig, steps: Steps) -> Result<Arc<Self>> {
        Ok(Self::open_on(dir, config, Arc::new(WatchedDisk(steps)))?)
    }

    fn open_on(dir: &Path, config: EmbeddedLogConfig, disk: Arc<dyn Disk>) -> Result<Arc<Self>, LogError> {
        config.validate()?;
        disk::create_folder(&*disk, dir).map_err(|e| LogError::io("create", dir, e))?;
        let lock = Arc::new(FolderLock::take(dir).map_err(|e| LogError::not_ours(dir, e))?);
        let identity = identity::read_or_make(dir)?;
        let budget = Budget::new(config.bytes_max);
        let rooms =
            Rooms { dir: dir.to_path_buf(), config, budget, disk, lock: Arc::clone(&lock), open: RwLock::default(), closed: Mutex::default() };
        for log in list_logs(dir)? {
            rooms.open(log)?;
        }
        if rooms.budget.kept() > rooms.config.bytes_max {
            let (kept, bytes_max) = (rooms.budget.kept(), rooms.config.bytes_max);
            tracing::warn!(kept, bytes_max, "the log holds more than its limit; appends are refused until it is trimmed");
        }
        Ok(Arc::new(Self { rooms: Arc::new(rooms), identity, _lock: lock }))
    }

    /// Ends the writers after what was handed to them is answered; later appends and trims are `Unavailable`, reads still
    /// work. Dropping the log does the same and blocks for it.
    ///
    /// # Errors
    /// `Internal` when a writer ended by itself.
    pub async fn close(&self) -> Result<()> {
        for (log, partition) in self.rooms.close() {
            blocking(log, "closing", move || partition.close()).await?;
        }
        Ok(())
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        for (log, partition) in self.rooms.close() {
            if let Err(error) = partition.close() {
                tracing::error!(%log, %error, "the log's writer did not end well");
            }
        }
    }
}

impl Rooms {
    fn get(&self, log: LogName) -> Option<Arc<Partition>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(&log).cloned()
    }

    /// All open logs; none is opened after this.
    fn close(&self) -> Vec<(LogName, Arc<Partition>)> {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.iter().map(|(log, partition)| (*log, Arc::clone(partition))).collect()
    }

    /// The log, opened or made if it is not open yet.
    fn open(&self, log: LogName) -> Result<Arc<Partition>, LogError> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(partition) = self.get(log) {
            return Ok(partition);
        }
        if *closed {
            return Err(LogError::Closed { log });
        }
        let dir = self.dir.join(log.topic.as_str()).join(log.partition.to_string());
        let partition = Partition::open(log, dir, &self.config, Arc::clone(&self.budget), Arc::clone(&self.disk), Arc::clone(&self.lock))?;
        let partition = Arc::new(partition);
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(log, Arc::clone(&partition));
        Ok(partition)
    }
}

/// The logs that have a folder.
fn list_logs(dir: &Path) -> Result<Vec<LogName>, LogError> {
    let mut logs = Vec::new();
    for topic in Topic::ALL {
        let folder = dir.join(topic.as_str());
        if !folder.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&folder).map_err(|e| LogError::io("list", &folder, e))? {
            let entry = entry.map_err(|e| LogError::io("list", &folder, e))?;
            match LogName::parse(&format!("{}/{}", topic.as_str(), entry.file_name().to_string_lossy())) {
                Some(log) => logs.push(log),
                None => tracing::warn!(path = %entry.path().display(), "a file that is no log is left alone"),
            }
        }
    }
    logs.sort_unstable();
    Ok(logs)
}

/// Runs file work apart from the async threads.
async fn blocking<T: Send + 'static>(log: LogName, task: &'static str, work: impl FnOnce() -> Result<T, LogError> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(LogError::TaskLost { log, task }.into()),
    }
}

#[async_trait]
impl LogWriter for EmbeddedLog {
    async fn append(&self, log: LogName, record: Record) -> Result<Position> {
        let room = self.rooms.budget.reserve(frame::frame_bytes(&record)?)?;
        let partition = match self.rooms.get(log) {
            Some(partition) => partition,
            None => {
                let rooms = Arc::clone(&self.rooms);
                blocking(log, "opening", move || rooms.open(log)).await?
            }
        };
        Ok(partition.append(record, room).await?)
    }
}

#[async_trait]
impl LogReader for EmbeddedLog {
    /// Returns at most 64 MiB at a time, or one record.
    async fn read(&self, log: LogName, from: Position, bytes_max: usize) -> Result<Vec<(Position, Record)>> {
        match self.rooms.get(log) {
            Some(partition) => {
                let records = blocking(log, "reading", move || partition.read(from, bytes_max)).await?;
                self.rooms.disk.reached(Step::RecordsRead);
                Ok(records)
            }
            None if from == Position(0) => Ok(Vec::new()),
            None => Err(LogError::BeyondEnd { log, from, next: Position(0) }.into()),
        }
    }

    async fn bounds(&self, log: LogName) -> Result<(Position, Position)> {
        Ok(self.rooms.get(log).map_or_else(Default::default, |partition| partition.bounds()))
    }

    async fn trim(&self, log: LogName, before: Position) -> Result<()> {
        match self.rooms.get(log) {
            Some(partition) => blocking(log, "trimming", move || partition.trim(before)).await,
            None if before == Position(0) => Ok(()),
            None => Err(LogError::BeyondEnd { log, from: before, next: Position(0) }.into()),
        }
    }

    fn identity(&self) -> Option<String> {
        Some(format!("the embedded log {}", self.identity))
    }
}
