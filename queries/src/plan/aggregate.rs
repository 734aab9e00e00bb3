//! Aggregations over a stream: windows over panes, keyed state over events. Splits DataFusion's plan at its aggregation.

use super::planner::Planner;
use super::scope::Scope;
use super::trace::{bare, trace};
use super::window::{self, Spans, Windows};
use super::{Compiled, EVENTS, PANES, output, predicate, rank, refuse, ttl};
use crate::definition::Shape;
use crate::error::{Error, Result};
use crate::explain::{Explained, kept_by, span};
use crate::functions::newest_event::NEWEST_EVENT;
use crate::run::aggregate::{AggregateQuery, STATE};
use crate::run::source::SourceExec;
use crate::run::{Prepared, VIEW_MEMORY_BYTES_MAX};
use afferent_engine::event::EventKind;
use afferent_engine::query::{KeyedProgram, Program, WindowProgram, WindowQuery, WindowSource};
use afferent_engine::schema::TableName;
use afferent_engine::time::PANE_MS;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Column;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The kinds of events that exist.
const KINDS: [EventKind; 4] = [EventKind::Alert, EventKind::Incident, EventKind::Approval, EventKind::LlmUsage];

/// Compiles an aggregation of `relation`, whose rows stand for `spans` where it is a view.
pub(super) fn compile(planner: &Planner, scope: &Scope<'_>, relation: &str, spans: Option<Spans>, plan: &LogicalPlan) -> Result<Compiled> {
    let paths = refuse::paths_to(scope, plan, relation)?;
    for path in &paths {
        refuse::nodes(scope, path)?;
    }
    let path = paths.first().map(Vec::as_slice).unwrap_or_default();
    let aggregate = the_aggregate(scope, path)?;
    let groups = groups(scope, aggregate)?;
    for call in &aggregate.aggr_expr {
        if let Expr::AggregateFunction(call) = bare(call) {
            refuse::aggregate(scope, call)?;
        }
    }
    let key = key(scope, plan, aggregate)?;
    let windows = match scope.shape {
        Shape::Window => Some(window::windows(scope, plan, relation, aggregate, &groups)?),
        _ => None,
    };
    for node in path {
        if let (LogicalPlan::Window(node), Some(windows)) = (node, windows) {
            rank::check(scope, node, aggregate, windows.group)?;
        }
    }
    let ttl_ms = scope.definition.ttl_ms;
    let optimized = match ttl_ms {
        Some(_) => planner.optimized(&ttl::with_newest_event(plan, relation)?)?,
        None => planner.optimized(plan)?,
    };
    let rows = rows_of(planner, scope, relation, &optimized)?;
    let (tabled, full) = output::tabled(&planner.view, optimized.clone())?;
    let width = plan.schema().fields().len();
    let schema = Arc::new(Schema::new(full.fields().iter().take(width).cloned().collect::<Vec<_>>()));
    let query = split(planner, relation, rows, &planner.physical(&tabled)?, &full, &schema)?;
    let mut explained = Explained::default();
    let described = describe(scope, aggregate, &query, windows);
    let query: Arc<dyn WindowQuery> = Arc::new(query);
    let program = match windows {
        Some(windows) => {
            let source = if scope.views.contains(relation) {
                window::fit(scope, relation, spans, windows)?;
                WindowSource::View(TableName::new(relation))
            } else {
                let metrics = predicate::texts_of(planner, &optimized, relation, "metric")?;
                explained.say("metrics", listed(metrics.iter().flatten().map(String::as_str), metrics.is_none()));
                WindowSource::Panes { metrics }
            };
            Program::Window(WindowProgram { source, window_ms: windows.window_ms, every_ms: windows.every_ms, query })
        }
        None => {
            let kinds = match predicate::texts_of(planner, &optimized, relation, "kind")? {
                Some(texts) => Some(texts.iter().map(|t| kind(scope, t)).collect::<Result<BTreeSet<_>>>()?),
                None => None,
            };
            explained.say("kinds", listed(kinds.iter().flatten().map(|k| k.as_str()), kinds.is_none()));
            Program::Keyed(KeyedProgram { kinds, ttl_ms, query })
        }
    };
    explained.append(described);
    Ok(Compiled { shape: scope.shape, explained, program, schema, key })
}

fn listed<'a>(texts: impl Iterator<Item = &'a str>, all: bool) -> String {
    match (all, texts.collect::<Vec<_>>().join(", ")) {
        (true, _) => "all".to_owned(),
        (false, none) if none.is_empty() => "none: no row meets the conditions".to_owned(),
        (false, texts) => texts,
    }
}

