//! A plan that reads files of one table: files, row groups and pages left out by their bounds. Not rows in memory (`provider`).
//!
//! The scan's own columns are the file's, then `date`; [`scan_index`] translates from a reader's order, where `date` comes first.

use super::pins::PinnedReaders;
use super::stats::{self, Bound, FileStats};
use crate::layout::{self, DATE_COLUMN};
use crate::metrics::Metric;
use crate::object_store::Store;
use afferent_engine::schema::TableName;
use afferent_engine::table::DataFile;
use arrow::array::{ArrayRef, BooleanArray, Date32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::{DateTime, Datelike, NaiveDate};
use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use object_store::ObjectMeta;
use std::collections::HashSet;
use std::sync::Arc;

/// What of a table is read.
pub(crate) struct Scan<'a> {
    pub(crate) store: &'a Store,
    pub(crate) table: &'a TableName,
    /// The table's columns without `date`.
    pub(crate) schema: &'a SchemaRef,
    pub(crate) files: Vec<DataFile>,
    /// Indices into the scan's columns.
    pub(crate) projection: Option<Vec<usize>>,
    /// Leaves out row groups, pages and rows; what it cannot leave out it lets through.
    pub(crate) predicate: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) limit: Option<usize>,
    pub(crate) grouping: Grouping,
    pub(crate) runtime: &'a RuntimeEnv,
}

/// How files become partitions of the plan.
pub(crate) enum Grouping {
    /// Spread over this many.
    Spread(usize),
    /// Each file by itself, with rows in this order.
    Ordered(LexOrdering),
}

/// The columns of a scan: the file's, then `date`.
pub(crate) fn scan_schema(table: &Schema) -> SchemaRef {
    let mut fields = table.fields().to_vec();
    fields.push(Arc::new(date_field()));
    Arc::new(Schema::new(fields))
}

/// The index among the scan's columns of a column in a reader's order.
pub(crate) fn scan_index(table: &Schema, read_index: usize) -> usize {
    read_index.checked_sub(1).unwrap_or(table.fields().len())
}

fn date_field() -> Field {
    Field::new(DATE_COLUMN, DataType::Date32, false)
}

