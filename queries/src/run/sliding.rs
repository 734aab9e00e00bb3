//! Frames that [`super::frame`] cannot hold: floating sums and averages, MIN and MAX, and frames of rows. One row per key and instant.
//!
//! A frame keeps the values inside it (MIN and MAX only those that may still win) and, for sums, a running total in two floats, so that what leaves a sum
//! takes with it all that it brought. A copy shares the kept values and has a tail of its own: provisional rows cost what they add.

use super::state::{Reader, Writer};
use crate::functions::fold::{FoldFunction, FoldState};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use std::collections::VecDeque;
use std::sync::Arc;

/// Rows that a frame of rows may reach back: a week of minutes.
pub(crate) const ROWS_MAX: u64 = 10_080;
/// Microseconds that a frame of values may reach back: 31 days.
pub(crate) const REACH_MICROS_MAX: i64 = 31 * 86_400_000_000;
/// The version of the saved state.
const STATE_VERSION: u64 = 1;

/// What a frame gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Sum,
    Count,
    Mean,
    Min,
    Max,
}

/// What its argument's column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer,
    Float,
    Time,
}

/// How far back it reaches from its row, which belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    All,
    Micros(i64),
    Rows(u64),
}

/// A frame, as a fold function of (argument, window_start).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sliding {
    pub(crate) op: Op,
    pub(crate) kind: Kind,
    pub(crate) reach: Reach,
}

impl FoldFunction for Sliding {
    fn name(&self) -> &'static str {
        "frame"
    }

    fn arguments(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(given.to_vec())
    }

    fn output(&self) -> DataType {
        match (self.op, self.kind) {
            (Op::Count, _) | (_, Kind::Integer) => DataType::Int64,
            (_, Kind::Float) => DataType::Float64,
            (_, Kind::Time) => afferent_engine::schema::timestamp(),
        }
    }

    fn start(&self) -> Box<dyn FoldState> {
        Box::new(State { frame: *self, kept: Arc::default(), tail: Vec::new(), rows: 0, shed: 0, total: Total::default() })
    }

    fn load(&self, bytes: &[u8]) -> Option<Box<dyn FoldState>> {
        let mut from = Reader::new(bytes);
        if from.unsigned()? != STATE_VERSION {
            return None;
        }
        let rows = from.unsigned()?;
        let total = Total::load(&mut from)?;
        let mut kept = VecDeque::new();
        let (mut row, mut time) = (0_u64, 0_i64);
        for _ in 0..from.unsigned()? {
            row = row.checked_add(from.unsigned()?)?;
            time = time.checked_add(from.signed()?)?;
            kept.push_back(Entry { row, time, bits: from.signed()? });
        }
        from.is_empty().then(|| Box::new(State { frame: *self, kept: Arc::new(kept), tail: Vec::new(), rows, shed: 0, total }) as Box<dyn FoldState>)
    }

    fn reach_micros(&self) -> Option<i64> {
        match self.reach {
            Reach::Micros(micros) => Some(micros),
            Reach::All | Reach::Rows(_) => None,
        }
    }
}

/// A value that is not null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// The number of its row, from 1.
    row: u64,
    time: i64,
    /// The integer, or the float's bits in an order that integers have too.
    bits: i64,
}

#[derive(Debug, Clone)]
struct State {
    frame: Sliding,
    /// Oldest first. Of MIN and MAX only values that no later one beats.
    kept: Arc<VecDeque<Entry>>,
    /// What came after `kept` while others shared it.
    tail: Vec<Entry>,
    rows: u64,
    /// Entries at the front of `kept` and `tail` that left the total while others shared them.
    shed: usize,
    total: Total,
}

impl State {
    fn inside(&self, entry: &Entry, now: i64) -> bool {
        match self.frame.reach {
            Reach::All => true,
            Reach::Micros(micros) => entry.time >= now.saturating_sub(micros),
            Reach::Rows(rows) => entry.row.saturating_add(rows) >= self.rows,
        }
    }

