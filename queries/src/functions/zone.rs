//! `day_in_zone`, `month_in_zone`, `day_start`: calendars of an IANA zone. Times in, calendar words out.

use super::scalar::{Scalar, is_text, micros, texts};
use arrow::array::{Array, ArrayRef, Date32Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use chrono::{DateTime, Datelike, Days, MappedLocalTime, NaiveDate, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};
use std::sync::Arc;

/// Minutes that a clock change may leave out around midnight before the next day is taken to start the day.
const GAP_MINUTES_MAX: i64 = 24 * 60;

/// `day_in_zone(time, zone)`: the calendar day, as a date.
pub fn day_in_zone() -> ScalarUDF {
    let body = |args: &[ArrayRef], _: usize| -> Result<ArrayRef> {
        let days = each(args, |zone, micros| local_day(zone, micros).and_then(days_since_1970))?;
        Ok(Arc::new(days.into_iter().collect::<Date32Array>()))
    };
    make("day_in_zone", |types| arguments(types).map(|()| DataType::Date32), body)
}

/// `month_in_zone(time, zone)`: the calendar month as `2026-03`.
pub fn month_in_zone() -> ScalarUDF {
    let body = |args: &[ArrayRef], _: usize| -> Result<ArrayRef> {
        let months = each(args, |zone, micros| local_day(zone, micros).map(|day| format!("{:04}-{:02}", day.year(), day.month())))?;
        Ok(Arc::new(months.into_iter().collect::<StringArray>()))
    };
    make("month_in_zone", |types| arguments(types).map(|()| DataType::Utf8), body)
}

/// `day_start(time, zone)`: the instant at which the calendar day of `time` began.
pub fn day_start() -> ScalarUDF {
    let body = |args: &[ArrayRef], _: usize| -> Result<ArrayRef> {
        let starts = each(args, |zone, micros| local_day(zone, micros).and_then(|day| start_of(zone, day)))?;
        Ok(Arc::new(starts.into_iter().collect::<TimestampMicrosecondArray>().with_timezone("UTC")))
    };
    make("day_start", |types| arguments(types).map(|()| afferent_engine::schema::timestamp()), body)
}

fn make(name: &'static str, output: super::scalar::Output, body: super::scalar::Body) -> ScalarUDF {
    Scalar { name, signature: Signature::any(2, Volatility::Immutable), output, body }.function()
}

fn arguments(types: &[DataType]) -> Result<()> {
    match types {
        [DataType::Timestamp(_, _), zone] if is_text(zone) => Ok(()),
        _ => plan_err!("calendar functions take a timestamp and a zone: day_in_zone(time, 'Asia/Taipei')"),
    }
}

fn each<T>(args: &[ArrayRef], read: fn(Tz, i64) -> Option<T>) -> Result<Vec<Option<T>>> {
    let [times, zones] = args else {
        return exec_err!("calendar functions take two arguments");
    };
    let (times, zones) = (micros(times)?, texts(zones)?);
    let mut last: Option<(&str, Tz)> = None;
    let mut out = Vec::with_capacity(times.len());
    for row in 0..times.len() {
        if times.is_null(row) || zones.is_null(row) {
            out.push(None);
            continue;
        }
        let name = zones.value(row);
        let zone = match last {
            Some((same, zone)) if same == name => zone,
            _ => name.parse::<Tz>().map_err(|_| exec_datafusion_err!("zone {name:?} is not an IANA zone such as Asia/Taipei"))?,
        };
        last = Some((name, zone));
        out.push(read(zone, times.value(row)));
    }
    Ok(out)
}

fn local_day(zone: Tz, micros: i64) -> Option<NaiveDate> {
    Some(DateTime::from_timestamp_micros(micros)?.with_timezone(&zone).date_naive())
}

fn days_since_1970(day: NaiveDate) -> Option<i32> {
    i32::try_from(day.signed_duration_since(NaiveDate::from_ymd_opt(1970, 1, 1)?).num_days()).ok()
}

/// Midnight, or the first instant after it where a clock change leaves midnight out.
fn start_of(zone: Tz, day: NaiveDate) -> Option<i64> {
    let midnight = day.and_time(NaiveTime::MIN);
    for minute in 0..=GAP_MINUTES_MAX {
        match zone.from_local_datetime(&midnight.checked_add_signed(TimeDelta::minutes(minute))?) {
            MappedLocalTime::Single(start) | MappedLocalTime::Ambiguous(start, _) => return Some(start.timestamp_micros()),
            MappedLocalTime::None => {}
        }
    }
    // A whole day was skipped (Samoa, 2011-12-30): the next one starts where it would have.
    start_of(zone, day.checked_add_days(Days::new(1))?)
}
