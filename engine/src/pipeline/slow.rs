//! The exact slow path: out-of-order samples are judged against the raw rows around them, and the touched cells computed again from those.

use super::Pipeline;
use crate::cell::pane_of;
use crate::error::{Error, Result};
use crate::metrics::Metric;
use crate::raw::RawChunk;
use crate::rows::Origin;
use crate::sample::STALE_NAN_BITS;
use crate::series::SeriesId;
use crate::time::{LOOKBACK_MS, PANE_MS};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// A sample that waits.
#[derive(Debug, Clone)]
pub(crate) struct SlowSample {
    pub(crate) series: u32,
    pub(crate) time: i64,
    pub(crate) value: f64,
    pub(crate) start_time: i64,
    pub(crate) origin: Origin,
}

/// Which published raw rows the waiting samples need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlowRequest {
    /// The series.
    pub(crate) series: Vec<SeriesId>,
    /// The time range, microseconds.
    pub(crate) micros: Range<i64>,
}

/// Value bits by time, milliseconds.
pub(super) type RawRows = BTreeMap<i64, u64>;

impl Pipeline {
    /// True while so many samples wait for raw rows that no more may come.
    pub(crate) fn is_slow_full(&self) -> bool {
        self.slow.len() >= super::SLOW_MAX
    }

    /// True while any sample waits for raw rows: it is in nothing that readers see.
    pub(crate) fn has_slow(&self) -> bool {
        !self.slow.is_empty()
    }

    /// What must be read for [`Self::resolve_slow`]; `None` where nothing waits.
    pub(crate) fn slow_request(&self) -> Option<SlowRequest> {
        let oldest = self.slow.iter().map(|s| pane_of(s.time)).min()?;
        let newest = self.slow.iter().map(|s| pane_of(s.time)).max()?;
        let mut series: Vec<SeriesId> = self.slow.iter().filter_map(|s| self.registry.info(s.series)).map(|i| i.id).collect();
        series.sort_unstable();
        series.dedup();
        Some(SlowRequest { series, micros: (oldest - LOOKBACK_MS).saturating_mul(1000)..(newest + PANE_MS).saturating_mul(1000) })
    }

    /// Judges the waiting samples in log order; `published` are the table's rows for [`Self::slow_request`].
    ///
    /// # Errors
    /// `Corrupt` where the rows do not have the columns of `samples`.
    pub(crate) fn resolve_slow(&mut self, published: &[RecordBatch]) -> Result<()> {
        if self.slow.is_empty() {
            return Ok(());
        }
        let waiting: Vec<(u32, i64)> = self.slow.iter().map(|s| (s.series, s.time)).collect();
        let mut rows = self.rows_around(&waiting, &[]);
        self.add_published(&mut rows, published)?;
        let (mut accepted, mut duplicates, mut conflicts) = (0u64, 0u64, 0u64);
        for sample in std::mem::take(&mut self.slow) {
            let series = rows.entry(sample.series).or_default();
            let counted = match series.get(&sample.time) {
                Some(bits) if *bits == sample.value.to_bits() => {
                    duplicates += 1;
                    1
                }
                Some(_) => {
                    conflicts += 1;
                    self.bury_conflict(&sample.origin, sample.series, sample.time, sample.value);
                    1
                }
                None => {
                    accepted += 1;
                    series.insert(sample.time, sample.value.to_bits());
                    let start = pane_of(sample.time);
                    let near = series.range(start - LOOKBACK_MS..start + PANE_MS);
                    let near: Vec<(i64, f64)> = near.map(|(t, bits)| (*t, f64::from_bits(*bits))).collect();
                    self.raw.push(sample.series, sample.time, sample.value);
                    self.panes.revise(sample.series, sample.time, sample.value, sample.start_time, &near);
                    let target = self.panes.hot().get(sample.series as usize).map_or(0, |h| h.target);
                    if let Some(before) = self.registry.observe(target, sample.time) {
                        self.births_moved(target, before);
                    }
                    0
                }
            };
            if let Some(status) = self.sources.get_mut(&sample.origin.source) {
                status.duplicates += counted;
                status.accepted += 1 - counted;
            }
        }
        metrics::counter!(Metric::SamplesAccepted.name()).increment(accepted);
        metrics::counter!(Metric::SamplesSkipped.name(), "reason" => "duplicate").increment(duplicates);
        metrics::counter!(Metric::SamplesSkipped.name(), "reason" => "conflict").increment(conflicts);
        Ok(())
    }

    /// Raw rows of these samples' series that no table has yet, and those of `more`; one pass over memory however many samples there are.
    pub(super) fn rows_around(&mut self, samples: &[(u32, i64)], more: &[Arc<RawChunk>]) -> HashMap<u32, RawRows> {
        self.raw.seal();
        let mut rows: HashMap<u32, RawRows> = samples.iter().map(|(series, _)| (*series, RawRows::new())).collect();
        let mut wanted = vec![false; self.panes.hot().len()];
        for (series, _) in samples {
            if let Some(flag) = wanted.get_mut(*series as usize) {
                *flag = true;
            }
        }
        let oldest = samples.iter().map(|(_, time)| pane_of(*time)).min().unwrap_or_default() - LOOKBACK_MS;
        for chunk in more.iter().chain(self.raw_chunks()) {
            for (i, series) in chunk.series.iter().enumerate() {
                if wanted.get(*series as usize) == Some(&true) && chunk.time[i] >= oldest {
                    rows.entry(*series).or_default().insert(chunk.time[i], chunk.value[i].to_bits());
                }
            }
        }
        rows
    }

    pub(super) fn add_published(&self, rows: &mut HashMap<u32, RawRows>, published: &[RecordBatch]) -> Result<()> {
        let by_id: HashMap<i64, u32> = rows.keys().filter_map(|s| self.registry.info(*s).map(|i| (i.id.0, *s))).collect();
        for batch in published {
            let column = |name: &str| batch.column_by_name(name).ok_or_else(|| Error::corrupt(format!("raw rows lack the column {name}")));
            let id = column("series_id")?.as_primitive::<Int64Type>();
            let time = column("time")?.as_primitive::<TimestampMicrosecondType>();
            let value = column("value")?.as_primitive::<Float64Type>();
            for i in 0..batch.num_rows() {
                if let Some(series) = by_id.get(&id.value(i)) {
                    let bits = if value.is_null(i) { STALE_NAN_BITS } else { value.value(i).to_bits() };
                    rows.entry(*series).or_default().insert(time.value(i).div_euclid(1000), bits);
                }
            }
        }
        Ok(())
    }
}
