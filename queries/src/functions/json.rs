//! `json_text`, `json_int`, `json_float`, `json_time`, `json_nano`: one value out of JSON text by a path of names, `json_text(attributes, 'actor.kind')`.
//! What is missing, null or of another kind gives null; text that is not JSON gives null too.

use super::scalar::{Scalar, is_text, texts};
use crate::prices::decimal::scaled;
use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use chrono::DateTime;
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};
use serde_json::Value;
use std::sync::Arc;

/// Numbers from here on are read as milliseconds since 1970, smaller ones as seconds: 10^11 s is the year 5138, 10^11 ms is 1973.
const MILLISECONDS_FROM: f64 = 1e11;

/// `json_text(json, path)`: text as it is, numbers and booleans in words, objects and lists as JSON.
pub fn json_text() -> ScalarUDF {
    make("json_text", DataType::Utf8, |args, _| Ok(Arc::new(values(args, text_of)?.into_iter().collect::<StringArray>())))
}

/// `json_int(json, path)`: a whole number, also one written as text or with a zero fraction.
pub fn json_int() -> ScalarUDF {
    make("json_int", DataType::Int64, |args, _| Ok(Arc::new(values(args, int_of)?.into_iter().collect::<Int64Array>())))
}

/// `json_float(json, path)`: a finite number, also one written as text.
pub fn json_float() -> ScalarUDF {
    make("json_float", DataType::Float64, |args, _| Ok(Arc::new(values(args, float_of)?.into_iter().collect::<Float64Array>())))
}

/// `json_time(json, path)`: RFC 3339 text, or a number of seconds or milliseconds since 1970; earlier instants (such as Alertmanager's year 1 for "open") are null.
pub fn json_time() -> ScalarUDF {
    make("json_time", afferent_engine::schema::timestamp(), |args, _| {
        Ok(Arc::new(values(args, time_of)?.into_iter().collect::<TimestampMicrosecondArray>().with_timezone("UTC")))
    })
}

/// `json_nano(json, path)`: an amount of money in units of 10^-9, from decimal text or a number, half away from zero; null where it is negative or too big.
pub fn json_nano() -> ScalarUDF {
    make("json_nano", DataType::Int64, |args, _| Ok(Arc::new(values(args, nano_of)?.into_iter().collect::<Int64Array>())))
}

fn make(name: &'static str, kind: DataType, body: super::scalar::Body) -> ScalarUDF {
    // The five differ in nothing but their result, which each names here.
    let output: super::scalar::Output = match kind {
        DataType::Utf8 => |types| arguments(types).map(|()| DataType::Utf8),
        DataType::Int64 => |types| arguments(types).map(|()| DataType::Int64),
        DataType::Float64 => |types| arguments(types).map(|()| DataType::Float64),
        _ => |types| arguments(types).map(|()| afferent_engine::schema::timestamp()),
    };
    Scalar { name, signature: Signature::any(2, Volatility::Immutable), output, body }.function()
}

fn arguments(types: &[DataType]) -> Result<()> {
    match types {
        [json, path] if is_text(json) && is_text(path) => Ok(()),
        _ => plan_err!("JSON functions take a text column and a path of names: json_text(attributes, 'actor.kind')"),
    }
}

fn values<T>(args: &[ArrayRef], read: fn(&Value) -> Option<T>) -> Result<Vec<Option<T>>> {
    let [json, path] = args else {
        return exec_err!("JSON functions take two arguments");
    };
    let (json, path) = (texts(json)?, texts(path)?);
    let one = |row: usize| {
        if json.is_null(row) || path.is_null(row) {
            return None;
        }
        let whole: Value = serde_json::from_str(json.value(row)).ok()?;
        read(at(&whole, path.value(row))?)
    };
    Ok((0..json.len()).map(one).collect())
}

/// The value at a path of names separated by dots.
pub(super) fn at<'a>(whole: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(whole, |value, name| value.get(name))
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn int_of(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A float that is a whole number within the range in which floats are exact.
fn whole(number: f64) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= EXACT_MAX).then_some(number as i64)
}

fn float_of(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

fn time_of(value: &Value) -> Option<i64> {
    let micros = match value {
        Value::String(text) => DateTime::parse_from_rfc3339(text.trim()).ok()?.timestamp_micros(),
        Value::Number(number) => {
            let number = number.as_f64().filter(|n| n.abs() < 1e14)?;
            (if number >= MILLISECONDS_FROM { number * 1e3 } else { number * 1e6 }).round() as i64
        }
        _ => return None,
    };
    (micros >= 0).then_some(micros)
}

fn nano_of(value: &Value) -> Option<i64> {
    let text = match value {
        // A number's shortest text that reads back as the same float is the text that was sent, up to 15 significant digits.
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return None,
    };
    scaled(&text, 9).ok().map(|amount| amount.rounded).filter(|nano| *nano >= 0)
}
