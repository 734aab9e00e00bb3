//! One row per key of relations whose rows are written again and again: the descriptions of series, and views without windows.

use afferent_engine::schema::{RETRACTED, REVISION};
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, col, ident, lit};

/// One row per key, the first in `order`.
pub(super) fn first_per_key(plan: LogicalPlan, key: &[String], order: Vec<datafusion::logical_expr::SortExpr>) -> Result<LogicalPlan> {
    let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let rank = row_number().partition_by(key.iter().map(ident).collect()).order_by(order).build()?.alias("rank in key");
    LogicalPlanBuilder::from(plan).window(vec![rank])?.filter(col("\"rank in key\"").eq(lit(1_u64)))?.project(columns)?.build()
}

/// The highest revision per key, without keys that are retracted by it.
pub(super) fn newest_revisions(rows: LogicalPlan, schema: &SchemaRef, key: &[String]) -> Result<LogicalPlan> {
    let newest = LogicalPlanBuilder::from(first_per_key(rows, key, vec![ident(REVISION).sort(false, false)])?);
    if schema.column_with_name(RETRACTED).is_none() {
        return newest.build();
    }
    let shown: Vec<Expr> = schema.fields().iter().filter(|f| f.name() != RETRACTED).map(|f| ident(f.name())).collect();
    newest.filter(ident(RETRACTED).is_not_true())?.project(shown)?.build()
}
