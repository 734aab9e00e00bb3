//! What cannot run continuously, and the sentences that say so.

use super::scope::Scope;
use super::trace;
use crate::definition::{Definition, Shape};
use crate::error::{Error, Result};
use crate::run::instant::AS_OF;
use datafusion::common::JoinType;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Volatility};

/// DataFusion's aggregates whose states merge into what one run gives, in any order of rows.
const MERGEABLE: [&str; 32] = [
    "count",
    "sum",
    "min",
    "max",
    "avg",
    "mean",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
    "bit_xor",
    "median",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "percentile_cont",
    "stddev",
    "stddev_pop",
    "var",
    "var_pop",
    "corr",
    "covar_samp",
    "covar_pop",
    "regr_slope",
    "regr_intercept",
    "regr_count",
    "regr_r2",
    "regr_avgx",
    "regr_avgy",
    "regr_sxx",
    "regr_syy",
];
/// DataFusion's aggregates that merge only where the call says in which order.
const ORDERED: [&str; 5] = ["first_value", "last_value", "array_agg", "nth_value", "string_agg"];
/// DataFusion's aggregates that do not merge.
const NEVER: [&str; 2] = ["grouping", "regr_sxy"];

/// The error about one clause.
pub(super) fn refused(view: &str, clause: impl Into<String>, why: impl Into<String>, instead: impl Into<String>) -> Error {
    Error::Refused { view: view.to_owned(), clause: clause.into(), why: why.into(), instead: instead.into() }
}

/// What to say where a definition names stored rows, which no view reads; `None` where it does not.
pub(super) fn raw_rows(definition: &Definition) -> Option<Error> {
    let stored = ["samples", "rollup_1m", "series", "histograms", "exemplars", "late_samples", "dead_letters", "spans"];
    let select = definition.select.to_lowercase();
    let named = stored.into_iter().find(|s| definition.reads.contains(*s));
    let named = named.or_else(|| ["metrics.", "rollup."].into_iter().find(|s| select.contains(s)))?;
    Some(refused(
        &definition.name,
        format!("FROM {named}"),
        "views do not read stored rows: every sample has been counted in its pane when a view sees it",
        "read panes, one row per series and minute with count, sum, min, max, first, last, increase and resets: FROM panes WHERE metric = 'name', with label(labels, 'name') for a label",
    ))
}

/// Refuses a time-to-live where rows have an end of their own.
pub(super) fn ttl(scope: &Scope<'_>) -> Result<()> {
    if scope.definition.ttl_ms.is_none() || scope.shape == Shape::Keyed {
        return Ok(());
    }
    Err(scope.refused(
        "WITH (ttl = '...')",
        format!("a {} view's rows do not wait for events: only a keyed view over events has keys that can grow old", scope.shape),
        "leave the option out; how long rows are kept in the lake is the table's retention",
    ))
}

/// Refuses functions that give another answer each time.
pub(super) fn functions(scope: &Scope<'_>, plan: &LogicalPlan) -> Result<()> {
    trace::expressions(plan, |expr| match expr {
        Expr::ScalarFunction(call) => match volatile(scope, call.func.name(), call.func.signature().volatility) {
            Some(problem) => Err(problem),
            None => Ok(TreeNodeRecursion::Continue),
        },
        _ => Ok(TreeNodeRecursion::Continue),
    })
}

fn volatile(scope: &Scope<'_>, name: &str, volatility: Volatility) -> Option<Error> {
    let snapshot = scope.shape == Shape::Snapshot;
    match (name, volatility) {
        (AS_OF, _) if snapshot => None,
        (AS_OF, _) => Some(scope.refused(
            "as_of()",
            format!("a {} view has no instant of its own: its rows stand for their window or key", scope.shape),
            "compare with window_start or time, or use as_of() in a snapshot view WITH (key = '...')",
        )),
        (_, Volatility::Immutable) => None,
        (name, _) => Some(scope.refused(
            format!("{name}()"),
            "it gives another answer each time, so a view could not be computed again with the same result",
            if snapshot { "write as_of() for the instant of the answer" } else { "use times of the data" },
        )),
    }
}

