//! Folds run again over a stretch of their input, from nothing or from a kept state.

use super::lake::Lake;
use super::newest::{Compared, Stamp, compare, difference, standing, window_starts};
use super::{Past, Work};
use crate::error::{Error, Result};
use crate::query::FoldProgram;
use crate::status::Difference;
use arrow::array::{Array, BooleanArray};
use arrow::compute::{concat_batches, filter_record_batch, sort_to_indices, take_record_batch};
use arrow::record_batch::RecordBatch;
use std::ops::Range;

/// Where a fold starts, and which of its rows are wanted. Times are `window_start`, milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct From {
    /// The state before the first row that is read; `None` is an empty one.
    pub(crate) state: Option<Vec<u8>>,
    /// Rows of the input that are read.
    pub(crate) read: Range<i64>,
    /// Result rows from here on are wanted; those before only warm the state up.
    pub(crate) wanted: i64,
}

/// What came out.
pub(crate) struct Folded {
    pub(crate) compared: Compared,
    pub(crate) against: Option<Difference>,
    /// The state after the last row.
    pub(crate) state: Vec<u8>,
    pub(crate) rows_read: u64,
}

/// Runs the fold.
pub(super) fn fold(lake: &Lake, work: &Work, program: &FoldProgram, from: &From, past: Past<'_>) -> Result<Folded> {
    let input = work.input.as_ref().ok_or_else(|| Error::internal("a fold without an input"))?;
    let mut fold = (program.make)();
    if let Some(state) = &from.state {
        fold.load(state)?;
    }
    let mut rows_read = 0;
    let mut out = vec![RecordBatch::new_empty(work.view.spec.schema.clone())];
    for day in lake.days(input)? {
        let stretch = day.start.max(from.read.start)..day.end.min(from.read.end);
        if stretch.is_empty() {
            continue;
        }
        let rows = [in_order(&standing(&lake.rows(input, &stretch)?)?)?];
        rows_read += rows[0].num_rows() as u64;
        if stretch.end > from.wanted {
            let results = fold.evaluate(&rows)?;
            out.push(since(&results, from.wanted)?);
        }
        fold.advance(&rows)?;
    }
    let rows = concat_batches(&work.view.spec.schema, &out)?;
    let stamp = Stamp { table: &work.table, watermark: work.watermark, generation: work.view.spec.generation };
    // Rows of windows that the stretch did not reach are not this computation's to judge.
    let judged = from.wanted.max(from.read.start)..from.read.end;
    let before = match past {
        Past::Standing => lake.rows(&work.table, &judged)?,
        Past::Nothing(_) => RecordBatch::new_empty(work.table.schema.clone()),
    };
    let compared = compare(&stamp, &before, &rows)?;
    let against = match past {
        Past::Nothing(Some(other)) => Some(difference(&other.sort, &lake.rows(other, &judged)?, &rows)?),
        _ => None,
    };
    Ok(Folded { compared, against, state: fold.save()?, rows_read })
}

/// Rows in the order of their windows.
fn in_order(rows: &RecordBatch) -> Result<RecordBatch> {
    let order = sort_to_indices(crate::views::window_start_column(rows)?, None, None)?;
    Ok(take_record_batch(rows, &order)?)
}

fn since(rows: &RecordBatch, wanted: i64) -> Result<RecordBatch> {
    let times = crate::views::window_start_column(rows)?;
    if window_starts(rows).first().is_none_or(|first| *first >= wanted) {
        return Ok(rows.clone());
    }
    let mask: BooleanArray = (0..rows.num_rows()).map(|i| Some(times.is_valid(i) && times.value(i).div_euclid(1000) >= wanted)).collect();
    Ok(filter_record_batch(rows, &mask)?)
}
