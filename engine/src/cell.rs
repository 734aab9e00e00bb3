//! The accumulator of one series in one pane: the whole per-sample cost of streaming. Knows nothing of other series.

use crate::time::{EventTime, LOOKBACK_MS, PANE_MS};

/// Time of a cell that has no sample yet.
pub const NEVER: i64 = i64::MIN;

/// One series' aggregate over one pane. Non-finite values and staleness markers are seen (they order time) but not aggregated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Start of the pane, milliseconds; [`NEVER`] before the first sample.
    pub start: i64,
    /// Finite values.
    pub count: u32,
    /// Times the counter fell inside the pane; the step from the anchor is judged by [`Cell::resets`].
    pub inner_resets: u32,
    /// Sum of finite values.
    pub sum: f64,
    /// Least finite value.
    pub min: f64,
    /// Greatest finite value.
    pub max: f64,
    /// First finite value.
    pub first: f64,
    /// Last finite value.
    pub last: f64,
    /// When the first finite value was.
    pub first_time: i64,
    /// When the last finite value was.
    pub last_time: i64,
    /// Increase from the first to the last value of the pane; the step from the anchor is added by [`Cell::increase`].
    pub inner_increase: f64,
    /// The last finite value before the pane.
    pub anchor: f64,
    /// When that was; [`NEVER`] where there is none.
    pub anchor_time: i64,
    /// Start of the counter as the sender said with the pane's first value; 0 where it did not.
    pub start_time: i64,
}

impl Cell {
    /// An empty cell of the pane that starts at `start`, following `before`.
    pub fn following(before: &Cell, start: i64) -> Self {
        let (anchor, anchor_time) = if before.count > 0 { (before.last, before.last_time) } else { (before.anchor, before.anchor_time) };
        Self { start, anchor, anchor_time, ..Self::empty() }
    }

    /// A cell that has seen nothing.
    pub fn empty() -> Self {
        Self {
            start: NEVER,
            count: 0,
            inner_resets: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            first: 0.0,
            last: 0.0,
            first_time: NEVER,
            last_time: NEVER,
            inner_increase: 0.0,
            anchor: 0.0,
            anchor_time: NEVER,
            start_time: 0,
        }
    }

    /// Takes the next finite value; times only grow.
    #[inline]
    pub fn push(&mut self, time: i64, value: f64, start_time: i64) {
        if self.count == 0 {
            self.first = value;
            self.first_time = time;
            self.start_time = start_time;
        } else {
            let (step, reset) = step(self.last, value);
            self.inner_increase += step;
            self.inner_resets += u32::from(reset);
        }
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.last = value;
        self.last_time = time;
    }

    /// Increase over the pane: from the anchor (at most [`LOOKBACK_MS`] before the pane) through every value, resets counted from 0.
    ///
    /// `born` says that this is the series' first pane and that its counter is known to have started from 0.
    pub fn increase(&self, born: bool) -> f64 {
        match self.entry() {
            Some((step, _)) => self.inner_increase + step,
            None if born => self.inner_increase + self.first,
            None => self.inner_increase,
        }
    }

    /// Counter resets in the pane, the step from the anchor included.
    pub fn resets(&self) -> i64 {
        i64::from(self.inner_resets) + i64::from(self.entry().is_some_and(|(_, reset)| reset))
    }

    /// True where an anchor lies within the look-back.
    pub fn anchored(&self) -> bool {
        self.anchor_time != NEVER && self.anchor_time >= self.start.saturating_sub(LOOKBACK_MS)
    }

    /// The sender says that the counter started within the look-back before its first value.
    pub fn started_lately(&self) -> bool {
        self.start_time > 0 && self.start_time <= self.first_time && self.start_time >= self.first_time.saturating_sub(LOOKBACK_MS)
    }

    /// End of the pane (exclusive).
    pub fn end(&self) -> i64 {
        self.start.saturating_add(PANE_MS)
    }

    fn entry(&self) -> Option<(f64, bool)> {
        (self.count > 0 && self.anchored()).then(|| step(self.anchor, self.first))
    }

    /// Computes the cell of pane `start` from raw samples sorted by time: those before `start` only give the anchor, those after the pane are ignored.
    pub fn of_samples(start: i64, samples: impl IntoIterator<Item = (i64, f64)>, start_time: i64) -> Self {
        let mut cell = Self { start, ..Self::empty() };
        for (time, value) in samples {
            if !value.is_finite() || time >= cell.end() {
                continue;
            }
            if time < start {
                (cell.anchor, cell.anchor_time) = (value, time);
            } else {
                cell.push(time, value, start_time);
            }
        }
        cell
    }
}

/// What a counter gained from one value to the next, and whether it was reset between them.
#[inline]
fn step(before: f64, now: f64) -> (f64, bool) {
    if now >= before { (now - before, false) } else { (now, true) }
}

/// The pane a time belongs to.
#[inline]
pub fn pane_of(time: i64) -> i64 {
    EventTime(time).pane().0
}

#[cfg(test)]
mod tests;