    /// True where `a` makes an earlier `b` worthless.
    fn beats(&self, a: i64, b: i64) -> bool {
        if self.frame.op == Op::Min { a <= b } else { a >= b }
    }

    /// The running total after a value came.
    fn sum(&mut self, fresh: Option<Entry>, now: i64) {
        let float = self.frame.kind == Kind::Float;
        if let Some(entry) = fresh {
            self.total.take(entry.bits, float, 1);
        }
        if self.frame.reach == Reach::All {
            return;
        }
        let frame = self.clone_frame();
        if self.tail.is_empty()
            && self.shed == 0
            && let Some(kept) = Arc::get_mut(&mut self.kept)
        {
            kept.extend(fresh);
            while let Some(oldest) = kept.front().filter(|e| !frame.inside(e, now)) {
                self.total.take(oldest.bits, float, -1);
                kept.pop_front();
            }
            return;
        }
        self.tail.extend(fresh);
        while let Some(oldest) = self.at(self.shed).filter(|e| !frame.inside(e, now)) {
            self.total.take(oldest.bits, float, -1);
            self.shed += 1;
        }
    }

    fn at(&self, index: usize) -> Option<Entry> {
        self.kept.get(index).or_else(|| self.tail.get(index.checked_sub(self.kept.len())?)).copied()
    }

    /// What decides whether an entry is inside, without the entries.
    fn clone_frame(&self) -> Self {
        Self { frame: self.frame, kept: Arc::default(), tail: Vec::new(), rows: self.rows, shed: 0, total: Total::default() }
    }

    /// The least or greatest value inside after a value came.
    fn best(&mut self, fresh: Option<Entry>, now: i64) -> Option<i64> {
        let frame = self.clone_frame();
        if self.tail.is_empty()
            && let Some(kept) = Arc::get_mut(&mut self.kept)
        {
            if let Some(entry) = fresh {
                while kept.back().is_some_and(|e| frame.beats(entry.bits, e.bits)) {
                    kept.pop_back();
                }
                // Without an end of the frame only the best ever matters.
                if frame.frame.reach != Reach::All || kept.is_empty() {
                    kept.push_back(entry);
                }
            }
            while kept.front().is_some_and(|e| !frame.inside(e, now)) {
                kept.pop_front();
            }
            return kept.front().map(|e| e.bits);
        }
        if let Some(entry) = fresh {
            while self.tail.last().is_some_and(|e| frame.beats(entry.bits, e.bits)) {
                self.tail.pop();
            }
            self.tail.push(entry);
        }
        let first = self.kept.partition_point(|e| !frame.inside(e, now));
        let candidates = [self.kept.get(first), self.tail.iter().find(|e| frame.inside(e, now))];
        candidates.into_iter().flatten().map(|e| e.bits).reduce(|a, b| if frame.beats(a, b) { a } else { b })
    }
}

impl FoldState for State {
    fn step(&mut self, arguments: &[ArrayRef], row: usize) -> Result<ScalarValue> {
        let [values, times] = arguments else { return exec_err!("a frame takes a value and a time") };
        let now = match times.as_primitive_opt::<TimestampMicrosecondType>() {
            Some(times) if times.is_valid(row) => times.value(row),
            _ => return exec_err!("a frame needs a window_start that is not null"),
        };
        let bits = if values.is_null(row) {
            None
        } else {
            match self.frame.kind {
                Kind::Integer => values.as_primitive_opt::<Int64Type>().map(|v| v.value(row)),
                Kind::Float => values.as_primitive_opt::<Float64Type>().map(|v| ordered(v.value(row))),
                Kind::Time => values.as_primitive_opt::<TimestampMicrosecondType>().map(|v| v.value(row)),
            }
        };
        self.rows += 1;
        let fresh = bits.map(|bits| Entry { row: self.rows, time: now, bits });
        if matches!(self.frame.op, Op::Min | Op::Max) {
            let best = self.best(fresh, now);
            return Ok(match self.frame.kind {
                Kind::Integer => ScalarValue::Int64(best),
                Kind::Float => ScalarValue::Float64(best.map(float)),
                Kind::Time => ScalarValue::TimestampMicrosecond(best, Some("UTC".into())),
            });
        }
        self.sum(fresh, now);
        let some = self.total.count > 0;
        Ok(match (self.frame.op, self.frame.kind) {
            (Op::Count, _) => ScalarValue::Int64(Some(self.total.count)),
            (Op::Mean, _) => ScalarValue::Float64(some.then(|| self.total.float() / self.total.count as f64)),
            (_, Kind::Float) => ScalarValue::Float64(some.then(|| self.total.float())),
            _ => ScalarValue::Int64(some.then_some(self.total.integer)),
        })
    }

