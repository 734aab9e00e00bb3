//! The newest row per key: of the descriptions of a series, and of a view's revisions.

use arrow::datatypes::SchemaRef;
use datafusion::common::{Column, JoinType, NullEquality, TableReference};
use datafusion::error::Result;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, col, ident, lit};

/// One row per key, the first in `order`.
pub(super) fn first_per_key(plan: LogicalPlan, key: &[String], order: Vec<datafusion::logical_expr::SortExpr>) -> Result<LogicalPlan> {
    let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let rank = row_number().partition_by(key.iter().map(ident).collect()).order_by(order).build()?.alias("rank in key");
    LogicalPlanBuilder::from(plan).window(vec![rank])?.filter(col("\"rank in key\"").eq(lit(1_u64)))?.project(columns)?.build()
}

/// A view's rows with the highest (generation, revision) per key.
pub(super) fn newest_revisions(scan: impl Fn(&str) -> Result<LogicalPlan>, schema: &SchemaRef, key: &[String]) -> Result<LogicalPlan> {
    if schema.column_with_name("window_start").is_some() {
        return superseded_left_out(scan, key);
    }
    // Rows of keyed views are written again and again: most rows are old.
    let order = ["generation", "revision"].map(|c| ident(c).sort(false, false)).to_vec();
    first_per_key(scan("v")?, key, order)
}

/// Rows of windows are written once, seldom twice: looks for newer rows among the few that are a second writing, instead of sorting all.
fn superseded_left_out(scan: impl Fn(&str) -> Result<LogicalPlan>, key: &[String]) -> Result<LogicalPlan> {
    let of = |relation: &str, column: &str| Column::new(Some(TableReference::bare(relation)), column);
    let cell = |relation: &str, column: &str| Expr::Column(of(relation, column));
    let again = ident("revision").gt(lit(0_i64)).or(ident("generation").gt(lit(1_i64)));
    let wanted: Vec<Expr> = key.iter().map(String::as_str).chain(["generation", "revision"]).map(|c| cell("newer", c)).collect();
    let newer = LogicalPlanBuilder::from(scan("newer")?).filter(again)?.project(wanted)?;
    let later = cell("newer", "generation").gt(cell("v", "generation"));
    let same = cell("newer", "generation").eq(cell("v", "generation")).and(cell("newer", "revision").gt(cell("v", "revision")));
    let keys = (key.iter().map(|k| of("newer", k)).collect::<Vec<_>>(), key.iter().map(|k| of("v", k)).collect::<Vec<_>>());
    // The few stand on the left, where the join keeps them in memory.
    newer.join_detailed(scan("v")?, JoinType::RightAnti, keys, Some(later.or(same)), NullEquality::NullEqualsNull)?.build()
}
