//! Samples out of columns, as Parquet files bring them: `metric`, `time`, `value`, and labels as a map or one column each. Not the reading of files (storage).

use super::{Samples, csv};
use afferent_engine::sample::STALE_NAN_BITS;
use anyhow::{Context as _, anyhow, bail};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, MapArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema, TimeUnit, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;

/// What of a file's columns is read, and what is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    labels: Vec<String>,
    has_map: bool,
    /// Columns that are neither needed nor text.
    pub left_out: Vec<String>,
}

impl Layout {
    /// Finds the columns.
    ///
    /// # Errors
    /// Names the column that is missing or of a type that does not fit, and what would.
    pub fn of(schema: &Schema) -> anyhow::Result<Self> {
        let names = || schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect::<Vec<_>>().join(", ");
        let kind = |wanted: &str| {
            let field = schema.field_with_name(wanted);
            field
                .map(|f| f.data_type().clone())
                .map_err(|_| anyhow!("there is no column {wanted:?}; metric, time and value are needed, here: {}", names()))
        };
        if !is_text(&kind("metric")?) {
            bail!("column metric is {}, and must be text", kind("metric")?);
        }
        if !matches!(kind("time")?, DataType::Timestamp(_, _) | DataType::Int64) {
            bail!("column time is {}, and must be a timestamp, or milliseconds since 1970 as int64", kind("time")?);
        }
        if !kind("value")?.is_numeric() {
            bail!("column value is {}, and must be a number", kind("value")?);
        }
        let (mut labels, mut left_out, mut has_map) = (Vec::new(), Vec::new(), false);
        for field in schema.fields().iter().filter(|f| !["metric", "time", "value"].contains(&f.name().as_str())) {
            match field.data_type() {
                DataType::Map(_, _) if field.name() == "labels" => has_map = true,
                kind if is_text(kind) => labels.push(field.name().clone()),
                kind => left_out.push(format!("{} {kind}", field.name())),
            }
        }
        Ok(Self { labels, has_map, left_out })
    }

    /// Takes the samples of one batch.
    ///
    /// # Errors
    /// Names the row, from 0 within the batch, and what is wrong with it.
    pub fn take(&self, batch: &RecordBatch, samples: &mut Samples) -> anyhow::Result<()> {
        let column = |name: &str| batch.column_by_name(name).cloned().ok_or_else(|| anyhow!("there is no column {name:?}"));
        let metrics = texts(&column("metric")?)?;
        let times = column("time")?;
        let times =
            if times.data_type() == &DataType::Int64 { cast(&times, &DataType::Timestamp(TimeUnit::Millisecond, None))? } else { in_ms(&times)? };
        let times = times.as_primitive::<TimestampMillisecondType>();
        let values: Float64Array = cast(&column("value")?, &DataType::Float64)?.as_primitive::<Float64Type>().clone();
        let labels = self.labels.iter().map(|name| Ok((name.as_str(), texts(&column(name)?)?))).collect::<anyhow::Result<Vec<_>>>()?;
        let map = if self.has_map { Some(Map::of(&column("labels")?)?) } else { None };
        for row in 0..batch.num_rows() {
            let at = || format!("row {row}");
            if metrics.is_null(row) || times.is_null(row) {
                return Err(anyhow!("metric and time must not be null")).with_context(at);
            }
            let own = labels.iter().filter(|(_, column)| column.is_valid(row)).map(|(name, column)| (*name, column.value(row)));
            // A column called `labels` that is text holds them as JSON, like in CSV.
            let mut object: BTreeMap<String, String> = BTreeMap::new();
            let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(labels.len());
            for (name, value) in own {
                if name == "labels" { object = csv::object(value).with_context(at)? } else { pairs.push((name, value)) }
            }
            pairs.extend(object.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            if let Some(map) = &map {
                map.pairs(row, &mut pairs);
            }
            let series = samples.series(metrics.value(row), pairs.into_iter()).with_context(at)?;
            let value = if values.is_null(row) { f64::from_bits(STALE_NAN_BITS) } else { values.value(row) };
            samples.push(series, times.value(row), value).with_context(at)?;
        }
        Ok(())
    }
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, value) => is_text(value),
        kind => matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
    }
}

fn texts(column: &ArrayRef) -> anyhow::Result<StringArray> {
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// Timestamps of any unit, and zone, in milliseconds since 1970.
fn in_ms(column: &ArrayRef) -> anyhow::Result<ArrayRef> {
    let zone = match column.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let ms = cast(column, &DataType::Timestamp(TimeUnit::Millisecond, zone))?;
    Ok(ms)
}

/// A map column with its keys and values as text.
struct Map {
    rows: MapArray,
    keys: StringArray,
    values: StringArray,
}

impl Map {
    fn of(column: &ArrayRef) -> anyhow::Result<Self> {
        let rows = column.as_map_opt().ok_or_else(|| anyhow!("column labels is no map"))?.clone();
        Ok(Self { keys: texts(rows.keys())?, values: texts(rows.values())?, rows })
    }

    fn pairs<'a>(&'a self, row: usize, pairs: &mut Vec<(&'a str, &'a str)>) {
        if self.rows.is_null(row) {
            return;
        }
        let offsets = self.rows.offsets();
        let (Some(from), Some(to)) = (offsets.get(row), offsets.get(row + 1)) else { return };
        for entry in (*from).cast_unsigned() as usize..(*to).cast_unsigned() as usize {
            if self.values.is_valid(entry) {
                pairs.push((self.keys.value(entry), self.values.value(entry)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
