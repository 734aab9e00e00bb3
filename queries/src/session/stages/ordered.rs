//! Windows whose rows come from another stage: what they rely on has to stand in the plan. Not the planning of windows.
//!
//! A planner leaves out of a sort what it knows to be the same in all rows (`metric`, where a statement asks for one metric). What it knew is not told to
//! another process, and the window there would find its rows unordered. So it is sorted by all the same, which changes nothing.

use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, InputOrderMode, ReplaceChildrenOptions};
use std::sync::Arc;

/// The plan with every window's order written out.
///
/// # Errors
/// Where an operator does not take its changed input.
pub(super) fn ordered(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let written = plan.transform_up(|node| {
        let keys = if let Some(window) = node.downcast_ref::<BoundedWindowAggExec>() {
            if window.input_order_mode != InputOrderMode::Sorted {
                return Ok(Transformed::no(node));
            }
            window.window_expr().first().map(|first| first.partition_by().to_vec())
        } else if let Some(window) = node.downcast_ref::<WindowAggExec>() {
            window.window_expr().first().map(|first| first.partition_by().to_vec())
        } else {
            None
        };
        let (Some(keys), Some(input)) = (keys, node.children().first().map(|input| Arc::clone(input))) else {
            return Ok(Transformed::no(node));
        };
        let Some(input) = sorted_by(&input, &keys)? else { return Ok(Transformed::no(node)) };
        let recomputed = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        Ok(Transformed::yes(node.replace_children(vec![input], recomputed)?))
    })?;
    Ok(written.data)
}

/// The same rows in the same order, by `keys` too; none where nothing is missing, or where they are not sorted here.
fn sorted_by(plan: &Arc<dyn ExecutionPlan>, keys: &[Arc<dyn PhysicalExpr>]) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        let Some(order) = with_keys(sort.expr(), keys) else { return Ok(None) };
        let written = SortExec::new(order, Arc::clone(sort.input())).with_preserve_partitioning(sort.preserve_partitioning());
        return Ok(Some(Arc::new(written.with_fetch(sort.fetch()))));
    }
    let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() else { return Ok(None) };
    let (Some(order), Some(input)) = (with_keys(merge.expr(), keys), sorted_by(merge.input(), keys)?) else { return Ok(None) };
    Ok(Some(Arc::new(SortPreservingMergeExec::new(order, input).with_fetch(merge.fetch()))))
}

/// The keys that an order lacks, and then the order.
fn with_keys(order: &LexOrdering, keys: &[Arc<dyn PhysicalExpr>]) -> Option<LexOrdering> {
    let lacking = keys.iter().filter(|key| !order.iter().any(|by| by.expr.eq(*key)));
    let lacking: Vec<PhysicalSortExpr> = lacking.map(|key| PhysicalSortExpr::new_default(Arc::clone(key))).collect();
    if lacking.is_empty() {
        return None;
    }
    LexOrdering::new(lacking.into_iter().chain(order.iter().cloned()))
}
