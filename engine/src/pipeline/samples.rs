//! Taking a decoded body: the loop that runs once per sample.

use super::Pipeline;
use super::slow::SlowSample;
use crate::metrics::Metric;
use crate::panes::Taken;
use crate::rows::{LateRow, Origin};
use crate::sample::{NativeHistogram, SampleBatch, SeriesSlice, is_stale};

/// What became of the samples of one body.
#[derive(Default)]
struct Tally {
    accepted: u64,
    duplicate: u64,
    conflict: u64,
    late: u64,
    non_finite: u64,
    slow: u64,
    refused: u64,
    newest: Option<i64>,
    oldest: i64,
}

impl Pipeline {
    /// Takes a body and gives the newest time of its samples.
    pub(super) fn take_samples(&mut self, origin: &Origin, mut batch: SampleBatch) -> Option<i64> {
        let mut tally = Tally { oldest: i64::MAX, ..Tally::default() };
        metrics::counter!(Metric::SamplesIn.name()).increment(batch.times.len() as u64);
        let mut indices = Vec::with_capacity(if batch.histograms.is_empty() && batch.exemplars.is_empty() { 0 } else { batch.series.len() });
        let keep_indices = indices.capacity() > 0;
        for slice in &batch.series {
            let index = match self.registry.find(slice.key) {
                Some(index) => Some(index),
                None => self.register(origin, &batch, slice, &mut tally),
            };
            if keep_indices {
                indices.push(index);
            }
            if let Some(index) = index {
                self.take_slice(origin, &batch, slice, index, &mut tally);
            }
        }
        let histograms = std::mem::take(&mut batch.histograms);
        for (slice, histogram) in histograms {
            if let Some(Some(index)) = indices.get(slice as usize) {
                tally.newest = tally.newest.max(Some(histogram.time));
                self.take_histogram(origin, *index, histogram, &mut tally);
            }
        }
        for (slice, exemplar) in std::mem::take(&mut batch.exemplars) {
            if let Some(info) = indices.get(slice as usize).copied().flatten().and_then(|i| self.registry.info(i)) {
                let metric = self.registry.metrics().get(info.metric as usize).map(|m| m.name.clone()).unwrap_or_default();
                self.outbox.exemplars.push((metric, info.clone(), exemplar));
            }
        }
        for metadata in std::mem::take(&mut batch.metadata) {
            let metric = metadata.metric.clone();
            if self.registry.describe(metadata) {
                for suffix in ["", "_total", "_bucket", "_count", "_sum"] {
                    let index = self.registry.metric_named(&format!("{metric}{suffix}"));
                    let series = index.and_then(|i| self.registry.metrics().get(i as usize)).map(|m| m.series.clone());
                    self.news.extend(series.iter().flat_map(|s| s.iter().copied()));
                }
            }
        }
        if let Some(newest) = tally.newest.filter(|_| tally.oldest <= tally.newest.unwrap_or(i64::MIN)) {
            self.panes.touch(tally.oldest, newest);
        }
        self.report(origin, &tally);
        tally.newest
    }

    fn register(&mut self, origin: &Origin, batch: &SampleBatch, slice: &SeriesSlice, tally: &mut Tally) -> Option<u32> {
        let first = batch.times.get(slice.samples.start as usize..slice.samples.end as usize).and_then(|t| t.iter().min().copied());
        let first = first.or_else(|| batch.histograms.first().map(|(_, h)| h.time)).unwrap_or(origin.received_at);
        match self.registry.register(slice.key, batch.labels_of(slice), first) {
            Ok(index) => {
                if let Some(info) = self.registry.info(index) {
                    self.panes.add(index, info.target, info.returned);
                }
                self.news.insert(index);
                Some(index)
            }
            Err(error) => {
                let count = slice.samples.len() as u32;
                tally.refused += u64::from(count);
                self.bury(origin, "series", format!("series {:032x}: {error}", slice.key.0), count.max(1));
                None
            }
        }
    }

