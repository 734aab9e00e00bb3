//! `compare_burn(bad, total, target_ppm, factor_milli)`: whether a budget burns faster than a factor, in whole numbers.
//!
//! # Source
//! Google SRE Workbook, chapter 5; the integer comparison at the threshold is ours: bad / total against factor x (1 - target), without a division.

use super::scalar::{Scalar, integers};
use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};
use std::sync::Arc;

/// One, in millionths.
pub const PPM: i64 = 1_000_000;
/// One, in thousandths: factors of burn rates.
pub const MILLI: i64 = 1_000;

/// The function: 1 faster, 0 exactly as fast, -1 slower; null without events or where an argument is null.
pub fn compare_burn() -> ScalarUDF {
    let output = |types: &[DataType]| match types {
        [_, _, _, _] if types.iter().all(|t| t.is_integer() || *t == DataType::Null) => Ok(DataType::Int64),
        _ => plan_err!("compare_burn takes four whole numbers: compare_burn(bad, total, target_ppm, factor_milli)"),
    };
    Scalar { name: "compare_burn", signature: Signature::any(4, Volatility::Immutable), output, body }.function()
}

fn body(args: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let columns: Vec<Int64Array> = args.iter().map(integers).collect::<Result<_>>()?;
    let [bad, total, target, factor] = columns.as_slice() else {
        return exec_err!("compare_burn takes four arguments");
    };
    let compare = |row: usize| {
        if columns.iter().any(|c| c.is_null(row)) {
            return None;
        }
        compare(bad.value(row), total.value(row), target.value(row), factor.value(row))
    };
    Ok(Arc::new((0..rows).map(compare).collect::<Int64Array>()))
}

/// The comparison; none without events.
pub fn compare(bad: i64, total: i64, target_ppm: i64, factor_milli: i64) -> Option<i64> {
    if total <= 0 {
        return None;
    }
    let burnt = i128::from(bad) * i128::from(PPM) * i128::from(MILLI);
    let allowed = i128::from(factor_milli) * i128::from(total) * i128::from(PPM - target_ppm);
    Some(burnt.cmp(&allowed) as i64)
}
