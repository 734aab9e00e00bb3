//! Reading published samples back, for the exact slow path and for recovery. Not a query engine: one shape of question.

use crate::error::StorageError;
use crate::metrics::Metric;
use crate::object_store::Store;
use crate::table::scan::{self, Grouping, Scan};
use afferent_engine::error::Result;
use afferent_engine::schema;
use afferent_engine::series::SeriesId;
use afferent_engine::table::{History, TableFiles};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal, in_list};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream_partitioned};
use futures::TryStreamExt;
use std::ops::Range;
use std::sync::Arc;

/// Rows that one read may give: 32 bytes each in memory.
const HISTORY_ROWS_MAX: usize = 32_000_000;

/// Series that one read may name.
const HISTORY_SERIES_MAX: usize = 1_000_000;

/// The history in a store's `samples` table.
#[derive(Debug)]
pub struct ParquetHistory {
    store: Store,
    runtime: Arc<RuntimeEnv>,
}

impl ParquetHistory {
    /// Reads from `store`.
    pub fn new(store: Store) -> Arc<Self> {
        Arc::new(Self { store, runtime: Arc::new(RuntimeEnv::default()) })
    }

    fn plan(&self, files: &TableFiles, series: &[SeriesId], micros: &Range<i64>) -> Result<Option<Arc<dyn ExecutionPlan>>, DataFusionError> {
        let table = schema::samples();
        let columns = scan::scan_schema(&table.schema);
        let wanted = predicate(&columns, series, micros)?;
        let files = scan::prune(&table.schema, &in_dates(files, micros), Some(&wanted));
        if files.is_empty() {
            return Ok(None);
        }
        let scan = Scan {
            store: &self.store,
            table: &table.name,
            schema: &table.schema,
            files,
            projection: Some((0..table.schema.fields().len()).collect()),
            predicate: Some(wanted.clone()),
            limit: None,
            grouping: Grouping::Spread(1),
            runtime: &self.runtime,
        };
        // The scan may let rows through that it could not judge, so the filter stands above it as well.
        Ok(Some(Arc::new(FilterExec::try_new(wanted, scan.plan()?)?)))
    }
}

#[async_trait]
impl History for ParquetHistory {
    async fn samples(&self, files: &TableFiles, series: &[SeriesId], micros: Range<i64>) -> Result<Vec<RecordBatch>> {
        if series.is_empty() || micros.is_empty() {
            return Ok(Vec::new());
        }
        if series.len() > HISTORY_SERIES_MAX {
            return Err(StorageError::TooManyRows { what: "a read of that many series", limit: HISTORY_SERIES_MAX }.into());
        }
        let failed = |source| StorageError::Merge { table: schema::SAMPLES.to_owned(), source };
        let Some(plan) = self.plan(files, series, &micros).map_err(failed)? else { return Ok(Vec::new()) };
        let context = Arc::new(TaskContext::default().with_runtime(self.runtime.clone()));
        // Decoding is work for a thread of its own.
        let handle = tokio::runtime::Handle::current();
        let read = tokio::task::spawn_blocking(move || handle.block_on(collect(plan, context)));
        let batches = read.await.map_err(|e| StorageError::Task { reason: e.to_string() })??;
        metrics::counter!(Metric::HistoryRowsOut.name()).increment(batches.iter().map(|b| b.num_rows() as u64).sum());
        Ok(batches)
    }
}

async fn collect(plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> Result<Vec<RecordBatch>, StorageError> {
    let failed = |source| StorageError::Merge { table: schema::SAMPLES.to_owned(), source };
    let mut batches = Vec::new();
    let mut rows = 0;
    for mut stream in execute_stream_partitioned(plan, context).map_err(failed)? {
        while let Some(batch) = stream.try_next().await.map_err(failed)? {
            rows += batch.num_rows();
            if rows > HISTORY_ROWS_MAX {
                return Err(StorageError::TooManyRows { what: "a read of samples", limit: HISTORY_ROWS_MAX });
            }
            if batch.num_rows() > 0 {
                batches.push(batch);
            }
        }
    }
    Ok(batches)
}

/// Files of the days that the range touches: text comparison, before any statistics are parsed.
fn in_dates(files: &TableFiles, micros: &Range<i64>) -> Vec<afferent_engine::table::DataFile> {
    let first = scan::date_of(micros.start);
    let last = scan::date_of(micros.end.saturating_sub(1));
    let inside = |date: &str| first.as_deref().is_none_or(|f| date >= f) && last.as_deref().is_none_or(|l| date <= l);
    files.files.iter().filter(|f| inside(&f.date)).cloned().collect()
}

fn predicate(columns: &Schema, series: &[SeriesId], micros: &Range<i64>) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    let column = |name: &str| -> Result<Arc<dyn PhysicalExpr>, DataFusionError> { Ok(Arc::new(Column::new_with_schema(name, columns)?)) };
    let instant = |t: i64| -> Arc<dyn PhysicalExpr> { Arc::new(Literal::new(ScalarValue::TimestampMicrosecond(Some(t), Some("UTC".into())))) };
    let both = |a, op, b| -> Arc<dyn PhysicalExpr> { Arc::new(BinaryExpr::new(a, op, b)) };
    let from = both(column("time")?, Operator::GtEq, instant(micros.start));
    let until = both(column("time")?, Operator::Lt, instant(micros.end));
    let ids = series.iter().map(|s| Arc::new(Literal::new(ScalarValue::Int64(Some(s.0)))) as Arc<dyn PhysicalExpr>).collect();
    let one_of = in_list(column("series_id")?, ids, &false, columns)?;
    Ok(both(both(from, Operator::And, until), Operator::And, one_of))
}

#[cfg(test)]
mod tests;
