//! Merging sorted files of one date into one, in bounded memory, without the rows that others supersede. Not the commit that replaces them.

use super::supersede::Newest;
use crate::error::StorageError;
use crate::layout::Owner;
use crate::object_store::Store;
use crate::table::parquet::{self, Effort};
use crate::table::scan::{Grouping, Scan};
use afferent_engine::schema::TableDef;
use afferent_engine::table::DataFile;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use futures::StreamExt;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// What a merge made, not yet committed.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) files: Vec<DataFile>,
    /// Rows of the inputs that the files do not have, because others supersede them.
    pub(super) superseded: u64,
}

/// Reads the files as one sorted stream and writes what counts of it as merged files; every row that was read is written or accounted for.
pub(super) async fn merge(
    store: &Store,
    runtime: &Arc<RuntimeEnv>,
    def: &TableDef,
    files: &[DataFile],
    owner: &Owner,
    cancel: &CancellationToken,
) -> Result<Merged, StorageError> {
    let table = def.name.to_string();
    let plan = plan(store, runtime, def, files).map_err(|source| StorageError::Merge { table: table.clone(), source })?;
    let context = Arc::new(TaskContext::default().with_runtime(runtime.clone()));
    let (store, def, owner, cancel) = (store.clone(), def.clone(), owner.clone(), cancel.clone());
    let handle = Handle::current();
    let written = tokio::task::spawn_blocking(move || {
        let stream = {
            // The operators start tasks of their own, for which they look at the current runtime.
            let _runtime = handle.enter();
            plan.execute(0, context).map_err(|source| StorageError::Merge { table: def.name.to_string(), source })?
        };
        let (newest, ready) = (Newest::of(&def), VecDeque::new());
        let mut rows = MergedRows { stream, handle: &handle, cancel: &cancel, table: def.name.as_str(), newest, ready, read: 0, ended: false };
        let name = |date: &str, token: u64| owner.compacted_file(date, token);
        let files = parquet::write_files(&store, &handle, &def, Effort::Compacted, &name, &mut rows)?;
        let superseded = rows.newest.as_ref().map_or(0, |newest| newest.superseded);
        Ok::<_, StorageError>((Merged { files, superseded }, rows.read))
    });
    let (merged, read) = written.await.map_err(|e| StorageError::Task { reason: e.to_string() })??;
    let date = || files.first().map(|f| f.date.clone()).unwrap_or_default();
    let expected: u64 = files.iter().map(|f| f.row_count).sum();
    if read != expected {
        return Err(StorageError::MergeMismatch { table, date: date(), read, expected });
    }
    let accounted = merged.files.iter().map(|f| f.row_count).sum::<u64>() + merged.superseded;
    if accounted != read {
        return Err(StorageError::MergeMismatch { table, date: date(), read: accounted, expected: read });
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

/// A stream as an iterator, for a thread that may block; superseded rows are left out.
struct MergedRows<'a> {
    stream: SendableRecordBatchStream,
    handle: &'a Handle,
    cancel: &'a CancellationToken,
    table: &'a str,
    newest: Option<Newest>,
    ready: VecDeque<RecordBatch>,
    read: u64,
    ended: bool,
}

impl MergedRows<'_> {
    fn settle(&mut self, batch: Option<RecordBatch>) -> Result<(), ArrowError> {
        match (&mut self.newest, batch) {
            (Some(newest), Some(batch)) => self.ready.extend(newest.push(&batch)?),
            (Some(newest), None) => self.ready.extend(newest.finish()),
            (None, batch) => self.ready.extend(batch),
        }
        Ok(())
    }
}

impl Iterator for MergedRows<'_> {
    type Item = Result<RecordBatch, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let failed = |source| StorageError::Merge { table: self.table.to_owned(), source };
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Some(Ok(batch));
            }
            if self.ended {
                return None;
            }
            if self.cancel.is_cancelled() {
                return Some(Err(StorageError::Stopped));
            }
            let batch = match self.handle.block_on(self.stream.next()) {
                Some(Ok(batch)) => Some(batch),
                Some(Err(source)) => return Some(Err(failed(source))),
                None => None,
            };
            self.ended = batch.is_none();
            self.read += batch.as_ref().map_or(0, |b| b.num_rows() as u64);
            if let Err(error) = self.settle(batch) {
                return Some(Err(failed(error.into())));
            }
        }
    }
}