/// What is computed, kept, and for how long.
fn describe(scope: &Scope<'_>, aggregate: &Aggregate, query: &AggregateQuery, windows: Option<Windows>) -> Explained {
    let mut says = Explained::default();
    if let Some(windows) = windows {
        says.say("windows", format!("of {}, one starting every {}", span(windows.window_ms), span(windows.every_ms)));
    }
    says.plan("partial", &query.partial);
    says.plan("merge", &query.merge);
    says.plan("finish", &query.finish);
    says.columns("state", &query.partial.schema());
    match (windows, scope.definition.ttl_ms) {
        (Some(w), _) if w.window_ms == PANE_MS => {
            says.say("retention", "no state of final rows: a window of one pane is computed when the pane is final");
        }
        (Some(w), _) => {
            let buckets = w.window_ms / w.every_ms;
            let kept = format!(
                "one state per {} of event time, at most {} of them, until the last window that holds it is final",
                span(w.every_ms),
                buckets + 1
            );
            says.say("retention", kept);
        }
        (None, Some(ttl_ms)) => {
            let kept = "one state per key; a key leaves when its newest event is older than the time-to-live, and a later event starts it anew";
            says.say("retention", kept);
            says.say("ttl", span(ttl_ms));
        }
        (None, None) => {
            says.say("retention", "one state per key, for ever; WITH (ttl = '30 days') lets keys leave that long after their newest event")
        }
    }
    says.say("memory", format!("at most {} MiB while a plan runs", VIEW_MEMORY_BYTES_MAX >> 20));
    for call in &aggregate.aggr_expr {
        if let Expr::AggregateFunction(function) = bare(call)
            && let Some(kept) = kept_by(function.func.name(), function.params.distinct)
        {
            says.say("sketch", format!("{call}: {kept}"));
        }
    }
    says
}

/// The columns of the relation as its rows are handed over.
fn rows_of(planner: &Planner, scope: &Scope<'_>, relation: &str, optimized: &LogicalPlan) -> Result<SchemaRef> {
    match relation {
        PANES => Ok(afferent_engine::schema::panes()),
        EVENTS => Ok(afferent_engine::schema::events().schema),
        view => output::rows_of_view(planner, scope, view, optimized),
    }
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

/// Which grouping expression a column above the aggregation is, cast or not.
pub(super) fn origin(plan: &LogicalPlan, expr: &Expr, aggregate: &Aggregate) -> Option<usize> {
    let traced = trace(plan, expr);
    let Expr::Column(inner) = bare(&traced) else { return None };
    aggregate.schema.maybe_index_of_column(inner).filter(|i| *i < aggregate.group_expr.len())
}

/// The same for each output column.
pub(super) fn origins(plan: &LogicalPlan, aggregate: &Aggregate) -> Vec<(String, Option<usize>)> {
    let of = |column: Column| origin(plan, &Expr::Column(column), aggregate);
    plan.schema().iter().map(|(q, f)| (f.name().clone(), of(Column::new(q.cloned(), f.name())))).collect()
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

type Node = Arc<dyn ExecutionPlan>;

/// Cuts a physical plan at its aggregation into partial, merge and finish.
fn split(planner: &Planner, relation: &str, stream: SchemaRef, plan: &Node, full: &SchemaRef, schema: &SchemaRef) -> Result<AggregateQuery> {
    let mut aggregates = Vec::new();
    gather(plan, relation, &mut aggregates);
    let (Some(top), Some(low)) = (aggregates.first(), aggregates.last()) else {
        return Err(Error::Internal(format!("view {}: its plan has no aggregation", planner.view)));
    };
    let low = as_aggregate(low)?;
    let failed = |cause| Error::plan(&planner.view, cause);
    let rows = low.input_schema();
    let (group, calls, filters) = (low.group_expr().clone(), low.aggr_expr().to_vec(), low.filter_expr().to_vec());
    let input = match low.input().output_partitioning().partition_count() {
        1 => Arc::clone(low.input()),
        // The branches of a union; one after the other, so that a state has each group once.
        _ => Arc::new(CoalescePartitionsExec::new(Arc::clone(low.input()))) as Node,
    };
    let partial: Node =
        Arc::new(AggregateExec::try_new(AggregateMode::Partial, group, calls.clone(), filters, input, Arc::clone(&rows)).map_err(failed)?);
    let newest = newest_column(low).map_err(failed)?;
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
    Ok(AggregateQuery {
        relation: relation.into(),
        rows: stream,
        state_name,
        partial: Prepared::new(&what("partial"), partial, Arc::clone(runner))?,
        merge: Prepared::new(&what("merge"), merge, Arc::clone(runner))?,
        finish: Prepared::new(&what("finish"), finish, Arc::clone(runner))?.with_schema(Arc::clone(full)),
        newest,
        result: Arc::clone(schema),
    })
}

/// The column of the state that holds the newest event's time.
fn newest_column(aggregate: &AggregateExec) -> datafusion::error::Result<Option<usize>> {
    let mut column = aggregate.group_expr().num_group_exprs();
    for call in aggregate.aggr_expr() {
        if call.fun().name() == NEWEST_EVENT {
            return Ok(Some(column));
        }
        column += call.state_fields()?.len();
    }
    Ok(None)
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
