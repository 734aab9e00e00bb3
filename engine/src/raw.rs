//! Accepted raw rows that no table has yet: appended in arrival order, read by queries as they are, sorted once when an epoch is written.

use crate::error::Result;
use crate::live::{LiveFilter, LiveRows};
use crate::registry::{Directory, MetricInfo};
use crate::sample::STALE_NAN_BITS;
use crate::schema;
use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// Rows of a batch handed to the store or to a query.
pub const BATCH_ROWS: usize = 65_536;

/// Rows after which a chunk is sealed even before the tick.
const CHUNK_ROWS: usize = 262_144;

/// Parallel arrays of raw rows; immutable once sealed.
#[derive(Debug, Default)]
pub struct RawChunk {
    /// Index of the series in the registry.
    pub series: Vec<u32>,
    /// Event time, milliseconds.
    pub time: Vec<i64>,
    /// Value, bit for bit.
    pub value: Vec<f64>,
}

/// The rows since the last cut.
#[derive(Debug, Default)]
pub struct RawBuffer {
    sealed: Vec<Arc<RawChunk>>,
    open: RawChunk,
    rows: usize,
}

impl RawBuffer {
    /// Appends a row.
    #[inline]
    pub fn push(&mut self, series: u32, time: i64, value: f64) {
        self.open.series.push(series);
        self.open.time.push(time);
        self.open.value.push(value);
        self.rows += 1;
        if self.open.series.len() >= CHUNK_ROWS {
            self.seal();
        }
    }

    /// Closes the open chunk, so that readers may have it.
    pub fn seal(&mut self) {
        if self.open.series.is_empty() {
            return;
        }
        let mut chunk = std::mem::take(&mut self.open);
        if chunk.series.len() < CHUNK_ROWS / 2 {
            chunk.series.shrink_to_fit();
            chunk.time.shrink_to_fit();
            chunk.value.shrink_to_fit();
        }
        self.sealed.push(Arc::new(chunk));
    }

    /// The sealed chunks.
    pub fn chunks(&self) -> &[Arc<RawChunk>] {
        &self.sealed
    }

    /// Takes everything out.
    pub fn take(&mut self) -> Vec<Arc<RawChunk>> {
        self.seal();
        self.rows = 0;
        std::mem::take(&mut self.sealed)
    }

    /// Rows held.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True where nothing is held.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
}

/// Dictionary of metric names whose keys are the registry's metric indices.
pub fn metric_names(metrics: &[MetricInfo]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(metrics.iter().map(|m| m.name.as_ref())))
}

/// Rows as columns of [`schema::samples`]; `None` where a row's series is gone (it cannot be, while rows of it are held).
fn to_batch(names: &ArrayRef, directory: &Directory, rows: impl Iterator<Item = (u32, i64, f64)>) -> Option<RecordBatch> {
    let (mut metric, mut id, mut time) = (vec![], vec![], vec![]);
    let mut value = Vec::new();
    for (series, t, v) in rows {
        let info = directory.get(series as usize)?.as_ref()?;
        metric.push(info.metric as i32);
        id.push(info.id.0);
        time.push(t.saturating_mul(1000));
        value.push((v.to_bits() != STALE_NAN_BITS).then_some(v));
    }
    let metric = DictionaryArray::<Int32Type>::try_new(Int32Array::from(metric), names.clone()).ok()?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(metric),
        Arc::new(Int64Array::from(id)),
        Arc::new(TimestampMicrosecondArray::from(time).with_timezone("UTC")),
        Arc::new(Float64Array::from(value)),
    ];
    RecordBatch::try_new(schema::samples().schema, columns).ok()
}

/// Raw rows in memory as a reader sees them.
pub struct LiveSamples {
    /// Chunks, oldest first.
    pub chunks: Vec<Arc<RawChunk>>,
    /// The series they point at.
    pub directory: Directory,
    /// Metric names by index.
    pub names: ArrayRef,
}

