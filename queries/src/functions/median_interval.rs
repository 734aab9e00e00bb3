//! `median_interval(list)`: the 95 % interval of a median as `{low, high}`; the same values give the same interval, in whatever order they come.
//!
//! # Source
//! Efron's percentile bootstrap (1979) with a fixed seed up to [`BOOTSTRAP_VALUES_MAX`] values; above, the order statistics n/2 -+ 0.98 sqrt(n) (David and
//! Nagaraja, "Order Statistics", 7.1), which it approaches and which cost nothing.

use super::scalar::Scalar;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Float64Type};
use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};
use std::sync::Arc;

/// Values up to which resampling is done.
pub const BOOTSTRAP_VALUES_MAX: usize = 500;
/// Resamples drawn.
const RESAMPLES: usize = 1_000;
/// Where the generator starts.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// Half the breadth of the order-statistic interval in units of sqrt(n): 1.96 / 2.
const HALF_BREADTH: f64 = 0.98;

/// The function; null under two values.
pub fn median_interval() -> ScalarUDF {
    let output = |types: &[DataType]| match types {
        [DataType::List(item)] if item.data_type().is_numeric() => Ok(DataType::Struct(fields())),
        _ => plan_err!("median_interval takes a list of numbers: median_interval(array_agg(duration_s))"),
    };
    Scalar { name: "median_interval", signature: Signature::any(1, Volatility::Immutable), output, body }.function()
}

fn fields() -> Fields {
    Fields::from(vec![Field::new("low", DataType::Float64, true), Field::new("high", DataType::Float64, true)])
}

fn body(args: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let [lists] = args else {
        return exec_err!("median_interval takes one argument");
    };
    let lists = lists.as_list_opt::<i32>().ok_or_else(|| exec_datafusion_err!("median_interval takes a list"))?;
    let mut ends = Vec::with_capacity(rows);
    for row in 0..rows {
        if lists.is_null(row) {
            ends.push(None);
            continue;
        }
        let items = cast(&lists.value(row), &DataType::Float64)?;
        let items = items.as_primitive_opt::<Float64Type>().ok_or_else(|| exec_datafusion_err!("median_interval takes numbers"))?;
        ends.push(interval(items.iter().flatten().collect()));
    }
    let low: Float64Array = ends.iter().map(|e| e.map(|(low, _)| low)).collect();
    let high: Float64Array = ends.iter().map(|e| e.map(|(_, high)| high)).collect();
    Ok(Arc::new(StructArray::try_new(fields(), vec![Arc::new(low), Arc::new(high)], None)?))
}

/// The interval of the finite values' median.
pub fn interval(mut values: Vec<f64>) -> Option<(f64, f64)> {
    values.retain(|v| v.is_finite());
    if values.len() < 2 {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    if values.len() > BOOTSTRAP_VALUES_MAX {
        return by_order(&values);
    }
    let mut state = SEED ^ values.len() as u64;
    let mut picks = vec![0usize; values.len()];
    let mut medians = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        for pick in &mut picks {
            *pick = (next(&mut state) % values.len() as u64) as usize;
        }
        medians.push(median_of(&values, &mut picks)?);
    }
    medians.sort_unstable_by(f64::total_cmp);
    Some((*medians.get(RESAMPLES * 25 / 1_000)?, *medians.get(RESAMPLES * 975 / 1_000 - 1)?))
}

fn by_order(sorted: &[f64]) -> Option<(f64, f64)> {
    let n = sorted.len() as f64;
    let low = (n / 2.0 - HALF_BREADTH * n.sqrt()).floor().max(0.0) as usize;
    let high = (n / 2.0 + HALF_BREADTH * n.sqrt()).ceil() as usize;
    Some((*sorted.get(low)?, *sorted.get(high.min(sorted.len() - 1))?))
}

/// The median of the picked values; picks are indexes into the sorted values, so their order is the values' order.
fn median_of(sorted: &[f64], picks: &mut [usize]) -> Option<f64> {
    let middle = picks.len() / 2;
    let (below, upper, _) = picks.select_nth_unstable(middle);
    let upper = *sorted.get(*upper)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(*below.iter().max()?)?;
    Some(lower + (upper - lower) / 2.0)
}

/// SplitMix64 (Steele, Lea and Flood 2014): a small generator with a published sequence, so that the interval never changes with a library.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
