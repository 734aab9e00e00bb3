//! Exact percentiles of a list of durations. Not a histogram: a run has thousands of bodies, not millions.

use std::fmt;
use std::time::Duration;

/// Durations seen.
#[derive(Debug, Default, Clone)]
pub struct Latency {
    seen: Vec<Duration>,
}

impl Latency {
    /// Adds one.
    pub fn push(&mut self, duration: Duration) {
        self.seen.push(duration);
    }

    /// Adds those of another list.
    pub fn merge(&mut self, other: &Self) {
        self.seen.extend_from_slice(&other.seen);
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.seen.len()
    }

    /// The smallest duration that at least this share (0..1) of all does not exceed; zero if there is none.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.seen.clone();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |share| self.quantile(share).as_secs_f64() * 1000.0;
        write!(f, "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms of {}", ms(0.5), ms(0.99), ms(1.0), self.count())
    }
}

#[cfg(test)]
mod tests;
