//! `wilson_low(k, n)` and `wilson_high(k, n)`: the 95 % interval of a share, 0..1.
//!
//! # Source
//! E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927 (the score interval without continuity correction).

use super::scalar::{Scalar, integers};
use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::DataType;
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};
use std::sync::Arc;

/// The 97.5 % point of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The lower end; null where n is 0.
pub fn wilson_low() -> ScalarUDF {
    make("wilson_low", |args, _| each(args, |k, n| interval(k, n).map(|(low, _)| low)))
}

/// The upper end; null where n is 0.
pub fn wilson_high() -> ScalarUDF {
    make("wilson_high", |args, _| each(args, |k, n| interval(k, n).map(|(_, high)| high)))
}

fn make(name: &'static str, body: super::scalar::Body) -> ScalarUDF {
    let output = |types: &[DataType]| match types {
        [k, n] if k.is_integer() && n.is_integer() => Ok(DataType::Float64),
        _ => plan_err!("the Wilson interval takes two whole numbers: wilson_low(hits, trials)"),
    };
    Scalar { name, signature: Signature::any(2, Volatility::Immutable), output, body }.function()
}

fn each(args: &[ArrayRef], read: fn(i64, i64) -> Option<f64>) -> Result<ArrayRef> {
    let [hits, trials] = args else {
        return exec_err!("the Wilson interval takes two arguments");
    };
    let (hits, trials) = (integers(hits)?, integers(trials)?);
    Ok(Arc::new(hits.iter().zip(trials.iter()).map(|(k, n)| read(k?, n?)).collect::<Float64Array>()))
}

/// Both ends; none where `trials` is not positive or `hits` does not lie within it.
pub fn interval(hits: i64, trials: i64) -> Option<(f64, f64)> {
    if trials <= 0 || !(0..=trials).contains(&hits) {
        return None;
    }
    let n = trials as f64;
    let share = hits as f64 / n;
    let middle = share + Z * Z / (2.0 * n);
    let reach = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + Z * Z / n;
    // At the ends the formula gives 0 and 1 up to rounding.
    let low = if hits == 0 { 0.0 } else { (middle - reach) / whole };
    let high = if hits == trials { 1.0 } else { (middle + reach) / whole };
    Some((low, high))
}
