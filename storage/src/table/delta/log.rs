//! One table's Delta log: its state in memory, and appending to it. Decisions stand in `commit`.

use super::commit::{Change, Decision};
use super::delta;
use crate::error::StorageError;
use crate::layout::DATE_COLUMN;
use crate::metrics::Metric;
use crate::table::columns::{self, Fits};
use crate::table::stats::FileStats;
use afferent_engine::clock::{Clock, SystemClock};
use afferent_engine::schema::TableName;
use afferent_engine::table::{DataFile, TableFiles};
use deltalake_core::kernel::transaction::{CommitData, TransactionError};
use deltalake_core::kernel::{Action, Add, Metadata, MetadataExt, StructField, StructType, Transaction};
use deltalake_core::logstore::{CommitOrBytes, LogStoreRef, commit_uri_from_version, get_actions};
use deltalake_core::protocol::DeltaOperation;
use deltalake_core::protocol::checkpoints::{cleanup_expired_logs_for, create_checkpoint};
use deltalake_core::table::state::DeltaTableState;
use deltalake_core::{DeltaTable, DeltaTableError};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Commits after which the log is folded into a Delta checkpoint.
const FOLD_EVERY_COMMITS: u64 = 64;

/// Log entries older than this that a checkpoint covers are removed: how far back other programs can travel in time.
const LOG_KEPT_MS: i64 = 3_600_000;

/// Files of a log, beyond which older entries go before their time, so that commits every second do not fill a folder.
const LOG_FILES_MAX: usize = 1024;

/// Entries younger than this stay in any case: whoever writes to the table has read them by then.
const LOG_KEPT_MIN_MS: i64 = 600_000;

/// A state older than this is read anew from the newest fold: the entries after it may be gone, and their names free again.
const STATE_AGE_MAX: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 300 });

/// How long a folded log names removed files, for vacuums of other programs: a week by Delta's default, which at a commit a second would be
/// hundreds of thousands of them in every fold.
pub(super) const TOMBSTONES_KEPT: (&str, &str) = ("delta.deletedFileRetentionDuration", "interval 1 hour");

/// The same as a table's properties.
pub(super) fn tombstones_kept() -> HashMap<String, String> {
    HashMap::from([(TOMBSTONES_KEPT.0.to_owned(), TOMBSTONES_KEPT.1.to_owned())])
}

/// How often a commit is tried against other writers.
const ATTEMPTS_MAX: u32 = 16;

/// A table as of a version.
#[derive(Debug)]
pub(super) struct State {
    pub(super) files: Arc<TableFiles>,
    /// Newest epoch per group.
    pub(super) transactions: HashMap<String, i64>,
    columns: Vec<StructField>,
    metadata: Metadata,
}

/// A table's log and its state.
#[derive(Debug)]
pub(super) struct TableLog {
    name: TableName,
    store: LogStoreRef,
    state: State,
    /// The state as it was read, for transactions of groups that were not asked for yet. It lags behind `state`, but only by our own commits.
    read: Option<DeltaTableState>,
    commits_since_fold: u64,
    /// When the state was that of the newest version.
    newest_at: Instant,
}

impl TableLog {
    /// Takes over what was read of a log.
    pub(super) fn of(name: &TableName, opened: &DeltaTable, newest_at: Instant) -> Result<Self, StorageError> {
        let read = opened.snapshot().map_err(|source| delta(name, "read its log", source))?.clone();
        let state = state_of(name, &read)?;
        // How long ago the last fold was is not known after a start, so a long log is folded at the first occasion.
        let commits_since_fold = u64::try_from(state.files.version).unwrap_or_default();
        Ok(Self { name: name.clone(), store: opened.log_store(), state, read: Some(read), commits_since_fold, newest_at })
    }

    pub(super) fn files(&self) -> Arc<TableFiles> {
        self.state.files.clone()
    }

