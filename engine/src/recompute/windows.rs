//! Windows computed again: complete ones as rows, and the state of buckets whose windows are not complete.

use super::lake::Lake;
use super::newest::{Compared, Stamp, compare, difference, standing};
use super::{Past, Work};
use crate::error::Result;
use crate::query::{WindowProgram, WindowSource};
use crate::schema::TableDef;
use crate::status::Difference;
use crate::views::window_start_column;
use arrow::array::{Array, BooleanArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What to compute of a windowed view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Starts of complete windows.
    pub(crate) starts: BTreeSet<i64>,
    /// Buckets of windows that are not complete; rows from `until` on are not theirs yet.
    pub(crate) buckets: BTreeSet<i64>,
    /// Rows that start before this are final.
    pub(crate) until: i64,
}

/// What came out.
pub(crate) struct Windows {
    pub(crate) compared: Compared,
    /// The same windows against another generation's.
    pub(crate) against: Option<Difference>,
    pub(crate) states: BTreeMap<i64, RecordBatch>,
    pub(crate) rows_read: u64,
}

/// States that wait to be merged.
const STATES_MAX: usize = 16;

/// A partial aggregate that grows batch by batch in bounded memory.
struct Growing<'a> {
    program: &'a WindowProgram,
    states: Vec<RecordBatch>,
}

impl Growing<'_> {
    fn add(&mut self, rows: RecordBatch) -> Result<()> {
        self.states.push(self.program.query.partial(&[rows])?);
        if self.states.len() >= STATES_MAX {
            self.states = vec![self.program.query.merge(&self.states)?];
        }
        Ok(())
    }

    fn state(&self) -> Result<RecordBatch> {
        self.program.query.merge(&self.states)
    }
}

/// Computes windows again.
pub(super) fn windows(lake: &Lake, work: &Work, program: &WindowProgram, wanted: &Wanted, past: Past<'_>) -> Result<Windows> {
    let mut rows_read = 0;
    let mut rows = vec![RecordBatch::new_empty(work.view.spec.schema.clone())];
    for (span, starts) in spans(program, &wanted.starts) {
        let state = state_of(lake, work, program, &span, &mut rows_read)?;
        rows.push(only(&program.query.finish(&[state])?, &starts)?);
    }
    let mut states = BTreeMap::new();
    for bucket in &wanted.buckets {
        let range = *bucket..(bucket + program.every_ms).min(wanted.until);
        states.insert(*bucket, state_of(lake, work, program, &range, &mut rows_read)?);
    }
    let rows = concat_batches(&work.view.spec.schema, &rows)?;
    let stamp = Stamp { table: &work.table, watermark: work.watermark, generation: work.view.spec.generation };
    let before = match past {
        Past::Standing => existing(lake, &work.table, program, &wanted.starts)?,
        Past::Nothing(_) => RecordBatch::new_empty(work.table.schema.clone()),
    };
    let compared = compare(&stamp, &before, &rows)?;
    let against = match past {
        Past::Nothing(Some(other)) => Some(difference(&other.sort, &existing(lake, other, program, &wanted.starts)?, &rows)?),
        _ => None,
    };
    Ok(Windows { compared, against, states, rows_read })
}

/// Merged partial state of all rows in a range.
fn state_of(lake: &Lake, work: &Work, program: &WindowProgram, range: &Range<i64>, rows_read: &mut u64) -> Result<RecordBatch> {
    let mut growing = Growing { program, states: vec![] };
    match &program.source {
        WindowSource::Panes { metrics } => {
            *rows_read += lake.panes(metrics.as_ref(), range, &mut |rows| growing.add(rows))?;
        }
        WindowSource::View(_) => {
            if let Some(input) = &work.input {
                let rows = standing(&lake.rows(input, range)?)?;
                *rows_read += rows.num_rows() as u64;
                growing.add(rows)?;
            }
        }
    }
    growing.state()
}

/// Rows of a table that stand for these windows, retracted ones among them.
fn existing(lake: &Lake, table: &TableDef, program: &WindowProgram, starts: &BTreeSet<i64>) -> Result<RecordBatch> {
    let mut found = vec![RecordBatch::new_empty(table.schema.clone())];
    for (span, starts) in spans(program, starts) {
        found.push(only(&lake.rows(table, &span)?, &starts)?);
    }
    Ok(concat_batches(&table.schema, &found)?)
}

/// Rows of these windows.
fn only(rows: &RecordBatch, starts: &BTreeSet<i64>) -> Result<RecordBatch> {
    let times = window_start_column(rows)?;
    let mask: BooleanArray = (0..rows.num_rows()).map(|i| Some(times.is_valid(i) && starts.contains(&times.value(i).div_euclid(1000)))).collect();
    Ok(filter_record_batch(rows, &mask)?)
}

/// Runs of windows without a gap between them: the range of rows each run needs, and its starts.
fn spans(program: &WindowProgram, starts: &BTreeSet<i64>) -> Vec<(Range<i64>, BTreeSet<i64>)> {
    let mut out: Vec<(Range<i64>, BTreeSet<i64>)> = vec![];
    for start in starts {
        let end = start + program.window_ms;
        match out.last_mut() {
            Some((range, run)) if *start <= range.end => {
                range.end = end;
                run.insert(*start);
            }
            _ => out.push((*start..end, BTreeSet::from([*start]))),
        }
    }
    out
}

/// Adds up.
pub(crate) fn sum(into: &mut Difference, more: &Difference) {
    into.same += more.same;
    into.changed += more.changed;
    into.added += more.added;
    into.gone += more.gone;
}
