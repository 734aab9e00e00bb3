//! Cells of all series over time: the current one of each, the closed ones that may still be revised, and the frontier before which all is final.
//! The rule for each sample stands here; where rows and answers go does not.

use crate::cell::{Cell, NEVER, pane_of};
use crate::registry::Registry;
use crate::time::{EventTime, PANE_MS};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Newer than all before: counted.
    Accepted,
    /// Same series, time and bits as the newest: counted before.
    Duplicate,
    /// Same series and time as the newest, other bits.
    Conflict,
    /// Older than the newest: to be resolved against the raw rows.
    OutOfOrder,
    /// Its pane is final.
    Late,
}

/// Streaming state of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hot {
    /// The cell of the newest pane.
    pub cell: Cell,
    /// Newest sample time, whatever its value; [`NEVER`] before the first.
    pub seen_time: i64,
    /// Bits of the newest value.
    pub seen_bits: u64,
    /// Earliest finite sample's time; [`NEVER`] before it, [`i64::MIN`]` + 1` for a series that returned.
    pub birth: i64,
    /// Index of its target.
    pub target: u32,
}

/// Marks a series whose first sample now is no birth.
pub const RETURNED: i64 = i64::MIN + 1;

/// A record that spans more than this marks every open pane instead of each pane of its span.
const TOUCH_MS_MAX: i64 = 1000 * PANE_MS;

/// Cells of one pane whose series moved on.
#[derive(Debug, Clone, Default)]
pub struct ClosedPane {
    /// Series index and cell, in the order series moved on.
    pub cells: Arc<Vec<(u32, Cell)>>,
    index: HashMap<u32, u32>,
    indexed: usize,
}

/// The store. See the module.
#[derive(Debug)]
pub struct Panes {
    hot: Vec<Hot>,
    closed: BTreeMap<i64, ClosedPane>,
    frontier: i64,
    dirty: BTreeSet<i64>,
    lateness_ms: i64,
}

impl Panes {
    /// Nothing seen; closed panes stay open to revision for `lateness_ms`.
    pub fn new(lateness_ms: i64) -> Self {
        Self { hot: vec![], closed: BTreeMap::new(), frontier: NEVER, dirty: BTreeSet::new(), lateness_ms }
    }

    /// Makes room for a series that was just registered.
    pub fn add(&mut self, series: u32, target: u32, returned: bool) {
        let birth = if returned { RETURNED } else { NEVER };
        let fresh = Hot { cell: Cell::empty(), seen_time: NEVER, seen_bits: 0, birth, target };
        match self.hot.get_mut(series as usize) {
            Some(slot) => *slot = fresh,
            None => self.hot.resize(series as usize + 1, fresh),
        }
    }

    /// Takes a sample: the fast path. `series` was added before.
    #[inline]
    pub fn take(&mut self, series: u32, time: i64, value: f64, start_time: i64) -> Taken {
        let Some(hot) = self.hot.get_mut(series as usize) else { return Taken::Late };
        if time <= hot.seen_time {
            return if time == hot.seen_time {
                if hot.seen_bits == value.to_bits() { Taken::Duplicate } else { Taken::Conflict }
            } else if time < self.frontier {
                Taken::Late
            } else {
                Taken::OutOfOrder
            };
        }
        if time < self.frontier {
            return Taken::Late;
        }
        (hot.seen_time, hot.seen_bits) = (time, value.to_bits());
        if value.is_finite() {
            if hot.cell.start == NEVER || time >= hot.cell.end() {
                let start = pane_of(time);
                let next = Cell::following(&hot.cell, start);
                let done = std::mem::replace(&mut hot.cell, next);
                if done.count > 0 {
                    Arc::make_mut(&mut self.closed.entry(done.start).or_default().cells).push((series, done));
                }
                self.dirty.insert(start);
            }
            if hot.birth == NEVER {
                hot.birth = time;
            }
            hot.cell.push(time, value, start_time);
        }
        Taken::Accepted
    }

    /// Panes that may have changed since this was asked last: those touched, and those that are current for any series that was fed.
    pub fn take_dirty(&mut self) -> BTreeSet<i64> {
        std::mem::take(&mut self.dirty)
    }

    /// Says which times were fed, once per record: the fast path only marks panes that it opens.
    pub fn touch(&mut self, oldest: i64, newest: i64) {
        let (first, last) = (pane_of(oldest.max(self.frontier)), pane_of(newest));
        if last.saturating_sub(first) <= TOUCH_MS_MAX {
            self.dirty.extend((first..=last).step_by(PANE_MS as usize));
        } else {
            self.dirty.extend(self.open_starts());
        }
    }

    /// Marks every pane that is not final, for a view that has not seen them.
    pub fn touch_all(&mut self) {
        self.dirty.extend(self.open_starts());
    }

