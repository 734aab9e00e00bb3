//! `a || b` of text as a function, so that what it makes can be bounded like what any function makes. Lists are joined elsewhere.

use super::scalar::{Scalar, texts};
use arrow::array::ArrayRef;
use arrow::compute::kernels::concat_elements::concat_elements_utf8;
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, exec_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator as Op, ScalarUDF, Signature, Volatility, cast};
use std::sync::Arc;

/// Both texts, one after the other; null where one of them is.
pub(super) fn joined() -> ScalarUDF {
    Scalar { name: "||", signature: Signature::any(2, Volatility::Immutable), output: |_| Ok(DataType::Utf8), body: join }.function()
}

fn join(columns: &[ArrayRef], _rows: usize) -> Result<ArrayRef> {
    let [left, right] = columns else { return exec_err!("|| joins two texts") };
    Ok(Arc::new(concat_elements_utf8(&texts(left)?, &texts(right)?)?))
}

/// Puts a function in place of the operator.
#[derive(Debug)]
pub(super) struct Operator(pub(super) Arc<ScalarUDF>);

impl FunctionRewrite for Operator {
    fn name(&self) -> &str {
        "|| as a function"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _config: &ConfigOptions) -> Result<Transformed<Expr>> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Op::StringConcat, right }) => {
                let has_text = |e: &Expr| {
                    let kind = e.get_type(schema)?;
                    Ok::<_, DataFusionError>(!kind.is_nested() && !kind.is_binary())
                };
                if !has_text(&left)? || !has_text(&right)? {
                    return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op: Op::StringConcat, right })));
                }
                Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(
                    self.0.clone(),
                    [left, right].map(|e| cast(*e, DataType::Utf8)).into(),
                ))))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}
