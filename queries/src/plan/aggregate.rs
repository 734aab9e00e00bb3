//! Aggregations over a stream: windows over panes, keyed state over events. Splits DataFusion's plan at its aggregation.

use super::planner::Planner;
use super::trace::{bare, is_scanned, trace};
use super::{Compiled, PANES, Scope, WINDOW_START, output, predicate, refuse};
use crate::definition::Shape;
use crate::error::{Error, Result};
use crate::run::Prepared;
use crate::run::aggregate::{AggregateQuery, STATE};
use crate::run::source::SourceExec;
use afferent_engine::event::EventKind;
use afferent_engine::query::{KeyedProgram, Program, WindowProgram, WindowQuery, WindowSource};
use afferent_engine::time::PANE_MS;
use arrow::datatypes::SchemaRef;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The kinds of events that exist.
const KINDS: [EventKind; 4] = [EventKind::Alert, EventKind::Incident, EventKind::Approval, EventKind::LlmUsage];

pub(super) fn compile(planner: &Planner, scope: &Scope<'_>, relation: &'static str, plan: &LogicalPlan) -> Result<Compiled> {
    let path = refuse::path_to(scope, plan, relation)?;
    refuse::nodes(scope, &path)?;
    let aggregate = the_aggregate(scope, &path)?;
    let groups = groups(scope, aggregate)?;
    for call in &aggregate.aggr_expr {
        if let Expr::AggregateFunction(call) = bare(call) {
            refuse::aggregate(scope, call)?;
        }
    }
    let key = key(scope, plan, aggregate)?;
    let optimized = planner.optimized(plan)?;
    let (tabled, schema) = output::tabled(&planner.view, optimized.clone())?;
    let query: Arc<dyn WindowQuery> = Arc::new(split(planner, relation, &planner.physical(&tabled)?, &schema)?);
    let program = match scope.shape {
        Shape::Window => {
            let window_ms = window(scope, plan, aggregate, &groups)?;
            let metrics = predicate::texts_of(planner, &optimized, relation, "metric")?;
            Program::Window(WindowProgram { source: WindowSource::Panes { metrics }, window_ms, every_ms: window_ms, query })
        }
        _ => {
            let kinds = match predicate::texts_of(planner, &optimized, relation, "kind")? {
                Some(texts) => Some(texts.iter().map(|t| kind(scope, t)).collect::<Result<BTreeSet<_>>>()?),
                None => None,
            };
            Program::Keyed(KeyedProgram { kinds, ttl_ms: None, query })
        }
    };
    Ok(Compiled { program, schema, key })
}

fn kind(scope: &Scope<'_>, text: &str) -> Result<EventKind> {
    KINDS.into_iter().find(|k| k.as_str() == text).ok_or_else(|| {
        let known: Vec<&str> = KINDS.iter().map(|k| k.as_str()).collect();
        scope.refused(format!("kind = '{text}'"), "there are no such events", format!("choose among {}", known.join(", ")))
    })
}

fn the_aggregate<'p>(scope: &Scope<'_>, path: &[&'p LogicalPlan]) -> Result<&'p Aggregate> {
    let mut found = path.iter().filter_map(|n| if let LogicalPlan::Aggregate(a) = n { Some(a) } else { None });
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(scope.refused(
            "two levels of GROUP BY",
            "only one aggregation can be kept as state",
            "make the inner one a view, and a second view over it",
        )),
        _ => {
            let example = if scope.shape == Shape::Window { "tumble(window_start, INTERVAL '1 minute')" } else { "the columns that identify a row" };
            Err(scope.refused("no GROUP BY", "a view over a stream is an aggregation", format!("add GROUP BY with {example}")))
        }
    }
}

/// The grouping expressions in terms of the stream's columns.
fn groups(scope: &Scope<'_>, aggregate: &Aggregate) -> Result<Vec<Expr>> {
    if aggregate.group_expr.is_empty() {
        return Err(scope.refused("no GROUP BY", "the view's rows would have no key", "add GROUP BY with the columns that identify a row"));
    }
    if aggregate.group_expr.iter().any(|g| matches!(g, Expr::GroupingSet(_))) {
        return Err(scope.refused("GROUPING SETS, ROLLUP or CUBE", "its rows have no common key", "write one view per grouping"));
    }
    Ok(aggregate.group_expr.iter().map(|g| trace(&aggregate.input, g)).collect())
}

