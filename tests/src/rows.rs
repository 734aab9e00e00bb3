//! Rows of SQL answers, bit for bit: they come as Arrow IPC. Not a data frame.

use crate::door::Door;
use anyhow::{Context, Result, ensure};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::ipc::reader::StreamReader;

/// One cell in one of four plain forms.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Null.
    Null,
    /// Whole numbers, booleans, and timestamps as microseconds.
    Int(i64),
    /// Floating-point numbers.
    Float(f64),
    /// Text.
    Text(String),
}

impl Cell {
    /// The number.
    ///
    /// # Panics
    /// When it is something else.
    pub fn int(&self) -> i64 {
        match self {
            Self::Int(value) => *value,
            other => panic!("{other:?} is not a whole number"),
        }
    }

    /// The number; whole numbers become floating-point ones.
    ///
    /// # Panics
    /// When it is something else.
    pub fn float(&self) -> f64 {
        match self {
            Self::Float(value) => *value,
            Self::Int(value) => *value as f64,
            other => panic!("{other:?} is not a number"),
        }
    }

    /// The text.
    ///
    /// # Panics
    /// When it is something else.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(value) => value,
            other => panic!("{other:?} is not text"),
        }
    }
}

/// Runs a statement and returns its rows.
///
/// # Errors
/// When the server refuses it.
pub fn sql(door: &Door, statement: &str) -> Result<Vec<Vec<Cell>>> {
    batches(door, statement)?.iter().try_fold(Vec::new(), |mut rows, batch| {
        rows.extend(cells(batch)?);
        Ok(rows)
    })
}

/// Runs a statement that gives one number.
///
/// # Errors
/// When the server refuses it, or the answer is not one row.
pub fn one_int(door: &Door, statement: &str) -> Result<i64> {
    let rows = sql(door, statement)?;
    ensure!(rows.len() == 1 && rows[0].len() == 1, "{statement} gave {} rows", rows.len());
    Ok(rows[0][0].int())
}

/// Runs a statement and returns its columns.
///
/// # Errors
/// When the server refuses it.
pub fn batches(door: &Door, statement: &str) -> Result<Vec<RecordBatch>> {
    let headers = [("Content-Type", "text/plain"), ("Accept", "application/vnd.apache.arrow.stream")];
    let answer = door.post("/api/v1/sql", &headers, statement.as_bytes())?;
    ensure!(answer.status == 200, "{statement}\nwas answered {}: {}", answer.status, answer.text());
    let reader = StreamReader::try_new(answer.body.as_slice(), None).with_context(|| format!("{statement} did not answer Arrow IPC"))?;
    Ok(reader.collect::<Result<_, _>>()?)
}

fn cells(batch: &RecordBatch) -> Result<Vec<Vec<Cell>>> {
    let mut rows = vec![Vec::with_capacity(batch.num_columns()); batch.num_rows()];
    for column in batch.columns() {
        let kind = plain(column.data_type());
        let column = cast(column, &kind)?;
        for (index, row) in rows.iter_mut().enumerate() {
            row.push(if column.is_null(index) { Cell::Null } else { cell(&column, &kind, index) });
        }
    }
    Ok(rows)
}

fn plain(kind: &DataType) -> DataType {
    match kind {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Boolean => DataType::Int64,
        kind if kind.is_integer() => DataType::Int64,
        kind if kind.is_numeric() => DataType::Float64,
        _ => DataType::Utf8,
    }
}

fn cell(column: &dyn Array, kind: &DataType, index: usize) -> Cell {
    match kind {
        DataType::Timestamp(..) => Cell::Int(column.as_primitive::<TimestampMicrosecondType>().value(index)),
        DataType::Int64 => Cell::Int(column.as_primitive::<Int64Type>().value(index)),
        DataType::Float64 => Cell::Float(column.as_primitive::<Float64Type>().value(index)),
        _ => Cell::Text(column.as_string::<i32>().value(index).to_owned()),
    }
}
