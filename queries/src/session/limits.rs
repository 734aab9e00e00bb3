//! The limits of one query, and the errors that name them.

use crate::config::SqlLimits;
use crate::error::{Error, Result};
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use std::sync::Arc;

/// What all queries share: object stores and caches, nothing on disk.
pub(super) fn runtime() -> Result<Arc<RuntimeEnv>> {
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    RuntimeEnvBuilder::new().with_disk_manager_builder(disk).build_arc().map_err(|e| Error::plan("the query engine", e))
}

/// The same with memory of its own.
pub(super) fn per_query(shared: &RuntimeEnv, limits: &SqlLimits) -> Result<Arc<RuntimeEnv>> {
    let bytes = usize::try_from(limits.memory_bytes_max).unwrap_or(usize::MAX);
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    RuntimeEnvBuilder::from_runtime_env(shared)
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(bytes)))
        .with_disk_manager_builder(disk)
        .build_arc()
        .map_err(|e| Error::plan("the query engine", e))
}

pub(super) fn rows(limits: &SqlLimits) -> Error {
    Error::Limit { limit: "rows_max", value: limits.rows_max, hint: "the answer has more rows; aggregate, filter or add LIMIT" }
}

pub(super) fn seconds(limits: &SqlLimits) -> Error {
    Error::Limit {
        limit: "seconds_max",
        value: limits.seconds_max,
        hint: "the query took longer; narrow the time range or read a view that has the sums already",
    }
}

/// An error while a plan is made.
pub(super) fn planning(cause: DataFusionError, limits: &SqlLimits) -> Error {
    match cause.find_root() {
        DataFusionError::ResourcesExhausted(_)
        | DataFusionError::ObjectStore(_)
        | DataFusionError::IoError(_)
        | DataFusionError::ParquetError(_)
        | DataFusionError::External(_) => execution(cause, limits),
        _ => Error::statement(cause),
    }
}

/// An error while a plan runs.
pub(super) fn execution(cause: DataFusionError, limits: &SqlLimits) -> Error {
    match cause.find_root() {
        DataFusionError::ResourcesExhausted(_) => Error::Limit {
            limit: "memory_bytes_max",
            value: limits.memory_bytes_max,
            hint: "the query holds more at once; filter, group by fewer columns or sort fewer rows",
        },
        _ => Error::Execution(Box::new(cause)),
    }
}
