//! Time-to-live of keyed views: carries the time of each key's newest event through the plan, as one more column at the end. Not the expiry itself.

use crate::error::{Error, Result};
use crate::functions::newest_event;
use datafusion::common::Column;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder};
use std::sync::Arc;

/// The column's name on its way; no statement can spell it.
const HIDDEN: &str = "newest event";

/// The plan over events with the newest `time` of each group as its last column.
pub(super) fn with_newest_event(plan: &LogicalPlan, relation: &str) -> Result<LogicalPlan> {
    match carry(plan, relation)? {
        Some((plan, _)) => Ok(plan),
        None => Err(Error::Internal(format!("{relation} is not read"))),
    }
}

/// The plan with the event's time (above the aggregation: the newest) passed on, and the column that it is; `None` where it does not read `relation`.
fn carry(plan: &LogicalPlan, relation: &str) -> Result<Option<(LogicalPlan, Column)>> {
    if let LogicalPlan::TableScan(scan) = plan {
        let here = scan.table_name.table() == relation;
        return Ok(here.then(|| (plan.clone(), Column::new(Some(scan.table_name.clone()), "time"))));
    }
    let mut passed = None;
    let mut inputs = Vec::new();
    for input in plan.inputs() {
        match carry(input, relation)? {
            Some((input, column)) => {
                inputs.push(input);
                passed = Some(column);
            }
            None => inputs.push(input.clone()),
        }
    }
    let Some(time) = passed else { return Ok(None) };
    let below = || inputs.first().cloned().map(LogicalPlanBuilder::from).ok_or_else(|| Error::Internal("a node lost its input".to_owned()));
    let rebuilt = match plan {
        LogicalPlan::Projection(projection) => {
            let exprs = projection.expr.iter().cloned().chain([Expr::Column(time).alias(HIDDEN)]);
            (below()?.project(exprs.collect::<Vec<_>>()).and_then(LogicalPlanBuilder::build).map_err(Error::statement)?, Column::from_name(HIDDEN))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let plan = below()?.alias(alias.alias.clone()).and_then(LogicalPlanBuilder::build).map_err(Error::statement)?;
            (plan, Column::new(Some(alias.alias.clone()), time.name))
        }
        LogicalPlan::Aggregate(aggregate) => {
            let call = AggregateFunction::new_udf(Arc::clone(&newest_event::FUNCTION), vec![Expr::Column(time)], false, None, Vec::new(), None);
            let calls = aggregate.aggr_expr.iter().cloned().chain([Expr::AggregateFunction(call).alias(HIDDEN)]).collect();
            let input = Arc::new(below()?.build().map_err(Error::statement)?);
            let plan = Aggregate::try_new(input, aggregate.group_expr.clone(), calls).map_err(Error::statement)?;
            (LogicalPlan::Aggregate(plan), Column::from_name(HIDDEN))
        }
        other => {
            let plan = other.with_new_exprs(other.expressions(), inputs).map_err(Error::statement)?;
            // A union names its columns anew; every other node passes them on as they are.
            let column = match plan.schema().has_column(&time) {
                true => time,
                false => plan.schema().columns().into_iter().rfind(|c| c.name == time.name).unwrap_or(time),
            };
            (plan, column)
        }
    };
    Ok(Some(rebuilt))
}
