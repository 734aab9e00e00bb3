//! Window functions over the groups of one window: ranks and shares, computed when a window is finished, which sees all its groups.

use super::aggregate::origin;
use super::refuse;
use super::scope::Scope;
use super::trace::bare;
use crate::error::Result;
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionDefinition};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Window, WindowFrameUnits};
use std::collections::BTreeSet;

/// Functions that give peers the same value, whatever order they come in.
const PEERS_ALIKE: [&str; 4] = ["rank", "dense_rank", "percent_rank", "cume_dist"];

/// Refuses a window function, above the aggregation, whose result would depend on more than the groups of its window.
pub(super) fn check(scope: &Scope<'_>, window: &Window, aggregate: &Aggregate, time: usize) -> Result<()> {
    for expr in &window.window_expr {
        if let Expr::WindowFunction(call) = bare(expr) {
            call_fits(scope, &window.input, call, aggregate, time)?;
        }
    }
    Ok(())
}

fn call_fits(scope: &Scope<'_>, input: &LogicalPlan, call: &WindowFunction, aggregate: &Aggregate, time: usize) -> Result<()> {
    let name = call.fun.name().to_owned();
    let within: BTreeSet<usize> = call.params.partition_by.iter().filter_map(|e| origin(input, e, aggregate)).collect();
    if !within.contains(&time) {
        return Err(scope.refused(
            format!("{name}(...) OVER without PARTITION BY window_start"),
            "a window's rows are final when it ends, and must not depend on other windows",
            "add window_start to PARTITION BY; for a look at earlier windows write the OVER in a second view that reads this one",
        ));
    }
    if let WindowFunctionDefinition::WindowUDF(function) = &call.fun
        && crate::functions::fold::of_window(function).is_some()
    {
        let instead = "write it in a second view that reads this one: OVER (PARTITION BY key ORDER BY window_start)";
        return Err(scope.refused(format!("{name}(...) OVER"), "it follows a key from window to window", instead));
    }
    let aggregates = matches!(&call.fun, WindowFunctionDefinition::AggregateUDF(_));
    let frame = &call.params.window_frame;
    let everything = frame.start_bound.is_unbounded() && frame.end_bound.is_unbounded();
    let frame_of_peers = aggregates && (frame.units == WindowFrameUnits::Range || everything);
    if PEERS_ALIKE.contains(&name.as_str()) || (frame_of_peers && !refuse::by_order(&name)) {
        return Ok(());
    }
    let ordered = call.params.order_by.iter().filter_map(|o| origin(input, &o.expr, aggregate));
    let told: BTreeSet<usize> = ordered.chain(within).collect();
    let missing: Vec<String> =
        (0..aggregate.group_expr.len()).filter(|g| !told.contains(g)).map(|g| aggregate.schema.field(g).name().clone()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let order: Vec<String> = call.params.order_by.iter().map(ToString::to_string).chain(missing).collect();
    Err(scope.refused(
        format!("{name}(...) OVER (... ORDER BY ...)"),
        "rows that tie have no order, so the answer would differ from run to run",
        format!("name the rest of the key as the last word: ORDER BY {}; or write RANK(), which gives ties the same rank", order.join(", ")),
    ))
}
