//! Folds: the plan is cut at its window functions, which keep state per key; what lies between them are ordinary plans over a few rows.

use super::Prepared;
use super::frame::{Cell, FrameShape, Frames, Progress, Tape};
use super::keys::{Key, KeyCodec};
use super::source::{Inputs, align_all};
use super::state::{Reader, Writer};
use crate::error::{Error, Result};
use crate::functions::fold::{FoldFunction, FoldState};
use afferent_engine::error::{Error as EngineError, Result as EngineResult};
use afferent_engine::query::Fold;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, new_empty_array};
use arrow::compute::{sort_to_indices, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use std::collections::HashMap;
use std::sync::Arc;

/// Keys that one fold may hold.
pub(crate) const KEYS_MAX: usize = 1_000_000;
/// First bytes of a saved state: a name and its version.
const MAGIC: &[u8] = b"afferent fold 1";

/// A compiled fold, shared by every run of it.
pub(crate) struct FoldPlan {
    pub(crate) what: String,
    /// Stands for the window functions and their order; a saved state fits only the same.
    pub(crate) fingerprint: u64,
    /// Columns of the input that are read.
    pub(crate) rows: SchemaRef,
    /// In the order rows pass through them.
    pub(crate) stages: Vec<Stage>,
    pub(crate) top: Prepared,
    pub(crate) top_relation: Arc<str>,
}

impl FoldPlan {
    /// How far back, in microseconds, a row may still matter to a later one; `None` where the whole past does.
    pub(crate) fn reach_micros(&self) -> Option<i64> {
        let longest = |stage: &Stage| stage.tracks.iter().map(Track::reach).try_fold(0, |longest: i64, reach| reach.map(|r| r.max(longest)));
        // What one stage reaches back for, the one below it has reached back for.
        self.stages.iter().map(longest).try_fold(0_i64, |sum, reach| reach.map(|r| sum.saturating_add(r)))
    }
}

/// Rows from below, and the window functions computed over them.
pub(crate) struct Stage {
    pub(crate) relation: Arc<str>,
    /// Gives the columns that pass through, then the keys, arguments and time of the windows.
    pub(crate) below: Prepared,
    /// How many columns pass through.
    pub(crate) width: usize,
    /// The column of times.
    pub(crate) time: usize,
    pub(crate) tracks: Vec<Track>,
    /// The columns that pass through, then one per window function.
    pub(crate) output: SchemaRef,
}

/// Window functions over the same keys.
pub(crate) struct Track {
    pub(crate) keys: Vec<usize>,
    pub(crate) codec: KeyCodec,
    pub(crate) shape: FrameShape,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) frames: Vec<FrameColumn>,
    pub(crate) folds: Vec<FoldColumn>,
}

/// What a lane adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Rows.
    Rows,
    /// Values of a column that are not null, of any type.
    Present(usize),
    /// The same, and the sum of a BIGINT column.
    Sum(usize),
}

/// A column that comes out of a frame.
#[derive(Debug)]
pub(crate) struct FrameColumn {
    pub(crate) column: usize,
    pub(crate) range: usize,
    pub(crate) lane: usize,
    /// SUM, or else COUNT.
    pub(crate) sums: bool,
}

/// A column that comes out of a fold function.
pub(crate) struct FoldColumn {
    pub(crate) column: usize,
    pub(crate) function: Arc<dyn FoldFunction>,
    pub(crate) args: Vec<usize>,
}

struct KeyState {
    frames: Frames,
    folds: Vec<Box<dyn FoldState>>,
}

#[derive(Default)]
struct TrackState {
    keys: HashMap<Key, KeyState>,
}

/// One key while rows pass: the kept state itself, or a copy beside it.
struct Work<'a> {
    progress: Progress,
    kept: Option<&'a Tape>,
    tail: Tape,
    folds: Vec<Box<dyn FoldState>>,
}

/// A fold with its state.
pub(crate) struct PlannedFold {
    plan: Arc<FoldPlan>,
    /// Per stage, per track.
    states: Vec<Vec<TrackState>>,
    /// Set while rows are taken; stays set when that failed halfway.
    torn: bool,
}

impl PlannedFold {
    pub(crate) fn new(plan: Arc<FoldPlan>) -> Self {
        let states = plan.stages.iter().map(|s| s.tracks.iter().map(|_| TrackState::default()).collect()).collect();
        Self { plan, states, torn: false }
    }

