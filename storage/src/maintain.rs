//! Background work on published tables: merging small files, folding Delta logs, removing what nothing names. It never changes an answer.

use crate::config::MaintainConfig;
use crate::error::StorageError;
use crate::metrics::Metric;
use crate::object_store::Store;
use crate::table::delta::DeltaTables;
use afferent_engine::error::Result;
use afferent_engine::live::Live;
use afferent_engine::schema::TableDef;
use afferent_engine::table::TableStore;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

mod choose;
mod merge;
mod vacuum;

/// Memory that merging may take for the rows it holds.
const MERGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The vacuum lists every file, so it runs at most this often.
const VACUUM_EVERY_MIN: Duration = Duration::from_secs(300);

/// What a round of compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Files merged away.
    pub files_in: usize,
    /// Files made of them.
    pub files_out: usize,
    /// Rows rewritten.
    pub row_count: u64,
}

/// The worker. One per process and store.
pub struct Maintainer {
    store: Store,
    tables: Arc<DeltaTables>,
    live: Arc<Live>,
    config: MaintainConfig,
    runtime: Arc<RuntimeEnv>,
    /// Held for the length of a round; remembers what the vacuum saw.
    round: tokio::sync::Mutex<vacuum::Unreferenced>,
}

impl Maintainer {
    /// A worker on the tables that `tables` has ensured.
    ///
    /// # Errors
    /// `Internal` where the query engine's memory pool cannot be made.
    pub fn new(store: Store, tables: Arc<DeltaTables>, live: Arc<Live>, config: MaintainConfig) -> Result<Arc<Self>> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_limit(MERGE_BYTES_MAX, 1.0)
            .build_arc()
            .map_err(|source| StorageError::Merge { table: "(any)".to_owned(), source })?;
        Ok(Arc::new(Self { store, tables, live, config, runtime, round: tokio::sync::Mutex::default() }))
    }

    /// Works until it is cancelled. An error of one round is logged and counted; the next round tries again.
    ///
    /// # Cancel safety
    /// A merge that is cut off leaves files that nothing names, which the vacuum removes.
    pub async fn run(&self, cancel: CancellationToken) {
        let mut since_vacuum = Duration::ZERO;
        let interval = Duration::from_secs(self.config.interval_s);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            self.compact_round(choose::Eagerness::WhenWorthwhile, &cancel).await;
            self.fold_logs(&cancel).await;
            since_vacuum += interval;
            if since_vacuum >= VACUUM_EVERY_MIN && !cancel.is_cancelled() {
                since_vacuum = Duration::ZERO;
                if let Err(error) = self.vacuum_now().await {
                    tracing::warn!(%error, "unreferenced files could not be removed; the next round tries again");
                }
            }
        }
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
            self.compact_table(&def, choose::Eagerness::Everything, &cancel, &mut total).await?;
        }
        Ok(total)
    }

    /// Removes files that neither a table, nor the current read view, nor a checkpoint names and that were so for the grace period.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`; nothing is removed on the strength of an incomplete picture.
    pub async fn vacuum_now(&self) -> Result<usize> {
        let mut seen = self.round.lock().await;
        let grace = Duration::from_secs(self.config.vacuum_grace_s);
        Ok(vacuum::run(&self.store, &self.tables, &self.live, &mut seen, grace).await?)
    }

    async fn compact_round(&self, eagerness: choose::Eagerness, cancel: &CancellationToken) {
        let _round = self.round.lock().await;
        for def in self.tables.defs() {
            let mut done = Compacted::default();
            match self.compact_table(&def, eagerness, cancel, &mut done).await {
                Ok(()) => {}
                Err(StorageError::Stopped) => return,
                Err(error) => {
                    metrics::counter!(Metric::CompactionErrors.name(), "reason" => error.kind().as_str()).increment(1);
                    tracing::warn!(table = %def.name, %error, "compaction failed; the next round tries again");
                }
            }
        }
    }

    async fn compact_table(
        &self,
        def: &TableDef,
        eagerness: choose::Eagerness,
        cancel: &CancellationToken,
        total: &mut Compacted,
    ) -> Result<(), StorageError> {
        let files = self.tables.files(&def.name).await.map_err(|e| StorageError::Task { reason: e.to_string() })?;
        for group in choose::groups(&files.files, &self.config, eagerness) {
            if cancel.is_cancelled() {
                return Err(StorageError::Stopped);
            }
            let started = tokio::time::Instant::now();
            let merged = merge::merge(&self.store, &self.runtime, def, &group, cancel).await?;
            let (files_in, files_out, row_count) = (group.len(), merged.len(), merged.iter().map(|f| f.row_count).sum::<u64>());
            self.swap(def, &group, merged).await?;
            metrics::counter!(Metric::CompactionFilesIn.name()).increment(files_in as u64);
            metrics::counter!(Metric::CompactionFilesOut.name()).increment(files_out as u64);
            metrics::counter!(Metric::CompactionRows.name()).increment(row_count);
            metrics::histogram!(Metric::CompactionSeconds.name()).record(started.elapsed().as_secs_f64());
            total.files_in += files_in;
            total.files_out += files_out;
            total.row_count += row_count;
        }
        Ok(())
    }

    /// Commits the replacement and shows it to readers in one step; a reader sees either the old files or the new.
    async fn swap(
        &self,
        def: &TableDef,
        old: &[afferent_engine::table::DataFile],
        new: Vec<afferent_engine::table::DataFile>,
    ) -> Result<(), StorageError> {
        let _commit = self.live.commit.lock().await;
        let files = self.tables.replace(&def.name, old, new).await?;
        self.live.update(|view| {
            view.files.insert(def.name.clone(), files);
        });
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