    fn save(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.unsigned(STATE_VERSION);
        out.unsigned(self.rows);
        self.total.save(&mut out);
        let mut entries: Vec<Entry> = Vec::with_capacity(self.kept.len());
        for entry in self.kept.iter().chain(&self.tail).skip(self.shed) {
            // What the tail beats in the values kept before it goes, as it would have without a tail.
            while matches!(self.frame.op, Op::Min | Op::Max) && entries.last().is_some_and(|e| self.beats(entry.bits, e.bits)) {
                entries.pop();
            }
            entries.push(*entry);
        }
        out.unsigned(entries.len() as u64);
        let (mut row, mut time) = (0, 0);
        for entry in entries {
            out.unsigned(entry.row - row);
            out.signed(entry.time - time);
            out.signed(entry.bits);
            (row, time) = (entry.row, entry.time);
        }
        out.into_bytes()
    }

    fn copy(&self) -> Box<dyn FoldState> {
        Box::new(self.clone())
    }
}

/// Sums that forget exactly: integers wrap as DataFusion's do, floats are a sum of two, what is not finite is counted apart.
#[derive(Debug, Clone, Copy, Default)]
struct Total {
    count: i64,
    integer: i64,
    high: f64,
    low: f64,
    nans: i64,
    above: i64,
    below: i64,
}

impl Total {
    /// Takes a value in (`sign` 1) or out (-1).
    fn take(&mut self, bits: i64, is_float: bool, sign: i64) {
        self.count += sign;
        if !is_float {
            self.integer = self.integer.wrapping_add(bits.wrapping_mul(sign));
            return;
        }
        let value = float(bits);
        if value.is_nan() {
            self.nans += sign;
        } else if value == f64::INFINITY {
            self.above += sign;
        } else if value == f64::NEG_INFINITY {
            self.below += sign;
        } else {
            // Knuth's two-sum: what rounding takes from the high part goes to the low one.
            let value = if sign < 0 { -value } else { value };
            let sum = self.high + value;
            let back = sum - self.high;
            let lost = (self.high - (sum - back)) + (value - back);
            let low = self.low + lost;
            self.high = sum + low;
            self.low = low - (self.high - sum);
        }
    }

    fn float(&self) -> f64 {
        match (self.nans > 0, self.above > 0, self.below > 0) {
            (true, ..) | (_, true, true) => f64::NAN,
            (_, true, _) => f64::INFINITY,
            (_, _, true) => f64::NEG_INFINITY,
            _ => self.high + self.low,
        }
    }

    fn save(&self, out: &mut Writer) {
        for number in [self.count, self.integer, self.high.to_bits() as i64, self.low.to_bits() as i64, self.nans, self.above, self.below] {
            out.signed(number);
        }
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let mut next = || from.signed();
        Some(Self {
            count: next()?,
            integer: next()?,
            high: f64::from_bits(next()? as u64),
            low: f64::from_bits(next()? as u64),
            nans: next()?,
            above: next()?,
            below: next()?,
        })
    }
}

/// The bits of a float in the order of `f64::total_cmp`.
fn ordered(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// The float of [`ordered`] bits.
fn float(bits: i64) -> f64 {
    f64::from_bits((bits ^ (((bits >> 63) as u64) >> 1) as i64) as u64)
}

#[cfg(test)]
mod tests;