impl LiveRows for LiveSamples {
    fn scan(&self, filter: &LiveFilter) -> Result<Vec<RecordBatch>> {
        let wanted = filter.metric.as_deref().map(|metric| self.series_of(metric));
        let millis = filter.micros.as_ref().map(|r| r.start.div_euclid(1000)..r.end.saturating_add(999).div_euclid(1000));
        let mut out = vec![];
        for chunk in &self.chunks {
            for start in (0..chunk.series.len()).step_by(BATCH_ROWS) {
                let end = (start + BATCH_ROWS).min(chunk.series.len());
                let rows = (start..end).map(|i| (chunk.series[i], chunk.time[i], chunk.value[i]));
                let rows = rows.filter(|(s, t, _)| {
                    wanted.as_ref().is_none_or(|w| w.get(*s as usize).copied().unwrap_or(false)) && millis.as_ref().is_none_or(|m| m.contains(t))
                });
                out.extend(to_batch(&self.names, &self.directory, rows).filter(|b| b.num_rows() > 0));
            }
        }
        Ok(out)
    }
}

impl LiveSamples {
    fn series_of(&self, metric: &str) -> Vec<bool> {
        let names = self.names.as_any().downcast_ref::<StringArray>();
        let index = names.and_then(|names| names.iter().position(|n| n == Some(metric)));
        self.directory.iter().map(|info| info.as_ref().is_some_and(|i| Some(i.metric as usize) == index)).collect()
    }
}

/// Rows of an epoch in the table's order (metric name, series id, time), batch by batch.
pub struct SortedSamples {
    chunks: Vec<Arc<RawChunk>>,
    directory: Directory,
    names: ArrayRef,
    /// Chunk and row of every row, in order.
    order: Vec<(u32, u32)>,
    at: usize,
}

impl SortedSamples {
    /// Sorts by counting: one pass to count rows per series, one to place them, then series whose rows came out of order are sorted by time.
    pub fn new(chunks: Vec<Arc<RawChunk>>, directory: Directory, metrics: &[MetricInfo]) -> Self {
        let mut by_rank: Vec<u32> = (0..directory.len() as u32).collect();
        let rank_key = |i: &u32| {
            directory.get(*i as usize).and_then(Option::as_ref).map(|info| (metrics.get(info.metric as usize).map(|m| m.name.clone()), info.id.0))
        };
        by_rank.sort_by_cached_key(rank_key);
        let mut counts = vec![0u32; directory.len()];
        chunks.iter().flat_map(|c| &c.series).for_each(|s| counts[*s as usize] += 1);
        let mut next = vec![0u32; directory.len()];
        let mut sum = 0;
        for index in &by_rank {
            next[*index as usize] = sum;
            sum += counts[*index as usize];
        }
        let mut order = vec![(0u32, 0u32); sum as usize];
        for (c, chunk) in chunks.iter().enumerate() {
            for (row, series) in chunk.series.iter().enumerate() {
                let slot = &mut next[*series as usize];
                order[*slot as usize] = (c as u32, row as u32);
                *slot += 1;
            }
        }
        let time = |(c, r): &(u32, u32)| chunks[*c as usize].time[*r as usize];
        for index in &by_rank {
            let end = next[*index as usize] as usize;
            let rows = &mut order[end - counts[*index as usize] as usize..end];
            if !rows.is_sorted_by_key(time) {
                rows.sort_by_key(time);
            }
        }
        Self { chunks, directory, names: metric_names(metrics), order, at: 0 }
    }
}

impl Iterator for SortedSamples {
    type Item = RecordBatch;

    fn next(&mut self) -> Option<RecordBatch> {
        let rows = self.order.get(self.at..(self.at + BATCH_ROWS).min(self.order.len()))?;
        if rows.is_empty() {
            return None;
        }
        self.at += rows.len();
        let rows = rows.iter().map(|(c, r)| {
            let (chunk, r) = (&self.chunks[*c as usize], *r as usize);
            (chunk.series[r], chunk.time[r], chunk.value[r])
        });
        to_batch(&self.names, &self.directory, rows)
    }
}

#[cfg(test)]
mod tests;