/// Which grouping expression each output column is, cast or not.
fn origins(plan: &LogicalPlan, aggregate: &Aggregate) -> Vec<(String, Option<usize>)> {
    let origin = |column: Column| {
        let traced = trace(plan, &Expr::Column(column));
        let Expr::Column(inner) = bare(&traced) else { return None };
        aggregate.schema.maybe_index_of_column(inner).filter(|i| *i < aggregate.group_expr.len())
    };
    plan.schema().iter().map(|(q, f)| (f.name().clone(), origin(Column::new(q.cloned(), f.name())))).collect()
}

fn key(scope: &Scope<'_>, plan: &LogicalPlan, aggregate: &Aggregate) -> Result<Vec<String>> {
    if let Some(key) = &scope.definition.key {
        return Ok(key.clone());
    }
    let origins = origins(plan, aggregate);
    let column = |(index, group): (usize, &Expr)| {
        let found = origins.iter().find(|(_, origin)| *origin == Some(index));
        found.map(|(name, _)| name.clone()).ok_or_else(|| {
            scope.refused(
                format!("GROUP BY {group}"),
                "the SELECT leaves it out, so rows of the view would have no key",
                "select it too, or name the key: WITH (key = '...')",
            )
        })
    };
    aggregate.group_expr.iter().enumerate().map(column).collect()
}

/// The window's length; checks that the output has its start.
fn window(scope: &Scope<'_>, plan: &LogicalPlan, aggregate: &Aggregate, groups: &[Expr]) -> Result<i64> {
    let example = "GROUP BY tumble(window_start, INTERVAL '1 minute')";
    let mut tumbles = groups.iter().enumerate().filter_map(|(i, g)| Some((i, window_call(bare(g))?)));
    let Some((index, args)) = tumbles.next() else {
        return Err(scope.refused("GROUP BY without a window", "panes never end, so the result would never be final", format!("write {example}")));
    };
    if tumbles.next().is_some() {
        return Err(scope.refused("two windows in GROUP BY", "a row belongs to one window", "write two views"));
    }
    let is_time = |e: &Expr| is_scanned(&aggregate.input, e, PANES, WINDOW_START);
    let length = match args {
        [a, b] if is_time(a) => interval_micros(b),
        [a, b] if is_time(b) => interval_micros(a),
        [_, _] => return Err(scope.refused("tumble", "windows are over the column window_start of panes", format!("write {example}"))),
        _ => {
            return Err(scope.refused(
                "date_bin with an origin",
                "windows start at multiples of their length since 1970-01-01 UTC",
                format!("write {example}"),
            ));
        }
    };
    let pane = PANE_MS * 1000;
    let window_ms = match length {
        Some(micros) if micros > 0 && micros % pane == 0 => micros / 1000,
        _ => {
            let why = format!("windows are a constant, whole number of panes of {} s", PANE_MS / 1000);
            return Err(scope.refused("the window's length", why, "write for instance INTERVAL '1 minute', '5 minutes', '1 hour' or '1 day'"));
        }
    };
    let named = origins(plan, aggregate).iter().any(|(name, origin)| name == WINDOW_START && *origin == Some(index));
    if !named {
        let why = "rows of the view could not be told apart by time";
        return Err(scope.refused("no column window_start", why, "select the window's start: tumble(window_start, INTERVAL '...') AS window_start"));
    }
    Ok(window_ms)
}

fn window_call(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::ScalarFunction(call) if matches!(call.func.name(), "tumble" | "date_bin") => Some(&call.args),
        _ => None,
    }
}

/// Microseconds of a constant interval; `None` where it is no constant or has months.
pub(super) fn interval_micros(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = bare(expr) else { return None };
    scalar_micros(value)
}

