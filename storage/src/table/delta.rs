//! Delta tables: what is published, and the commits that publish it. Not how rows become files (`parquet`), nor reading (`scan`).
//!
//! The state of each table (version, files, transactions) is kept in memory and moved on by each commit, so a commit is one
//! create-only put of a log entry; the log is read when a table is opened or when another writer was there first.

use super::parquet::{self, Effort};
use crate::error::StorageError;
use crate::layout::{self, Owner};
use crate::metrics::Metric;
use crate::object_store::{SCHEME, Store};
use crate::steps::Step;
use afferent_engine::checkpoint::{Epoch, GroupName};
use afferent_engine::error::Result;
use afferent_engine::schema::{TableDef, TableName};
use afferent_engine::table::{DataFile, Rows, TableFiles, TableStore};
use async_trait::async_trait;
use deltalake_core::logstore::{LogStore, LogStoreFactory, LogStoreRef, StorageConfig, default_logstore, logstore_factories, logstore_with};
use deltalake_core::{DeltaResult, DeltaTable};
use object_store::ObjectStore;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use tokio::time::Instant;
use url::Url;

mod commit;
mod lifecycle;
mod log;

use commit::Change;
use log::TableLog;

/// Tables that one store may have.
const TABLES_MAX: usize = 4096;

/// The tables of one store, as one engine has to do with them. What is known of them is shared by all that are made [`Self::of`] one.
#[derive(Debug)]
pub struct DeltaTables {
    store: Store,
    /// Of the files, only its own are seen, replaced and removed.
    owner: Owner,
    tables: Arc<Mutex<BTreeMap<TableName, Arc<Table>>>>,
    /// Tables that were looked at since it was made: what another process published before that is known.
    looked: Mutex<BTreeSet<TableName>>,
    /// Held while a table is made, dropped or purged.
    shape: Arc<tokio::sync::Mutex<()>>,
    /// Held while files are merged: what that takes of memory does not grow with the engines of a process.
    pub(crate) merging: Arc<tokio::sync::Mutex<()>>,
}

/// One table.
#[derive(Debug)]
struct Table {
    name: TableName,
    /// How to write it; none for a table that was only read so far.
    def: RwLock<Option<TableDef>>,
    /// Held for the length of a commit.
    log: tokio::sync::Mutex<TableLog>,
    published: RwLock<Arc<TableFiles>>,
    /// What engines of single groups see of it; changed only where their own files are others.
    shares: Mutex<BTreeMap<Owner, Arc<TableFiles>>>,
    /// Every version that was handed out: those that are still held may still be read.
    shown: Mutex<Vec<Weak<TableFiles>>>,
}

impl Table {
    fn new(name: &TableName, log: TableLog) -> Self {
        let published = log.files();
        let shown = Mutex::new(vec![Arc::downgrade(&published)]);
        let (def, shares) = (RwLock::default(), Mutex::default());
        Self { name: name.clone(), def, log: tokio::sync::Mutex::new(log), published: RwLock::new(published), shares, shown }
    }

    fn def(&self) -> Option<TableDef> {
        self.def.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_def(&self, def: Option<TableDef>) {
        *self.def.write().unwrap_or_else(PoisonError::into_inner) = def;
    }

    fn published(&self) -> Arc<TableFiles> {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_published(&self, files: Arc<TableFiles>) {
        metrics::gauge!(Metric::TableFiles.name(), "table" => self.name.to_string()).set(files.files.len() as f64);
        self.note_shown(&files);
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = files;
    }

    fn note_shown(&self, files: &Arc<TableFiles>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|version| version.strong_count() > 0);
        shown.push(Arc::downgrade(files));
    }

    /// What `owner` sees of these files.
    fn share(&self, owner: &Owner, files: Arc<TableFiles>) -> Arc<TableFiles> {
        if *owner == Owner::Sole {
            return files;
        }
        let own: Vec<&DataFile> = files.files.iter().filter(|file| owner.has(&file.path)).collect();
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shares.get(owner).filter(|known| known.version > files.version || known.files.iter().eq(own.iter().copied())) {
            return known.clone();
        }
        let share = Arc::new(TableFiles { version: files.version, files: own.into_iter().cloned().collect() });
        self.note_shown(&share);
        shares.insert(owner.clone(), share.clone());
        share
    }

    /// Commits a change and shows what the table is then; after a failure too, for the log may have been read meanwhile.
    async fn change(&self, log: &mut TableLog, change: &Change) -> Result<Arc<TableFiles>, StorageError> {
        let done = log.commit(change).await;
        if log.files().version != self.published().version {
            self.set_published(log.files());
        }
        done
    }

    /// Versions that somebody holds, the newest among them.
    fn held(&self) -> Vec<Arc<TableFiles>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }
}