impl Scan<'_> {
    /// Makes the plan.
    pub(crate) fn plan(self) -> Result<Arc<DataSourceExec>> {
        let url = ObjectStoreUrl::parse(self.store.url())?;
        self.runtime.register_object_store(url.as_ref(), self.store.objects().clone());
        let columns = TableSchema::builder(self.schema.clone()).with_table_partition_cols(vec![Arc::new(date_field())]).build();
        let column_count = columns.table_schema().fields().len();
        let readers = CachedParquetFileReaderFactory::new(self.store.objects().clone(), self.runtime.cache_manager.get_file_metadata_cache());
        let pinned = self.store.pins().pin(self.files.iter().map(|f| layout::data_file(self.table, &f.path)).collect());
        let mut source = ParquetSource::new(columns)
            .with_parquet_file_reader_factory(Arc::new(PinnedReaders { readers: Arc::new(readers), pinned }))
            .with_enable_page_index(true)
            .with_bloom_filter_on_read(false)
            .with_pushdown_filters(true);
        if let Some(predicate) = self.predicate {
            source = source.with_predicate(predicate);
        }
        let row_count: u64 = self.files.iter().map(|f| f.row_count).sum();
        let size_bytes: u64 = self.files.iter().map(|f| f.size_bytes).sum();
        let statistics = Statistics {
            num_rows: Precision::Exact(usize::try_from(row_count).unwrap_or(usize::MAX)),
            total_byte_size: Precision::Inexact(usize::try_from(size_bytes).unwrap_or(usize::MAX)),
            column_statistics: vec![ColumnStatistics::new_unknown(); column_count],
        };
        let files = self.files.iter().map(|f| partitioned(self.table, f)).collect::<Result<Vec<_>>>()?;
        let (groups, ordering) = match self.grouping {
            Grouping::Spread(partitions) => (FileGroup::new(files).split_files(partitions.max(1)), None),
            Grouping::Ordered(ordering) => (files.into_iter().map(|f| FileGroup::new(vec![f])).collect(), Some(ordering)),
        };
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_output_ordering(ordering.into_iter().collect())
            .with_projection_indices(self.projection)?
            .with_limit(self.limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

fn partitioned(table: &TableName, file: &DataFile) -> Result<PartitionedFile> {
    // Files never change, so any fixed time is right for the cache of footers.
    let object = ObjectMeta {
        location: layout::data_file(table, &file.path),
        last_modified: DateTime::UNIX_EPOCH,
        size: file.size_bytes,
        e_tag: None,
        version: None,
    };
    let day = day_of(&file.date).ok_or_else(|| datafusion::error::DataFusionError::Internal(format!("{} has no date", file.path)))?;
    Ok(PartitionedFile::new_from_meta(object).with_partition_values(vec![ScalarValue::Date32(Some(day))]))
}

/// Days since 1970 of `2026-11-22`.
pub(crate) fn day_of(date: &str) -> Option<i32> {
    let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// `2026-11-22` of microseconds since 1970; none where the year has not four digits, so that dates compare as texts.
pub(crate) fn date_of(micros: i64) -> Option<String> {
    let date = DateTime::from_timestamp_micros(micros)?.date_naive();
    (0..=9999).contains(&date.year()).then(|| date.to_string())
}

/// The files that may hold rows for which the predicate, over the scan's columns, is true.
pub(crate) fn prune(table: &Schema, files: &[DataFile], predicate: Option<&Arc<dyn PhysicalExpr>>) -> Vec<DataFile> {
    let kept = match predicate {
        Some(predicate) => may_match(table, files, predicate),
        None => None,
    };
    let chosen: Vec<DataFile> = match kept {
        Some(kept) => files.iter().zip(kept).filter(|(_, keep)| *keep).map(|(f, _)| f.clone()).collect(),
        // A predicate that says nothing about bounds leaves nothing out.
        None => files.to_vec(),
    };
    metrics::counter!(Metric::ScanFilesRead.name()).increment(chosen.len() as u64);
    metrics::counter!(Metric::ScanFilesPruned.name()).increment((files.len() - chosen.len()) as u64);
    chosen
}

fn may_match(table: &Schema, files: &[DataFile], predicate: &Arc<dyn PhysicalExpr>) -> Option<Vec<bool>> {
    let schema = scan_schema(table);
    let pruning = PruningPredicateBuilder::new().with_file_schema(schema.clone()).try_build(predicate.clone()).ok()?;
    if pruning.always_true() {
        return None;
    }
    let known = FileBounds {
        schema,
        stats: files.iter().map(|f| FileStats::parse(&f.stats)).collect(),
        days: files.iter().map(|f| day_of(&f.date)).collect(),
    };
    pruning.prune(&known).inspect_err(|error| tracing::warn!(%error, "files are not left out by their statistics")).ok()
}

/// Bounds of every file, as DataFusion asks for them.
struct FileBounds {
    schema: SchemaRef,
    stats: Vec<FileStats>,
    days: Vec<Option<i32>>,
}

impl FileBounds {
    fn bound(&self, column: &Column, bound: Bound) -> Option<ArrayRef> {
        if column.name == DATE_COLUMN {
            return Some(Arc::new(Date32Array::from(self.days.clone())));
        }
        let kind = self.schema.field_with_name(&column.name).ok()?.data_type();
        stats::bounds(&self.stats, &column.name, kind, bound)
    }
}

impl PruningStatistics for FileBounds {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, Bound::Least)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, Bound::Greatest)
    }

    fn num_containers(&self) -> usize {
        self.stats.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        (column.name != DATE_COLUMN).then(|| stats::null_counts(&self.stats, &column.name))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(stats::row_counts(&self.stats))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
