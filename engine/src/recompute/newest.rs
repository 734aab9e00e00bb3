//! The row that counts per key of a view's table, and what differs between two computations of the same windows. Pure.

use crate::error::{Error, Result};
use crate::schema::{RETRACTED, REVISION, TableDef, view_envelope};
use crate::status::Difference;
use crate::time::EventTime;
use crate::views::{Envelope, with_envelope};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, Rows, SortField};
use std::collections::{BTreeSet, HashMap};

/// Floating values that differ by less than this, relative to the larger, are the same value added up in another order.
const SAME_RELATIVE: f64 = 1e-12;

/// Rows of one table, the highest revision of each key; retracted rows stay.
pub(crate) fn per_key(table: &TableDef, batches: &[RecordBatch]) -> Result<RecordBatch> {
    let all = concat_batches(&table.schema, batches)?;
    let revisions = revisions(&all)?;
    // Keys are written once as revision 0: only a later writing can repeat one.
    if revisions.values().iter().all(|r| *r == 0) {
        return Ok(all);
    }
    let keys = key_rows(&table.sort, &all)?;
    let mut newest: HashMap<&[u8], (i64, u32)> = HashMap::with_capacity(all.num_rows());
    for i in 0..all.num_rows() {
        let (revision, row) = (revisions.value(i), keys.row(i).data());
        let slot = newest.entry(row).or_insert((revision, i as u32));
        if revision > slot.0 {
            *slot = (revision, i as u32);
        }
    }
    let mut rows: Vec<u32> = newest.into_values().map(|(_, i)| i).collect();
    rows.sort_unstable();
    Ok(take_record_batch(&all, &UInt32Array::from(rows))?)
}

/// The rows without those that were retracted.
pub(crate) fn standing(rows: &RecordBatch) -> Result<RecordBatch> {
    let gone = retracted(rows)?;
    if gone.null_count() == gone.len() {
        return Ok(rows.clone());
    }
    let mask: BooleanArray = (0..rows.num_rows()).map(|i| Some(!(gone.is_valid(i) && gone.value(i)))).collect();
    Ok(filter_record_batch(rows, &mask)?)
}

fn revisions(rows: &RecordBatch) -> Result<&arrow::array::Int64Array> {
    let column = rows.column_by_name(REVISION).and_then(|c| c.as_primitive_opt::<Int64Type>());
    column.ok_or_else(|| Error::corrupt("rows of a view have no revision"))
}

fn retracted(rows: &RecordBatch) -> Result<&BooleanArray> {
    rows.column_by_name(RETRACTED)
        .and_then(|c| c.as_boolean_opt())
        .ok_or_else(|| Error::corrupt("rows of a view do not say whether they were retracted"))
}

fn key_rows(key: &[String], rows: &RecordBatch) -> Result<Rows> {
    let columns: Option<Vec<ArrayRef>> = key.iter().map(|k| rows.column_by_name(k).cloned()).collect();
    let columns = columns.ok_or_else(|| Error::internal("rows lack a key column"))?;
    let converter = RowConverter::new(columns.iter().map(|c| SortField::new(c.data_type().clone())).collect())?;
    Ok(converter.convert_columns(&columns)?)
}

/// What a computation changes.
pub(crate) struct Compared {
    /// Rows to be written, with the envelope.
    pub(crate) rows: RecordBatch,
    /// Window starts of those rows, milliseconds.
    pub(crate) changed: BTreeSet<i64>,
}

/// What new rows are written as.
pub(crate) struct Stamp<'a> {
    pub(crate) table: &'a TableDef,
    pub(crate) watermark: Option<EventTime>,
    pub(crate) generation: u64,
}

/// Which rows of a new computation differ from those that stand.
struct Sorted {
    /// Rows to be written, each with its revision.
    written: Vec<(u32, i64)>,
    /// Rows that stood and have no successor.
    left: Vec<u32>,
    difference: Difference,
}

fn sort_out(key: &[String], standing: &RecordBatch, fresh: &RecordBatch) -> Result<Sorted> {
    let (old_keys, new_keys) = (key_rows(key, standing)?, key_rows(key, fresh)?);
    let (revision, gone) = (revisions(standing)?, retracted(standing)?);
    let is_gone = |j: usize| gone.is_valid(j) && gone.value(j);
    let mut old: HashMap<&[u8], usize> = (0..standing.num_rows()).map(|i| (old_keys.row(i).data(), i)).collect();
    let equal = Equal::new(standing, fresh)?;
    let (mut difference, mut written) = (Difference::default(), vec![]);
    for i in 0..fresh.num_rows() {
        match old.remove(new_keys.row(i).data()) {
            None => {
                difference.added += 1;
                written.push((i as u32, 0));
            }
            Some(j) if is_gone(j) => {
                difference.added += 1;
                written.push((i as u32, revision.value(j) + 1));
            }
            Some(j) if equal.rows(j, i) => difference.same += 1,
            Some(j) => {
                difference.changed += 1;
                written.push((i as u32, revision.value(j) + 1));
            }
        }
    }
    let mut left: Vec<u32> = old.into_values().filter(|j| !is_gone(*j)).map(|j| j as u32).collect();
    left.sort_unstable();
    difference.gone = left.len() as u64;
    Ok(Sorted { written, left, difference })
}

