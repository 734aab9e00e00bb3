//! State of one windowed view: partial aggregates by bucket (the distance between window starts), and results of windows that may still change.

use super::input::RowsByPane;
use crate::error::{Error, Result};
use crate::query::WindowProgram;
use crate::time::{EventTime, PANE_MS};
use arrow::array::{Array, AsArray, BooleanArray, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, BTreeSet};

/// See the module. Keys are times in milliseconds.
#[derive(Default)]
pub(super) struct WindowState {
    /// By bucket: merged partial state of final rows that a window which is not complete still needs. Windows of one pane need none.
    pub(super) finals: BTreeMap<i64, RecordBatch>,
    /// Windows that end at or before this were given out, or are history; windows of one pane do not ask.
    pub(super) done: Option<i64>,
    /// By pane (or bucket, over a view) and partition: partial state of rows that are not final.
    open: BTreeMap<(i64, u32), RecordBatch>,
    provisional: BTreeMap<i64, Provisional>,
    /// Windows whose final part changed under them.
    stale: BTreeSet<i64>,
}

/// The partition under which rows of the whole stream stand.
const WHOLE: u32 = 0;

struct Provisional {
    rows: RecordBatch,
    revision: i64,
    closed: bool,
}

/// Result rows with the revision they have.
pub(super) type Revised = Vec<(RecordBatch, i64)>;

fn floor(time: i64, step: i64) -> i64 {
    time - time.rem_euclid(step)
}

/// Starts of the windows that hold an instant, ascending.
pub(super) fn windows_of(program: &WindowProgram, time: i64) -> impl Iterator<Item = i64> + use<> {
    let (last, every) = (floor(time, program.every_ms), program.every_ms);
    let first = last - (program.window_ms - every);
    (0..program.window_ms / every).map(move |k| first + k * every)
}

/// The result rows of one window: where windows overlap, a partial state speaks of its neighbours too.
pub(super) fn of_window(program: &WindowProgram, rows: RecordBatch, start: i64) -> Result<RecordBatch> {
    if program.every_ms == program.window_ms {
        return Ok(rows);
    }
    let times = window_starts(&rows)?;
    let own: BooleanArray = (0..rows.num_rows()).map(|i| Some(times.is_valid(i) && times.value(i) == start.saturating_mul(1000))).collect();
    Ok(filter_record_batch(&rows, &own)?)
}

/// The column that says when each row's window starts.
pub(crate) fn window_starts(rows: &RecordBatch) -> Result<&arrow::array::TimestampMicrosecondArray> {
    let column = rows.column_by_name("window_start").and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
    column.ok_or_else(|| Error::internal("rows of a windowed view have no window_start"))
}

/// Rows of a windowed view by bucket of their `window_start`.
pub(super) fn by_bucket(program: &WindowProgram, rows: &RecordBatch) -> Result<RowsByPane> {
    let times = window_starts(rows)?;
    let mut places: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    for i in (0..rows.num_rows()).filter(|i| times.is_valid(*i)) {
        places.entry(floor(times.value(i).div_euclid(1000), program.every_ms)).or_default().push(i as u32);
    }
    if places.len() == 1 {
        return Ok(places.into_keys().map(|bucket| (bucket, vec![rows.clone()])).collect());
    }
    places.into_iter().map(|(bucket, places)| Ok((bucket, vec![take_record_batch(rows, &UInt32Array::from(places))?]))).collect()
}

impl WindowState {
    /// Takes rows that became final (by pane, or by bucket) and gives the rows of windows that are complete.
    pub(super) fn finalize(&mut self, program: &WindowProgram, rows: RowsByPane, frontier: EventTime) -> Result<Revised> {
        let out = if program.window_ms == PANE_MS {
            self.finish_panes(program, rows)?
        } else {
            self.absorb(program, rows)?;
            self.finish_windows(program, frontier)?
        };
        self.open = self.open.split_off(&(floor(frontier.0, PANE_MS), 0));
        self.provisional.retain(|start, _| start + program.window_ms > frontier.0);
        Ok(out)
    }

