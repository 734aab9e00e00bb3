//! Reading logical plans: which relations they scan, the way from the top to one of them, and what a column is further down.

use super::{WINDOW_START, window};
use crate::error::{Error, Result};
use crate::functions;
use crate::run::instant::AS_OF;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, TableReference};
use datafusion::logical_expr::expr::WindowFunctionDefinition;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// A table reference that takes the name letter by letter.
pub(crate) fn spelled(name: &str) -> TableReference {
    TableReference::bare(name)
}

/// Every relation scanned, once per scan, subqueries included.
pub(super) fn scans(plan: &LogicalPlan) -> Vec<String> {
    let mut names = Vec::new();
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            names.push(scan.table_name.table().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok(), "the visitor never fails");
    names
}

/// Visits every expression of a plan, parts and subqueries included; what the visitor refuses ends it.
pub(super) fn expressions(plan: &LogicalPlan, mut visit: impl FnMut(&Expr) -> Result<TreeNodeRecursion>) -> Result<()> {
    let mut refused: Option<Error> = None;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                visit(part).or_else(|problem| {
                    refused = Some(problem);
                    Ok(TreeNodeRecursion::Stop)
                })
            })
        })
    });
    match refused {
        Some(problem) => Err(problem),
        None => walked.map(drop).map_err(Error::statement),
    }
}

/// True where the plan scans `relation`, in a subquery or not.
pub(super) fn reads(plan: &LogicalPlan, relation: &str) -> bool {
    scans(plan).iter().any(|s| s == relation)
}

/// The nodes from the top down to the scan of `relation`, the first of them where a UNION has several; `None` where it is scanned only inside a subquery.
pub(super) fn path<'a>(plan: &'a LogicalPlan, relation: &str) -> Option<Vec<&'a LogicalPlan>> {
    paths(plan, relation).into_iter().next()
}

/// Every way from the top down to a scan of `relation`, those inside subqueries left out.
pub(super) fn paths<'a>(plan: &'a LogicalPlan, relation: &str) -> Vec<Vec<&'a LogicalPlan>> {
    if let LogicalPlan::TableScan(scan) = plan {
        return if scan.table_name.table() == relation { vec![vec![plan]] } else { Vec::new() };
    }
    let below = plan.inputs().into_iter().flat_map(|input| paths(input, relation));
    below.map(|rest| std::iter::once(plan).chain(rest).collect()).collect()
}

/// True where `relation` is read on both sides of a join, or beside a subquery that reads it too.
pub(super) fn joined_with_itself(plan: &LogicalPlan, relation: &str) -> bool {
    let paths = paths(plan, relation);
    let twice = |node: &&LogicalPlan| matches!(node, LogicalPlan::Join(join) if reads(&join.left, relation) && reads(&join.right, relation));
    let scanned = scans(plan).iter().filter(|s| *s == relation).count();
    (!paths.is_empty() && scanned > paths.len()) || paths.iter().flatten().any(twice)
}

/// True where rows of `relation` are aggregated on the way to the top.
pub(super) fn aggregates(plan: &LogicalPlan, relation: &str) -> bool {
    paths(plan, relation).iter().flatten().any(|n| matches!(n, LogicalPlan::Aggregate(_)))
}

/// True where they are aggregated by windows over `window_start`.
pub(super) fn aggregates_windows(plan: &LogicalPlan, relation: &str) -> bool {
    let windows = |node: &LogicalPlan| {
        let LogicalPlan::Aggregate(aggregate) = node else { return false };
        aggregate.group_expr.iter().any(|g| {
            let traced = trace(&aggregate.input, g);
            window::call(bare(&traced)).is_some_and(|(_, args)| args.iter().any(|a| is_scanned(&aggregate.input, a, relation, WINDOW_START)))
        })
    };
    paths(plan, relation).iter().flatten().any(|n| windows(n))
}

/// True where every node on the way to `relation` passes rows on one by one, but for window functions, of which there is one at least.
pub(super) fn folds_over(plan: &LogicalPlan, relation: &str) -> bool {
    let Some(path) = path(plan, relation) else { return false };
    let windows = path.iter().any(|n| matches!(n, LogicalPlan::Window(_)));
    windows && !path.iter().any(|n| matches!(n, LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) | LogicalPlan::Union(_)))
}

