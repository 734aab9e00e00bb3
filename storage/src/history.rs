//! Reading published rows back, for the exact slow path, repairs and backfills. Not a query engine: one shape of question.

use crate::error::StorageError;
use crate::metrics::Metric;
use crate::object_store::Store;
use crate::table::scan::{self, Grouping, Scan};
use afferent_engine::error::{Error, Result};
use afferent_engine::schema::TableDef;
use afferent_engine::table::{History, Scanned, TableFiles, Wanted};
use arrow::datatypes::{DataType, Schema};
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
use tokio::sync::mpsc;

/// Series that one read may name.
const HISTORY_SERIES_MAX: usize = 1_000_000;

/// Batches that wait for their reader.
const BATCHES_WAITING_MAX: usize = 4;

/// Reads the tables of a store.
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

    fn plan(&self, table: &TableDef, files: &TableFiles, wanted: &Wanted) -> Result<Option<Arc<dyn ExecutionPlan>>, DataFusionError> {
        let columns = scan::scan_schema(&table.schema);
        let predicate = predicate(table, &columns, wanted)?;
        let dated = wanted.micros.as_ref().map_or_else(|| files.files.clone(), |micros| in_dates(files, micros));
        let files = scan::prune(&table.schema, &dated, predicate.as_ref());
        if files.is_empty() {
            return Ok(None);
        }
        let scan = Scan {
            store: &self.store,
            table: &table.name,
            schema: &table.schema,
            files,
            projection: Some((0..table.schema.fields().len()).collect()),
            predicate: predicate.clone(),
            limit: None,
            grouping: Grouping::Spread(1),
            runtime: &self.runtime,
        };
        let scan = scan.plan()?;
        // The scan may let rows through that it could not judge, so the filter stands above it as well.
        Ok(Some(match predicate {
            Some(predicate) => Arc::new(FilterExec::try_new(predicate, scan)?),
            None => scan,
        }))
    }
}

#[async_trait]
impl History for ParquetHistory {
    async fn scan(&self, table: &TableDef, files: &TableFiles, wanted: &Wanted) -> Result<Scanned> {
        let (sender, receiver) = mpsc::channel(BATCHES_WAITING_MAX);
        let nothing = wanted.series.as_ref().is_some_and(Vec::is_empty)
            || wanted.metrics.as_ref().is_some_and(|m| m.is_empty())
            || wanted.micros.as_ref().is_some_and(|m| m.is_empty());
        check_columns(table, wanted)?;
        if nothing {
            return Ok(receiver);
        }
        if wanted.series.as_ref().is_some_and(|s| s.len() > HISTORY_SERIES_MAX) {
            return Err(StorageError::TooManyRows { what: "a read of that many series", limit: HISTORY_SERIES_MAX }.into());
        }
        let name = table.name.to_string();
        let failed = move |source| Error::from(StorageError::Merge { table: name.clone(), source });
        let Some(plan) = self.plan(table, files, wanted).map_err(&failed)? else { return Ok(receiver) };
        let context = Arc::new(TaskContext::default().with_runtime(self.runtime.clone()));
        // Decoding is work for a thread of its own.
        let handle = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            let sent = handle.block_on(send(plan, context, &sender));
            if let Err(error) = sent {
                // A receiver that is gone wants no error either.
                drop(sender.blocking_send(Err(failed(error))));
            }
        });
        Ok(receiver)
    }
}

fn check_columns(table: &TableDef, wanted: &Wanted) -> Result<()> {
    let needed = [("metric", wanted.metrics.is_some()), ("series_id", wanted.series.is_some())];
    match needed.iter().find(|(column, asked)| *asked && table.schema.column_with_name(column).is_none()) {
        Some((column, _)) => Err(Error::invalid(format!("table {} has no column {column}, so its rows cannot be chosen by it", table.name))),
        None => Ok(()),
    }
}

async fn send(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    sender: &mpsc::Sender<Result<arrow::record_batch::RecordBatch>>,
) -> Result<(), DataFusionError> {
    for mut stream in execute_stream_partitioned(plan, context)? {
        while let Some(batch) = stream.try_next().await? {
            metrics::counter!(Metric::HistoryRowsOut.name()).increment(batch.num_rows() as u64);
            if batch.num_rows() > 0 && sender.send(Ok(batch)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Files of the days that the range touches: text comparison, before any statistics are parsed.
fn in_dates(files: &TableFiles, micros: &Range<i64>) -> Vec<afferent_engine::table::DataFile> {
    let first = scan::date_of(micros.start);
    let last = scan::date_of(micros.end.saturating_sub(1));
    let inside = |date: &str| first.as_deref().is_none_or(|f| date >= f) && last.as_deref().is_none_or(|l| date <= l);
    files.files.iter().filter(|f| inside(&f.date)).cloned().collect()
}

fn predicate(table: &TableDef, columns: &Schema, wanted: &Wanted) -> Result<Option<Arc<dyn PhysicalExpr>>, DataFusionError> {
    let column = |name: &str| -> Result<Arc<dyn PhysicalExpr>, DataFusionError> { Ok(Arc::new(Column::new_with_schema(name, columns)?)) };
    let instant = |t: i64| -> Arc<dyn PhysicalExpr> { Arc::new(Literal::new(ScalarValue::TimestampMicrosecond(Some(t), Some("UTC".into())))) };
    let both = |a, op, b| -> Arc<dyn PhysicalExpr> { Arc::new(BinaryExpr::new(a, op, b)) };
    let literal = |value| Arc::new(Literal::new(value)) as Arc<dyn PhysicalExpr>;
    let mut parts = vec![];
    if let Some(micros) = &wanted.micros {
        parts.push(both(column(table.date_from)?, Operator::GtEq, instant(micros.start)));
        parts.push(both(column(table.date_from)?, Operator::Lt, instant(micros.end)));
    }
    if let Some(metrics) = &wanted.metrics {
        let metric = column("metric")?;
        let word = |text: &String| match columns.field_with_name("metric").map(|f| f.data_type().clone()) {
            Ok(DataType::Dictionary(key, value)) => literal(ScalarValue::Dictionary(
                key,
                Box::new(ScalarValue::Utf8(Some(text.clone())).cast_to(&value).unwrap_or(ScalarValue::Utf8(Some(text.clone())))),
            )),
            _ => literal(ScalarValue::Utf8(Some(text.clone()))),
        };
        parts.push(in_list(metric, metrics.iter().map(word).collect(), &false, columns)?);
    }
    if let Some(series) = &wanted.series {
        let ids = series.iter().map(|s| literal(ScalarValue::Int64(Some(s.0)))).collect();
        parts.push(in_list(column("series_id")?, ids, &false, columns)?);
    }
    Ok(parts.into_iter().reduce(|a, b| both(a, Operator::And, b)))
}

#[cfg(test)]
mod tests;
