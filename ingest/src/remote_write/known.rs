//! Which label encodings were found valid before: tables of bounded size that only spare work. Not a registry, it forgets at will.
//!
//! Keys lie in the order in which they came, because senders repeat their series in much the same order: the next series of a body is
//! usually the next key of the trail, which the processor has fetched already. Only where that fails is a key looked for by its hash, at the
//! price of two cache misses, which would otherwise be the greatest cost of a whole sample.

use afferent_engine::series::SeriesKey;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Index entries that share one cache line.
const WAYS: usize = 8;
/// A body of fewer series never rearranges the trail.
const REARRANGING_SERIES_MIN: usize = 64;
/// Of bodies whose order differs from the trail's, one in so many is laid down anew; a sender without any order would do it for ever.
const REARRANGING_ONE_IN: usize = 8;

/// A set of series keys without locks. A key read half from one writer and half from another is a key nobody asks for,
/// short of a collision of the 128-bit hash itself.
pub(crate) struct KnownSeries {
    trail: Box<[Slot]>,
    index: Box<[Line]>,
    /// Keys ever laid down; the trail is a ring.
    laid: AtomicUsize,
    disordered: AtomicUsize,
}

#[derive(Default)]
struct Slot {
    low: AtomicU64,
    high: AtomicU64,
}

/// Entries of the index: the upper half of a key's upper half, then its place on the trail plus one; 0 is free.
#[derive(Default)]
#[repr(align(64))]
struct Line([AtomicU64; WAYS]);

fn halves(key: SeriesKey) -> (u64, u64) {
    (key.0 as u64, (key.0 >> 64) as u64)
}

impl Slot {
    #[inline]
    fn holds(&self, low: u64, high: u64) -> bool {
        self.low.load(Relaxed) == low && self.high.load(Relaxed) == high
    }
}

impl KnownSeries {
    /// Room for `series_max` keys, rounded down to a power of two; under eight there is none.
    pub(crate) fn new(series_max: usize) -> Self {
        let places = match series_max {
            0..WAYS => 0,
            max => 1usize << max.ilog2(),
        };
        Self {
            trail: (0..places).map(|_| Slot::default()).collect(),
            index: (0..places / WAYS).map(|_| Line::default()).collect(),
            laid: AtomicUsize::new(0),
            disordered: AtomicUsize::new(0),
        }
    }

    /// The place of a key, found by its hash.
    fn find(&self, low: u64, high: u64) -> Option<usize> {
        let line = self.index.get(low as usize & self.index.len().wrapping_sub(1))?;
        line.0.iter().find_map(|entry| {
            let entry = entry.load(Relaxed);
            let place = (entry as u32).checked_sub(1)? as usize;
            (entry >> 32 == high >> 32 && self.trail.get(place)?.holds(low, high)).then_some(place)
        })
    }

    /// Lays keys down side by side; the oldest are forgotten.
    fn lay(&self, keys: &[SeriesKey]) {
        if self.trail.is_empty() {
            return;
        }
        // More than a whole round would overwrite itself.
        let keys = keys.get(..self.trail.len()).unwrap_or(keys);
        let first = self.laid.fetch_add(keys.len(), Relaxed);
        for (n, key) in keys.iter().enumerate() {
            let place = first.wrapping_add(n) & (self.trail.len() - 1);
            let (low, high) = halves(*key);
            let before = self.find(low, high);
            if let Some(slot) = self.trail.get(place) {
                slot.low.store(low, Relaxed);
                slot.high.store(high, Relaxed);
            }
            self.enter(low, high, place, before);
        }
    }

    /// Points the index to a key's place: over its former entry, a free or outdated one, or else an arbitrary one.
    fn enter(&self, low: u64, high: u64, place: usize, before: Option<usize>) {
        let number = low as usize & (self.index.len() - 1);
        let Some(line) = self.index.get(number) else { return };
        let is_outdated = |entry: u64| match (entry as u32).checked_sub(1).and_then(|place| self.trail.get(place as usize)) {
            Some(slot) => slot.high.load(Relaxed) >> 32 != entry >> 32 || slot.low.load(Relaxed) as usize & (self.index.len() - 1) != number,
            None => true,
        };
        let former = before.map(|place| high >> 32 << 32 | (place as u64 + 1));
        let slot = line.0.iter().find(|entry| Some(entry.load(Relaxed)) == former);
        let slot = slot.or_else(|| line.0.iter().find(|entry| is_outdated(entry.load(Relaxed))));
        let slot = slot.unwrap_or(&line.0[high as usize % WAYS]);
        slot.store(high >> 32 << 32 | (place as u64 + 1), Relaxed);
    }
}

/// One body's way along the trail.
pub(crate) struct Steps<'k> {
    known: &'k KnownSeries,
    /// Where the next key is expected.
    next: usize,
    /// Keys that were known but stood elsewhere.
    jumps: usize,
    /// Keys found valid by this body.
    new: Vec<SeriesKey>,
}

impl<'k> Steps<'k> {
    /// The start of a walk, at the trail's.
    pub(crate) fn over(known: &'k KnownSeries) -> Self {
        Self { known, next: 0, jumps: 0, new: Vec::new() }
    }

    /// True if the encoding of this key was found valid and is not forgotten yet.
    #[inline]
    pub(crate) fn knows(&mut self, key: SeriesKey) -> bool {
        let (low, high) = halves(key);
        // The key of zeros means a free slot; a series that really had it would be checked each time.
        if key.0 != 0 && self.known.trail.get(self.next).is_some_and(|slot| slot.holds(low, high)) {
            self.next += 1;
            return true;
        }
        self.jump(low, high)
    }

    fn jump(&mut self, low: u64, high: u64) -> bool {
        if (low, high) == (0, 0) {
            return false;
        }
        match self.known.find(low, high) {
            Some(place) => {
                self.next = place + 1;
                self.jumps += 1;
                true
            }
            None => false,
        }
    }

    /// Remembers a key that was checked.
    pub(crate) fn learn(&mut self, key: SeriesKey) {
        self.new.push(key);
    }

    /// Ends the walk: lays down what is new, and now and then a whole body whose order is not that of the trail.
    pub(crate) fn finish(self, body: impl ExactSizeIterator<Item = SeriesKey>) {
        let is_disordered = body.len() >= REARRANGING_SERIES_MIN && self.jumps * 4 > body.len();
        if is_disordered && self.known.disordered.fetch_add(1, Relaxed).is_multiple_of(REARRANGING_ONE_IN) {
            self.known.lay(&body.collect::<Vec<_>>());
        } else if !self.new.is_empty() {
            self.known.lay(&self.new);
        }
    }
}

#[cfg(test)]
mod tests;
