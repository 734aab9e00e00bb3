//! `tumble(time, interval)`: the start of the window that holds a time. Windows start at multiples of the interval since 1970-01-01 UTC.

use super::scalar::{Scalar, integers, micros};
use arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, IntervalMonthDayNanoType, IntervalUnit};
use datafusion::common::{ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, ScalarUDF, Signature, Volatility};
use std::sync::Arc;

const DAY_NANOS: i64 = 86_400_000_000_000;

/// The function `tumble`.
pub fn tumble() -> ScalarUDF {
    Scalar { name: "tumble", signature: Signature::any(2, Volatility::Immutable), output: tumble_output, body: tumble_body }.function()
}

/// The function `session`: a name that says what to write instead.
pub fn session() -> ScalarUDF {
    let output = |_: &[DataType]| {
        plan_err!(
            "session windows are not computed: a late row could join two sessions that were given out as final; write tumble(window_start, INTERVAL '1 minute') and, in a second view over that one, LAG(window_start) OVER (PARTITION BY key ORDER BY window_start) to see where a gap begins"
        )
    };
    let body = |_: &[ArrayRef], _: usize| exec_err!("session cannot run");
    Scalar { name: "session", signature: Signature::variadic_any(Volatility::Immutable), output, body }.function()
}

fn tumble_output(types: &[DataType]) -> Result<DataType> {
    match types {
        [DataType::Timestamp(_, _), DataType::Interval(_)] => Ok(afferent_engine::schema::timestamp()),
        _ => plan_err!("tumble takes a timestamp and an interval: tumble(window_start, INTERVAL '1 minute')"),
    }
}

/// The length of an interval that has one (months do not), microseconds.
///
/// # Errors
/// Where it has months or is not positive.
pub fn interval_micros(months: i32, days: i32, nanos: i64) -> Result<i64> {
    let total = i64::from(days).checked_mul(DAY_NANOS).and_then(|d| d.checked_add(nanos));
    match total {
        Some(total) if months == 0 && total > 0 && total % 1_000 == 0 => Ok(total / 1_000),
        _ => exec_err!("a window's length must be a fixed, positive number of microseconds (no months or years)"),
    }
}

/// Microseconds of a constant interval, cast or not; `None` where it is no constant or has months.
pub(crate) fn constant_micros(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(value, _) => scalar_micros(value),
        Expr::Alias(a) => constant_micros(&a.expr),
        Expr::Cast(c) => constant_micros(&c.expr),
        Expr::TryCast(c) => constant_micros(&c.expr),
        _ => None,
    }
}

/// Microseconds of an interval value.
pub(crate) fn scalar_micros(value: &ScalarValue) -> Option<i64> {
    const DAY: i64 = 86_400_000_000;
    match value {
        ScalarValue::IntervalMonthDayNano(Some(v)) if v.months == 0 && v.nanoseconds % 1000 == 0 => {
            i64::from(v.days).checked_mul(DAY)?.checked_add(v.nanoseconds / 1000)
        }
        ScalarValue::IntervalDayTime(Some(v)) => i64::from(v.days).checked_mul(DAY)?.checked_add(i64::from(v.milliseconds) * 1000),
        ScalarValue::DurationMicrosecond(Some(v)) => Some(*v),
        ScalarValue::DurationMillisecond(Some(v)) => v.checked_mul(1000),
        ScalarValue::DurationSecond(Some(v)) => v.checked_mul(1_000_000),
        ScalarValue::DurationNanosecond(Some(v)) if v % 1000 == 0 => Some(v / 1000),
        _ => None,
    }
}

fn tumble_body(args: &[ArrayRef], _: usize) -> Result<ArrayRef> {
    let [times, lengths] = args else {
        return exec_err!("tumble takes two arguments");
    };
    let times = integers(&(Arc::new(micros(times)?) as ArrayRef))?;
    let lengths = cast(lengths, &DataType::Interval(IntervalUnit::MonthDayNano))?;
    let lengths =
        lengths.as_primitive_opt::<IntervalMonthDayNanoType>().ok_or_else(|| exec_datafusion_err!("tumble's second argument must be an interval"))?;
    let mut known: Option<(_, i64)> = None;
    let starts = times.iter().zip(lengths.iter()).map(|(time, length)| {
        let (Some(time), Some(length)) = (time, length) else {
            return Ok(None);
        };
        let width = match known {
            Some((same, width)) if same == length => width,
            _ => interval_micros(length.months, length.days, length.nanoseconds)?,
        };
        known = Some((length, width));
        Ok(Some(time - time.rem_euclid(width)))
    });
    let starts: TimestampMicrosecondArray = starts.collect::<Result<_>>()?;
    Ok(Arc::new(starts.with_timezone("UTC")))
}
