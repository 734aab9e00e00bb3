//! `approx_distinct` over words: `metric` and `service` are dictionaries, which DataFusion's sketch does not take. They are given to it as text.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Expr, ExprSchemable, cast};

/// Puts text in place of dictionaries.
#[derive(Debug)]
pub(super) struct DistinctWords;

impl FunctionRewrite for DistinctWords {
    fn name(&self) -> &str {
        "text for approx_distinct"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _config: &ConfigOptions) -> Result<Transformed<Expr>> {
        let Expr::AggregateFunction(mut call) = expr else { return Ok(Transformed::no(expr)) };
        if call.func.name() != "approx_distinct" {
            return Ok(Transformed::no(Expr::AggregateFunction(call)));
        }
        let mut changed = false;
        for arg in &mut call.params.args {
            if let DataType::Dictionary(_, words) = arg.get_type(schema)? {
                *arg = cast(arg.clone(), *words);
                changed = true;
            }
        }
        let call = Expr::AggregateFunction(call);
        Ok(if changed { Transformed::yes(call) } else { Transformed::no(call) })
    }
}
