//! The lake's ports: files that are written but not yet seen, their publication per epoch, and reading back what was published.

use crate::checkpoint::{Epoch, GroupName};
use crate::error::Result;
use crate::schema::{TableDef, TableName};
use crate::series::SeriesId;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use std::collections::BTreeMap;
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

/// Reads published raw rows back for the exact slow path and for recovery.
#[async_trait]
pub trait History: Send + Sync + 'static {
    /// Rows of `samples` (columns of [`crate::schema::samples`]) of these series in `[start, end)` microseconds, in no particular order.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`.
    async fn samples(&self, files: &TableFiles, series: &[SeriesId], micros: Range<i64>) -> Result<Vec<RecordBatch>>;
}