    /// The same where partitions gave states: those of panes before the frontier are whole by now.
    pub(super) fn finalize_parts(&mut self, program: &WindowProgram, frontier: EventTime) -> Result<Revised> {
        let out = if program.window_ms == PANE_MS {
            let mut out = vec![];
            for (pane, states) in self.whole_parts(frontier) {
                out.push((program.query.finish(&[program.query.merge(&states)?])?, self.revision(pane)));
            }
            out
        } else {
            self.absorb_parts(program, frontier)?;
            self.finish_windows(program, frontier)?
        };
        self.provisional.retain(|start, _| start + program.window_ms > frontier.0);
        Ok(out)
    }

    /// Merges the states that partitions gave of final panes into the state of their buckets.
    pub(super) fn absorb_parts(&mut self, program: &WindowProgram, frontier: EventTime) -> Result<()> {
        let mut fresh: BTreeMap<i64, Vec<RecordBatch>> = BTreeMap::new();
        for (pane, states) in self.whole_parts(frontier) {
            fresh.entry(floor(pane, program.every_ms)).or_default().extend(states);
        }
        self.merge_in(program, fresh)
    }

    /// Takes the states of panes before the frontier out.
    fn whole_parts(&mut self, frontier: EventTime) -> BTreeMap<i64, Vec<RecordBatch>> {
        let later = self.open.split_off(&(floor(frontier.0, PANE_MS), 0));
        let mut out: BTreeMap<i64, Vec<RecordBatch>> = BTreeMap::new();
        for ((pane, _), state) in std::mem::replace(&mut self.open, later) {
            out.entry(pane).or_default().push(state);
        }
        out
    }

    /// Takes the state that one partition gives of a pane that is not final, in place of what it gave before.
    pub(super) fn take_part(&mut self, program: &WindowProgram, pane: i64, partition: u32, state: RecordBatch) {
        self.open.insert((pane, partition), state);
        self.stale.extend(windows_of(program, pane));
    }

    /// What partitions gave of panes before this is history, which is read from the lake. What was shown of it meanwhile would stand beside its rows
    /// until the frontier moves, and whoever reads both would count it twice.
    pub(super) fn begin_parts(&mut self, program: &WindowProgram, from: i64) {
        self.open = self.open.split_off(&(from, 0));
        self.finals.clear();
        self.done = Some(from);
        self.stale.extend(self.provisional.keys());
        self.provisional.retain(|start, _| start + program.window_ms > from);
    }

    /// Windows of one pane need no state: all of one revision are aggregated in one run.
    fn finish_panes(&self, program: &WindowProgram, rows: RowsByPane) -> Result<Revised> {
        let mut by_revision: BTreeMap<i64, Vec<RecordBatch>> = BTreeMap::new();
        for (pane, rows) in rows {
            by_revision.entry(self.revision(pane)).or_default().extend(rows);
        }
        by_revision.into_iter().map(|(revision, rows)| Ok((program.query.finish(&[program.query.partial(&rows)?])?, revision))).collect()
    }

    fn finish_windows(&mut self, program: &WindowProgram, frontier: EventTime) -> Result<Revised> {
        let buckets: Vec<i64> = self.finals.keys().copied().collect();
        let starts: BTreeSet<i64> = buckets.iter().flat_map(|b| windows_of(program, *b)).collect();
        let due = |start: &i64| start + program.window_ms <= frontier.0 && self.done.is_none_or(|done| start + program.window_ms > done);
        let mut out = vec![];
        for start in starts.into_iter().filter(due) {
            let states: Vec<RecordBatch> = self.finals.range(start..start + program.window_ms).map(|(_, s)| s.clone()).collect();
            let rows = program.query.finish(&[program.query.merge(&states)?])?;
            out.push((of_window(program, rows, start)?, self.revision(start)));
        }
        // A bucket is needed until the last window that holds it, the one that starts with it, is complete.
        self.finals = self.finals.split_off(&(floor(frontier.0 - program.window_ms, program.every_ms) + program.every_ms));
        self.done = self.done.max(Some(frontier.0));
        Ok(out)
    }

