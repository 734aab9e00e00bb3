//! What a plan of another process may do here: compute over tables of the store and over rows that it brings. Nothing else.

use super::Scans;
use super::wire::unavailable;
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// Operators that read from each other alone.
const OPERATORS: [&str; 31] = [
    "AggregateExec",
    "BoundedWindowAggExec",
    "BroadcastExec",
    "BufferExec",
    "ChildrenIsolatorUnionExec",
    "CoalesceBatchesExec",
    "CoalescePartitionsExec",
    "CooperativeExec",
    "CrossJoinExec",
    "DistributedLeafExec",
    "EmptyExec",
    "FilterExec",
    "GlobalLimitExec",
    "HashJoinExec",
    "InterleaveExec",
    "LazyMemoryExec",
    "LocalLimitExec",
    "NestedLoopJoinExec",
    "NetworkBroadcastExec",
    "NetworkCoalesceExec",
    "NetworkShuffleExec",
    "PlaceholderRowExec",
    "ProjectionExec",
    "RepartitionExec",
    "SortExec",
    "SortExec(TopK)",
    "SortMergeJoinExec",
    "SortPreservingMergeExec",
    "UnionExec",
    "UnnestExec",
    "WindowAggExec",
];

/// The plan with this process's own way of reading the store.
///
/// # Errors
/// Where it does anything else than computing over tables and over rows it brings.
pub(super) fn allowed(plan: Arc<dyn ExecutionPlan>, scans: &dyn Scans, runtime: &RuntimeEnv) -> Result<Arc<dyn ExecutionPlan>> {
    let checked = plan.transform_up(|node| {
        if let Some(source) = node.downcast_ref::<DataSourceExec>() {
            if source.data_source().downcast_ref::<MemorySourceConfig>().is_some() {
                return Ok(Transformed::no(node));
            }
            return Ok(Transformed::yes(scans.adopt(&node, runtime)?));
        }
        if OPERATORS.contains(&node.name()) {
            return Ok(Transformed::no(node));
        }
        Err(unavailable(format!("{} is not run for others", node.name())))
    })?;
    Ok(checked.data)
}
