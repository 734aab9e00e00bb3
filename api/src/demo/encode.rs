//! The demo's series and their samples until the next body is taken. Not the bytes of a body (`write_body`).

use crate::write_body::{compressed, push_series};
use afferent_engine::series::Labels;
use anyhow::Context;

/// Series whose samples are collected until the next body is taken.
#[derive(Debug, Default)]
pub(super) struct Batch {
    series: Vec<(Labels, Vec<(i64, f64)>)>,
}

/// Names one series of a [`Batch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

impl Batch {
    /// Adds a series; the pairs may come in any order.
    pub(super) fn series(&mut self, metric: &str, labels: &[(&str, &str)]) -> anyhow::Result<Slot> {
        let pairs = labels.iter().copied().chain([("__name__", metric)]);
        let labels = Labels::from_unsorted(pairs).with_context(|| format!("labels of {metric}"))?;
        self.series.push((labels, Vec::new()));
        Ok(Slot(self.series.len() - 1))
    }

    /// Adds one sample.
    pub(super) fn push(&mut self, slot: Slot, time_ms: i64, value: f64) {
        if let Some((_, samples)) = self.series.get_mut(slot.0) {
            samples.push((time_ms, value));
        }
    }

    /// Samples that wait.
    pub(super) fn sample_count(&self) -> usize {
        self.series.iter().map(|(_, samples)| samples.len()).sum()
    }

    /// The snappy-compressed body of all waiting samples, which are then forgotten; `None` where none waits.
    pub(super) fn take_body(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        if self.sample_count() == 0 {
            return Ok(None);
        }
        let mut request = Vec::with_capacity(self.sample_count() * 24 + self.series.len() * 128);
        for (labels, samples) in &mut self.series {
            if !samples.is_empty() {
                push_series(&mut request, labels.canonical(), samples.drain(..));
            }
        }
        compressed(&request).map(Some)
    }
}

#[cfg(test)]
mod tests;
