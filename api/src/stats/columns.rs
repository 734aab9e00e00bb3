//! Cells of an answer by column name, whatever the exact Arrow type behind it. Not a general row format: only what the rows of views need.

use afferent_engine::error::{Error, Result};
use afferent_engine::time::EventTime;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One batch with every column in one of four plain types.
#[derive(Debug)]
pub(super) struct Columns {
    columns: BTreeMap<String, ArrayRef>,
    row_count: usize,
}

/// One row of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    columns: &'a Columns,
    index: usize,
}

impl Columns {
    /// Brings a batch into plain types.
    pub(super) fn new(batch: &RecordBatch) -> Result<Self> {
        let schema = batch.schema();
        let mut columns = BTreeMap::new();
        for (field, array) in schema.fields().iter().zip(batch.columns()) {
            columns.insert(field.name().clone(), plain(array)?);
        }
        Ok(Self { columns, row_count: batch.num_rows() })
    }

    /// The rows in order.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.row_count).map(|index| Row { columns: self, index })
    }
}

/// The column as text, whole number, float or flag; instants as whole microseconds since the epoch.
fn plain(array: &ArrayRef) -> Result<ArrayRef> {
    let kind = match array.data_type() {
        DataType::Timestamp(unit, _) => return micros(array, *unit),
        DataType::Date32 | DataType::Date64 => {
            return micros(&cast(array, &DataType::Timestamp(TimeUnit::Millisecond, None))?, TimeUnit::Millisecond);
        }
        DataType::Boolean => DataType::Boolean,
        DataType::Null => DataType::Null,
        kind if kind.is_integer() => DataType::Int64,
        kind if kind.is_numeric() => DataType::Float64,
        _ => DataType::Utf8,
    };
    Ok(if array.data_type() == &kind { Arc::clone(array) } else { cast(array, &kind)? })
}

/// Instants as microseconds, whatever their unit; their zone changes only how they are written.
fn micros(array: &ArrayRef, unit: TimeUnit) -> Result<ArrayRef> {
    let raw = cast(array, &DataType::Int64)?;
    let scale: fn(i64) -> i64 = match unit {
        TimeUnit::Second => |t| t.saturating_mul(1_000_000),
        TimeUnit::Millisecond => |t| t.saturating_mul(1_000),
        TimeUnit::Microsecond => |t| t,
        TimeUnit::Nanosecond => |t| t.div_euclid(1_000),
    };
    Ok(Arc::new(raw.as_primitive::<Int64Type>().unary::<_, Int64Type>(scale)))
}

impl Row<'_> {
    fn cell(&self, name: &str, kind: &DataType) -> Result<Option<&ArrayRef>> {
        let column = self.columns.columns.get(name).ok_or_else(|| Error::internal(format!("the answer has no column {name}")))?;
        if column.is_null(self.index) || column.data_type() == &DataType::Null {
            return Ok(None);
        }
        if column.data_type() != kind {
            return Err(Error::internal(format!("column {name} of the answer is {}, expected {kind}", column.data_type())));
        }
        Ok(Some(column))
    }

    fn required<T>(name: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| Error::internal(format!("column {name} of the answer is null and must not be")))
    }

    /// Text or null.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        Ok(self.cell(name, &DataType::Utf8)?.map(|c| c.as_string::<i32>().value(self.index).to_owned()))
    }

    /// Text.
    pub(super) fn word(&self, name: &str) -> Result<String> {
        Self::required(name, self.text(name)?)
    }

    /// A whole number or null.
    pub(super) fn int(&self, name: &str) -> Result<Option<i64>> {
        Ok(self.cell(name, &DataType::Int64)?.map(|c| c.as_primitive::<Int64Type>().value(self.index)))
    }

    /// A whole number.
    pub(super) fn count(&self, name: &str) -> Result<i64> {
        Self::required(name, self.int(name)?)
    }

    /// A finite number or null: NaN and infinities are unknown to a reader (invariant I5).
    pub(super) fn float(&self, name: &str) -> Result<Option<f64>> {
        let value = self.cell(name, &DataType::Float64)?.map(|c| c.as_primitive::<Float64Type>().value(self.index));
        Ok(value.filter(|v| v.is_finite()))
    }

    /// A yes or no; null is no.
    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        Ok(self.cell(name, &DataType::Boolean)?.is_some_and(|c| c.as_boolean().value(self.index)))
    }

    /// An instant or null.
    pub(super) fn time(&self, name: &str) -> Result<Option<EventTime>> {
        Ok(self.int(name)?.map(|micros| EventTime(micros.div_euclid(1_000))))
    }

    /// An instant.
    pub(super) fn instant(&self, name: &str) -> Result<EventTime> {
        Self::required(name, self.time(name)?)
    }
}

#[cfg(test)]
mod tests;