    /// All panes before this are final.
    pub fn frontier(&self) -> Option<EventTime> {
        (self.frontier != NEVER).then_some(EventTime(self.frontier))
    }

    /// The frontier that a watermark stands for.
    pub fn frontier_at(&self, watermark: EventTime) -> EventTime {
        watermark.plus_ms(-self.lateness_ms).pane()
    }

    /// Moves the frontier and returns the panes that became final, oldest first, with their cells.
    pub fn finalize(&mut self, frontier: EventTime) -> Vec<(i64, Vec<(u32, Cell)>)> {
        if frontier.0 <= self.frontier {
            return vec![];
        }
        self.frontier = frontier.0;
        let mut done: BTreeMap<i64, Vec<(u32, Cell)>> = BTreeMap::new();
        while let Some(entry) = self.closed.first_entry() {
            if *entry.key() >= frontier.0 {
                break;
            }
            let (start, pane) = entry.remove_entry();
            done.insert(start, Arc::try_unwrap(pane.cells).unwrap_or_else(|shared| shared.as_ref().clone()));
        }
        for (series, hot) in self.hot.iter_mut().enumerate() {
            if hot.cell.count > 0 && hot.cell.start < frontier.0 {
                done.entry(hot.cell.start).or_default().push((series as u32, hot.cell));
                // What follows is anchored on this cell just as if its series had moved on.
                let next = Cell::following(&hot.cell, hot.cell.start);
                hot.cell = next;
            }
        }
        self.dirty = self.dirty.split_off(&frontier.0);
        done.into_iter().collect()
    }

    /// Starts of the panes that are not final and hold any value, ascending.
    pub fn open_starts(&self) -> BTreeSet<i64> {
        let mut starts: BTreeSet<i64> = self.closed.keys().copied().collect();
        starts.extend(self.hot.iter().filter(|h| h.cell.count > 0).map(|h| h.cell.start));
        starts
    }

    /// The cell of a series in a pane that is not final.
    pub fn cell(&mut self, series: u32, start: i64) -> Option<Cell> {
        let hot = self.hot.get(series as usize)?;
        if hot.cell.start == start {
            return (hot.cell.count > 0).then_some(hot.cell);
        }
        self.closed.get_mut(&start)?.find(series)
    }

    /// All cells of a pane that is not final: the closed ones (shared) and those that are current for their series.
    pub fn cells(&self, start: i64) -> (Arc<Vec<(u32, Cell)>>, Vec<(u32, Cell)>) {
        let closed = self.closed.get(&start).map(|p| p.cells.clone()).unwrap_or_default();
        let current = self.hot.iter().enumerate().filter(|(_, h)| h.cell.count > 0 && h.cell.start == start);
        (closed, current.map(|(i, h)| (i as u32, h.cell)).collect())
    }

    /// Puts an accepted out-of-order sample in place: `before_and_in` are the series' raw rows from the look-back before its pane to the
    /// pane's end, sorted by time, this sample among them.
    pub fn revise(&mut self, series: u32, time: i64, value: f64, start_time: i64, before_and_in: &[(i64, f64)]) {
        if !value.is_finite() {
            return;
        }
        let start = pane_of(time);
        let Some(hot) = self.hot.get_mut(series as usize) else { return };
        if hot.birth != RETURNED && (hot.birth == NEVER || time < hot.birth) {
            hot.birth = time;
        }
        let kept = if hot.cell.start == start { Some(hot.cell) } else { self.closed.get_mut(&start).and_then(|p| p.find(series)) };
        let start_time = kept.map_or(start_time, |c| if time < c.first_time { start_time } else { c.start_time });
        let cell = Cell::of_samples(start, before_and_in.iter().copied(), start_time);
        self.dirty.insert(start);
        let Some(hot) = self.hot.get_mut(series as usize) else { return };
        if hot.cell.start == start {
            hot.cell = cell;
        } else if start > hot.cell.start {
            // Time was moved on by non-finite values only: this becomes the series' newest pane.
            let done = std::mem::replace(&mut hot.cell, cell);
            if done.count > 0 {
                self.closed.entry(done.start).or_default().put(series, done);
            }
        } else {
            self.closed.entry(start).or_default().put(series, cell);
        }
        self.anchor_later(series, start, time, value);
    }

    /// Cells after `start` whose anchor is older than the new sample are anchored on it.
    fn anchor_later(&mut self, series: u32, start: i64, time: i64, value: f64) {
        let better = |cell: &Cell| cell.start > start && (cell.anchor_time == NEVER || cell.anchor_time < time);
        for (pane, closed) in self.closed.range_mut(start + PANE_MS..) {
            if let Some(mut cell) = closed.find(series).filter(&better) {
                (cell.anchor, cell.anchor_time) = (value, time);
                closed.put(series, cell);
                self.dirty.insert(*pane);
            }
        }
        if let Some(hot) = self.hot.get_mut(series as usize).filter(|h| better(&h.cell)) {
            (hot.cell.anchor, hot.cell.anchor_time) = (value, time);
            self.dirty.insert(hot.cell.start);
        }
    }

