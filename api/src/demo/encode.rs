//! A remote-write 1.0 body made by hand, as a sender would send it. Not a decoder and not the receiver's code: the demo must not share mistakes with it.

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
                // TimeSeries.labels is a repeated field 1 of Label messages, which is what the canonical form is.
                let mut message = labels.canonical().to_vec();
                for (time_ms, value) in samples.drain(..) {
                    push_field(&mut message, 2, &sample(time_ms, value));
                }
                push_field(&mut request, 1, &message);
            }
        }
        Ok(Some(snap::raw::Encoder::new().compress_vec(&request).context("compressing a body")?))
    }
}

/// `message Sample { double value = 1; int64 timestamp = 2; }`
fn sample(time_ms: i64, value: f64) -> Vec<u8> {
    let mut out = Vec::with_capacity(20);
    out.push(0x09);
    out.extend_from_slice(&value.to_le_bytes());
    out.push(0x10);
    push_varint(&mut out, time_ms.cast_unsigned());
    out
}

/// A length-delimited field.
fn push_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push((number << 3) | 2);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests;
