//! What a process that works says of what it shows: only what the one that asks does not know yet. Rows in memory go apart.

use crate::roster::Place;
use afferent_engine::error::Result;
use afferent_engine::live::{ReadView, ViewInfo};
use afferent_engine::schema::TableName;
use afferent_engine::state::{decode_batches, encode_batches};
use afferent_engine::status::{LogStatus, RepairStatus, SourceStatus, Status, ViewStatus};
use afferent_engine::table::{DataFile, TableFiles};
use afferent_engine::time::{EventTime, WallTime};
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A question, with what is known.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Delta version of each table whose files are known; what a version holds never changes.
    pub(super) versions: BTreeMap<TableName, i64>,
    /// Mark of the catalog that is known.
    pub(super) catalog: u64,
    /// Reads that are over.
    pub(super) over: Vec<u64>,
    /// Who asks, where it runs stages of statements.
    #[serde(default)]
    pub(super) from: Option<Place>,
    /// The engine of which partition is asked; none: whatever the process shows its own readers.
    #[serde(default)]
    pub(super) partition: Option<u32>,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    /// Names this state of all tables, for as long as it is kept.
    pub(super) read: u64,
    /// Tables that have rows in memory.
    pub(super) live: Vec<TableName>,
    versions: BTreeMap<TableName, i64>,
    /// Of those tables whose version was not known.
    files: BTreeMap<TableName, Vec<DataFile>>,
    catalog_mark: u64,
    /// Where its mark was not known.
    catalog: Option<Catalog>,
    status: Standing,
    /// Who runs stages of statements.
    #[serde(default)]
    pub(super) places: Vec<Place>,
}

/// Views and metrics: what seldom changes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Catalog {
    views: BTreeMap<TableName, Named>,
    metrics: BTreeMap<String, Vec<String>>,
}

/// A view.
#[derive(Debug, Serialize, Deserialize)]
struct Named {
    /// Columns, as an Arrow stream without rows.
    schema: Vec<u8>,
    key: Vec<String>,
    sql: String,
    generation: u64,
    table: TableName,
}

/// What answers tell of the time they stand on.
#[derive(Debug, Serialize, Deserialize)]
struct Standing {
    watermark: Option<EventTime>,
    final_before: Option<EventTime>,
    as_of: Option<EventTime>,
    epoch: u64,
    logs: BTreeMap<String, LogStatus>,
    /// Every view, also those that fill: complete up to, computed at, generation.
    views: BTreeMap<String, (Option<EventTime>, WallTime, u64)>,
    #[serde(default)]
    sources: BTreeMap<String, SourceStatus>,
    #[serde(default)]
    repair: RepairStatus,
    /// Live series and samples in memory.
    #[serde(default)]
    counts: (usize, usize),
    /// What it lacks itself.
    #[serde(default)]
    missing: Vec<String>,
}

impl Asked {
    /// Asks for what differs from `known`.
    pub(super) fn new(known: Option<(&ReadView, u64)>, over: Vec<u64>) -> Self {
        let Some((view, catalog)) = known else { return Self { over, ..Self::default() } };
        let versions = view.files.iter().map(|(table, files)| (table.clone(), files.version)).collect();
        Self { versions, catalog, over, ..Self::default() }
    }
}

impl Catalog {
    /// What `view` names.
    ///
    /// # Errors
    /// `Internal` where a schema cannot be written.
    pub(super) fn of(view: &ReadView) -> Result<Self> {
        let named = |(name, info): (&TableName, &ViewInfo)| {
            let schema = encode_batches(&[RecordBatch::new_empty(info.schema.clone())])?.to_vec();
            let (key, sql, generation, table) = (info.key.clone(), info.sql.clone(), info.generation, info.table.clone());
            Ok((name.clone(), Named { schema, key, sql, generation, table }))
        };
        let metrics = view.metrics.iter().map(|(metric, labels)| (metric.clone(), labels.to_vec())).collect();
        Ok(Self { views: view.views.iter().map(named).collect::<Result<_>>()?, metrics })
    }

