//! The lake's ports: files that are written but not yet seen, their publication per epoch, and reading back what was published.

use crate::checkpoint::{Epoch, GroupName};
use crate::error::{Error, Result};
use crate::schema::{TableDef, TableName};
use crate::series::SeriesId;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// One Parquet file of a table. Plain data: it stands in checkpoints and in read views.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct DataFile {
    /// Path relative to the table's root, `date=2026-11-22/...parquet`.
    pub path: String,
    /// Partition value, `2026-11-22`.
    pub date: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// Rows in it.
    pub row_count: u64,
    /// Delta's `stats` JSON: numRecords, minValues, maxValues, nullCount.
    pub stats: String,
}

/// The files of a table that a reader sees: one published version.
#[derive(Debug, Clone, Default)]
pub struct TableFiles {
    /// Delta version; -1 before the first commit.
    pub version: i64,
    /// Live files.
    pub files: Vec<DataFile>,
}

impl TableFiles {
    /// What several writers of one table each published, as one. Its version names this state among others, and says nothing of which is newer.
    pub fn together(parts: &[&Arc<TableFiles>]) -> Arc<TableFiles> {
        if let [one] = parts {
            return Arc::clone(one);
        }
        let mut hasher = DefaultHasher::new();
        parts.iter().for_each(|part| part.version.hash(&mut hasher));
        let version = i64::try_from(hasher.finish() >> 1).unwrap_or_default();
        Arc::new(TableFiles { version, files: parts.iter().flat_map(|part| part.files.iter().cloned()).collect() })
    }
}

/// Rows handed to the store, in the table's sort order, in batches of bounded size.
pub type Rows = Box<dyn Iterator<Item = RecordBatch> + Send>;

/// Writes and publishes tables.
#[async_trait]
pub trait TableStore: Send + Sync + 'static {
    /// Creates the table or checks that what is there has these columns.
    ///
    /// # Errors
    /// `Corrupt` where the columns differ.
    async fn ensure(&self, table: &TableDef) -> Result<()>;

    /// Writes rows as Parquet files that no reader sees yet; durable (fsynced) on return. Splits by `date`.
    ///
    /// # Errors
    /// `Unavailable` when the disk is full or the store is away; half-written files are left for the vacuum.
    async fn write(&self, table: &TableDef, epoch: Epoch, rows: Rows) -> Result<Vec<DataFile>>;

    /// Makes an epoch's files visible in every table. Idempotent per (group, epoch, table): what was published already is skipped.
    ///
    /// # Errors
    /// `Unavailable` to be tried again.
    async fn publish(&self, group: &GroupName, epoch: Epoch, files: &BTreeMap<TableName, Vec<DataFile>>) -> Result<()>;

    /// The newest published files of a table; empty for a table that was never made.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`.
    async fn files(&self, table: &TableName) -> Result<Arc<TableFiles>>;
}

/// Which rows a read of a table asks for. All conditions hold at once; a condition on a column that the table does not have is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only these metrics (column `metric`).
    pub metrics: Option<BTreeSet<String>>,
    /// Only these series (column `series_id`).
    pub series: Option<Vec<SeriesId>>,
    /// Only rows whose `date_from` column lies in `[start, end)`, microseconds.
    pub micros: Option<Range<i64>>,
}

/// Rows of a scan as they are read; the sender ends when there are no more, after an error at most.
pub type Scanned = tokio::sync::mpsc::Receiver<Result<RecordBatch>>;

/// Reads published rows back: for the exact slow path, repairs and backfills.
#[async_trait]
pub trait History: Send + Sync + 'static {
    /// Rows of these files of a table, with the table's columns (without `date`), in no particular order and in batches of bounded size. A column
    /// that a file does not have is null. Reading goes on only as fast as batches are taken, and stops when the receiver is dropped.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`, here or in the stream.
    async fn scan(&self, table: &TableDef, files: &TableFiles, wanted: &Wanted) -> Result<Scanned>;

    /// The same, gathered; for questions whose answer is known to be small.
    ///
    /// # Errors
    /// As [`Self::scan`], and `Invalid` over [`READ_ROWS_MAX`] rows.
    async fn read(&self, table: &TableDef, files: &TableFiles, wanted: &Wanted) -> Result<Vec<RecordBatch>> {
        let mut scanned = self.scan(table, files, wanted).await?;
        let (mut out, mut rows) = (vec![], 0);
        while let Some(batch) = scanned.recv().await {
            let batch = batch?;
            rows += batch.num_rows();
            if rows > READ_ROWS_MAX {
                return Err(Error::invalid(format!("a read of {} would give more than {READ_ROWS_MAX} rows", table.name)));
            }
            out.push(batch);
        }
        Ok(out)
    }
}

/// Rows that [`History::read`] may gather.
pub const READ_ROWS_MAX: usize = 32_000_000;