    /// Commits a change, or finds it committed; gives the files after it.
    pub(super) async fn commit(&mut self, change: &Change) -> Result<Arc<TableFiles>, StorageError> {
        let label = self.name.to_string();
        for _ in 0..ATTEMPTS_MAX {
            if self.newest_at.elapsed() > STATE_AGE_MAX {
                self.reload().await?;
            }
            if let Change::Append { group, .. } = change {
                self.look_up(&group.0).await?;
            }
            let (actions, transaction) = match change.decide(&self.state, SystemClock.now().0) {
                Decision::Write { actions, transaction } => (actions, transaction),
                Decision::Done => {
                    metrics::counter!(Metric::CommitsSkipped.name(), "table" => label).increment(1);
                    return Ok(self.files());
                }
                Decision::Superseded { path } => {
                    // Another writer may have brought the file in since the log was read.
                    let known = self.state.files.version;
                    self.reload().await?;
                    if self.state.files.version == known {
                        return Err(StorageError::Superseded { table: label, path });
                    }
                    continue;
                }
            };
            let version = self.state.files.version + 1;
            match self.append(version, actions, transaction.clone(), change.operation()).await {
                // Whoever slept meanwhile may have been given a name that was taken once: the log says whether this entry counts.
                Ok(()) if self.newest_at.elapsed() > STATE_AGE_MAX => self.reload().await?,
                Ok(()) => {
                    self.newest_at = Instant::now();
                    self.state.files = Arc::new(change.apply(&self.state.files, version));
                    if let Some(transaction) = transaction {
                        self.state.transactions.insert(transaction.app_id, transaction.version);
                    }
                    self.commits_since_fold += 1;
                    metrics::counter!(Metric::CommitsOut.name(), "table" => label).increment(1);
                    return Ok(self.files());
                }
                Err(TransactionError::VersionAlreadyExists(_)) => {
                    metrics::counter!(Metric::CommitRetries.name(), "table" => label.clone()).increment(1);
                    tracing::debug!(table = %self.name, version, "an entry of that version stands already; reading it");
                    self.advance().await?;
                }
                Err(error) => {
                    // Whether the entry was written is not known: the log says it.
                    self.reload().await?;
                    if let Change::Append { group, .. } = change {
                        self.look_up(&group.0).await?;
                    }
                    if matches!(change.decide(&self.state, SystemClock.now().0), Decision::Done) {
                        return Ok(self.files());
                    }
                    return Err(delta(&self.name, "commit", error.into()));
                }
            }
        }
        Err(StorageError::Contended { table: label, attempts: ATTEMPTS_MAX })
    }

    /// Gives the table exactly these columns: adds those that it lacks and that may be null. One without files that is made `anew` takes any.
    pub(super) async fn shape(&mut self, ours: &[StructField], anew: bool) -> Result<(), StorageError> {
        let failed = |name: &TableName, source| delta(name, "change its columns", source);
        for _ in 0..ATTEMPTS_MAX {
            if self.newest_at.elapsed() > STATE_AGE_MAX {
                self.reload().await?;
            }
            let fits = columns::compare(&self.state.columns, ours);
            let kept_known = self.state.metadata.configuration().contains_key(TOMBSTONES_KEPT.0);
            let (fields, operation) = match fits {
                Fits::Same if kept_known => return Ok(()),
                Fits::Same => (self.state.columns.clone(), DeltaOperation::SetTableProperties { properties: tombstones_kept() }),
                Fits::Lacks(lacking) => {
                    let known = |f: &StructField| self.state.columns.iter().find(|s| s.name() == f.name()).cloned();
                    let fields: Vec<StructField> = ours.iter().map(|f| known(f).unwrap_or_else(|| f.clone())).collect();
                    (fields, DeltaOperation::AddColumn { fields: lacking })
                }
                // Without rows there is nothing that could not be read.
                Fits::Differs(_) if anew && self.state.files.files.is_empty() => (ours.to_vec(), DeltaOperation::AddColumn { fields: ours.to_vec() }),
                Fits::Differs(difference) => return Err(StorageError::ColumnsDiffer { table: self.name.to_string(), difference }),
            };
            let schema = StructType::try_new(fields.clone()).map_err(|e| failed(&self.name, e.into()))?;
            let metadata = self.state.metadata.clone().with_schema(&schema).map_err(|e| failed(&self.name, e.into()))?;
            let (key, value) = TOMBSTONES_KEPT;
            let metadata = metadata.add_config_key(key.to_owned(), value.to_owned()).map_err(|e| failed(&self.name, e.into()))?;
            let version = self.state.files.version + 1;
            match self.append(version, vec![Action::Metadata(metadata.clone())], None, operation).await {
                Ok(()) if self.newest_at.elapsed() > STATE_AGE_MAX => self.reload().await?,
                Ok(()) => {
                    tracing::info!(table = %self.name, version, "the table's columns were changed to those of this version");
                    self.state.files = Arc::new(TableFiles { version, files: self.state.files.files.clone() });
                    (self.state.columns, self.state.metadata) = (fields, metadata);
                    self.commits_since_fold += 1;
                    return Ok(());
                }
                Err(TransactionError::VersionAlreadyExists(_)) => self.reload().await?,
                Err(error) => {
                    self.reload().await?;
                    return Err(failed(&self.name, error.into()));
                }
            }
        }
        Err(StorageError::Contended { table: self.name.to_string(), attempts: ATTEMPTS_MAX })
    }

