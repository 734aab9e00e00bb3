//! One value of a column as JSON text. The only place that decides how a value looks in an answer.
//!
//! Null is `null`. Numbers are JSON numbers of any length: 64-bit integers and decimals keep all digits, so readers that hold every number as a
//! double should ask for CSV, Arrow or Parquet. NaN and infinities are the strings `"NaN"`, `"Inf"`, `"-Inf"`. Timestamps are RFC 3339
//! with the digits of their unit. Lists are arrays, structs and maps are objects, bytes are hex.

use afferent_engine::error::{Error, ErrorKind, Result};
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{self as types, DataType, TimeUnit};
use chrono::{DateTime, FixedOffset, SecondsFormat, TimeZone, Utc};
use std::io::Write;

/// Appends the JSON text of one row's value.
pub(crate) type Cell = Box<dyn Fn(usize, &mut Vec<u8>) + Send>;

/// Makes the writer of a column.
///
/// # Errors
/// `Invalid` for a type that has no text form (unions); the caller adds the column's name.
pub(crate) fn cell(array: &ArrayRef) -> Result<Cell> {
    let values = value_cell(array)?;
    let Some(nulls) = array.logical_nulls().filter(|nulls| nulls.null_count() > 0) else {
        return Ok(values);
    };
    Ok(Box::new(move |row, out| if nulls.is_null(row) { out.extend_from_slice(b"null") } else { values(row, out) }))
}

fn value_cell(array: &ArrayRef) -> Result<Cell> {
    Ok(match array.data_type() {
        DataType::Null => Box::new(|_, out| out.extend_from_slice(b"null")),
        DataType::Boolean => {
            let array = array.as_boolean().clone();
            Box::new(move |row, out| out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }))
        }
        DataType::Int8 => integer::<types::Int8Type>(array),
        DataType::Int16 => integer::<types::Int16Type>(array),
        DataType::Int32 => integer::<types::Int32Type>(array),
        DataType::Int64 => integer::<types::Int64Type>(array),
        DataType::UInt8 => integer::<types::UInt8Type>(array),
        DataType::UInt16 => integer::<types::UInt16Type>(array),
        DataType::UInt32 => integer::<types::UInt32Type>(array),
        DataType::UInt64 => integer::<types::UInt64Type>(array),
        DataType::Float16 => value_cell(&cast(array, &DataType::Float32)?)?,
        DataType::Float32 => {
            let array = array.as_primitive::<types::Float32Type>().clone();
            Box::new(move |row, out| float32(array.value(row), out))
        }
        DataType::Float64 => {
            let array = array.as_primitive::<types::Float64Type>().clone();
            Box::new(move |row, out| float64(array.value(row), out))
        }
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            let digits = cast(array, &DataType::Utf8)?;
            let digits = digits.as_string::<i32>().clone();
            Box::new(move |row, out| out.extend_from_slice(digits.value(row).as_bytes()))
        }
        DataType::Utf8 => {
            let array = array.as_string::<i32>().clone();
            Box::new(move |row, out| text(array.value(row), out))
        }
        DataType::Utf8View => {
            let array = array.as_string_view().clone();
            Box::new(move |row, out| text(array.value(row), out))
        }
        DataType::Timestamp(unit, zone) => timestamp(array, *unit, zone.as_deref())?,
        DataType::Dictionary(_, values) => cell(&cast(array, values)?)?,
        DataType::RunEndEncoded(_, values) => cell(&cast(array, values.data_type())?)?,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => hex(array)?,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => list(array)?,
        DataType::ListView(item) | DataType::LargeListView(item) => list(&cast(array, &DataType::LargeList(item.clone()))?)?,
        DataType::Struct(_) => object(array)?,
        DataType::Map(..) => map(array)?,
        other => {
            let plain = cast(array, &DataType::Utf8).map_err(|cause| {
                Error::caused(ErrorKind::Invalid, format!("a column of type {other} has no text form; cast it in the statement"), cause)
            })?;
            value_cell(&plain)?
        }
    })
}

fn integer<T: ArrowPrimitiveType>(array: &ArrayRef) -> Cell
where
    T::Native: std::fmt::Display,
{
    let array = array.as_primitive::<T>().clone();
    Box::new(move |row, out| put(out, format_args!("{}", array.value(row))))
}

/// Writing into memory cannot fail, so its result says nothing.
fn put(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).unwrap_or_default();
}

fn float64(value: f64, out: &mut Vec<u8>) {
    match non_finite(value) {
        Some(word) => out.extend_from_slice(word),
        None => serde_json::to_writer(out, &value).unwrap_or_default(),
    }
}

fn float32(value: f32, out: &mut Vec<u8>) {
    match non_finite(f64::from(value)) {
        Some(word) => out.extend_from_slice(word),
        None => serde_json::to_writer(out, &value).unwrap_or_default(),
    }
}

fn non_finite(value: f64) -> Option<&'static [u8]> {
    match value {
        v if v.is_nan() => Some(b"\"NaN\""),
        f64::INFINITY => Some(b"\"Inf\""),
        f64::NEG_INFINITY => Some(b"\"-Inf\""),
        _ => None,
    }
}

/// Appends a JSON string.
pub(crate) fn text(value: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).unwrap_or_default();
}

fn hex(array: &ArrayRef) -> Result<Cell> {
    let bytes = cast(array, &DataType::LargeBinary)?;
    let bytes = bytes.as_binary::<i64>().clone();
    Ok(Box::new(move |row, out| {
        out.push(b'"');
        bytes.value(row).iter().for_each(|byte| put(out, format_args!("{byte:02x}")));
        out.push(b'"');
    }))
}

