//! The windows of an aggregation, read off its GROUP BY: `tumble`, `date_bin` or `hop` over `window_start`. Not the aggregation.

use super::aggregate::origins;
use super::scope::Scope;
use super::trace::{bare, is_scanned};
use super::{PANES, WINDOW_START};
use crate::error::Result;
use crate::functions::hop::{HOP, Hop};
use crate::functions::tumble::constant_micros;
use afferent_engine::time::PANE_MS;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};

/// What a view's windows are written like, for errors.
const EXAMPLE: &str = "GROUP BY tumble(window_start, INTERVAL '1 minute')";

/// Length and distance of an aggregation's windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Windows {
    pub(super) window_ms: i64,
    pub(super) every_ms: i64,
    /// Which grouping expression is the window.
    pub(super) group: usize,
}

/// The windows that the rows of an input view stand for: length and distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spans {
    pub(super) window_ms: i64,
    pub(super) every_ms: i64,
}

/// Reads the windows of `aggregate` over `relation`; checks that the output has their start. `groups` are in terms of the relation's columns.
pub(super) fn windows(scope: &Scope<'_>, plan: &LogicalPlan, relation: &str, aggregate: &Aggregate, groups: &[Expr]) -> Result<Windows> {
    let mut calls = groups.iter().enumerate().filter_map(|(i, g)| Some((i, call(bare(g))?)));
    let Some((group, (name, args))) = calls.next() else {
        let why = "its input never ends, so the result would never be final";
        let truncated = groups.iter().any(|g| matches!(bare(g), Expr::ScalarFunction(f) if f.func.name() == "date_trunc"));
        return Err(match truncated {
            true => scope.refused("date_trunc in GROUP BY", "it is no window of a fixed length", "write tumble(window_start, INTERVAL '1 hour')"),
            false => scope.refused("GROUP BY without a window", why, format!("write {EXAMPLE}")),
        });
    };
    if calls.next().is_some() {
        return Err(scope.refused("two windows in GROUP BY", "a row belongs to one kind of window", "write two views"));
    }
    let is_time = |e: &Expr| is_scanned(&aggregate.input, e, relation, WINDOW_START);
    let over = || scope.refused(name, format!("windows are over the column window_start of {relation}"), format!("write {EXAMPLE}"));
    let (window_ms, every_ms) = match (name, args) {
        (HOP, args) => {
            let hop = Hop::of(args)
                .map_err(|problem| scope.refused("hop(...) in GROUP BY", problem, format!("write GROUP BY {}", crate::functions::hop::EXAMPLE)))?;
            if !args.first().is_some_and(is_time) {
                return Err(over());
            }
            (whole_panes(scope, Some(hop.size_micros))?, whole_panes(scope, Some(hop.slide_micros))?)
        }
        (_, [a, b]) => {
            let length = if is_time(a) {
                constant_micros(b)
            } else if is_time(b) {
                constant_micros(a)
            } else {
                return Err(over());
            };
            let length = whole_panes(scope, length)?;
            (length, length)
        }
        _ => {
            let why = "windows start at multiples of their length since 1970-01-01 UTC";
            return Err(scope.refused("date_bin with an origin", why, format!("write {EXAMPLE}")));
        }
    };
    let named = origins(plan, aggregate).iter().any(|(name, origin)| name == WINDOW_START && *origin == Some(group));
    if !named {
        let why = "rows of the view could not be told apart by time";
        let instead = format!("select the window's start: {name}(window_start, ...) AS window_start");
        return Err(scope.refused("no column window_start", why, instead));
    }
    Ok(Windows { window_ms, every_ms, group })
}

/// Checks that the rows of a view fall into these windows whole.
pub(super) fn fit(scope: &Scope<'_>, view: &str, spans: Option<Spans>, windows: Windows) -> Result<()> {
    let minutes = |ms: i64| format!("{} minutes", ms / 60_000);
    let Some(inner) = spans else {
        let instead = "read a windowed view, or write a snapshot: WITH (shape = 'snapshot', key = '...')";
        return Err(scope.refused(format!("windows over {view}"), "its rows are current ones and stand for no windows", instead));
    };
    if inner.every_ms != inner.window_ms {
        let why = format!(
            "its windows of {} start every {}, so every moment would be counted several times",
            minutes(inner.window_ms),
            minutes(inner.every_ms)
        );
        return Err(scope.refused(format!("windows over {view}"), why, "read a view with tumble, or the panes themselves"));
    }
    if windows.every_ms % inner.window_ms != 0 {
        let why = format!(
            "its rows stand for {} each and cannot be divided among windows that start every {}",
            minutes(inner.window_ms),
            minutes(windows.every_ms)
        );
        let instead = format!("let windows start at multiples of {}, or read the panes themselves", minutes(inner.window_ms));
        return Err(scope.refused(format!("windows over {view}"), why, instead));
    }
    Ok(())
}

fn whole_panes(scope: &Scope<'_>, length_micros: Option<i64>) -> Result<i64> {
    let pane = PANE_MS * 1000;
    match length_micros {
        Some(micros) if micros > 0 && micros % pane == 0 => Ok(micros / 1000),
        _ => {
            let why = format!("windows are a constant, whole number of {PANES} of {} s", PANE_MS / 1000);
            Err(scope.refused("the window's length", why, "write for instance INTERVAL '1 minute', '5 minutes', '1 hour' or '1 day'"))
        }
    }
}

/// Name and arguments of a call that makes windows.
pub(super) fn call(expr: &Expr) -> Option<(&'static str, &[Expr])> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let name = ["tumble", "date_bin", HOP].into_iter().find(|n| *n == call.func.name())?;
    Some((name, &call.args))
}
