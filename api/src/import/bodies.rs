//! Remote-write bodies out of samples in the order of time. The same samples give the same bodies, byte by byte. Not the sending.

use super::sort::{Row, Sorted};
use crate::write_body::{compressed, push_series};
use afferent_engine::series::Labels;
use std::collections::BTreeMap;

/// Samples of one body.
const BODY_SAMPLES_MAX: usize = 20_000;

/// Bytes of labels of one body, which a server inflates; its own limit (`ingest.inflated_bytes_max`) is some times larger.
const BODY_LABEL_BYTES_MAX: usize = 4 << 20;

/// Bodies, one after the other.
pub struct Bodies {
    labels: Vec<Labels>,
    rows: Sorted,
    /// A row that did not fit into the body before.
    left: Option<Row>,
}

/// One body.
#[derive(Debug)]
pub struct Body {
    /// Snappy-compressed `WriteRequest`.
    pub bytes: Vec<u8>,
    /// Samples in it.
    pub sample_count: u64,
}

impl Bodies {
    pub(super) fn new(labels: Vec<Labels>, rows: Sorted) -> Self {
        Self { labels, rows, left: None }
    }

    /// The next body.
    ///
    /// # Errors
    /// Where samples cannot be read back.
    pub fn take(&mut self) -> anyhow::Result<Option<Body>> {
        let mut series: BTreeMap<u32, Vec<(i64, f64)>> = BTreeMap::new();
        let (mut sample_count, mut label_bytes) = (0, 0);
        while sample_count < BODY_SAMPLES_MAX {
            let Some(row) = self.left.take().map_or_else(|| self.rows.take(), |row| Ok(Some(row)))? else { break };
            let new_bytes = if series.contains_key(&row.series) { 0 } else { self.canonical(row.series).len() };
            if sample_count > 0 && label_bytes + new_bytes > BODY_LABEL_BYTES_MAX {
                self.left = Some(row);
                break;
            }
            label_bytes += new_bytes;
            sample_count += 1;
            series.entry(row.series).or_default().push((row.time_ms, f64::from_bits(row.bits)));
        }
        if sample_count == 0 {
            return Ok(None);
        }
        let mut request = Vec::with_capacity(label_bytes + sample_count * 24);
        for (number, samples) in series {
            push_series(&mut request, self.canonical(number), samples.into_iter());
        }
        Ok(Some(Body { bytes: compressed(&request)?, sample_count: sample_count as u64 }))
    }

    fn canonical(&self, series: u32) -> &[u8] {
        self.labels.get(series as usize).map(Labels::canonical).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
