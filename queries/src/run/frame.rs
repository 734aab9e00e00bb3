//! Sliding sums per key over time ranges: one tape of past rows, and per range a running total that sheds what has left. Integers only.
//!
//! A step costs the rows that enter and leave, whatever the range. The tape keeps a row in some ten bytes: a minute's step of time and
//! the values as variable-length integers. Provisional rows run on a copy of the totals and a tape of their own, the kept tape stays.

use super::state::{Reader, Writer};

/// Microseconds of the usual step between rows; such steps take one byte on the tape.
const USUAL_STEP_MICROS: i64 = 60_000_000;

/// What one lane holds of some rows: the sum of an argument and how many of its values were not null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cell {
    pub(crate) sum: i64,
    pub(crate) count: i64,
}

impl Cell {
    fn add(&mut self, other: Cell) {
        // As DataFusion's SUM over BIGINT: what leaves 64 bits wraps, and a difference of wrapped sums is exact.
        self.sum = self.sum.wrapping_add(other.sum);
        self.count = self.count.wrapping_add(other.count);
    }

    fn shed(&mut self, other: Cell) {
        self.sum = self.sum.wrapping_sub(other.sum);
        self.count = self.count.wrapping_sub(other.count);
    }
}

/// Encoded rows; positions count bytes since the tape's very beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tape {
    start: u64,
    bytes: Vec<u8>,
    /// Bytes at the front that no range needs any more; cut off when they are the greater part.
    spent: usize,
}

impl Tape {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// An empty tape that continues this one.
    pub(crate) fn continued(&self) -> Self {
        Self { start: self.end(), ..Self::default() }
    }

    fn from(&self, position: u64) -> Option<&[u8]> {
        self.bytes.get(usize::try_from(position.checked_sub(self.start)?).ok()?..)
    }

    fn forget_before(&mut self, position: u64) {
        self.spent = usize::try_from(position.saturating_sub(self.start)).unwrap_or(0).min(self.bytes.len());
        if self.spent * 2 > self.bytes.len() {
            self.bytes.drain(..self.spent);
            self.start += self.spent as u64;
            self.spent = 0;
        }
    }
}

/// The newest row, which may still get company at the same instant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Head {
    time: i64,
    cells: Vec<Cell>,
}

/// One range's running total.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Window {
    /// Where the oldest row still inside begins.
    position: u64,
    /// The time of the row before it.
    time_before: i64,
    totals: Vec<Cell>,
}

/// All ranges of one key up to its newest row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    head: Option<Head>,
    /// Time of the last row on the tape.
    taped: i64,
    windows: Vec<Window>,
}

/// One key's kept state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frames {
    pub(crate) progress: Progress,
    pub(crate) tape: Tape,
}

/// The ranges and lanes that all keys of one stage share. A range of `None` reaches back to the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrameShape {
    pub(crate) ranges: Vec<Option<i64>>,
    pub(crate) lanes: usize,
}

impl FrameShape {
    /// The state of a key that had no row.
    pub(crate) fn empty(&self) -> Frames {
        let window = Window { position: 0, time_before: 0, totals: vec![Cell::default(); self.lanes] };
        Frames { progress: Progress { head: None, taped: 0, windows: vec![window; self.ranges.len()] }, tape: Tape::default() }
    }

    /// The longest range; `None` where one reaches back to the beginning.
    pub(crate) fn reach(&self) -> Option<i64> {
        self.ranges.iter().copied().try_fold(0, |longest, range| range.map(|r| r.max(longest)))
    }

    /// Takes a row at `time`, not before the newest, into the totals. `kept` is the tape before `tail`, if they are two.
    pub(crate) fn step(&self, progress: &mut Progress, kept: Option<&Tape>, tail: &mut Tape, time: i64, cells: &[Cell]) {
        match &mut progress.head {
            Some(head) if head.time == time => {
                for (have, more) in head.cells.iter_mut().zip(cells) {
                    have.add(*more);
                }
            }
            head => {
                if let Some(old) = head.replace(Head { time, cells: cells.to_vec() }) {
                    encode(&mut tail.bytes, old.time.wrapping_sub(progress.taped), &old.cells);
                    progress.taped = old.time;
                }
                self.shed(progress, kept, tail, time);
            }
        }
        for window in &mut progress.windows {
            for (total, more) in window.totals.iter_mut().zip(cells) {
                total.add(*more);
            }
        }
    }

