//! Background work on published tables: merging small files, folding Delta logs, removing what nothing names or keeps. It changes no answer
//! about the rows that are kept.

use crate::config::MaintainConfig;
use crate::error::StorageError;
use crate::metrics::Metric;
use crate::object_store::Store;
use crate::steps::Step;
use crate::table::delta::DeltaTables;
use afferent_engine::error::{ErrorKind, Result};
use afferent_engine::live::Live;
use afferent_engine::schema::{TableDef, TableName};
use afferent_engine::table::{DataFile, TableFiles, TableStore};
use afferent_engine::time::EventTime;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

mod choose;
mod merge;
mod retain;
mod settled;
mod supersede;
mod vacuum;
mod watch;

pub use watch::Watch;

/// Memory that a merge may take for the rows it holds; one is at work at a time.
const MERGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The vacuum lists every file, so it runs at most this often.
const VACUUM_EVERY_MIN: Duration = Duration::from_secs(300);

/// A date is at rest when no epoch wrote a file of it for this many intervals.
const SETTLED_INTERVALS: u32 = 4;

/// What a round of compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Files merged away.
    pub files_in: usize,
    /// Files made of them.
    pub files_out: usize,
    /// Rows rewritten.
    pub row_count: u64,
    /// Rows left out because others supersede them.
    pub superseded: u64,
}

/// What retention took out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Files of dates that are past their table's days.
    pub files: usize,
    /// Rows in them.
    pub rows: u64,
}

/// The worker. One per engine that writes to the store.
pub struct Maintainer {
    store: Store,
    tables: Arc<DeltaTables>,
    live: Arc<Live>,
    config: MaintainConfig,
    watch: Watch,
    runtime: Arc<RuntimeEnv>,
    /// The first day (since 1970) that retention must leave, whatever the days say.
    needed_from: Mutex<Option<i32>>,
    /// Held for the length of a round.
    round: tokio::sync::Mutex<Memory>,
}

/// What the worker remembers from round to round.
#[derive(Default)]
struct Memory {
    unreferenced: vacuum::Unreferenced,
    settled: settled::Settled,
    /// Tables that this process dropped.
    dropped: BTreeSet<TableName>,
}

impl Maintainer {
    /// A worker on the tables that `tables` has ensured.
    ///
    /// # Errors
    /// `Internal` where the query engine's memory pool cannot be made.
    pub fn new(store: Store, tables: Arc<DeltaTables>, live: Arc<Live>, config: MaintainConfig) -> Result<Arc<Self>> {
        let watch = Watch::machine(store.haste());
        Self::on_watch(store, tables, live, config, watch)
    }

