//! Reading frames over a view's rows: how far back they reach, and which of them keep values. Not their layout.

use super::WINDOW_START;
use super::refuse;
use super::scope::Scope;
use super::trace::is_column;
use crate::error::{Error, Result};
use crate::explain::span;
use crate::functions::tumble::scalar_micros;
use crate::run::lag::{Lag, OFFSET_MAX};
use crate::run::sliding::{Kind, Op, REACH_MICROS_MAX, ROWS_MAX, Reach, Sliding};
use afferent_engine::schema::timestamp;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, ExprSchemable, Window, WindowFrameBound, WindowFrameUnits, cast, lit};

/// A window function that runs as a fold function, and the argument it takes.
pub(super) struct Folded<F> {
    pub(super) argument: Expr,
    pub(super) function: F,
}

/// The aggregates that frames know.
pub(super) fn op(name: &str) -> Option<Op> {
    Some(match name {
        "sum" => Op::Sum,
        "count" => Op::Count,
        "avg" | "mean" => Op::Mean,
        "min" => Op::Min,
        "max" => Op::Max,
        _ => return None,
    })
}

fn wrong(scope: &Scope<'_>, name: &str, call: &WindowFunction, why: &str) -> Error {
    let instead = "write RANGE BETWEEN INTERVAL '7 days' PRECEDING AND CURRENT ROW (days, hours, minutes; no months), or ROWS BETWEEN 9 PRECEDING AND CURRENT ROW";
    scope.refused(format!("{name}(...) OVER (... {})", call.params.window_frame), why, instead)
}

/// How far back a range of time reaches, microseconds; `None` to the beginning.
pub(super) fn range(scope: &Scope<'_>, name: &str, call: &WindowFunction) -> Result<Option<i64>> {
    let frame = &call.params.window_frame;
    let wrong = || wrong(scope, name, call, "frames end with the current row and reach back over time or rows");
    if frame.units != WindowFrameUnits::Range || frame.end_bound != WindowFrameBound::CurrentRow {
        return Err(wrong());
    }
    match &frame.start_bound {
        WindowFrameBound::CurrentRow => Ok(Some(0)),
        WindowFrameBound::Preceding(value) if value.is_null() => Ok(None),
        WindowFrameBound::Preceding(value) => scalar_micros(value).filter(|m| *m >= 0).map(Some).ok_or_else(wrong),
        WindowFrameBound::Following(_) => Err(wrong()),
    }
}

/// A frame that keeps values: MIN, MAX, AVG, sums of floats, and every frame of ROWS.
pub(super) fn sliding(scope: &Scope<'_>, view: &str, key: &[String], window: &Window, call: &WindowFunction) -> Result<Folded<Sliding>> {
    let name = call.fun.name();
    one_row_per_instant(scope, view, key, window, call)?;
    let op = op(name).ok_or_else(|| Error::Internal(format!("{name} is no frame")))?;
    let reach = reach(scope, name, call)?;
    let argument = match call.params.args.first() {
        // COUNT(*) counts a constant.
        None | Some(Expr::Literal(..)) if op == Op::Count => lit(1_i64),
        Some(arg) if op == Op::Count => Expr::IsNotNull(Box::new(arg.clone())),
        Some(arg) => arg.clone(),
        None => return Err(wrong(scope, name, call, "it takes an argument")),
    };
    let given = argument.get_type(window.input.schema()).map_err(Error::statement)?;
    let (kind, argument) = match (op, given) {
        (Op::Count, DataType::Int64) => (Kind::Integer, argument),
        (Op::Count, _) => {
            // True becomes 1 and false null, so that only values that are there count.
            let present = datafusion::logical_expr::when(argument, lit(1_i64)).end().map_err(Error::statement)?;
            (Kind::Integer, present)
        }
        (Op::Mean, given) if given.is_integer() || given.is_floating() => (Kind::Float, cast(argument, DataType::Float64)),
        (Op::Sum, given) if given.is_signed_integer() => (Kind::Integer, cast(argument, DataType::Int64)),
        (Op::Sum, given) if given.is_floating() => (Kind::Float, cast(argument, DataType::Float64)),
        (_, DataType::Int64) => (Kind::Integer, argument),
        (_, DataType::Float64) => (Kind::Float, argument),
        (Op::Min | Op::Max, given) if given == timestamp() => (Kind::Time, argument),
        (_, given) => {
            let clause = format!("{name}({argument}) OVER");
            return Err(scope.refused(clause, format!("frames keep numbers and times, and this is {given}"), "cast it to BIGINT or DOUBLE"));
        }
    };
    Ok(Folded { argument, function: Sliding { op, kind, reach } })
}