impl DeltaTables {
    /// The tables in `store`.
    pub fn new(store: Store) -> Arc<Self> {
        if let Ok(scheme) = Url::parse(&format!("{SCHEME}://")) {
            logstore_factories().insert(scheme, Arc::new(PlainLogs));
        }
        Arc::new(Self { store, owner: Owner::Sole, tables: Arc::default(), looked: Mutex::default(), shape: Arc::default(), merging: Arc::default() })
    }

    /// The same tables for one of several engines that write them, each in files of its own. Made anew for each run of the engine: between two of them
    /// another process may have published.
    pub fn of(&self, group: &GroupName) -> Arc<Self> {
        let owner = Owner::Group(group.clone());
        Arc::new(Self {
            store: self.store.clone(),
            owner,
            tables: self.tables.clone(),
            looked: Mutex::default(),
            shape: self.shape.clone(),
            merging: self.merging.clone(),
        })
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Tables that were ensured, as they are written.
    pub(crate) fn defs(&self) -> Vec<TableDef> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.values().filter_map(|t| t.def()).collect()
    }

    /// Versions of every table that this process still holds, for a reader, a checkpoint or itself.
    pub(crate) fn held(&self) -> Vec<(TableName, Arc<TableFiles>)> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.iter().flat_map(|(name, table)| table.held().into_iter().map(|files| (name.clone(), files))).collect()
    }

    /// Every published file of a table, whoever wrote it.
    pub(crate) async fn all_files(&self, table: &TableName) -> Result<Arc<TableFiles>, StorageError> {
        Ok(self.existing(table).await?.map(|table| table.published()).unwrap_or_default())
    }

    /// Takes files out of a table, and their rows with them, in one commit.
    ///
    /// # Errors
    /// `Unavailable`: nothing was changed.
    pub(crate) async fn remove(&self, table: &TableName, removed: &[DataFile]) -> Result<Arc<TableFiles>, StorageError> {
        self.store.check_writer(&self.owner).await?;
        let table = self.existing(table).await?.ok_or_else(|| unknown(table))?;
        let mut log = table.log.lock().await;
        let files = table.change(&mut log, &Change::Remove { removed: removed.iter().map(|f| f.path.clone()).collect() }).await?;
        Ok(table.share(&self.owner, files))
    }

    /// Replaces files by others with the same rows, or by those among them that still count (`fewer`), in one commit.
    ///
    /// # Errors
    /// `Unavailable` where one of the files is no longer part of the table: nothing was changed.
    pub(crate) async fn replace(
        &self,
        table: &TableName,
        removed: &[DataFile],
        added: Vec<DataFile>,
        fewer: bool,
    ) -> Result<Arc<TableFiles>, StorageError> {
        self.store.check_writer(&self.owner).await?;
        let table = self.existing(table).await?.ok_or_else(|| unknown(table))?;
        let removed = removed.iter().map(|f| f.path.clone()).collect();
        let mut log = table.log.lock().await;
        let files = table.change(&mut log, &Change::Replace { removed, added, fewer }).await?;
        Ok(table.share(&self.owner, files))
    }

    /// Folds a table's log into a Delta checkpoint when enough commits came since the last, and removes entries older than a while.
    pub(crate) async fn tend_log(&self, table: &TableName) -> Result<(), StorageError> {
        let Some(table) = self.existing(table).await? else { return Ok(()) };
        let due = table.log.lock().await.checkpoint_due();
        match due {
            // The log is read, not the state in memory, so the lock is not needed: commits go on meanwhile.
            Some(store) => {
                log::fold(&table.name, store).await?;
                self.store.reached(Step::LogFolded);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Reads what other processes have committed, where there may be others.
    pub(crate) async fn catch_up(&self, name: &TableName) -> Result<(), StorageError> {
        if !self.store.is_shared() {
            return Ok(());
        }
        let Some(table) = self.known(name) else { return Ok(()) };
        let mut log = table.log.lock().await;
        let read = log.catch_up().await;
        // Whoever went before may have been cut off between reading and showing.
        if log.files().version != table.published().version {
            table.set_published(log.files());
        }
        read
    }

    /// The table with its log loaded; none if it was never made.
    async fn existing(&self, name: &TableName) -> Result<Option<Arc<Table>>, StorageError> {
        if let Some(table) = self.known(name) {
            return Ok(Some(table));
        }
        if lifecycle::is_purging(&self.store, name).await? {
            return Ok(None);
        }
        let store = self.log_store(name)?;
        let exists = store.is_delta_table_location().await.map_err(|source| delta(name, "look for its log", source))?;
        if !exists {
            return Ok(None);
        }
        let (mut opened, began) = (DeltaTable::new(store.clone()), Instant::now());
        opened.load().await.map_err(|source| delta(name, "read its log", source))?;
        Ok(Some(self.remember(name, &opened, began)?))
    }

    fn known(&self, name: &TableName) -> Option<Arc<Table>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// `began`: when reading it began.
    fn remember(&self, name: &TableName, opened: &DeltaTable, began: Instant) -> Result<Arc<Table>, StorageError> {
        let log = TableLog::of(name, opened, began)?;
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.len() >= TABLES_MAX && !tables.contains_key(name) {
            return Err(StorageError::BadRows { table: name.to_string(), reason: format!("the store has {TABLES_MAX} tables, no more are made") });
        }
        // Two tasks may open a table at once; the first one's log counts, so that its state stays the only one.
        Ok(tables.entry(name.clone()).or_insert_with(|| Arc::new(Table::new(name, log))).clone())
    }

    fn log_store(&self, name: &TableName) -> Result<LogStoreRef, StorageError> {
        let mut url = self.store.url().clone();
        url.set_path(&format!("/{}/", layout::table_root(name)));
        logstore_with(self.store.objects().clone(), &url, StorageConfig::default()).map_err(|source| delta(name, "open its log", source))
    }

    async fn publish_one(&self, group: &GroupName, epoch: Epoch, name: &TableName, files: &[DataFile]) -> Result<(), StorageError> {
        self.store.check_owner()?;
        let table = self.existing(name).await?.ok_or_else(|| unknown(name))?;
        let mut log = table.log.lock().await;
        let change = Change::Append { group: group.clone(), epoch, added: files.to_vec() };
        table.change(&mut log, &change).await?;
        self.store.reached(Step::TablePublished);
        Ok(())
    }
}

#[async_trait]
impl TableStore for DeltaTables {
    async fn ensure(&self, table: &TableDef) -> Result<()> {
        // The folder is removed by nobody but an operator, so what was checked once stays right while the program runs.
        let known = self.known(&table.name).and_then(|known| known.def());
        if known.is_some_and(|def| def == *table) {
            return Ok(());
        }
        Ok(self.make(table).await?)
    }

    async fn write(&self, table: &TableDef, epoch: Epoch, rows: Rows) -> Result<Vec<DataFile>> {
        let (store, table, owner) = (self.store.clone(), table.clone(), self.owner.clone());
        let handle = tokio::runtime::Handle::current();
        self.store.reached(Step::TableBegun);
        let written = tokio::task::spawn_blocking(move || {
            let name = |date: &str, token: u64| owner.epoch_file(date, epoch, token);
            parquet::write_files(&store, &handle, &table, Effort::Fresh, &name, rows.map(Ok))
        });
        let files = written.await.map_err(|e| StorageError::Task { reason: e.to_string() })??;
        self.store.reached(Step::TableWritten);
        Ok(files)
    }

    async fn publish(&self, group: &GroupName, epoch: Epoch, files: &BTreeMap<TableName, Vec<DataFile>>) -> Result<()> {
        let filled = files.iter().filter(|(_, files)| !files.is_empty());
        let commits = filled.map(|(name, files)| self.publish_one(group, epoch, name, files));
        // The commits wait for the disk, not for each other.
        futures::future::try_join_all(commits).await?;
        self.store.reached(Step::EpochPublished);
        Ok(())
    }

    async fn files(&self, table: &TableName) -> Result<Arc<TableFiles>> {
        let known = self.existing(table).await?;
        if self.owner != Owner::Sole && !self.looked.lock().unwrap_or_else(PoisonError::into_inner).contains(table) {
            self.catch_up(table).await?;
            self.looked.lock().unwrap_or_else(PoisonError::into_inner).insert(table.clone());
        }
        match known {
            Some(table) => Ok(table.share(&self.owner, table.published())),
            None => Ok(Arc::new(TableFiles { version: -1, files: Vec::new() })),
        }
    }
}

/// Log stores of our own scheme are Delta's plain ones: a log entry is a create-only put.
struct PlainLogs;

impl LogStoreFactory for PlainLogs {
    fn with_options(
        &self,
        table: Arc<dyn ObjectStore>,
        root: Arc<dyn ObjectStore>,
        location: &Url,
        options: &StorageConfig,
    ) -> DeltaResult<Arc<dyn LogStore>> {
        Ok(default_logstore(table, root, location, options))
    }
}

fn delta(table: &TableName, doing: &'static str, source: deltalake_core::DeltaTableError) -> StorageError {
    StorageError::Delta { table: table.to_string(), doing, source }
}

fn unknown(table: &TableName) -> StorageError {
    StorageError::UnknownTable { table: table.to_string() }
}

#[cfg(test)]
mod tests;
