//! Rows of a view by key, and whether two of them are the same: exact for everything but floating sums and moments.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::collections::BTreeMap;

/// Relative difference that floating sums may have.
const RELATIVE_MAX: f64 = 1e-12;

/// The same for moments (variance, covariance), whose terms cancel; columns that hold one are named so.
const MOMENT_RELATIVE_MAX: f64 = 1e-8;
const MOMENT_ABSOLUTE_MAX: f64 = 1e-4;
pub(super) const MOMENT: &str = "moment";

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    Float(f64),
    Struct(Vec<Cell>),
    /// Everything else, null included.
    Text(String),
}

/// Rows by the text of their key.
pub(super) type Rows = BTreeMap<String, Vec<Cell>>;

fn cell(column: &ArrayRef, row: usize) -> Cell {
    if column.is_null(row) {
        return Cell::Text("null".into());
    }
    match column.data_type() {
        DataType::Float64 => Cell::Float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Struct(_) => Cell::Struct(column.as_struct().columns().iter().map(|c| cell(c, row)).collect()),
        _ => {
            let shown = ArrayFormatter::try_new(column, &FormatOptions::default().with_null("null"));
            Cell::Text(shown.map_or_else(|e| e.to_string(), |f| f.value(row).to_string()))
        }
    }
}

fn cells(batch: &RecordBatch, schema: &SchemaRef, row: usize) -> Vec<Cell> {
    let missing = || Cell::Text("(no such column)".into());
    schema.fields().iter().map(|f| batch.column_by_name(f.name()).map_or_else(missing, |c| cell(c, row))).collect()
}

fn key_text(batch: &RecordBatch, key: &[String], row: usize) -> String {
    let one = |name: &String| match batch.column_by_name(name).map(|c| cell(c, row)) {
        Some(Cell::Text(text)) => text,
        Some(other) => format!("{other:?}"),
        None => "(no such column)".into(),
    };
    key.iter().map(|name| format!("{name}={}", one(name))).collect::<Vec<_>>().join(" ")
}

/// A view's rows as a reader sees them: the highest revision per key, without those taken back. Of a view whose rows stand `once` not even the same
/// row may be there twice: what reads it would count it twice.
pub(super) fn newest(batches: &[RecordBatch], key: &[String], schema: &SchemaRef, once: bool) -> Result<Rows, String> {
    let mut by_key: BTreeMap<String, (i64, bool, Vec<Cell>)> = BTreeMap::new();
    for batch in batches {
        let (Some(revision), Some(retracted)) = (batch.column_by_name("revision"), batch.column_by_name("retracted")) else {
            return Err("rows without an envelope".into());
        };
        let (revision, retracted) = (revision.as_primitive::<Int64Type>(), retracted.as_boolean());
        for row in 0..batch.num_rows() {
            let (key, revision) = (key_text(batch, key, row), revision.value(row));
            let gone = retracted.is_valid(row) && retracted.value(row);
            let row = cells(batch, schema, row);
            match by_key.get(&key) {
                Some((before, was_gone, other)) if *before == revision && (once || gone != *was_gone || !same_row(schema, other, &row)) => {
                    return Err(format!("two rows of key {key} have revision {revision}: {other:?} and {row:?}"));
                }
                Some((before, ..)) if *before >= revision => {}
                _ => {
                    by_key.insert(key, (revision, gone, row));
                }
            }
        }
    }
    Ok(by_key.into_iter().filter(|(_, (_, gone, _))| !gone).map(|(key, (_, _, row))| (key, row)).collect())
}

/// Rows of a plain run.
pub(super) fn plain(batches: &[RecordBatch], key: &[String], schema: &SchemaRef) -> Result<Rows, String> {
    let mut out = Rows::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            if let Some(other) = out.insert(key_text(batch, key, row), cells(batch, schema, row)) {
                return Err(format!("the plain run has two rows of key {}: {other:?}", key_text(batch, key, row)));
            }
        }
    }
    Ok(out)
}

fn same_row(schema: &SchemaRef, a: &[Cell], b: &[Cell]) -> bool {
    schema.fields().iter().zip(a.iter().zip(b)).all(|(field, (a, b))| same(a, b, field.name().contains(MOMENT)))
}

fn same(a: &Cell, b: &Cell, moment: bool) -> bool {
    match (a, b) {
        (Cell::Float(a), Cell::Float(b)) => {
            let (relative, absolute) = if moment { (MOMENT_RELATIVE_MAX, MOMENT_ABSOLUTE_MAX) } else { (RELATIVE_MAX, 0.0) };
            a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= relative * a.abs().max(b.abs()) + absolute
        }
        (Cell::Struct(a), Cell::Struct(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, moment)),
        (Cell::Text(a), Cell::Text(b)) => a == b,
        _ => false,
    }
}

/// The first few differences, in words; `None` where there is none.
pub(super) fn difference(schema: &SchemaRef, got: &Rows, want: &Rows) -> Option<String> {
    let mut out = vec![];
    for (key, row) in want {
        match got.get(key) {
            None => out.push(format!("missing: {key} {row:?}")),
            Some(other) if !same_row(schema, other, row) => {
                let columns = schema.fields().iter().zip(other.iter().zip(row));
                let unlike = columns.filter(|(f, (a, b))| !same(a, b, f.name().contains(MOMENT)));
                let told: Vec<String> = unlike.map(|(f, (a, b))| format!("{} is {a:?}, plain {b:?}", f.name())).collect();
                out.push(format!("differs: {key}: {}", told.join("; ")));
            }
            Some(_) => {}
        }
    }
    out.extend(got.iter().filter(|(key, _)| !want.contains_key(*key)).map(|(key, row)| format!("surplus: {key} {row:?}")));
    let more = out.len().saturating_sub(3);
    out.truncate(3);
    (!out.is_empty()).then(|| format!("{} rows, plain {}; {more} more differences\n    {}", got.len(), want.len(), out.join("\n    ")))
}