    async fn append(
        &self,
        version: i64,
        actions: Vec<Action>,
        transaction: Option<Transaction>,
        operation: DeltaOperation,
    ) -> Result<(), TransactionError> {
        let data = CommitData::new(actions, operation, HashMap::new(), transaction.into_iter().collect());
        let entry = CommitOrBytes::LogBytes(data.get_bytes()?);
        self.store.write_commit_entry(u64::try_from(version).unwrap_or_default(), entry, Default::default()).await
    }

    /// Makes sure that a group's newest epoch is known.
    async fn look_up(&mut self, group: &str) -> Result<(), StorageError> {
        if self.state.transactions.contains_key(group) {
            return Ok(());
        }
        if self.read.is_none() {
            self.reload().await?;
        }
        let Some(read) = &self.read else { return Ok(()) };
        let seen = read.transaction_version(self.store.as_ref(), group).await.map_err(|source| delta(&self.name, "read its transactions", source))?;
        // Epochs count from 1.
        self.state.transactions.insert(group.to_owned(), seen.unwrap_or(0));
        // What was read is big for a table of many files; later groups are rare and read again.
        self.read = None;
        Ok(())
    }

    /// Reads the log if it has an entry after the newest one known.
    pub(super) async fn catch_up(&mut self) -> Result<(), StorageError> {
        if self.newest_at.elapsed() > STATE_AGE_MAX {
            return self.reload().await;
        }
        let next = u64::try_from(self.state.files.version + 1).unwrap_or_default();
        match self.store.object_store(None).head(&commit_uri_from_version(Some(next))).await {
            Ok(_) => self.advance().await,
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(delta(&self.name, "look for new entries", DeltaTableError::ObjectStore { source })),
        }
    }

    /// Reads the entries that came after the newest one known, one by one; the whole log where one of them changes more than files.
    async fn advance(&mut self) -> Result<(), StorageError> {
        let failed = |name: &TableName, source| delta(name, "read its log", source);
        let mut next = self.state.files.as_ref().clone();
        let mut transactions = vec![];
        loop {
            let began = Instant::now();
            let version = u64::try_from(next.version + 1).unwrap_or_default();
            // Entries may have been removed since the one before was read: that there is none says nothing then.
            if self.newest_at.elapsed() > STATE_AGE_MAX {
                return self.reload().await;
            }
            let Some(entry) = self.store.read_commit_entry(version).await.map_err(|source| failed(&self.name, source))? else {
                if self.newest_at.elapsed() > STATE_AGE_MAX {
                    return self.reload().await;
                }
                // What was read of transactions before is older than this.
                self.read = None;
                self.state.files = Arc::new(next);
                self.state.transactions.extend(transactions);
                self.newest_at = began;
                return Ok(());
            };
            let actions = get_actions(version, &entry).map_err(|source| failed(&self.name, source))?;
            if !follow(&mut next, &mut transactions, actions) {
                return self.reload().await;
            }
        }
    }

    async fn reload(&mut self) -> Result<(), StorageError> {
        let began = Instant::now();
        let read = DeltaTableState::try_new(self.store.as_ref(), None).await.map_err(|source| delta(&self.name, "read its log", source))?;
        self.state = state_of(&self.name, &read)?;
        self.read = Some(read);
        self.newest_at = began;
        Ok(())
    }