    /// Merges final rows into the state of their buckets.
    pub(super) fn absorb(&mut self, program: &WindowProgram, rows: RowsByPane) -> Result<()> {
        let mut fresh: BTreeMap<i64, Vec<RecordBatch>> = BTreeMap::new();
        for (pane, rows) in rows {
            fresh.entry(floor(pane, program.every_ms)).or_default().push(program.query.partial(&rows)?);
        }
        self.merge_in(program, fresh)
    }

    fn merge_in(&mut self, program: &WindowProgram, fresh: BTreeMap<i64, Vec<RecordBatch>>) -> Result<()> {
        for (bucket, mut states) in fresh {
            states.extend(self.finals.remove(&bucket));
            // A pane that became final before any tick looked at it shows in its window all the same.
            self.correct(program, bucket, program.query.merge(&states)?);
        }
        Ok(())
    }

    fn revision(&self, start: i64) -> i64 {
        self.provisional.get(&start).map_or(0, |p| p.revision)
    }

    /// Computes the windows of changed panes anew.
    pub(super) fn tick(&mut self, program: &WindowProgram, rows: RowsByPane, watermark: Option<EventTime>) -> Result<bool> {
        let mut windows = std::mem::take(&mut self.stale);
        for (pane, rows) in rows {
            self.open.insert((pane, WHOLE), program.query.partial(&rows)?);
            windows.extend(windows_of(program, pane));
        }
        self.show(program, windows, watermark)
    }

    /// The same over a view, all of whose rows that are not final are given.
    pub(super) fn tick_all(&mut self, program: &WindowProgram, rows: RowsByPane, watermark: Option<EventTime>) -> Result<bool> {
        let mut windows = std::mem::take(&mut self.stale);
        // A row that was shown may be gone, and its bucket with it.
        windows.extend(self.provisional.keys().copied());
        self.open.clear();
        for (bucket, rows) in rows {
            self.open.insert((bucket, WHOLE), program.query.partial(&rows)?);
            windows.extend(windows_of(program, bucket));
        }
        self.show(program, windows, watermark)
    }

    /// Puts a corrected state in place of a bucket's; the next tick shows what it means for windows that are not complete.
    pub(super) fn correct(&mut self, program: &WindowProgram, bucket: i64, state: RecordBatch) {
        self.finals.insert(bucket, state);
        self.stale.extend(windows_of(program, bucket));
    }

    /// True where a tick has something to show though no row came.
    pub(super) fn is_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// A window that changes after the watermark passed its end is a revision.
    fn show(&mut self, program: &WindowProgram, windows: BTreeSet<i64>, watermark: Option<EventTime>) -> Result<bool> {
        let changed = !windows.is_empty();
        for start in windows.into_iter().filter(|start| self.done.is_none_or(|done| start + program.window_ms > done)) {
            let end = start + program.window_ms;
            let open = self.open.range((start, 0)..(end, 0)).map(|(_, s)| s);
            let states: Vec<RecordBatch> = self.finals.range(start..end).map(|(_, s)| s).chain(open).cloned().collect();
            let rows = of_window(program, program.query.finish(&[program.query.merge(&states)?])?, start)?;
            let closed = watermark.is_some_and(|w| w.0 >= end);
            let revision = match self.provisional.get(&start) {
                Some(before) if before.closed && before.rows != rows => before.revision + 1,
                Some(before) => before.revision,
                None => 0,
            };
            self.provisional.insert(start, Provisional { rows, revision, closed });
        }
        Ok(changed)
    }

    /// Rows of windows that may still change, by window start.
    pub(super) fn provisional(&self) -> impl Iterator<Item = (&RecordBatch, i64)> {
        self.provisional.values().map(|p| (&p.rows, p.revision))
    }
}
