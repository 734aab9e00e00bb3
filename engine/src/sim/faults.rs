//! Ports that fail: wrappers that lose, delay, tear and repeat by chance, one set per process, and a witness that sees what no process may do.
//! A process that crashed has no effect any more.

use super::{MemoryCheckpoints, MemoryLog, MemoryTables};
use crate::checkpoint::{Checkpoint, CheckpointStore, Epoch, GroupName, StateFile};
use crate::error::{Error, ErrorKind, Result};
use crate::log::{LogName, LogReader, LogWriter, Position, Record};
use crate::schema::{TableDef, TableName};
use crate::table::{DataFile, History, Rows, Scanned, TableFiles, TableStore, Wanted};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Numbers from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 where `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }
}

/// How many of a thousand calls meet each fault.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// The call fails and nothing was done.
    pub fails: u64,
    /// The call was carried out and its answer is lost.
    pub unanswered: u64,
    /// The process stops before the call.
    pub dies_before: u64,
    /// The process stops after the call.
    pub dies_after: u64,
    /// The call is half done and fails: of several tables some are published, of a state file a part is written.
    pub torn: u64,
    /// The process stands still for up to [`PAUSE_MS_MAX`] before the call, as if it were suspended.
    pub pauses: u64,
}

/// Longest pause, milliseconds.
pub const PAUSE_MS_MAX: u64 = 40;

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    Fails,
    Unanswered,
    DiesBefore,
    DiesAfter,
    Torn,
}

/// The faults of one process.
#[derive(Debug)]
pub struct Faults {
    dice: Mutex<Dice>,
    rates: Rates,
    calm: AtomicBool,
    halt: CancellationToken,
}

impl Faults {
    /// Faults by chance; a crash cancels `halt`, and whoever holds it counts as dead from then on.
    pub fn new(seed: u64, rates: Rates, halt: CancellationToken) -> Arc<Self> {
        Arc::new(Self { dice: Mutex::new(Dice::new(seed)), rates, calm: AtomicBool::new(false), halt })
    }

    /// No more faults.
    pub fn calm(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    /// The fate of the next call, and how long the process stands still before it.
    fn draw(&self) -> (Fate, u64) {
        if self.calm.load(Ordering::SeqCst) {
            return (Fate::Done, 0);
        }
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = if dice.below(1000) < self.rates.pauses { 1 + dice.below(PAUSE_MS_MAX) } else { 0 };
        let mut at = dice.below(1000);
        let fates = [
            (self.rates.fails, Fate::Fails),
            (self.rates.unanswered, Fate::Unanswered),
            (self.rates.dies_before, Fate::DiesBefore),
            (self.rates.dies_after, Fate::DiesAfter),
            (self.rates.torn, Fate::Torn),
        ];
        for (rate, fate) in fates {
            if at < rate {
                return (fate, pause);
            }
            at -= rate;
        }
        (Fate::Done, pause)
    }

    /// The process is gone. Its engine, which sees that first, hears of nothing any more; a step on a thread of its own comes to its end.
    fn die<T>(&self) -> Result<T> {
        self.halt.cancel();
        Err(Error::unavailable("the process is dead"))
    }

    /// Carries a call out as its fate wants it; `half` is what a torn call still does.
    async fn call<T: Send>(&self, what: &str, work: impl Future<Output = Result<T>> + Send, half: impl Future<Output = ()> + Send) -> Result<T> {
        let (fate, pause_ms) = self.draw();
        if pause_ms > 0 {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
        if self.halt.is_cancelled() {
            return self.die();
        }
        let lost = |how: &str| Err(Error::unavailable(format!("{what}: {how}")));
        match fate {
            Fate::Done => work.await,
            Fate::Fails => lost("a fault, nothing was done"),
            Fate::Unanswered => work.await.and_then(|_| lost("a fault, the answer is lost")),
            Fate::DiesBefore => self.die(),
            Fate::DiesAfter => {
                drop(work.await);
                self.die()
            }
            Fate::Torn => {
                half.await;
                lost("a fault, half was done")
            }
        }
    }
}

/// Sees every checkpoint, publication and trim of all processes, and notes what none may do.
#[derive(Debug, Default)]
pub struct Witness {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Checkpoints that took effect, in the order in which they did.
    chain: Vec<Checkpoint>,
    wrong: Vec<String>,
}

impl Witness {
    fn with<T>(&self, work: impl FnOnce(&mut Seen) -> T) -> T {
        work(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Checkpoints in the order in which they took effect.
    pub fn chain(&self) -> Vec<Checkpoint> {
        self.with(|s| s.chain.clone())
    }

    /// What was wrong, in words.
    pub fn wrong(&self) -> Vec<String> {
        self.with(|s| s.wrong.clone())
    }

    /// Only what a checkpoint names may be published, and no epoch that another writer has gone past.
    fn published(&self, writer: &str, epoch: Epoch, files: &BTreeMap<TableName, Vec<DataFile>>) {
        self.with(|s| {
            let newest = s.chain.iter().map(|c| c.epoch).max().unwrap_or_default();
            match s.chain.iter().rfind(|c| c.epoch == epoch) {
                None => s.wrong.push(format!("{writer} publishes epoch {epoch}, which has no checkpoint")),
                Some(checkpoint) if checkpoint.tables != *files => {
                    s.wrong.push(format!("{writer} publishes other files of epoch {epoch} than its checkpoint names"));
                }
                Some(checkpoint) if checkpoint.writer == writer && s.forked(checkpoint) => {
                    s.wrong.push(format!("{writer} publishes epoch {epoch} beside the chain, which is at {newest}"));
                }
                Some(_) => {}
            }
        });
    }

    /// The log may lose only what no replay from any kept checkpoint needs: what lies before the newest one's positions.
    fn trimmed(&self, log: LogName, before: Position) {
        self.with(|s| {
            let allowed = s.chain.iter().filter_map(|c| c.positions.get(&log.to_string())).max().copied().unwrap_or_default();
            if before > allowed {
                s.wrong.push(format!("{log} is trimmed up to {}, checkpoints allow {}", before.0, allowed.0));
            }
        });
    }
}

impl Seen {
    /// True for a checkpoint that took effect after one with the same or a higher number.
    fn forked(&self, checkpoint: &Checkpoint) -> bool {
        let at = self.chain.iter().rposition(|c| c.epoch == checkpoint.epoch && c.writer == checkpoint.writer);
        at.is_some_and(|at| self.chain.iter().take(at).any(|c| c.epoch >= checkpoint.epoch))
    }
}

/// A log that fails.
pub struct FaultyLog {
    /// The log below.
    pub inner: Arc<MemoryLog>,
    /// Its faults.
    pub faults: Arc<Faults>,
    /// Who watches.
    pub witness: Arc<Witness>,
}

#[async_trait]
impl LogWriter for FaultyLog {
    async fn append(&self, log: LogName, record: Record) -> Result<Position> {
        self.faults.call("append", self.inner.append(log, record), async {}).await
    }
}

#[async_trait]
impl LogReader for FaultyLog {
    async fn read(&self, log: LogName, from: Position, bytes_max: usize) -> Result<Vec<(Position, Record)>> {
        self.faults.call("read of the log", self.inner.read(log, from, bytes_max), async {}).await
    }

    async fn bounds(&self, log: LogName) -> Result<(Position, Position)> {
        self.faults.call("bounds of the log", self.inner.bounds(log), async {}).await
    }

    async fn trim(&self, log: LogName, before: Position) -> Result<()> {
        let work = async {
            self.witness.trimmed(log, before);
            self.inner.trim(log, before).await
        };
        self.faults.call("trim", work, async {}).await
    }

    fn identity(&self) -> Option<String> {
        self.inner.identity()
    }
}

/// Tables that fail.
pub struct FaultyTables {
    /// The tables below.
    pub inner: Arc<MemoryTables>,
    /// Their faults.
    pub faults: Arc<Faults>,
    /// Who watches.
    pub witness: Arc<Witness>,
    /// The process.
    pub writer: String,
}

#[async_trait]
impl TableStore for FaultyTables {
    async fn ensure(&self, table: &TableDef) -> Result<()> {
        self.faults.call("ensure", self.inner.ensure(table), async {}).await
    }

    async fn write(&self, table: &TableDef, epoch: Epoch, rows: Rows) -> Result<Vec<DataFile>> {
        self.faults.call("write of a table", self.inner.write(table, epoch, rows), async {}).await
    }

    async fn publish(&self, group: &GroupName, epoch: Epoch, files: &BTreeMap<TableName, Vec<DataFile>>) -> Result<()> {
        let work = async {
            self.witness.published(&self.writer, epoch, files);
            self.inner.publish(group, epoch, files).await
        };
        let some: BTreeMap<TableName, Vec<DataFile>> = files.iter().take(files.len() / 2).map(|(t, f)| (t.clone(), f.clone())).collect();
        let half = async {
            self.witness.published(&self.writer, epoch, files);
            // The port below never fails.
            drop(self.inner.publish(group, epoch, &some).await);
        };
        self.faults.call("publish", work, half).await
    }

    async fn files(&self, table: &TableName) -> Result<Arc<TableFiles>> {
        self.faults.call("files of a table", self.inner.files(table), async {}).await
    }
}

#[async_trait]
impl History for FaultyTables {
    async fn scan(&self, table: &TableDef, files: &TableFiles, wanted: &Wanted) -> Result<Scanned> {
        self.faults.call("scan", self.inner.scan(table, files, wanted), async {}).await
    }
}

/// Checkpoints that fail.
pub struct FaultyCheckpoints {
    /// The checkpoints below.
    pub inner: Arc<MemoryCheckpoints>,
    /// Their faults.
    pub faults: Arc<Faults>,
    /// Who watches.
    pub witness: Arc<Witness>,
}

#[async_trait]
impl CheckpointStore for FaultyCheckpoints {
    async fn latest(&self, group: &GroupName) -> Result<Option<Checkpoint>> {
        self.faults.call("newest checkpoint", self.inner.latest(group), async {}).await
    }

    async fn write_state(&self, group: &GroupName, epoch: Epoch, name: &str, bytes: Bytes) -> Result<StateFile> {
        let part = bytes.slice(..bytes.len() / 2);
        let half = async {
            // What is torn is named by nothing.
            drop(self.inner.write_state(group, epoch, name, part).await);
        };
        self.faults.call("write of a state", self.inner.write_state(group, epoch, name, bytes), half).await
    }

    async fn read_state(&self, file: &StateFile) -> Result<Bytes> {
        self.faults.call("read of a state", self.inner.read_state(file), async {}).await
    }

    async fn commit(&self, checkpoint: &Checkpoint) -> Result<()> {
        let work = async {
            // Whoever finds the checkpoint there and acts on it is judged after it is noted.
            self.witness.with(|seen| {
                self.inner.create(checkpoint)?;
                seen.chain.push(checkpoint.clone());
                Ok(())
            })
        };
        self.faults.call("commit", work, async {}).await
    }

    async fn prune(&self, group: &GroupName, keep: usize) -> Result<()> {
        self.faults.call("prune", self.inner.prune(group, keep), async {}).await
    }
}

/// True for errors after which a process is started again; the others must not come from faults alone.
pub fn starts_again(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable
}