    fn whole(&self) -> Result<()> {
        if self.torn {
            return Err(Error::Internal(format!("{} failed while it took rows; its state must be loaded anew", self.plan.what)));
        }
        Ok(())
    }
}

impl Fold for PlannedFold {
    fn advance(&mut self, rows: &[RecordBatch]) -> EngineResult<()> {
        self.whole()?;
        let plan = Arc::clone(&self.plan);
        let mut rows = align_all(&plan.what, rows, &plan.rows)?;
        self.torn = true;
        for (stage, states) in plan.stages.iter().zip(&mut self.states) {
            if rows.is_empty() {
                break;
            }
            let batch = stage.rows(rows)?;
            let mut columns = vec![None; stage.output.fields().len() - stage.width];
            for (track, state) in stage.tracks.iter().zip(states) {
                let (keys, mut work) = track.open_kept(&plan.what, state, &batch)?;
                track.pass(&plan.what, &batch, stage.time, &keys.slots, &mut work, &mut columns)?;
                track.close(state, keys.distinct, work);
            }
            rows = vec![stage.finish(&plan.what, &batch, columns)?];
        }
        self.torn = false;
        Ok(())
    }

    fn evaluate(&self, rows: &[RecordBatch]) -> EngineResult<RecordBatch> {
        self.whole()?;
        let plan = &self.plan;
        let mut rows = align_all(&plan.what, rows, &plan.rows)?;
        for (stage, states) in plan.stages.iter().zip(&self.states) {
            if rows.is_empty() {
                break;
            }
            let batch = stage.rows(rows)?;
            let mut columns = vec![None; stage.output.fields().len() - stage.width];
            for (track, state) in stage.tracks.iter().zip(states) {
                let (keys, mut work) = track.open_copy(&plan.what, state, &batch)?;
                track.pass(&plan.what, &batch, stage.time, &keys.slots, &mut work, &mut columns)?;
            }
            rows = vec![stage.finish(&plan.what, &batch, columns)?];
        }
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(plan.top.schema()));
        }
        Ok(plan.top.run(Inputs::one(&plan.top_relation, rows))?)
    }

    fn save(&self) -> EngineResult<Vec<u8>> {
        self.whole()?;
        let mut out = Writer::over(MAGIC.to_vec());
        out.unsigned(self.plan.fingerprint);
        for (stage, states) in self.plan.stages.iter().zip(&self.states) {
            for (track, state) in stage.tracks.iter().zip(states) {
                track.save(state, &mut out)?;
            }
        }
        Ok(out.into_bytes())
    }

    fn load(&mut self, bytes: &[u8]) -> EngineResult<()> {
        let damaged = |problem: &str| EngineError::from(Error::State { what: self.plan.what.clone(), problem: problem.to_owned() });
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err(damaged("it does not begin as a fold's state does"));
        };
        let mut from = Reader::new(rest);
        if from.unsigned() != Some(self.plan.fingerprint) {
            return Err(damaged("it belongs to another definition of the view"));
        }
        let mut states = Vec::new();
        for stage in &self.plan.stages {
            let tracks: Option<Vec<TrackState>> = stage.tracks.iter().map(|t| t.load(&mut from)).collect();
            states.push(tracks.ok_or_else(|| damaged("its bytes end or go wrong within a key"))?);
        }
        if !from.is_empty() {
            return Err(damaged("bytes are left over"));
        }
        self.states = states;
        self.torn = false;
        Ok(())
    }
}

impl Stage {
    /// Runs the plan below and puts its rows in the order of time.
    fn rows(&self, rows: Vec<RecordBatch>) -> EngineResult<RecordBatch> {
        let batch = self.below.run(Inputs::one(&self.relation, rows))?;
        let times = batch.column(self.time).as_primitive::<TimestampMicrosecondType>();
        if times.null_count() > 0 {
            return Err(Error::Internal(format!("{}: a row has no window_start", self.below.what())).into());
        }
        if times.values().is_sorted() {
            return Ok(batch);
        }
        let order = sort_to_indices(batch.column(self.time), None, None)?;
        Ok(take_record_batch(&batch, &order)?)
    }