    #[inline]
    fn take_slice(&mut self, origin: &Origin, batch: &SampleBatch, slice: &SeriesSlice, index: u32, tally: &mut Tally) {
        let range = slice.samples.start as usize..slice.samples.end as usize;
        let (Some(times), Some(values)) = (batch.times.get(range.clone()), batch.values.get(range)) else { return };
        for (time, value) in times.iter().copied().zip(values.iter().copied()) {
            match self.panes.take(index, time, value, slice.start_time) {
                Taken::Accepted => {
                    self.raw.push(index, time, value);
                    tally.accepted += 1;
                    tally.newest = tally.newest.max(Some(time));
                    tally.oldest = tally.oldest.min(time);
                    if !value.is_finite() {
                        tally.non_finite += u64::from(!is_stale(value));
                    }
                    let target = self.panes.hot().get(index as usize).map_or(0, |h| h.target);
                    if let Some(before) = self.registry.observe(target, time) {
                        self.births_moved(target, before);
                    }
                }
                Taken::Duplicate => tally.duplicate += 1,
                Taken::Conflict => {
                    tally.conflict += 1;
                    self.bury_conflict(origin, index, time, value);
                }
                Taken::OutOfOrder => {
                    tally.slow += 1;
                    self.slow.push(SlowSample { series: index, time, value, start_time: slice.start_time, origin: origin.clone() });
                }
                Taken::Late => {
                    tally.late += 1;
                    self.note_late(origin, index, time, value, slice.start_time);
                }
            }
        }
    }

    /// The first sample of a time stands; the other becomes a dead letter.
    pub(super) fn bury_conflict(&mut self, origin: &Origin, series: u32, time: i64, value: f64) {
        let labels = self.registry.info(series).map(|i| i.labels.to_string()).unwrap_or_default();
        let detail = format!("{labels} at {}: {value:?} differs from the value that stands", crate::time::EventTime(time));
        self.bury(origin, "conflict", detail, 1);
    }

    /// A late sample is told in `late_samples` at once, and counted where it belongs when it is repaired.
    fn note_late(&mut self, origin: &Origin, series: u32, time: i64, value: f64, start_time: i64) {
        self.late.waiting.push(SlowSample { series, time, value, start_time, origin: origin.clone() });
        let Some(info) = self.registry.info(series) else { return };
        let metric = self.registry.metrics().get(info.metric as usize).map(|m| m.name.clone()).unwrap_or_default();
        self.outbox.late.push(LateRow { metric, info: info.clone(), time, value, origin: origin.clone() });
    }

    /// A histogram newer than its series' newest counts; the same again is a duplicate; an older one is kept as it is (it feeds no pane).
    fn take_histogram(&mut self, origin: &Origin, series: u32, histogram: NativeHistogram, tally: &mut Tally) {
        let hash = xxhash_rust::xxh3::xxh3_64(format!("{histogram:?}").as_bytes());
        match self.histograms_seen.get(&series) {
            Some((time, seen)) if *time == histogram.time => {
                if *seen == hash {
                    tally.duplicate += 1;
                } else {
                    tally.conflict += 1;
                    self.bury_conflict(origin, series, histogram.time, histogram.sum);
                }
                return;
            }
            Some((time, _)) if *time > histogram.time => {}
            _ => {
                self.histograms_seen.insert(series, (histogram.time, hash));
            }
        }
        if let Some(info) = self.registry.info(series) {
            let metric = self.registry.metrics().get(info.metric as usize).map(|m| m.name.clone()).unwrap_or_default();
            self.outbox.histograms.push((metric, info.clone(), histogram));
            tally.accepted += 1;
        }
    }

    fn report(&mut self, origin: &Origin, tally: &Tally) {
        metrics::counter!(Metric::SamplesAccepted.name()).increment(tally.accepted);
        metrics::counter!(Metric::SlowPathSamples.name()).increment(tally.slow);
        let skipped = [
            ("duplicate", tally.duplicate),
            ("conflict", tally.conflict),
            ("late", tally.late),
            ("series", tally.refused),
            ("non_finite", tally.non_finite),
        ];
        for (reason, n) in skipped.into_iter().filter(|(_, n)| *n > 0) {
            metrics::counter!(Metric::SamplesSkipped.name(), "reason" => reason).increment(n);
        }
        if let Some(status) = self.sources.get_mut(&origin.source) {
            status.accepted += tally.accepted;
            status.duplicates += tally.duplicate;
            status.late += tally.late;
            status.rejected += tally.conflict + tally.refused;
            status.event_time_max = status.event_time_max.max(tally.newest.map(crate::time::EventTime));
        }
    }
}