    /// Takes out of every range what lies before it now, and off the tape what no range holds.
    fn shed(&self, progress: &mut Progress, kept: Option<&Tape>, tail: &mut Tape, now: i64) {
        let mut oldest = tail.end();
        for (window, range) in progress.windows.iter_mut().zip(&self.ranges) {
            let Some(range) = range else { continue };
            let bound = now.saturating_sub(*range);
            while let Some((time, cells, position)) = self.next(window, kept, tail) {
                if time >= bound {
                    break;
                }
                for (total, less) in window.totals.iter_mut().zip(&cells) {
                    total.shed(*less);
                }
                window.position = position;
                window.time_before = time;
            }
            oldest = oldest.min(window.position);
        }
        if kept.is_none() {
            tail.forget_before(oldest);
        }
    }

    /// The oldest row inside a window, and where the one after it begins.
    fn next(&self, window: &Window, kept: Option<&Tape>, tail: &Tape) -> Option<(i64, Vec<Cell>, u64)> {
        let tape = kept.filter(|k| window.position < k.end()).unwrap_or(tail);
        let bytes = tape.from(window.position)?;
        let mut reader = Reader::new(bytes);
        let (step, cells) = decode(&mut reader, self.lanes)?;
        Some((window.time_before.wrapping_add(step), cells, window.position + reader.read() as u64))
    }

    /// Writes one key's state.
    pub(crate) fn save(&self, frames: &Frames, out: &mut Writer) {
        let live = frames.tape.bytes.get(frames.tape.spent..).unwrap_or_default();
        let start = frames.tape.start + frames.tape.spent as u64;
        out.flag(frames.progress.head.is_some());
        if let Some(head) = &frames.progress.head {
            out.signed(head.time);
            put(out, &head.cells);
        }
        out.signed(frames.progress.taped);
        for (window, range) in frames.progress.windows.iter().zip(&self.ranges) {
            if range.is_some() {
                // Positions are written as distances, so the tape's absolute beginning need not be kept.
                out.unsigned(window.position - start);
                out.signed(window.time_before);
            }
            put(out, &window.totals);
        }
        out.bytes(live);
    }

    /// Reads one key's state; `None` where the bytes are not one.
    pub(crate) fn load(&self, from: &mut Reader<'_>) -> Option<Frames> {
        let head = match from.flag()? {
            true => Some(Head { time: from.signed()?, cells: take(from, self.lanes)? }),
            false => None,
        };
        let taped = from.signed()?;
        let mut windows = Vec::with_capacity(self.ranges.len());
        for range in &self.ranges {
            let (position, time_before) = if range.is_some() { (from.unsigned()?, from.signed()?) } else { (0, 0) };
            windows.push(Window { position, time_before, totals: take(from, self.lanes)? });
        }
        let bytes = from.bytes()?.to_vec();
        let inside = windows.iter().all(|w| w.position <= bytes.len() as u64);
        inside.then_some(Frames { progress: Progress { head, taped, windows }, tape: Tape { start: 0, bytes, spent: 0 } })
    }
}

impl Progress {
    /// The total of one lane over one range, up to and including the newest row.
    pub(crate) fn total(&self, range: usize, lane: usize) -> Cell {
        self.windows.get(range).and_then(|w| w.totals.get(lane)).copied().unwrap_or_default()
    }

    /// The time of the newest row.
    pub(crate) fn newest(&self) -> Option<i64> {
        self.head.as_ref().map(|h| h.time)
    }
}

fn put(out: &mut Writer, cells: &[Cell]) {
    for cell in cells {
        out.signed(cell.sum);
        out.signed(cell.count);
    }
}

fn take(from: &mut Reader<'_>, lanes: usize) -> Option<Vec<Cell>> {
    (0..lanes).map(|_| Some(Cell { sum: from.signed()?, count: from.signed()? })).collect()
}

/// One row: a head number of (step of time, is it in usual steps, has every lane one value), then the lanes.
fn encode(bytes: &mut Vec<u8>, step: i64, cells: &[Cell]) {
    let usual = step % USUAL_STEP_MICROS == 0;
    let single = cells.iter().all(|c| c.count == 1);
    let distance = if usual { step / USUAL_STEP_MICROS } else { step };
    let mut out = Writer::over(std::mem::take(bytes));
    out.flag_pair(usual, single, distance);
    for cell in cells {
        if !single {
            out.signed(cell.count);
        }
        if cell.count != 0 {
            out.signed(cell.sum);
        }
    }
    *bytes = out.into_bytes();
}

fn decode(from: &mut Reader<'_>, lanes: usize) -> Option<(i64, Vec<Cell>)> {
    let (usual, single, distance) = from.flag_pair()?;
    let step = if usual { distance.wrapping_mul(USUAL_STEP_MICROS) } else { distance };
    let cell = |from: &mut Reader<'_>| {
        let count = if single { 1 } else { from.signed()? };
        let sum = if count != 0 { from.signed()? } else { 0 };
        Some(Cell { sum, count })
    };
    let cells = (0..lanes).map(|_| cell(from)).collect::<Option<_>>()?;
    Some((step, cells))
}

#[cfg(test)]
mod tests;
