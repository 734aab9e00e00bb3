//! Merging sorted files of one date into one, in bounded memory. Not the commit that replaces them.

use crate::error::StorageError;
use crate::layout;
use crate::object_store::Store;
use crate::table::parquet::{self, Effort};
use crate::table::scan::{Grouping, Scan};
use afferent_engine::schema::TableDef;
use afferent_engine::table::DataFile;
use arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use futures::StreamExt;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Reads the files as one sorted stream and writes it as merged files; checks that no row came or went.
pub(super) async fn merge(
    store: &Store,
    runtime: &Arc<RuntimeEnv>,
    def: &TableDef,
    files: &[DataFile],
    cancel: &CancellationToken,
) -> Result<Vec<DataFile>, StorageError> {
    let table = def.name.to_string();
    let plan = plan(store, runtime, def, files).map_err(|source| StorageError::Merge { table: table.clone(), source })?;
    let context = Arc::new(TaskContext::default().with_runtime(runtime.clone()));
    let (store, def, cancel) = (store.clone(), def.clone(), cancel.clone());
    let handle = Handle::current();
    let written = tokio::task::spawn_blocking(move || {
        let stream = {
            // The operators start tasks of their own, for which they look at the current runtime.
            let _runtime = handle.enter();
            plan.execute(0, context).map_err(|source| StorageError::Merge { table: def.name.to_string(), source })?
        };
        let rows = MergedRows { stream, handle: &handle, cancel: &cancel, table: def.name.as_str() };
        let name = |date: &str, token: u64| layout::compacted_file(date, token);
        parquet::write_files(&store, &handle, &def, Effort::Compacted, &name, rows)
    });
    let merged = written.await.map_err(|e| StorageError::Task { reason: e.to_string() })??;
    let expected: u64 = files.iter().map(|f| f.row_count).sum();
    let read: u64 = merged.iter().map(|f| f.row_count).sum();
    if read != expected {
        let date = files.first().map(|f| f.date.clone()).unwrap_or_default();
        return Err(StorageError::MergeMismatch { table, date, read, expected });
    }
    Ok(merged)
}

fn plan(store: &Store, runtime: &Arc<RuntimeEnv>, def: &TableDef, files: &[DataFile]) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let order = def.sort.iter().filter_map(|name| {
        let index = def.schema.index_of(name).ok()?;
        Some(PhysicalSortExpr::new_default(Arc::new(Column::new(name, index))))
    });
    let order = LexOrdering::new(order);
    let scan = Scan {
        store,
        table: &def.name,
        schema: &def.schema,
        files: files.to_vec(),
        projection: Some((0..def.schema.fields().len()).collect()),
        predicate: None,
        limit: None,
        grouping: order.clone().map_or(Grouping::Spread(1), Grouping::Ordered),
        runtime,
    };
    let scan = scan.plan()?;
    Ok(match order {
        Some(order) => Arc::new(SortPreservingMergeExec::new(order, scan)),
        None => scan,
    })
}

/// A stream as an iterator, for a thread that may block.
struct MergedRows<'a> {
    stream: SendableRecordBatchStream,
    handle: &'a Handle,
    cancel: &'a CancellationToken,
    table: &'a str,
}

impl Iterator for MergedRows<'_> {
    type Item = Result<RecordBatch, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cancel.is_cancelled() {
            return Some(Err(StorageError::Stopped));
        }
        let batch = self.handle.block_on(self.stream.next())?;
        Some(batch.map_err(|source| StorageError::Merge { table: self.table.to_owned(), source }))
    }
}
