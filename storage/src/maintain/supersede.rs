//! Leaves out rows of a sorted stream that others supersede. Not which tables have such rows: their definitions say so.
//!
//! Rows of one key are neighbours, so what is held at a time is the last key's best rows: few, and never a table.

use afferent_engine::schema::{Supersedes, TableDef};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, make_comparator};
use arrow::compute::{SortOptions, cast, filter_record_batch, partition};
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use std::ops::Range;

/// Rows of one key and rank, none like another, that are held back for what may come. Beyond it they pass: that costs space and no answer.
const HELD_ROWS_MAX: usize = 1024;

/// The filter.
#[derive(Debug)]
pub(super) struct Newest {
    key: Vec<usize>,
    by: Vec<usize>,
    held: Option<Held>,
    /// Rows left out so far.
    pub(super) superseded: u64,
}

/// The best rows of the last key.
#[derive(Debug)]
struct Held {
    rows: Vec<RecordBatch>,
    rank: Vec<i64>,
}

impl Newest {
    /// For a table with such rows; none for one where every row counts.
    pub(super) fn of(def: &TableDef) -> Option<Self> {
        let Supersedes { by } = def.supersedes.as_ref()?;
        let index = |name: &str| def.schema.index_of(name).ok();
        let key: Vec<usize> = def.sort.iter().map(|name| index(name)).collect::<Option<_>>()?;
        let by = by.iter().map(|name| index(name)).collect::<Option<_>>()?;
        (!key.is_empty()).then_some(Self { key, by, held: None, superseded: 0 })
    }

    /// Takes the next rows; gives those that nothing after them can supersede.
    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<Vec<RecordBatch>, ArrowError> {
        let count = batch.num_rows();
        if count == 0 {
            return Ok(vec![]);
        }
        let ranks = self.ranks(batch)?;
        let rank = |row: usize| -> Vec<i64> { ranks.iter().map(|column| column[row]).collect() };
        let mut kept = vec![true; count];
        let keys: Vec<ArrayRef> = self.key.iter().map(|i| batch.column(*i).clone()).collect();
        let runs = partition(&keys)?.ranges();
        for run in runs.iter().filter(|run| run.len() > 1) {
            best_of(batch, run, &rank, &mut kept);
        }
        let mut out = Vec::new();
        let (Some(first), Some(last)) = (runs.first().cloned(), runs.last().cloned()) else { return Ok(out) };
        let held = self.join_held(batch, &first, &rank, &mut kept)?;
        let whole = first == last;
        if let Some(held) = held {
            // What is held goes on being held where all of this batch is of its key.
            if whole && same_key(&self.key, &held.rows, batch)? { self.held = Some(held) } else { out.extend(held.rows) }
        }
        if last.start > 0 {
            let mask = BooleanArray::from(kept[..last.start].to_vec());
            let rows = batch.slice(0, last.start);
            out.push(if mask.false_count() == 0 { rows } else { filter_record_batch(&rows, &mask)? });
        }
        let rows: Vec<RecordBatch> = last.filter(|row| kept[*row]).map(|row| batch.slice(row, 1)).collect();
        self.superseded += kept.iter().filter(|k| !**k).count() as u64;
        if let Some(row) = rows.first() {
            let rank = self.ranks(row)?.iter().map(|column| column[0]).collect();
            let held = self.held.get_or_insert_with(|| Held { rows: vec![], rank });
            held.rows.extend(rows);
            if held.rows.len() > HELD_ROWS_MAX {
                out.append(&mut held.rows);
                self.held = None;
            }
        }
        Ok(out)
    }

    /// The rows that were still held.
    pub(super) fn finish(&mut self) -> Vec<RecordBatch> {
        self.held.take().map(|held| held.rows).unwrap_or_default()
    }

    /// Settles what is held against the first run of a batch, where that is of the same key; gives back what is still worth keeping.
    fn join_held(
        &mut self,
        batch: &RecordBatch,
        first: &Range<usize>,
        rank: &impl Fn(usize) -> Vec<i64>,
        kept: &mut [bool],
    ) -> Result<Option<Held>, ArrowError> {
        let Some(held) = self.held.take() else { return Ok(None) };
        if !same_key(&self.key, &held.rows, batch)? {
            return Ok(Some(held));
        }
        let best = first.clone().find(|row| kept[*row]).map(rank).unwrap_or_default();
        if held.rank < best {
            self.superseded += held.rows.len() as u64;
            return Ok(None);
        }
        for row in first.clone().filter(|row| kept[*row]).collect::<Vec<_>>() {
            kept[row] = held.rank == best && !held.rows.iter().any(|other| equal(other, 0, batch, row));
        }
        Ok(Some(held))
    }

    /// The columns that decide, null as 0.
    fn ranks(&self, batch: &RecordBatch) -> Result<Vec<Vec<i64>>, ArrowError> {
        let column = |index: &usize| -> Result<Vec<i64>, ArrowError> {
            let values = cast(batch.column(*index), &DataType::Int64)?;
            let values = values.as_primitive::<Int64Type>();
            Ok((0..values.len()).map(|row| if values.is_null(row) { 0 } else { values.value(row) }).collect())
        };
        self.by.iter().map(column).collect()
    }
}

/// Of a run of one key, keeps the rows of the greatest rank, each once.
fn best_of(batch: &RecordBatch, run: &Range<usize>, rank: &impl Fn(usize) -> Vec<i64>, kept: &mut [bool]) {
    let best = run.clone().map(rank).max().unwrap_or_default();
    let mut chosen: Vec<usize> = Vec::new();
    for row in run.clone() {
        kept[row] = rank(row) == best && !chosen.iter().any(|other| equal(batch, *other, batch, row));
        if kept[row] {
            chosen.push(row);
        }
    }
}

fn same_key(key: &[usize], held: &[RecordBatch], batch: &RecordBatch) -> Result<bool, ArrowError> {
    let Some(row) = held.first() else { return Ok(false) };
    for index in key {
        let compare = make_comparator(row.column(*index), batch.column(*index), SortOptions::default())?;
        if compare(0, 0).is_ne() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether two rows are the same, bit for bit.
fn equal(a: &RecordBatch, at: usize, b: &RecordBatch, row: usize) -> bool {
    a.columns().iter().zip(b.columns()).all(|(a, b)| a.slice(at, 1).to_data() == b.slice(row, 1).to_data())
}

#[cfg(test)]
mod tests;
