//! Computing the past again from the lake: repairs after late samples, backfills, and the history of new generations of views. A step of it runs beside
//! the stream, on a thread of its own, over one consistent state; the stream's thread takes the outcome. Decides nothing about when or what.

mod folds;
mod lake;
mod newest;
mod windows;

use crate::error::{Error, ErrorKind, Result};
use crate::query::{KeyedProgram, Program, View};
use crate::schema::{self, TableDef};
use crate::time::EventTime;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

pub(crate) use folds::{Folded, From};
pub(crate) use lake::{DAY_MS, Lake};
pub(crate) use newest::{Stamp, window_starts};
pub(crate) use newest::{compare, per_key, retraction, standing};
pub(crate) use windows::{Wanted, Windows, sum};

/// One view, as a step computes it.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) view: Arc<View>,
    /// Its own table.
    pub(crate) table: TableDef,
    /// The table of the view it reads, if it reads one.
    pub(crate) input: Option<TableDef>,
    pub(crate) watermark: Option<EventTime>,
}

/// What rows are compared with before they are written.
#[derive(Clone, Copy)]
pub(crate) enum Past<'a> {
    /// With the rows that stand in the view's own table.
    Standing,
    /// With nothing: the table has none of these windows. Another generation's table tells how far the two differ.
    Nothing(Option<&'a TableDef>),
}

/// What a step does.
pub(crate) enum Step {
    /// Reads the raw rows around late samples.
    Raw(crate::table::Wanted),
    /// Computes windows.
    Windows { work: Work, wanted: Wanted, fresh: bool, against: Option<TableDef> },
    /// Runs a fold over a stretch of its input.
    Fold { work: Work, from: From, fresh: bool, against: Option<TableDef> },
    /// Aggregates every event.
    Keyed { work: Work },
}

/// What came of it.
pub(crate) enum Outcome {
    Raw(Vec<RecordBatch>),
    Windows(Windows),
    Fold(Folded),
    Keyed { state: RecordBatch, rows_read: u64 },
}

/// Does a step. Blocks its thread.
///
/// # Errors
/// `Unavailable` where the lake is away: the same step may be tried again. Others: it will fail again.
pub(crate) fn run(lake: &Lake, step: &Step) -> Result<Outcome> {
    match step {
        Step::Raw(wanted) => lake.samples(wanted).map(Outcome::Raw),
        Step::Windows { work, wanted, fresh, against } => {
            let Program::Window(program) = &work.view.program else { return Err(unlike(work)) };
            windows::windows(lake, work, program, wanted, past(*fresh, against)).map(Outcome::Windows)
        }
        Step::Fold { work, from, fresh, against } => {
            let Program::Fold(program) = &work.view.program else { return Err(unlike(work)) };
            folds::fold(lake, work, program, from, past(*fresh, against)).map(Outcome::Fold)
        }
        Step::Keyed { work } => {
            let Program::Keyed(program) = &work.view.program else { return Err(unlike(work)) };
            keyed(lake, program)
        }
    }
}

fn past(fresh: bool, against: &Option<TableDef>) -> Past<'_> {
    if fresh { Past::Nothing(against.as_ref()) } else { Past::Standing }
}

fn unlike(work: &Work) -> Error {
    Error::new(ErrorKind::Internal, format!("view {} is not of the shape its step computes", work.view.spec.name))
}

fn keyed(lake: &Lake, program: &KeyedProgram) -> Result<Outcome> {
    let mut state = program.query.merge(&[])?;
    let mut rows_read = 0;
    lake.all(&schema::events(), &mut |rows| {
        rows_read += rows.num_rows() as u64;
        state = program.query.merge(&[state.clone(), program.query.partial(&[rows])?])?;
        Ok(())
    })?;
    Ok(Outcome::Keyed { state, rows_read })
}