    fn views(&self) -> Result<BTreeMap<TableName, ViewInfo>> {
        let info = |(name, named): (&TableName, &Named)| {
            let schema = decode_schema(&named.schema)?;
            let (key, sql, generation, table) = (named.key.clone(), named.sql.clone(), named.generation, named.table.clone());
            Ok((name.clone(), ViewInfo { schema, key, sql, generation, table }))
        };
        self.views.iter().map(info).collect()
    }
}

fn decode_schema(bytes: &[u8]) -> Result<arrow::datatypes::SchemaRef> {
    let empty = decode_batches(bytes)?;
    let corrupt = || afferent_engine::error::Error::internal("a view came without its columns");
    Ok(empty.first().ok_or_else(corrupt)?.schema())
}

impl Told {
    /// What there is to say of `view` to one who asked so.
    ///
    /// # Errors
    /// `Internal` where a schema cannot be written.
    pub(super) fn of(view: &ReadView, read: u64, catalog_mark: u64, asked: &Asked) -> Result<Self> {
        let is_news = |(table, files): &(&TableName, &Arc<TableFiles>)| asked.versions.get(*table) != Some(&files.version);
        let catalog = if asked.catalog == catalog_mark { None } else { Some(Catalog::of(view)?) };
        let status = &view.status;
        Ok(Self {
            read,
            live: view.live.keys().cloned().collect(),
            versions: view.files.iter().map(|(table, files)| (table.clone(), files.version)).collect(),
            files: view.files.iter().filter(is_news).map(|(table, files)| (table.clone(), files.files.clone())).collect(),
            catalog_mark,
            catalog,
            places: Vec::new(),
            status: Standing {
                watermark: status.watermark,
                final_before: status.final_before,
                as_of: status.as_of,
                epoch: status.epoch,
                logs: status.logs.clone(),
                views: status.views.iter().map(|(name, v)| (name.clone(), (v.watermark, v.evaluated_at, v.generation))).collect(),
                sources: status.sources.iter().map(|(name, source)| (name.to_string(), source.clone())).collect(),
                repair: status.repair,
                counts: (status.series_count, status.buffered_rows),
                missing: status.missing.clone(),
            },
        })
    }

    /// The state told, on top of what was known when it was asked; without rows in memory. Also the mark of its catalog.
    ///
    /// # Errors
    /// `Corrupt` where what was told lacks something.
    pub(super) fn onto(mut self, known: Option<(&ReadView, u64)>) -> Result<(ReadView, u64)> {
        let lacks = |what: &str| afferent_engine::error::Error::internal(format!("the process that works did not tell {what}"));
        let mut files = BTreeMap::new();
        for (table, version) in self.versions {
            let told = self.files.remove(&table).map(|files| Arc::new(TableFiles { version, files }));
            let kept = || known.and_then(|(view, _)| view.files.get(&table)).filter(|files| files.version == version).cloned();
            let now = told.or_else(kept).ok_or_else(|| lacks(&format!("the files of {table}")))?;
            files.insert(table, now);
        }
        let (views, metrics) = match (&self.catalog, known) {
            (Some(catalog), _) => {
                let metrics = catalog.metrics.iter().map(|(metric, labels)| (metric.clone(), labels.as_slice().into()));
                (catalog.views()?, Arc::new(metrics.collect()))
            }
            (None, Some((view, mark))) if mark == self.catalog_mark => (view.views.clone(), view.metrics.clone()),
            _ => return Err(lacks("which views there are")),
        };
        let Standing { watermark, final_before, as_of, epoch, logs, views: of_views, sources, repair, counts, missing } = self.status;
        let sources = sources.into_iter().map(|(name, source)| (Arc::from(name), source)).collect();
        let of_view =
            |(name, (watermark, evaluated_at, generation))| (name, ViewStatus { watermark, evaluated_at, generation, ..ViewStatus::default() });
        let of_views = of_views.into_iter().map(of_view).collect();
        let (series_count, buffered_rows) = counts;
        let told = Status { recovered: true, watermark, final_before, as_of, epoch, logs, sources, repair, ..Status::default() };
        let status = Status { views: of_views, series_count, buffered_rows, missing, ..told };
        let view = ReadView { files, views, metrics, status: Arc::new(status), ..ReadView::default() };
        Ok((view, self.catalog_mark))
    }
}