/// How far the rows of another generation, which has every column of these, differ from them.
pub(crate) fn difference(key: &[String], standing: &RecordBatch, fresh: &RecordBatch) -> Result<Difference> {
    Ok(sort_out(key, standing, fresh)?.difference)
}

/// Compares rows that were computed anew (a view's own columns) with those that stand (newest revisions, envelope included): what is the same stays
/// as it is, what differs gets the next revision, and what is not there any more is retracted.
pub(crate) fn compare(stamp: &Stamp<'_>, standing: &RecordBatch, fresh: &RecordBatch) -> Result<Compared> {
    let sorted = sort_out(&stamp.table.sort, standing, fresh)?;
    let envelope = Envelope { watermark: stamp.watermark, coverage: None, revision: 0, generation: stamp.generation };
    let (places, next): (Vec<u32>, Vec<i64>) = sorted.written.into_iter().unzip();
    let fresh = take_record_batch(fresh, &UInt32Array::from(places))?;
    let mut out = vec![with_envelope(&stamp.table.schema, &fresh, &envelope, Some(next))?];
    if !sorted.left.is_empty() {
        let own = stamp.table.schema.fields().len() - view_envelope().len();
        let revision = revisions(standing)?;
        let revisions = sorted.left.iter().map(|j| revision.value(*j as usize) + 1).collect();
        let rows = take_record_batch(&standing.project(&(0..own).collect::<Vec<_>>())?, &UInt32Array::from(sorted.left))?;
        out.push(retraction(&with_envelope(&stamp.table.schema, &rows, &envelope, Some(revisions))?)?);
    }
    let rows = concat_batches(&stamp.table.schema, &out)?;
    let changed = window_starts(&rows);
    Ok(Compared { rows, changed })
}

/// The rows, marked as gone.
pub(crate) fn retraction(rows: &RecordBatch) -> Result<RecordBatch> {
    let place = rows.schema_ref().index_of(RETRACTED)?;
    let mut columns = rows.columns().to_vec();
    columns[place] = std::sync::Arc::new(BooleanArray::from(vec![true; rows.num_rows()]));
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}

/// Distinct `window_start` of rows, milliseconds.
pub(crate) fn window_starts(rows: &RecordBatch) -> BTreeSet<i64> {
    let times = rows.column_by_name("window_start").and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
    times.into_iter().flat_map(|t| t.iter().flatten()).map(|t| t.div_euclid(1000)).collect()
}

/// Equality of rows of two batches over the columns of the second.
struct Equal {
    exact: Option<(Rows, Rows)>,
    floats: Vec<(ArrayRef, ArrayRef)>,
}

impl Equal {
    fn new(old: &RecordBatch, fresh: &RecordBatch) -> Result<Self> {
        let schema: SchemaRef = fresh.schema();
        let (mut left, mut right, mut floats) = (vec![], vec![], vec![]);
        for (field, column) in schema.fields().iter().zip(fresh.columns()) {
            let before = old.column_by_name(field.name()).ok_or_else(|| Error::internal(format!("earlier rows lack the column {}", field.name())))?;
            if *field.data_type() == DataType::Float64 {
                floats.push((before.clone(), column.clone()));
            } else {
                left.push(before.clone());
                right.push(column.clone());
            }
        }
        let exact = if left.is_empty() {
            None
        } else {
            let converter = RowConverter::new(right.iter().map(|c| SortField::new(c.data_type().clone())).collect())?;
            Some((converter.convert_columns(&left)?, converter.convert_columns(&right)?))
        };
        Ok(Self { exact, floats })
    }

    fn rows(&self, old: usize, fresh: usize) -> bool {
        let exact = self.exact.as_ref().is_none_or(|(a, b)| a.row(old) == b.row(fresh));
        exact
            && self.floats.iter().all(|(a, b)| {
                let (a, b) = (a.as_primitive::<Float64Type>(), b.as_primitive::<Float64Type>());
                match (a.is_valid(old), b.is_valid(fresh)) {
                    (true, true) => same(a.value(old), b.value(fresh)),
                    (before, now) => before == now,
                }
            })
    }
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || a == b || (a - b).abs() <= SAME_RELATIVE * a.abs().max(b.abs()) || (a.is_nan() && b.is_nan())
}

#[cfg(test)]
mod tests;