/// Microseconds of an interval value.
pub(super) fn scalar_micros(value: &ScalarValue) -> Option<i64> {
    const DAY: i64 = 86_400_000_000;
    match value {
        ScalarValue::IntervalMonthDayNano(Some(v)) if v.months == 0 && v.nanoseconds % 1000 == 0 => {
            i64::from(v.days).checked_mul(DAY)?.checked_add(v.nanoseconds / 1000)
        }
        ScalarValue::IntervalDayTime(Some(v)) => i64::from(v.days).checked_mul(DAY)?.checked_add(i64::from(v.milliseconds) * 1000),
        ScalarValue::DurationMicrosecond(Some(v)) => Some(*v),
        ScalarValue::DurationMillisecond(Some(v)) => v.checked_mul(1000),
        ScalarValue::DurationSecond(Some(v)) => v.checked_mul(1_000_000),
        ScalarValue::DurationNanosecond(Some(v)) if v % 1000 == 0 => Some(v / 1000),
        _ => None,
    }
}

type Node = Arc<dyn ExecutionPlan>;

/// Cuts a physical plan at its aggregation into partial, merge and finish.
fn split(planner: &Planner, relation: &str, plan: &Node, schema: &SchemaRef) -> Result<AggregateQuery> {
    let mut aggregates = Vec::new();
    gather(plan, relation, &mut aggregates);
    let (Some(top), Some(low)) = (aggregates.first(), aggregates.last()) else {
        return Err(Error::Internal(format!("view {}: its plan has no aggregation", planner.view)));
    };
    let low = as_aggregate(low)?;
    let failed = |cause| Error::plan(&planner.view, cause);
    let rows = low.input_schema();
    let (group, calls, filters) = (low.group_expr().clone(), low.aggr_expr().to_vec(), low.filter_expr().to_vec());
    let partial: Node = Arc::new(
        AggregateExec::try_new(AggregateMode::Partial, group, calls.clone(), filters, Arc::clone(low.input()), Arc::clone(&rows)).map_err(failed)?,
    );
    let state_name: Arc<str> = STATE.into();
    let state: Node = Arc::new(SourceExec::new(Arc::clone(&state_name), &partial.schema(), None).map_err(failed)?);
    let again = |mode: AggregateMode| -> Result<Node> {
        let none = vec![None; calls.len()];
        let node =
            AggregateExec::try_new(mode, low.group_expr().as_final(), calls.clone(), none, Arc::clone(&state), Arc::clone(&rows)).map_err(failed)?;
        Ok(Arc::new(node))
    };
    let merge = again(AggregateMode::PartialReduce)?;
    let finish = replace(plan, top, &again(AggregateMode::Final)?).map_err(failed)?;
    let what = |step: &str| format!("view {}, {step}", planner.view);
    let runner = &planner.runner;
    let stream = planner_schema(relation);
    Ok(AggregateQuery {
        relation: relation.into(),
        rows: stream,
        state_name,
        partial: Prepared::new(&what("partial"), partial, Arc::clone(runner))?,
        merge: Prepared::new(&what("merge"), merge, Arc::clone(runner))?,
        finish: Prepared::new(&what("finish"), finish, Arc::clone(runner))?.with_schema(Arc::clone(schema)),
    })
}

fn planner_schema(relation: &str) -> SchemaRef {
    if relation == PANES { afferent_engine::schema::panes() } else { afferent_engine::schema::events().schema }
}

fn as_aggregate(node: &Node) -> Result<&AggregateExec> {
    node.downcast_ref::<AggregateExec>().ok_or_else(|| Error::Internal("an aggregation changed its type".to_owned()))
}

/// The aggregations over the stream, top first.
fn gather(node: &Node, relation: &str, found: &mut Vec<Node>) {
    if !scans(node, relation) {
        return;
    }
    if node.downcast_ref::<AggregateExec>().is_some() {
        found.push(Arc::clone(node));
    }
    for child in node.children() {
        gather(child, relation, found);
    }
}

fn scans(node: &Node, relation: &str) -> bool {
    node.downcast_ref::<SourceExec>().is_some_and(|s| s.relation() == relation) || node.children().into_iter().any(|c| scans(c, relation))
}

fn replace(node: &Node, old: &Node, new: &Node) -> datafusion::error::Result<Node> {
    if Arc::ptr_eq(node, old) {
        return Ok(Arc::clone(new));
    }
    if node.children().is_empty() {
        return Ok(Arc::clone(node));
    }
    let children = node.children().into_iter().map(|c| replace(c, old, new)).collect::<datafusion::error::Result<Vec<_>>>()?;
    Arc::clone(node).replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}