    /// The same with a clock of its own.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn on_watch(store: Store, tables: Arc<DeltaTables>, live: Arc<Live>, config: MaintainConfig, watch: Watch) -> Result<Arc<Self>> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_limit(MERGE_BYTES_MAX, 1.0)
            .build_arc()
            .map_err(|source| StorageError::Merge { table: "(any)".to_owned(), source })?;
        let (needed_from, round) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Arc::new(Self { store, tables, live, config, watch, runtime, needed_from, round }))
    }

    /// Works until it is cancelled. An error of one round is logged and counted; the next round tries again.
    ///
    /// # Cancel safety
    /// A merge that is cut off leaves files that nothing names, which the vacuum removes.
    pub async fn run(&self, cancel: CancellationToken) {
        let mut vacuumed = self.watch.elapsed();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(self.interval()) => {}
            }
            self.round(&cancel).await;
            if self.watch.elapsed().saturating_sub(vacuumed) >= VACUUM_EVERY_MIN && !cancel.is_cancelled() {
                vacuumed = self.watch.elapsed();
                if let Err(error) = self.retain_now().await {
                    tracing::warn!(%error, "dates past their retention could not be taken out; the next round tries again");
                }
                if let Err(error) = self.drop_forgotten().await {
                    tracing::warn!(%error, "tables of views that are gone could not be dropped; the next round tries again");
                }
                if let Err(error) = self.vacuum_now().await {
                    tracing::warn!(%error, "unreferenced files could not be removed; the next round tries again");
                }
            }
        }
    }

    /// One round of what is done every interval: merges what is worth it and folds Delta's logs.
    pub async fn round(&self, cancel: &CancellationToken) {
        self.compact_round(cancel).await;
        self.fold_logs(cancel).await;
    }

    /// Merges every date of every table that has more than one small file or one that is still as an epoch wrote it.
    ///
    /// # Errors
    /// The first one met; what was merged before it stays merged.
    pub async fn compact_now(&self) -> Result<Compacted> {
        let cancel = CancellationToken::new();
        let _round = self.round.lock().await;
        let mut total = Compacted::default();
        for def in self.tables.defs() {
            let files = self.files(&def).await?;
            let groups = choose::groups(&files.files, &self.config, choose::Eagerness::Everything, &BTreeSet::new());
            self.compact_table(&def, groups, &cancel, &mut total).await?;
        }
        Ok(total)
    }

    /// Removes files that neither a table, nor a reader of this process, nor a checkpoint names and that were so for the grace period, and
    /// dropped tables in the same way; gives the number of files.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`; nothing is removed on the strength of an incomplete picture.
    pub async fn vacuum_now(&self) -> Result<usize> {
        let mut memory = self.round.lock().await;
        let grace = Duration::from_secs(self.config.vacuum_grace_s);
        let place = vacuum::Place { store: &self.store, tables: &self.tables, live: &self.live, watch: &self.watch, grace };
        Ok(vacuum::run(&place, &mut memory.unreferenced).await?)
    }

    /// Says that rows from this time on are still needed, by a state or a backfill: retention leaves their dates and later ones. `None` needs nothing.
    pub fn need_from(&self, from: Option<EventTime>) {
        let day = from.and_then(|from| i32::try_from(from.0.div_euclid(retain::MS_PER_DAY)).ok());
        *self.needed_from.lock().unwrap_or_else(PoisonError::into_inner) = day;
    }

    /// Takes whole dates out of tables that have a retention, one commit per table; the vacuum removes their files after the grace period.
    ///
    /// # Errors
    /// The first one met; what was taken out before it stays out.
    pub async fn retain_now(&self) -> Result<Expired> {
        let _round = self.round.lock().await;
        let needed_from = *self.needed_from.lock().unwrap_or_else(PoisonError::into_inner);
        let mut total = Expired::default();
        let mut newest = None;
        for name in self.tables.defs().into_iter().map(|def| def.name).chain(self.config.retention_days.keys().map(|name| TableName::new(name))) {
            newest = newest.max(retain::newest_day(&self.tables.all_files(&name).await?.files));
        }
        let Some(newest) = newest else { return Ok(total) };
        for (table, days) in &self.config.retention_days {
            let name = TableName::new(table);
            let files = self.tables.files(&name).await?;
            let expired = retain::expired(&files.files, *days, self.watch.now(), newest, needed_from);
            if expired.is_empty() {
                continue;
            }
            let _commit = self.live.commit.lock().await;
            let files = self.tables.remove(&name, &expired).await?;
            self.live.update(|view| drop(view.files.insert(name.clone(), files)));
            let rows: u64 = expired.iter().map(|f| f.row_count).sum();
            metrics::counter!(Metric::RetentionFilesOut.name(), "table" => table.clone()).increment(expired.len() as u64);
            metrics::counter!(Metric::RetentionRowsOut.name(), "table" => table.clone()).increment(rows);
            tracing::info!(table = %name, days, files = expired.len(), rows, "took out dates past their retention");
            total.files += expired.len();
            total.rows += rows;
        }
        Ok(total)
    }

    /// Drops the tables of views and generations that are gone, each once.
    ///
    /// # Errors
    /// `Unavailable`: to be tried again.
    pub async fn drop_forgotten(&self) -> Result<()> {
        let mut memory = self.round.lock().await;
        for name in self.live.view().forgotten.iter() {
            if !memory.dropped.contains(name) {
                self.drop_in_round(name).await?;
                tracing::info!(table = %name, "dropped the table of a view that is gone");
                memory.dropped.insert(name.clone());
            }
        }
        Ok(())
    }

    /// Drops a table that nothing writes any more: its rows go at once, its files once nobody of this process uses them, no checkpoint names
    /// them and the grace period is over. Making a table of that name again is fine at any time. A table that is not there is fine.
    ///
    /// # Errors
    /// `Unavailable`: to be tried again.
    pub async fn drop_table(&self, name: &TableName) -> Result<()> {
        let _round = self.round.lock().await;
        self.drop_in_round(name).await
    }

    async fn drop_in_round(&self, name: &TableName) -> Result<()> {
        let _commit = self.live.commit.lock().await;
        self.tables.drop_table(name).await?;
        self.live.update(|view| drop(view.files.remove(name)));
        Ok(())
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(self.config.interval_s)
    }

    async fn files(&self, def: &TableDef) -> Result<Arc<TableFiles>, StorageError> {
        self.tables.files(&def.name).await.map_err(|e| StorageError::Task { reason: e.to_string() })
    }

    async fn compact_round(&self, cancel: &CancellationToken) {
        let mut memory = self.round.lock().await;
        let defs = self.tables.defs();
        memory.settled.keep(&defs.iter().map(|def| def.name.clone()).collect());
        for def in defs {
            match self.compact_worthwhile(&def, &mut memory.settled, cancel).await {
                Ok(()) => {}
                Err(StorageError::Stopped) => return,
                Err(error) => {
                    metrics::counter!(Metric::CompactionErrors.name(), "reason" => error.kind().as_str()).increment(1);
                    tracing::warn!(table = %def.name, %error, "compaction failed; the next round tries again");
                    // The store would keep the next table waiting just as long.
                    if error.kind() == ErrorKind::Unavailable {
                        return;
                    }
                }
            }
        }
    }

    async fn compact_worthwhile(&self, def: &TableDef, settled: &mut settled::Settled, cancel: &CancellationToken) -> Result<(), StorageError> {
        let files = self.files(def).await?;
        let at_rest = settled.look(&def.name, &files.files, self.watch.elapsed(), self.interval() * SETTLED_INTERVALS);
        let groups = choose::groups(&files.files, &self.config, choose::Eagerness::WhenWorthwhile, &at_rest);
        self.compact_table(def, groups, cancel, &mut Compacted::default()).await
    }

    async fn compact_table(
        &self,
        def: &TableDef,
        groups: Vec<Vec<DataFile>>,
        cancel: &CancellationToken,
        total: &mut Compacted,
    ) -> Result<(), StorageError> {
        for group in groups {
            let _turn = tokio::select! {
                turn = self.tables.merging.lock() => turn,
                () = cancel.cancelled() => return Err(StorageError::Stopped),
            };
            self.store.check_writer(self.tables.owner()).await?;
            if cancel.is_cancelled() {
                return Err(StorageError::Stopped);
            }
            let started = tokio::time::Instant::now();
            let merged = merge::merge(&self.store, &self.runtime, def, &group, self.tables.owner(), cancel).await?;
            let superseded = merged.superseded;
            let (files_in, files_out, row_count) = (group.len(), merged.files.len(), merged.files.iter().map(|f| f.row_count).sum::<u64>());
            self.store.reached(Step::MergeWritten);
            self.swap(def, &group, merged).await?;
            metrics::counter!(Metric::CompactionRowsSuperseded.name()).increment(superseded);
            metrics::counter!(Metric::CompactionFilesIn.name()).increment(files_in as u64);
            metrics::counter!(Metric::CompactionFilesOut.name()).increment(files_out as u64);
            metrics::counter!(Metric::CompactionRows.name()).increment(row_count);
            metrics::histogram!(Metric::CompactionSeconds.name()).record(started.elapsed().as_secs_f64());
            total.files_in += files_in;
            total.files_out += files_out;
            total.row_count += row_count;
            total.superseded += superseded;
        }
        Ok(())
    }

    /// Commits the replacement and shows it to readers in one step; a reader sees either the old files or the new.
    async fn swap(&self, def: &TableDef, old: &[DataFile], new: merge::Merged) -> Result<(), StorageError> {
        let _commit = self.live.commit.lock().await;
        let files = self.tables.replace(&def.name, old, new.files, new.superseded > 0).await?;
        self.store.reached(Step::MergeCommitted);
        self.live.update(|view| drop(view.files.insert(def.name.clone(), files)));
        Ok(())
    }

    async fn fold_logs(&self, cancel: &CancellationToken) {
        for def in self.tables.defs() {
            if cancel.is_cancelled() {
                return;
            }
            if let Err(error) = self.tables.tend_log(&def.name).await {
                tracing::warn!(table = %def.name, %error, "a Delta log could not be folded; it grows until a later round succeeds");
            }
        }
    }
}

#[cfg(test)]
mod tests;
