//! Randomness from a seed: the same seed gives the same case on every machine.

use afferent_engine::sim::faults::Dice;

/// Dice for what streams and views are made of.
#[derive(Debug, Clone)]
pub(crate) struct Chance(Dice);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Dice::new(seed))
    }

    /// A stream of its own for one part of a case, so that a change to one part leaves the others as they are.
    pub(crate) fn of(seed: u64, part: u64) -> Self {
        let mut mixed = Dice::new(seed ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93));
        Self::new(mixed.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// A number in `[low, high)`; `low` where that is empty.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        if high <= low { low } else { low + (self.next() % (high - low) as u64) as i64 }
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.between(0, len as i64) as usize
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: i64) -> bool {
        self.between(0, n) == 0
    }

    /// True with this probability.
    pub(crate) fn with(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    pub(crate) fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.index(of.len())]
    }

    /// Some of the items, each at most once, in their order.
    pub(crate) fn some<T: Clone>(&mut self, of: &[T], least: usize, most: usize) -> Vec<T> {
        let wanted = self.between(least as i64, most as i64 + 1) as usize;
        let mut places: Vec<usize> = (0..of.len()).collect();
        for i in (1..places.len()).rev() {
            let other = self.index(i + 1);
            places.swap(i, other);
        }
        places.truncate(wanted);
        places.sort_unstable();
        places.into_iter().map(|i| of[i].clone()).collect()
    }
}