    /// Takes note of a late sample whose pane is final: what it means for the cells that are not. Gives the series' earlier birth where this sample
    /// is older.
    pub fn repaired(&mut self, series: u32, time: i64, value: f64) -> Option<i64> {
        let hot = self.hot.get_mut(series as usize)?;
        if time > hot.seen_time {
            (hot.seen_time, hot.seen_bits) = (time, value.to_bits());
        }
        if !value.is_finite() {
            return None;
        }
        let birth = hot.birth;
        if birth != RETURNED && (birth == NEVER || time < birth) {
            hot.birth = time;
        }
        if hot.cell.count == 0 && (hot.cell.anchor_time == NEVER || hot.cell.anchor_time < time) {
            (hot.cell.anchor, hot.cell.anchor_time) = (value, time);
        }
        self.anchor_later(series, pane_of(time), time, value);
        (birth != RETURNED && birth != NEVER && time < birth).then_some(birth)
    }

    /// True where nothing but a repair changes the pane any more.
    pub fn is_final(&self, pane: i64) -> bool {
        pane < self.frontier
    }

    /// True where the cell holds the series' very first value and its counter is known to have started from 0.
    pub fn is_born(&self, series: u32, cell: &Cell, registry: &Registry) -> bool {
        let Some(hot) = self.hot.get(series as usize) else { return false };
        let seen_twice_before = || registry.targets().get(hot.target as usize).is_some_and(|t| t.second < cell.first_time);
        hot.birth == cell.first_time && (cell.started_lately() || seen_twice_before())
    }

    /// Streaming state of every series, by index.
    pub fn hot(&self) -> &[Hot] {
        &self.hot
    }

    /// Puts a series' state back as a checkpoint kept it.
    pub fn restore_hot(&mut self, series: u32, hot: Hot) {
        self.add(series, hot.target, false);
        if let Some(slot) = self.hot.get_mut(series as usize) {
            *slot = hot;
        }
    }

    /// Closed panes that are not final.
    pub fn closed(&self) -> impl Iterator<Item = (i64, &Arc<Vec<(u32, Cell)>>)> {
        self.closed.iter().map(|(start, pane)| (*start, &pane.cells))
    }

    /// Puts a closed pane back.
    pub fn restore_closed(&mut self, start: i64, cells: Vec<(u32, Cell)>) {
        self.closed.insert(start, ClosedPane { cells: Arc::new(cells), ..ClosedPane::default() });
        self.dirty.insert(start);
    }

    /// Puts the frontier back.
    pub fn restore_frontier(&mut self, frontier: Option<EventTime>) {
        self.frontier = frontier.map_or(NEVER, |f| f.0);
        self.dirty.extend(self.hot.iter().filter(|h| h.cell.count > 0).map(|h| h.cell.start));
    }

    /// Series that were silent since before `horizon` and have no pane that is not final.
    pub fn idle_since(&self, horizon: i64) -> Vec<u32> {
        let horizon = horizon.min(self.frontier);
        let idle = |h: &Hot| h.seen_time != NEVER && h.seen_time < horizon && h.cell.count == 0;
        self.hot.iter().enumerate().filter(|(_, h)| idle(h)).map(|(i, _)| i as u32).collect()
    }

    /// Forgets evicted series.
    pub fn evict(&mut self, series: &[u32]) {
        for index in series {
            if let Some(hot) = self.hot.get_mut(*index as usize) {
                *hot = Hot { cell: Cell::empty(), seen_time: NEVER, seen_bits: 0, birth: NEVER, target: 0 };
            }
        }
    }
}

impl ClosedPane {
    /// Builds the look-up only for panes that are asked, and only for what came since.
    fn find(&mut self, series: u32) -> Option<Cell> {
        for (at, (series, _)) in self.cells.iter().enumerate().skip(self.indexed) {
            self.index.insert(*series, at as u32);
        }
        self.indexed = self.cells.len();
        let at = *self.index.get(&series)?;
        self.cells.get(at as usize).map(|(_, cell)| *cell)
    }

    fn put(&mut self, series: u32, cell: Cell) {
        let known = self.find(series).and_then(|_| self.index.get(&series).copied());
        let cells = Arc::make_mut(&mut self.cells);
        match known.and_then(|at| cells.get_mut(at as usize)) {
            Some(slot) => slot.1 = cell,
            None => cells.push((series, cell)),
        }
    }
}

#[cfg(test)]
mod tests;
