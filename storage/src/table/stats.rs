//! Delta's statistics of one file: made from the Parquet footer, read back to leave files out. Not the row groups' own (Parquet).
//!
//! Floating columns have none: Parquet leaves NaN out of minimum and maximum, while NaN is the greatest value to a comparison in SQL, so a
//! file with NaN would be left out wrongly.

use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::statistics::Statistics;
use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Schema};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Whether a column has minimum and maximum.
pub(crate) fn has_bounds(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, value) => has_bounds(value),
        DataType::Utf8 | DataType::Int64 | DataType::Int32 | DataType::Timestamp(_, _) => true,
        _ => false,
    }
}

/// The `stats` text of a file's `add` action.
pub(crate) fn of_file(schema: &Schema, metadata: &ParquetMetaData) -> String {
    let (mut least, mut greatest, mut nulls) = (Map::new(), Map::new(), Map::new());
    for (name, kind, leaf) in plain_columns(schema) {
        let mut bounds: Option<(Value, Value)> = None;
        let mut complete = true;
        let mut null_count = 0;
        for group in metadata.row_groups() {
            let Some(stats) = group.column(leaf).statistics() else {
                complete = false;
                break;
            };
            let group_nulls = stats.null_count_opt();
            null_count += group_nulls.unwrap_or(0);
            complete &= group_nulls.is_some();
            match bounds_of(kind, stats) {
                Some((min, max)) => bounds = Some(widen(bounds, min, max)),
                // A group of nulls only has no bounds; any other group without them makes the file's unknown.
                None => complete &= group_nulls == u64::try_from(group.num_rows()).ok(),
            }
        }
        if complete {
            nulls.insert(name.to_owned(), json!(null_count));
            if let Some((min, max)) = bounds {
                least.insert(name.to_owned(), min);
                greatest.insert(name.to_owned(), max);
            }
        }
    }
    json!({ "numRecords": metadata.file_metadata().num_rows(), "minValues": least, "maxValues": greatest, "nullCount": nulls }).to_string()
}

/// Columns with bounds: name, type and index of the Parquet leaf.
fn plain_columns(schema: &Schema) -> impl Iterator<Item = (&str, &DataType, usize)> {
    let mut leaf = 0;
    schema.fields().iter().filter_map(move |field| {
        let at = leaf;
        leaf += leaves(field.data_type());
        has_bounds(field.data_type()).then_some((field.name().as_str(), field.data_type(), at))
    })
}

fn leaves(kind: &DataType) -> usize {
    match kind {
        DataType::Struct(fields) => fields.iter().map(|f| leaves(f.data_type())).sum(),
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => leaves(item.data_type()),
        _ => 1,
    }
}

fn bounds_of(kind: &DataType, stats: &Statistics) -> Option<(Value, Value)> {
    match (kind, stats) {
        (DataType::Timestamp(_, _), Statistics::Int64(s)) => Some((timestamp_text(*s.min_opt()?)?, timestamp_text(*s.max_opt()?)?)),
        (_, Statistics::Int64(s)) => Some((json!(s.min_opt()?), json!(s.max_opt()?))),
        (_, Statistics::Int32(s)) => Some((json!(s.min_opt()?), json!(s.max_opt()?))),
        (_, Statistics::ByteArray(s)) => Some((json!(s.min_opt()?.as_utf8().ok()?), json!(s.max_opt()?.as_utf8().ok()?))),
        _ => None,
    }
}

fn timestamp_text(micros: i64) -> Option<Value> {
    Some(json!(DateTime::from_timestamp_micros(micros)?.to_rfc3339_opts(SecondsFormat::Micros, true)))
}

fn widen(so_far: Option<(Value, Value)>, min: Value, max: Value) -> (Value, Value) {
    match so_far {
        None => (min, max),
        Some((least, greatest)) => (if less(&min, &least) { min } else { least }, if less(&greatest, &max) { max } else { greatest }),
    }
}

/// Whole numbers by value; texts by their bytes, which for our timestamps of equal width is by time.
fn less(a: &Value, b: &Value) -> bool {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a < b,
        _ => a.as_str() < b.as_str(),
    }
}

/// Statistics of a file, read back.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FileStats {
    pub(crate) num_records: Option<u64>,
    min_values: Map<String, Value>,
    max_values: Map<String, Value>,
    null_count: Map<String, Value>,
}

/// Which end of a column's range.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    Least,
    Greatest,
}

impl FileStats {
    /// Reads a `stats` text; anything unreadable is unknown, which only costs time.
    pub(crate) fn parse(stats: &str) -> Self {
        serde_json::from_str(stats).unwrap_or_default()
    }

    fn value(&self, column: &str, bound: Bound) -> Option<&Value> {
        match bound {
            Bound::Least => self.min_values.get(column),
            Bound::Greatest => self.max_values.get(column),
        }
    }

    fn micros(&self, column: &str, bound: Bound) -> Option<i64> {
        let time = DateTime::parse_from_rfc3339(self.value(column, bound)?.as_str()?).ok()?.timestamp_micros();
        // Delta's own checkpoints may keep milliseconds only, cut off: the greatest value may lie up to one further.
        Some(match bound {
            Bound::Least => time,
            Bound::Greatest if time % 1000 == 0 => time.saturating_add(999),
            Bound::Greatest => time,
        })
    }
}

/// One bound of one column over many files, null where unknown; `None` for a column without bounds.
pub(crate) fn bounds(files: &[FileStats], column: &str, kind: &DataType, bound: Bound) -> Option<ArrayRef> {
    match kind {
        DataType::Dictionary(_, value) => bounds(files, column, value, bound),
        DataType::Utf8 => Some(Arc::new(files.iter().map(|f| f.value(column, bound).and_then(Value::as_str)).collect::<StringArray>())),
        DataType::Int64 | DataType::Int32 => {
            Some(Arc::new(files.iter().map(|f| f.value(column, bound).and_then(Value::as_i64)).collect::<Int64Array>()))
        }
        DataType::Timestamp(_, zone) => {
            let values: TimestampMicrosecondArray = files.iter().map(|f| f.micros(column, bound)).collect();
            Some(Arc::new(values.with_timezone_opt(zone.clone())))
        }
        _ => None,
    }
}

/// Null counts of one column over many files.
pub(crate) fn null_counts(files: &[FileStats], column: &str) -> ArrayRef {
    Arc::new(files.iter().map(|f| f.null_count.get(column).and_then(Value::as_u64)).collect::<UInt64Array>())
}

/// Row counts of many files.
pub(crate) fn row_counts(files: &[FileStats]) -> ArrayRef {
    Arc::new(files.iter().map(|f| f.num_records).collect::<UInt64Array>())
}

#[cfg(test)]
mod tests;