fn reach(scope: &Scope<'_>, name: &str, call: &WindowFunction) -> Result<Reach> {
    let frame = &call.params.window_frame;
    if frame.units != WindowFrameUnits::Rows {
        return match range(scope, name, call)? {
            None => Ok(Reach::All),
            Some(micros) if micros <= REACH_MICROS_MAX => Ok(Reach::Micros(micros)),
            Some(_) => {
                let why = format!("a frame that keeps values may reach back at most {}", span(REACH_MICROS_MAX / 1000));
                Err(wrong(scope, name, call, &format!("{why}; only SUM over integers and COUNT reach further")))
            }
        };
    }
    let wrong = |why: &str| wrong(scope, name, call, why);
    if frame.end_bound != WindowFrameBound::CurrentRow {
        return Err(wrong("frames end with the current row"));
    }
    match &frame.start_bound {
        WindowFrameBound::CurrentRow => Ok(Reach::Rows(0)),
        WindowFrameBound::Preceding(value) if value.is_null() => Ok(Reach::All),
        WindowFrameBound::Preceding(ScalarValue::UInt64(Some(rows))) if *rows <= ROWS_MAX => Ok(Reach::Rows(*rows)),
        WindowFrameBound::Preceding(_) => Err(wrong(&format!("a frame may reach back at most {ROWS_MAX} rows"))),
        WindowFrameBound::Following(_) => Err(wrong("frames reach back, not ahead")),
    }
}

/// `LAG(x [, n [, default]])`.
pub(super) fn lag(scope: &Scope<'_>, view: &str, key: &[String], window: &Window, call: &WindowFunction) -> Result<Folded<Lag>> {
    one_row_per_instant(scope, view, key, window, call)?;
    let refused = |why: String, instead: &str| scope.refused("LAG(...) OVER", why, instead);
    let literal = |expr: &Expr| match super::trace::bare(expr) {
        Expr::Literal(value, _) => Some(value.clone()),
        _ => None,
    };
    let [argument, rest @ ..] = call.params.args.as_slice() else {
        return Err(refused("it takes a value".to_owned(), "write LAG(x) or LAG(x, 60)"));
    };
    let kind = argument.get_type(window.input.schema()).map_err(Error::statement)?;
    if !Lag::knows(&kind) {
        return Err(refused(format!("{argument} is {kind}, which its state cannot keep"), "cast it to BIGINT, DOUBLE, VARCHAR or BOOLEAN"));
    }
    let offset = match rest.first().map(literal) {
        None => Some(1),
        Some(value) => value.and_then(|v| v.cast_to(&DataType::Int64).ok()).and_then(|v| match v {
            ScalarValue::Int64(Some(rows)) => usize::try_from(rows).ok().filter(|rows| *rows <= OFFSET_MAX),
            _ => None,
        }),
    };
    let Some(offset) = offset else {
        return Err(refused(format!("its distance must be a constant of 0 to {OFFSET_MAX} rows"), "write LAG(x, 60)"));
    };
    let default = match rest.get(1).map(literal) {
        None => ScalarValue::try_from(&kind).map_err(Error::statement)?,
        Some(value) => {
            value.and_then(|v| v.cast_to(&kind).ok()).ok_or_else(|| refused("its default must be a constant".to_owned(), "write LAG(x, 1, 0)"))?
        }
    };
    Ok(Folded { argument: argument.clone(), function: Lag { offset, kind, default } })
}

/// Rows that share key and instant would have no order among them.
fn one_row_per_instant(scope: &Scope<'_>, view: &str, key: &[String], window: &Window, call: &WindowFunction) -> Result<()> {
    let within = |column: &&String| !call.params.partition_by.iter().any(|e| is_column(&window.input, e, view, column));
    let missing: Vec<&str> = key.iter().filter(|k| *k != WINDOW_START).filter(within).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let name = call.fun.name();
    Err(refuse::refused(
        &scope.definition.name,
        format!("{name}(...) OVER without {} in PARTITION BY", missing.join(", ")),
        format!("{view} has several rows per window then, and they have no order among them"),
        "add the rest of that view's key to PARTITION BY, or aggregate per window in a view of its own first; SUM over integers and COUNT with RANGE take rows in any order",
    ))
}
