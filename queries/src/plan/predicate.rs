//! Which texts a column can have in the rows that a query keeps: from `=`, `IN`, `AND`, `OR`, and joins to constant relations.

use super::planner::Planner;
use super::trace::{bare, is_column, paths, reads};
use crate::error::Result;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, Operator};
use std::collections::BTreeSet;

/// The texts that `relation`'s column can have in rows that reach the top; `None` means any. The plan is an optimized one.
pub(super) fn texts_of(planner: &Planner, plan: &LogicalPlan, relation: &str, column: &str) -> Result<Option<BTreeSet<String>>> {
    // Branches of a union add up; none at all would mean that nothing is read.
    let mut all = BTreeSet::new();
    for path in paths(plan, relation) {
        match texts_on(planner, &path, relation, column)? {
            Some(texts) => all.extend(texts),
            None => return Ok(None),
        }
    }
    Ok(Some(all))
}

/// The same along one way from the top to a scan.
fn texts_on(planner: &Planner, path: &[&LogicalPlan], relation: &str, column: &str) -> Result<Option<BTreeSet<String>>> {
    let mut found = None;
    for node in path {
        match node {
            LogicalPlan::Filter(filter) => {
                let is = |e: &Expr| is_column(&filter.input, e, relation, column);
                found = both(found, texts(&filter.predicate, &is));
            }
            LogicalPlan::Join(join) => {
                let (stream, other, kept) = match reads(&join.left, relation) {
                    true => (&join.left, &join.right, matches!(join.join_type, JoinType::Inner | JoinType::LeftSemi)),
                    false => (&join.right, &join.left, matches!(join.join_type, JoinType::Inner | JoinType::RightSemi)),
                };
                if !kept {
                    continue;
                }
                let is = |e: &Expr| is_column(stream, e, relation, column);
                for (left, right) in &join.on {
                    let (mine, theirs) = if std::sync::Arc::ptr_eq(stream, &join.left) { (left, right) } else { (right, left) };
                    if is(mine) {
                        found = both(found, Some(planner.texts(other, theirs)?));
                    }
                }
                if let Some(filter) = &join.filter {
                    found = both(found, texts(filter, &is));
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

fn both(a: Option<BTreeSet<String>>, b: Option<BTreeSet<String>>) -> Option<BTreeSet<String>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.intersection(&b).cloned().collect()),
        (a, b) => a.or(b),
    }
}

fn texts(predicate: &Expr, is: &dyn Fn(&Expr) -> bool) -> Option<BTreeSet<String>> {
    match predicate {
        Expr::Alias(a) => texts(&a.expr, is),
        Expr::BinaryExpr(b) => match b.op {
            Operator::And => both(texts(&b.left, is), texts(&b.right, is)),
            Operator::Or => Some(texts(&b.left, is)?.union(&texts(&b.right, is)?).cloned().collect()),
            Operator::Eq => {
                let (column, value) = if literal(&b.right).is_some() { (&b.left, &b.right) } else { (&b.right, &b.left) };
                is(column).then(|| literal(value)).flatten().map(|v| BTreeSet::from([v]))
            }
            _ => None,
        },
        Expr::InList(InList { expr, list, negated: false }) if is(expr) => list.iter().map(literal).collect(),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<String> {
    match bare(expr) {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    }
}