    /// The log's store if it is time to fold it; counts from now on.
    pub(super) fn checkpoint_due(&mut self) -> Option<LogStoreRef> {
        if self.commits_since_fold < FOLD_EVERY_COMMITS {
            return None;
        }
        self.commits_since_fold = 0;
        Some(self.store.clone())
    }
}

/// Takes the actions of the next entry to a table's files; false where they change anything else.
fn follow(files: &mut TableFiles, transactions: &mut Vec<(String, i64)>, actions: Vec<Action>) -> bool {
    let (mut added, mut removed) = (vec![], BTreeSet::new());
    for action in actions {
        match action {
            Action::Add(add) if add.deletion_vector.is_none() => added.push(data_file(add)),
            Action::Remove(remove) => drop(removed.insert(remove.path)),
            Action::Txn(transaction) => transactions.push((transaction.app_id, transaction.version)),
            Action::CommitInfo(_) => {}
            _ => return false,
        }
    }
    files.files.retain(|file| !removed.contains(&file.path));
    files.files.extend(added);
    files.version += 1;
    true
}

fn data_file(add: Add) -> DataFile {
    let date = add.partition_values.get(DATE_COLUMN).cloned().flatten().unwrap_or_default();
    let stats = add.stats.unwrap_or_else(|| "{}".to_owned());
    let row_count = FileStats::parse(&stats).num_records.unwrap_or_default();
    DataFile { path: add.path, date, size_bytes: u64::try_from(add.size).unwrap_or_default(), row_count, stats }
}

/// Writes a Delta checkpoint of the newest version and removes log entries that it makes superfluous.
pub(super) async fn fold(name: &TableName, store: LogStoreRef) -> Result<(), StorageError> {
    let failed = |source| delta(name, "fold its log", source);
    let mut table = DeltaTable::new(store.clone());
    table.load().await.map_err(failed)?;
    create_checkpoint(&table, None).await.map_err(failed)?;
    let Some(version) = table.version() else { return Ok(()) };
    let kept_from = kept_from(name, &store, SystemClock.now().0).await?;
    let removed = cleanup_expired_logs_for(version, store.as_ref(), kept_from, None).await.map_err(failed)?;
    tracing::debug!(table = %name, version, removed, "folded the log");
    Ok(())
}

/// Log files written before this may go.
async fn kept_from(name: &TableName, store: &LogStoreRef, now_ms: i64) -> Result<i64, StorageError> {
    let failed = |source| delta(name, "list its log", DeltaTableError::ObjectStore { source });
    let listed: Vec<_> = store.object_store(None).list(Some(store.log_path())).try_collect().await.map_err(failed)?;
    let mut written: Vec<i64> = listed.iter().map(|file| file.last_modified.timestamp_millis()).collect();
    written.sort_unstable_by(|a, b| b.cmp(a));
    let by_count = written.get(LOG_FILES_MAX).copied().unwrap_or(i64::MIN);
    Ok(by_count.min(now_ms - LOG_KEPT_MIN_MS).max(now_ms - LOG_KEPT_MS))
}

fn state_of(name: &TableName, read: &DeltaTableState) -> Result<State, StorageError> {
    let mut files = Vec::new();
    for file in read.log_data().iter() {
        if file.deletion_vector_descriptor().is_some() {
            return Err(delta(
                name,
                "use it",
                DeltaTableError::Generic("another program added deletion vectors, which this one cannot read".to_owned()),
            ));
        }
        let date = file.partition_values_map().get(DATE_COLUMN).cloned().flatten().unwrap_or_default();
        let stats = file.stats().unwrap_or_else(|| "{}".to_owned());
        let row_count = file.num_records().map(|n| n as u64).or_else(|| FileStats::parse(&stats).num_records);
        files.push(DataFile {
            path: file.path().into_owned(),
            date,
            size_bytes: u64::try_from(file.size()).unwrap_or_default(),
            row_count: row_count.unwrap_or_default(),
            stats,
        });
    }
    let version = i64::try_from(read.version()).unwrap_or(i64::MAX);
    let columns = read.schema().fields().cloned().collect();
    Ok(State { files: Arc::new(TableFiles { version, files }), transactions: HashMap::new(), columns, metadata: read.metadata().clone() })
}