/// True where the query ranks rows or asks for the instant of the answer, which a fold cannot and a snapshot can.
pub(super) fn ranks_or_dates(plan: &LogicalPlan) -> bool {
    dates(plan) || ranks(plan)
}

/// True where the query asks for the instant of the answer.
pub(super) fn dates(plan: &LogicalPlan) -> bool {
    any_expr(plan, |e| matches!(e, Expr::ScalarFunction(call) if call.func.name() == AS_OF))
}

fn ranks(plan: &LogicalPlan) -> bool {
    any_expr(plan, |e| match e {
        Expr::WindowFunction(call) => match &call.fun {
            WindowFunctionDefinition::WindowUDF(function) => functions::fold::of_window(function).is_none(),
            WindowFunctionDefinition::AggregateUDF(_) => false,
        },
        _ => false,
    })
}

fn any_expr(plan: &LogicalPlan, wanted: impl Fn(&Expr) -> bool) -> bool {
    let mut found = false;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                found |= wanted(e);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    found && walked.is_ok()
}

/// An expression in terms of the columns of the nodes below that define any: scans, aggregates and windows.
pub(super) fn trace(plan: &LogicalPlan, expr: &Expr) -> Expr {
    let lowered = expr.clone().transform_down(|e| {
        Ok(match &e {
            Expr::Column(column) => match below(plan, column) {
                Some((definition, input)) => Transformed::new(trace(input, &definition), true, TreeNodeRecursion::Jump),
                None => Transformed::no(e),
            },
            _ => Transformed::no(e),
        })
    });
    lowered.map(|t| t.data).unwrap_or_else(|_| expr.clone())
}

/// What a column of this node is in terms of one of its inputs.
fn below<'a>(plan: &'a LogicalPlan, column: &Column) -> Option<(Expr, &'a LogicalPlan)> {
    match plan {
        LogicalPlan::Projection(p) => {
            let expr = p.expr.get(p.schema.maybe_index_of_column(column)?)?;
            Some((expr.clone().unalias_nested().data, &p.input))
        }
        LogicalPlan::SubqueryAlias(s) => {
            let index = s.schema.maybe_index_of_column(column)?;
            Some((Expr::Column(Column::from(s.input.schema().qualified_field(index))), &s.input))
        }
        LogicalPlan::Join(j) => {
            [&j.left, &j.right].into_iter().find(|side| side.schema().has_column(column)).map(|side| (Expr::Column(column.clone()), side.as_ref()))
        }
        LogicalPlan::Filter(f) => Some((Expr::Column(column.clone()), &f.input)),
        LogicalPlan::Sort(s) => Some((Expr::Column(column.clone()), &s.input)),
        LogicalPlan::Limit(l) => Some((Expr::Column(column.clone()), &l.input)),
        LogicalPlan::Unnest(u) if u.input.schema().has_column(column) => Some((Expr::Column(column.clone()), &u.input)),
        LogicalPlan::Union(u) => {
            let index = u.schema.maybe_index_of_column(column)?;
            let of = |input: &LogicalPlan| Expr::Column(Column::from(input.schema().qualified_field(index)));
            let first = u.inputs.first()?;
            let same = trace(first, &of(first));
            // A column of a union is what it is in the first branch where every branch says the same.
            let agree = u.inputs.iter().all(|input| trace(input, &of(input)) == same);
            agree.then(|| (of(first), first.as_ref()))
        }
        LogicalPlan::Window(w) if w.input.schema().has_column(column) => Some((Expr::Column(column.clone()), &w.input)),
        _ => None,
    }
}

/// The expression inside aliases and casts.
pub(super) fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(a) => bare(&a.expr),
        Expr::Cast(c) => bare(&c.expr),
        Expr::TryCast(c) => bare(&c.expr),
        other => other,
    }
}

/// True where the expression, seen from this node, is the relation's column of this name (cast or not).
pub(super) fn is_column(plan: &LogicalPlan, expr: &Expr, relation: &str, name: &str) -> bool {
    is_scanned(plan, &trace(plan, expr), relation, name)
}

/// The same for an expression that [`trace`] has been over already.
pub(super) fn is_scanned(plan: &LogicalPlan, traced: &Expr, relation: &str, name: &str) -> bool {
    let Expr::Column(column) = bare(traced) else { return false };
    column.name == name && path(plan, relation).and_then(|p| p.last().map(|scan| scan.schema().has_column(column))).unwrap_or(false)
}