enum Zone {
    None,
    Utc,
    Fixed(FixedOffset),
    Named(chrono_tz::Tz),
}

fn zone(name: Option<&str>) -> Result<Zone> {
    let Some(name) = name else { return Ok(Zone::None) };
    if matches!(name, "UTC" | "Z" | "+00:00" | "+00") {
        return Ok(Zone::Utc);
    }
    if let Ok(offset) = name.parse::<FixedOffset>() {
        return Ok(Zone::Fixed(offset));
    }
    let named = name.parse().map_err(|_| Error::invalid(format!("timestamps in the unknown time zone {name:?}")))?;
    Ok(Zone::Named(named))
}

fn timestamp(array: &ArrayRef, unit: TimeUnit, name: Option<&str>) -> Result<Cell> {
    let zone = zone(name)?;
    let ticks = cast(array, &DataType::Int64)?;
    let ticks = ticks.as_primitive::<types::Int64Type>().clone();
    let digits = match unit {
        TimeUnit::Second => SecondsFormat::Secs,
        TimeUnit::Millisecond => SecondsFormat::Millis,
        TimeUnit::Microsecond => SecondsFormat::Micros,
        TimeUnit::Nanosecond => SecondsFormat::Nanos,
    };
    Ok(Box::new(move |row, out| {
        let ticks = ticks.value(row);
        match instant(ticks, unit) {
            None => text(&ticks.to_string(), out),
            Some(at) => put(out, format_args!("\"{}\"", rfc3339(at, &zone, digits))),
        }
    }))
}

fn rfc3339(at: DateTime<Utc>, zone: &Zone, digits: SecondsFormat) -> String {
    match zone {
        Zone::None => at.to_rfc3339_opts(digits, true).trim_end_matches('Z').to_owned(),
        Zone::Utc => at.to_rfc3339_opts(digits, true),
        Zone::Fixed(offset) => at.with_timezone(offset).to_rfc3339_opts(digits, true),
        Zone::Named(zone) => zone.from_utc_datetime(&at.naive_utc()).to_rfc3339_opts(digits, true),
    }
}

fn instant(ticks: i64, unit: TimeUnit) -> Option<DateTime<Utc>> {
    match unit {
        TimeUnit::Second => DateTime::from_timestamp(ticks, 0),
        TimeUnit::Millisecond => DateTime::from_timestamp_millis(ticks),
        TimeUnit::Microsecond => DateTime::from_timestamp_micros(ticks),
        TimeUnit::Nanosecond => Some(DateTime::from_timestamp_nanos(ticks)),
    }
}

fn list(array: &ArrayRef) -> Result<Cell> {
    let item = match array.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => item.clone(),
        other => return Err(Error::internal(format!("{other} is not a list"))),
    };
    let lists = cast(array, &DataType::LargeList(item))?;
    let lists = lists.as_list::<i64>().clone();
    let items = cell(lists.values())?;
    Ok(Box::new(move |row, out| {
        let offsets = lists.value_offsets();
        sequence(out, *b"[]", offsets[row] as usize..offsets[row + 1] as usize, &items);
    }))
}

fn sequence(out: &mut Vec<u8>, brackets: [u8; 2], rows: std::ops::Range<usize>, item: &dyn Fn(usize, &mut Vec<u8>)) {
    out.push(brackets[0]);
    for (i, row) in rows.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        item(row, out);
    }
    out.push(brackets[1]);
}

fn object(array: &ArrayRef) -> Result<Cell> {
    let array = array.as_struct();
    let mut fields = Vec::with_capacity(array.num_columns());
    for (field, column) in array.fields().iter().zip(array.columns()) {
        fields.push((field.name().clone(), cell(column)?));
    }
    Ok(Box::new(move |row, out| {
        let field = |i: usize, out: &mut Vec<u8>| {
            if let Some((name, value)) = fields.get(i) {
                text(name, out);
                out.push(b':');
                value(row, out);
            }
        };
        sequence(out, *b"{}", 0..fields.len(), &field);
    }))
}

fn map(array: &ArrayRef) -> Result<Cell> {
    let array = array.as_map().clone();
    let keys = cast(array.keys(), &DataType::Utf8)?;
    let keys = keys.as_string::<i32>().clone();
    let values = cell(array.values())?;
    Ok(Box::new(move |row, out| {
        let entry = |i: usize, out: &mut Vec<u8>| {
            text(keys.value(i), out);
            out.push(b':');
            values(i, out);
        };
        let offsets = array.value_offsets();
        sequence(out, *b"{}", offsets[row] as usize..offsets[row + 1] as usize, &entry);
    }))
}

/// The name of a column's type in answers: `int64`, `string`, `timestamp`, `list<float64>`, `map<string,string>`.
pub(crate) fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "binary".into(),
        DataType::Timestamp(..) => "timestamp".into(),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time".into(),
        DataType::Duration(_) => "duration".into(),
        DataType::Interval(_) => "interval".into(),
        DataType::Dictionary(_, values) => type_name(values),
        DataType::RunEndEncoded(_, values) => type_name(values.data_type()),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => {
            format!("decimal({p},{s})")
        }
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => format!("list<{}>", type_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|f| format!("{}:{}", f.name(), type_name(f.data_type()))).collect();
            format!("struct<{}>", fields.join(","))
        }
        DataType::Map(entry, _) => match entry.data_type() {
            DataType::Struct(f) if f.len() == 2 => format!("map<{},{}>", type_name(f[0].data_type()), type_name(f[1].data_type())),
            other => type_name(other),
        },
        plain => plain.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests;