    fn finish(&self, what: &str, batch: &RecordBatch, columns: Vec<Option<ArrayRef>>) -> EngineResult<RecordBatch> {
        let mut all: Vec<ArrayRef> = batch.columns().get(..self.width).unwrap_or_default().to_vec();
        for (column, field) in columns.into_iter().zip(self.output.fields().iter().skip(self.width)) {
            all.push(column.ok_or_else(|| Error::Internal(format!("{what}: nothing computes {}", field.name())))?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.output), all)?)
    }
}

/// Which of a batch's distinct keys each row has.
struct Slots {
    distinct: Vec<Key>,
    slots: Vec<usize>,
}

impl Track {
    /// How far back, in microseconds, a row may still matter to a later one; `None` where the whole past does.
    pub(crate) fn reach(&self) -> Option<i64> {
        self.folds.iter().map(|f| f.function.reach_micros()).try_fold(self.shape.reach()?, |longest, reach| reach.map(|r| r.max(longest)))
    }

    fn slots(&self, batch: &RecordBatch) -> EngineResult<Slots> {
        let columns: Vec<ArrayRef> = self.keys.iter().map(|k| Arc::clone(batch.column(*k))).collect();
        let mut index: HashMap<Key, usize> = HashMap::new();
        let mut slots = Vec::with_capacity(batch.num_rows());
        for key in self.codec.keys(&columns, batch.num_rows())? {
            let next = index.len();
            slots.push(*index.entry(key).or_insert(next));
        }
        let mut distinct = vec![Key::default(); index.len()];
        for (key, slot) in index {
            if let Some(place) = distinct.get_mut(slot) {
                *place = key;
            }
        }
        Ok(Slots { distinct, slots })
    }

    fn fresh(&self) -> KeyState {
        KeyState { frames: self.shape.empty(), folds: self.folds.iter().map(|f| f.function.start()).collect() }
    }

    /// Takes the batch's keys out of the state.
    fn open_kept(&self, what: &str, state: &mut TrackState, batch: &RecordBatch) -> EngineResult<(Slots, Vec<Work<'static>>)> {
        let keys = self.slots(batch)?;
        let take = |key: &Key| {
            let KeyState { frames, folds } = state.keys.remove(key).unwrap_or_else(|| self.fresh());
            Work { progress: frames.progress, kept: None, tail: frames.tape, folds }
        };
        let work: Vec<_> = keys.distinct.iter().map(take).collect();
        room(what, state.keys.len() + work.len())?;
        Ok((keys, work))
    }

