//! Numbers that look random and are the same in every run: a hash of the seed, a name and a step. Not a generator with state, so order does not matter.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The seed of everything the demo makes up.
const SEED: u64 = 0x0af0_1e57;

/// A number in 0..1 for this name and step.
pub(super) fn unit(name: &str, step: i64) -> f64 {
    let mut key = Vec::with_capacity(name.len() + 8);
    key.extend_from_slice(name.as_bytes());
    key.extend_from_slice(&step.to_le_bytes());
    // The upper 53 bits fill a double's mantissa exactly.
    (xxh3_64_with_seed(&key, SEED) >> 11) as f64 / (1u64 << 53) as f64
}

/// A whole number with the given mean: the fraction is decided by [`unit`], so that sums come out right.
pub(super) fn about(mean: f64, name: &str, step: i64) -> u64 {
    let mean = mean.max(0.0);
    mean.floor() as u64 + u64::from(unit(name, step) < mean.fract())
}

#[cfg(test)]
mod tests;
