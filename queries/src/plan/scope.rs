//! What a definition reads, and as which shape it is compiled. Not the compiling.

use super::planner::Planner;
use super::{EVENTS, PANES, refuse, trace};
use crate::definition::{Definition, Shape};
use crate::error::{Error, Result};
use datafusion::logical_expr::LogicalPlan;
use std::collections::BTreeSet;

/// A definition with what was read off its plan.
pub(super) struct Scope<'a> {
    pub(super) definition: &'a Definition,
    pub(super) shape: Shape,
    pub(super) source: Source,
    /// Views it reads.
    pub(super) views: BTreeSet<String>,
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Panes, events, or the rows of a view that are aggregated: one relation, read row by row.
    Stream(String),
    /// The rows of one view, in order.
    Rows(String),
    /// Current rows of views.
    Relations,
}

impl<'a> Scope<'a> {
    pub(super) fn of(planner: &Planner, definition: &'a Definition, plan: &LogicalPlan) -> Result<Self> {
        let scans = trace::scans(plan);
        let count = |name: &str| scans.iter().filter(|s| *s == name).count();
        let views: BTreeSet<String> = scans.iter().filter(|s| planner.is_view(s)).cloned().collect();
        let streams: Vec<&str> = [PANES, EVENTS].into_iter().filter(|s| count(s) > 0).collect();
        let refused = |clause: &str, why: &str, instead: &str| Err(refuse::refused(&definition.name, clause, why, instead));
        let mixed = streams.len() > 1 || (!streams.is_empty() && !views.is_empty());
        if mixed || streams.first().is_some_and(|s| trace::joined_with_itself(plan, s)) {
            return refused(
                "more than one of panes, events and views in FROM",
                "streams cannot be joined with each other: a row would have to wait for every row that may still come on the other side",
                "aggregate each in a view of its own and join those views in a third one WITH (shape = 'snapshot', key = '...'), or read several metrics at once with metric IN (...) and SUM(...) FILTER (WHERE metric = '...')",
            );
        }
        if streams.len() + views.len() == 0 {
            return refused("FROM", "it reads no stream and no view, so nothing would ever change", "read panes, events or a view");
        }
        let one = views.first().filter(|v| views.len() == 1 && !trace::joined_with_itself(plan, v));
        let windows = one.filter(|v| {
            let asked = definition.shape == Some(Shape::Window) && trace::aggregates(plan, v);
            asked || (definition.shape.is_none() && !trace::dates(plan) && trace::aggregates_windows(plan, v))
        });
        let rows = one.filter(|v| count(v) == 1 && trace::folds_over(plan, v));
        // Ranking and as_of() say that current rows are meant, if there is a key to tell them apart by.
        let rows = rows.filter(|_| definition.shape == Some(Shape::Fold) || definition.key.is_none() || !trace::ranks_or_dates(plan));
        let (shape, source) = match (streams.first(), windows, rows, definition.shape) {
            (Some(&PANES), ..) => (Shape::Window, Source::Stream(PANES.to_owned())),
            (Some(stream), ..) => (Shape::Keyed, Source::Stream((*stream).to_owned())),
            (_, Some(view), ..) => (Shape::Window, Source::Stream(view.clone())),
            (_, _, Some(view), None | Some(Shape::Fold)) => (Shape::Fold, Source::Rows(view.clone())),
            _ => (Shape::Snapshot, Source::Relations),
        };
        match definition.shape {
            Some(asked) if asked != shape => refused(
                &format!("WITH (shape = '{asked}')"),
                &format!("the query has the shape {shape}"),
                "leave the option out, or rewrite the query: window reads panes (or one windowed view with GROUP BY tumble), keyed reads events, fold has window functions over the rows of one view",
            ),
            _ => Ok(Self { definition, shape, source, views }),
        }
    }

    /// An error about this view.
    pub(super) fn refused(&self, clause: impl Into<String>, why: impl Into<String>, instead: impl Into<String>) -> Error {
        refuse::refused(&self.definition.name, clause, why, instead)
    }
}