    /// Copies the batch's keys beside the state.
    fn open_copy<'a>(&self, what: &str, state: &'a TrackState, batch: &RecordBatch) -> EngineResult<(Slots, Vec<Work<'a>>)> {
        let keys = self.slots(batch)?;
        let copy = |key: &Key| match state.keys.get(key) {
            Some(KeyState { frames, folds }) => Work {
                progress: frames.progress.clone(),
                kept: Some(&frames.tape),
                tail: frames.tape.continued(),
                folds: folds.iter().map(|f| f.copy()).collect(),
            },
            None => {
                let KeyState { frames, folds } = self.fresh();
                Work { progress: frames.progress, kept: None, tail: frames.tape, folds }
            }
        };
        let work: Vec<_> = keys.distinct.iter().map(copy).collect();
        room(what, work.len())?;
        Ok((keys, work))
    }

    /// Puts keys back, and drops those that lie before every range.
    fn close(&self, state: &mut TrackState, distinct: Vec<Key>, work: Vec<Work<'static>>) {
        let newest = work.iter().filter_map(|w| w.progress.newest()).max();
        for (key, work) in distinct.into_iter().zip(work) {
            let frames = Frames { progress: work.progress, tape: work.tail };
            state.keys.insert(key, KeyState { frames, folds: work.folds });
        }
        if let (Some(newest), Some(reach)) = (newest, self.reach()) {
            state.keys.retain(|_, s| s.frames.progress.newest().is_none_or(|t| t >= newest.saturating_sub(reach)));
        }
    }

    /// Passes rows through the windows. Rows of one instant are peers: each sees all of them.
    fn pass(
        &self,
        what: &str,
        batch: &RecordBatch,
        time: usize,
        slots: &[usize],
        work: &mut [Work<'_>],
        columns: &mut [Option<ArrayRef>],
    ) -> EngineResult<()> {
        let times = batch.column(time).as_primitive::<TimestampMicrosecondType>().values();
        let mut frames: Vec<Vec<Option<i64>>> = self.frames.iter().map(|_| Vec::with_capacity(times.len())).collect();
        let mut cells = vec![Cell::default(); self.lanes.len()];
        let mut start = 0;
        for peers in times.chunk_by(|a, b| a == b) {
            let rows = start..start + peers.len();
            start = rows.end;
            for row in rows.clone() {
                let now = times[row];
                let Some(key) = slots.get(row).and_then(|s| work.get_mut(*s)) else { continue };
                if key.progress.newest().is_some_and(|newest| now < newest) {
                    return Err(Error::Internal(format!(
                        "{what}: rows must come in the order of window_start; {now} us is before {:?}",
                        key.progress.newest()
                    ))
                    .into());
                }
                for (cell, lane) in cells.iter_mut().zip(&self.lanes) {
                    *cell = lane.cell(batch, row);
                }
                self.shape.step(&mut key.progress, key.kept, &mut key.tail, now, &cells);
            }
            for row in rows {
                let Some(key) = slots.get(row).and_then(|s| work.get(*s)) else { continue };
                for (values, frame) in frames.iter_mut().zip(&self.frames) {
                    let total = key.progress.total(frame.range, frame.lane);
                    values.push(if frame.sums { (total.count > 0).then_some(total.sum) } else { Some(total.count) });
                }
            }
        }
        for (values, frame) in frames.into_iter().zip(&self.frames) {
            if let Some(column) = columns.get_mut(frame.column) {
                *column = Some(Arc::new(Int64Array::from(values)));
            }
        }
        self.pass_folds(what, batch, slots, work, columns)
    }

    fn pass_folds(
        &self,
        what: &str,
        batch: &RecordBatch,
        slots: &[usize],
        work: &mut [Work<'_>],
        columns: &mut [Option<ArrayRef>],
    ) -> EngineResult<()> {
        let failed = |cause| EngineError::from(Error::plan(what, cause));
        for (index, fold) in self.folds.iter().enumerate() {
            let args: Vec<ArrayRef> = fold.args.iter().map(|a| Arc::clone(batch.column(*a))).collect();
            let mut values: Vec<ScalarValue> = Vec::with_capacity(slots.len());
            for (row, slot) in slots.iter().enumerate() {
                let Some(state) = work.get_mut(*slot).and_then(|w| w.folds.get_mut(index)) else { continue };
                values.push(state.step(&args, row).map_err(failed)?);
            }
            let array = match values.is_empty() {
                true => new_empty_array(&fold.function.output()),
                false => ScalarValue::iter_to_array(values).map_err(failed)?,
            };
            if let Some(column) = columns.get_mut(fold.column) {
                *column = Some(array);
            }
        }
        Ok(())
    }

    fn save(&self, state: &TrackState, out: &mut Writer) -> EngineResult<()> {
        let mut keys: Vec<&Key> = state.keys.keys().collect();
        keys.sort_unstable();
        out.unsigned(keys.len() as u64);
        out.bytes(&self.codec.save(&keys)?);
        for key in keys.iter().filter_map(|k| state.keys.get(*k)) {
            self.shape.save(&key.frames, out);
            for fold in &key.folds {
                out.bytes(&fold.save());
            }
        }
        Ok(())
    }

    fn load(&self, from: &mut Reader<'_>) -> Option<TrackState> {
        let count = usize::try_from(from.unsigned()?).ok().filter(|c| *c <= KEYS_MAX)?;
        let keys = self.codec.load(from.bytes()?, count)?;
        let mut state = TrackState::default();
        for key in keys {
            let frames = self.shape.load(from)?;
            let folds = self.folds.iter().map(|f| f.function.load(from.bytes()?)).collect::<Option<_>>()?;
            state.keys.insert(key, KeyState { frames, folds });
        }
        Some(state)
    }
}

impl Lane {
    fn cell(self, batch: &RecordBatch, row: usize) -> Cell {
        match self {
            Self::Rows => Cell { sum: 0, count: 1 },
            Self::Present(column) => Cell { sum: 0, count: i64::from(batch.column(column).is_valid(row)) },
            Self::Sum(column) => {
                let values = batch.column(column).as_primitive::<Int64Type>();
                if values.is_valid(row) { Cell { sum: values.value(row), count: 1 } } else { Cell::default() }
            }
        }
    }
}

fn room(what: &str, keys: usize) -> Result<()> {
    if keys > KEYS_MAX {
        return Err(Error::Internal(format!("limit of {KEYS_MAX} keys reached in {what}: group by fewer columns")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
