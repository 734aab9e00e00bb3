//! `a || b` of text as a function, so that what it makes can be bounded like what any function makes. Lists are joined elsewhere.

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator as Op, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

/// Both texts, one after the other; null where one of them is.
pub(super) fn joined() -> ScalarUDF {
    ScalarUDF::new_from_impl(Joined { signature: Signature::user_defined(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Joined {
    signature: Signature,
}

impl ScalarUDFImpl for Joined {
    fn name(&self) -> &str {
        "||"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![DataType::Utf8; types.len()])
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let columns = columns.iter().map(|c| Ok(cast(c, &DataType::Utf8)?)).collect::<Result<Vec<ArrayRef>>>()?;
        let [left, right] = columns.as_slice() else { return datafusion::common::internal_err!("|| joins two texts") };
        let pair = |(a, b): (Option<&str>, Option<&str>)| Some([a?, b?].concat());
        let rows: StringArray = left.as_string::<i32>().iter().zip(right.as_string::<i32>()).map(pair).collect();
        if all_constant {
            return Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&rows, 0)?));
        }
        Ok(ColumnarValue::Array(Arc::new(rows)))
    }
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
                let is_text = |e: &Expr| Ok::<_, DataFusionError>(!e.get_type(schema)?.is_nested() && !e.get_type(schema)?.is_binary());
                if !is_text(&left)? || !is_text(&right)? {
                    return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op: Op::StringConcat, right })));
                }
                Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(self.0.clone(), vec![*left, *right]))))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}