/// Refuses nodes, on the way from the top to the stream, that do not pass partial results on.
pub(super) fn nodes(scope: &Scope<'_>, path: &[&LogicalPlan]) -> Result<()> {
    let read = "rows of a view have no order; order them when you read the view";
    let aggregated = path.iter().position(|n| matches!(n, LogicalPlan::Aggregate(_)));
    for (index, node) in path.iter().enumerate() {
        let above = aggregated.is_some_and(|a| index < a);
        match node {
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::Unnest(_) => {}
            LogicalPlan::Aggregate(_) if scope.shape != Shape::Fold => {}
            LogicalPlan::Window(_) if scope.shape == Shape::Fold || (scope.shape == Shape::Window && above) => {}
            // A union of rows is rows one by one.
            LogicalPlan::Union(_) if scope.shape != Shape::Fold && !above && aggregated.is_some() => {}
            LogicalPlan::Join(join) => join_keeps_stream(scope, join, path.get(index + 1).copied())?,
            LogicalPlan::Sort(_) => return Err(scope.refused("ORDER BY", read, "leave ORDER BY out")),
            LogicalPlan::Limit(_) => {
                return Err(scope.refused(
                    "LIMIT",
                    "which rows come first changes with every new row",
                    "rank within the window: SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start ORDER BY x DESC, key) AS place FROM (...)) WHERE place <= 5; or write LIMIT when you read the view",
                ));
            }
            LogicalPlan::Distinct(_) => {
                let instead = "write GROUP BY with the same columns, and UNION ALL for UNION";
                return Err(scope.refused("DISTINCT", "it is an aggregation without a key", instead));
            }
            LogicalPlan::Window(_) => {
                let why = "window functions run over the rows of a view, not over a stream";
                return Err(scope.refused(
                    "OVER",
                    why,
                    "make a view of the part without OVER, and write the OVER in a second view that reads the first",
                ));
            }
            LogicalPlan::Union(_) => {
                return Err(scope.refused(
                    "UNION of aggregations",
                    "each would be a state of its own",
                    "unite the rows before they are aggregated: SELECT ... FROM (SELECT ... UNION ALL SELECT ...) GROUP BY ...; or aggregate each in a view of its own and unite those in a snapshot view",
                ));
            }
            other => return Err(scope.refused(other.display().to_string(), "it does not pass rows on one by one", "make it a view of its own")),
        }
    }
    Ok(())
}

fn join_keeps_stream(scope: &Scope<'_>, join: &Join, stream: Option<&LogicalPlan>) -> Result<()> {
    let left = stream.is_some_and(|s| std::ptr::eq(s, join.left.as_ref()));
    let kept = match join.join_type {
        JoinType::Inner => true,
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left,
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => !left,
        JoinType::Full => false,
    };
    if kept {
        return Ok(());
    }
    let why = "rows of the other relation that no row of the stream has met cannot be told before the stream ends";
    let instead = "put the stream on the kept side (stream LEFT JOIN dimension), or bring the missing rows in with a snapshot view";
    Err(scope.refused(format!("{} JOIN", join.join_type.to_string().to_uppercase()), why, instead))
}

/// Refuses an aggregate function that does not merge.
pub(super) fn aggregate(scope: &Scope<'_>, call: &AggregateFunction) -> Result<()> {
    let name = call.func.name();
    let builtin = ORDERED.contains(&name) || NEVER.contains(&name);
    if MERGEABLE.contains(&name) || !builtin || (ORDERED.contains(&name) && !call.params.order_by.is_empty() && !call.params.distinct) {
        return Ok(());
    }
    if ORDERED.contains(&name) {
        let why = "its result depends on the order in which rows happen to come";
        return Err(scope.refused(
            name,
            why,
            format!("say in which order: {name}(x ORDER BY {})", if scope.shape == Shape::Keyed { "time, sequence" } else { "window_start" }),
        ));
    }
    Err(scope.refused(name, "its partial results do not merge", "aggregate with functions whose results merge, such as COUNT, SUM, MIN, MAX or AVG"))
}

/// True where an aggregate's result depends on the order of rows.
pub(super) fn by_order(name: &str) -> bool {
    ORDERED.contains(&name)
}

/// The ways to the stream, which must not lie inside a subquery.
pub(super) fn paths_to<'a>(scope: &Scope<'_>, plan: &'a LogicalPlan, relation: &str) -> Result<Vec<Vec<&'a LogicalPlan>>> {
    let paths = trace::paths(plan, relation);
    if paths.is_empty() {
        return Err(scope.refused(
            format!("a subquery over {relation}"),
            "a stream can be read in FROM only",
            format!("write FROM {relation}, and read other views in a snapshot view"),
        ));
    }
    Ok(paths)
}

/// The one way to the stream.
pub(super) fn path_to<'a>(scope: &Scope<'_>, plan: &'a LogicalPlan, relation: &str) -> Result<Vec<&'a LogicalPlan>> {
    paths_to(scope, plan, relation).map(|paths| paths.into_iter().next().unwrap_or_default())
}
