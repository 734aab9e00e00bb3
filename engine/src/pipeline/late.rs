//! Samples that came after their pane was final. They wait, are judged against the raw rows of the lake as any out-of-order sample is, and the panes
//! they touch are written again with a higher revision. What the views make of it is `background`'s.

use super::Pipeline;
use super::slow::{RawRows, SlowSample};
use crate::cell::{Cell, pane_of};
use crate::error::Result;
use crate::metrics::Metric;
use crate::raw::RawChunk;
use crate::rows::PaneRow;
use crate::series::SeriesId;
use crate::table::Wanted;
use crate::time::{LOOKBACK_MS, PANE_MS};
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Late samples that may wait; intake waits while there are more.
pub const LATE_WAITING_MAX: usize = 500_000;

/// Late samples judged in one go.
const LATE_BATCH_MAX: usize = 100_000;

/// Series of one go.
const LATE_SERIES_MAX: usize = 20_000;

/// Event time that one go spans, so that what has to be read back is bounded.
const LATE_SPAN_MS: i64 = 30 * PANE_MS;

/// See the module.
#[derive(Default)]
pub(crate) struct Late {
    /// In the order in which they came.
    pub(crate) waiting: Vec<SlowSample>,
    /// Being judged.
    pub(crate) at_work: Vec<SlowSample>,
    /// Panes of a series to be computed again though no sample of them is new: its counter's start moved to an earlier one.
    pub(crate) recheck: BTreeSet<(u32, i64)>,
    recheck_at_work: BTreeSet<(u32, i64)>,
    /// Rows that were published while raw rows were read for the samples at work: neither what was read nor memory has them.
    retained: Vec<Arc<RawChunk>>,
    /// Series with rows of a repair that no cut has taken yet.
    fresh: BTreeSet<u32>,
    /// Counts rounds; the revision of panes written again.
    pub(crate) rounds: i64,
    pub(crate) repaired: u64,
}

impl Late {
    /// Samples that are not judged yet.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.at_work.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.at_work.is_empty() && self.recheck.is_empty() && self.recheck_at_work.is_empty()
    }

    /// Every sample that is not judged yet, for a checkpoint.
    pub(crate) fn samples(&self) -> impl Iterator<Item = &SlowSample> {
        self.at_work.iter().chain(&self.waiting)
    }

    /// Every pane that is to be checked, for a checkpoint.
    pub(crate) fn rechecks(&self) -> impl Iterator<Item = &(u32, i64)> {
        self.recheck.iter().chain(&self.recheck_at_work)
    }

    pub(crate) fn oldest(&self) -> Option<i64> {
        self.samples().map(|s| s.time).min()
    }

    /// Keeps rows that were just published.
    pub(super) fn retain(&mut self, chunks: &[Arc<RawChunk>]) {
        if !self.at_work.is_empty() || !self.recheck_at_work.is_empty() {
            self.retained.extend(chunks.iter().cloned());
        }
    }

    /// Series that must keep their index, however long they are silent.
    pub(super) fn holds(&self) -> BTreeSet<u32> {
        self.samples().map(|s| s.series).chain(self.rechecks().map(|(series, _)| *series)).chain(self.fresh.iter().copied()).collect()
    }

    /// A cut took every row.
    pub(super) fn cut(&mut self) {
        self.fresh.clear();
    }

    /// Gives up what cannot be judged any more, since the rows around it may be past their retention; the number of samples.
    fn expire(&mut self, kept_from: i64) -> u64 {
        let before = self.waiting.len();
        self.waiting.retain(|s| pane_of(s.time) >= kept_from);
        self.recheck.retain(|(_, pane)| *pane >= kept_from);
        (before - self.waiting.len()) as u64
    }

    /// Chooses what is judged next: samples near each other in time, the oldest among them.
    fn choose(&mut self) {
        let oldest = self.waiting.iter().map(|s| s.time).chain(self.recheck.iter().map(|(_, pane)| *pane)).min().unwrap_or_default();
        let horizon = pane_of(oldest) + LATE_SPAN_MS;
        let mut series = BTreeSet::new();
        let mut left = vec![];
        for sample in std::mem::take(&mut self.waiting) {
            let fits =
                sample.time < horizon && self.at_work.len() < LATE_BATCH_MAX && (series.len() < LATE_SERIES_MAX || series.contains(&sample.series));
            if fits {
                series.insert(sample.series);
                self.at_work.push(sample);
            } else {
                left.push(sample);
            }
        }
        self.waiting = left;
        let (now, later) = std::mem::take(&mut self.recheck).into_iter().partition(|(_, pane)| *pane < horizon);
        (self.recheck_at_work, self.recheck) = (now, later);
    }
}

impl Pipeline {
    /// Takes the next late samples into work and says which raw rows they need; `None` where nothing waits. What was at work and failed is at work again.
    pub(crate) fn late_request(&mut self) -> Option<Wanted> {
        if self.late.at_work.is_empty() && self.late.recheck_at_work.is_empty() {
            let expired = self.late.expire(self.kept_from().0);
            metrics::counter!(Metric::SamplesSkipped.name(), "reason" => "expired").increment(expired);
            self.late.choose();
        }
        let panes = self.late.at_work.iter().map(|s| pane_of(s.time)).chain(self.late.recheck_at_work.iter().map(|(_, pane)| *pane));
        let (oldest, newest) = panes.fold((i64::MAX, i64::MIN), |(a, b), pane| (a.min(pane), b.max(pane)));
        if oldest > newest {
            return None;
        }
        let series = self.late.at_work.iter().map(|s| s.series).chain(self.late.recheck_at_work.iter().map(|(series, _)| *series));
        let series: BTreeSet<SeriesId> = series.filter_map(|s| self.registry.info(s)).map(|i| i.id).collect();
        // Far enough back for the anchor of the first pane, far enough on for the pane that a late sample becomes the anchor of.
        let range = oldest.saturating_sub(LOOKBACK_MS).saturating_mul(1000)..newest.saturating_add(LOOKBACK_MS + 2 * PANE_MS).saturating_mul(1000);
        Some(Wanted { series: Some(series.into_iter().collect()), micros: Some(range), metrics: None })
    }

    /// Judges the samples at work; `published` are the raw rows of [`Self::late_request`]. Gives the panes to be told to the views, with their metrics.
    ///
    /// # Errors
    /// `Corrupt` where the rows do not have the columns of `samples`.
    pub(crate) fn judge_late(&mut self, published: &[RecordBatch]) -> Result<BTreeMap<i64, BTreeSet<Arc<str>>>> {
        let at_work: Vec<(u32, i64)> =
            self.late.at_work.iter().map(|s| (s.series, s.time)).chain(self.late.recheck_at_work.iter().copied()).collect();
        let retained = std::mem::take(&mut self.late.retained);
        let mut rows = self.rows_around(&at_work, &retained);
        self.add_published(&mut rows, published)?;
        let mut touched = std::mem::take(&mut self.late.recheck_at_work);
        let mut starts: HashMap<(u32, i64), i64> = HashMap::new();
        let (mut accepted, mut duplicates, mut conflicts) = (0u64, 0u64, 0u64);
        for sample in std::mem::take(&mut self.late.at_work) {
            let series = rows.entry(sample.series).or_default();
            match series.get(&sample.time) {
                Some(bits) if *bits == sample.value.to_bits() => duplicates += 1,
                Some(_) => {
                    conflicts += 1;
                    self.bury_conflict(&sample.origin, sample.series, sample.time, sample.value);
                }
                None => {
                    accepted += 1;
                    series.insert(sample.time, sample.value.to_bits());
                    self.late.fresh.insert(sample.series);
                    self.raw.push(sample.series, sample.time, sample.value);
                    if sample.start_time > 0 {
                        starts.insert((sample.series, pane_of(sample.time)), sample.start_time);
                    }
                    self.count_late(&sample, &rows, &mut touched);
                    let target = self.panes.hot().get(sample.series as usize).map_or(0, |h| h.target);
                    if let Some(before) = self.registry.observe(target, sample.time) {
                        self.births_moved(target, before);
                    }
                }
            }
        }
        metrics::counter!(Metric::SamplesAccepted.name()).increment(accepted);
        metrics::counter!(Metric::SamplesRepaired.name()).increment(accepted);
        metrics::counter!(Metric::SamplesSkipped.name(), "reason" => "duplicate").increment(duplicates);
        metrics::counter!(Metric::SamplesSkipped.name(), "reason" => "conflict").increment(conflicts);
        self.late.repaired += accepted;
        Ok(self.write_again(&touched, &rows, &starts))
    }

    /// A target turns out to have been scraped twice earlier than was known: its series that began between then and `before` count from zero.
    pub(super) fn births_moved(&mut self, target: u32, before: i64) {
        let Some(second) = self.registry.targets().get(target as usize).map(|t| t.second) else { return };
        let began = |hot: &crate::panes::Hot| hot.target == target && hot.birth > second && hot.birth <= before;
        let births: Vec<(u32, i64)> =
            self.panes.hot().iter().enumerate().filter(|(_, hot)| began(hot)).map(|(s, hot)| (s as u32, hot.birth)).collect();
        for (series, birth) in births {
            if self.panes.is_final(birth) {
                self.late.recheck.insert((series, pane_of(birth)));
            } else {
                self.panes.touch(birth, birth);
            }
        }
    }

    /// What an accepted late sample means for its series: which panes change.
    fn count_late(&mut self, sample: &SlowSample, rows: &HashMap<u32, RawRows>, touched: &mut BTreeSet<(u32, i64)>) {
        let pane = pane_of(sample.time);
        let birth = self.panes.repaired(sample.series, sample.time, sample.value);
        if !sample.value.is_finite() {
            return;
        }
        touched.insert((sample.series, pane));
        if let Some(birth) = birth.map(pane_of).filter(|birth| *birth != pane && self.panes.is_final(*birth)) {
            self.late.recheck.insert((sample.series, birth));
        }
        let later = rows.get(&sample.series).into_iter().flat_map(|r| r.range(sample.time + 1..));
        let next = later.map(|(time, bits)| (*time, f64::from_bits(*bits))).find(|(_, value)| value.is_finite()).map(|(time, _)| pane_of(time));
        if let Some(next) = next.filter(|next| *next != pane && sample.time >= next - LOOKBACK_MS && self.panes.is_final(*next)) {
            touched.insert((sample.series, next));
        }
    }

    /// Computes final panes again from raw rows and writes them with the round's revision.
    fn write_again(
        &mut self,
        touched: &BTreeSet<(u32, i64)>,
        rows: &HashMap<u32, RawRows>,
        starts: &HashMap<(u32, i64), i64>,
    ) -> BTreeMap<i64, BTreeSet<Arc<str>>> {
        let mut told: BTreeMap<i64, BTreeSet<Arc<str>>> = BTreeMap::new();
        let mut out = vec![];
        self.late.rounds += 1;
        self.late.fresh.extend(touched.iter().map(|(series, _)| *series));
        for (series, pane) in touched {
            let Some(info) = self.registry.info(*series) else { continue };
            let near = rows.get(series).into_iter().flat_map(|r| r.range(pane - LOOKBACK_MS..pane + PANE_MS));
            let start_time = starts.get(&(*series, *pane)).copied().unwrap_or_default();
            let cell = Cell::of_samples(*pane, near.map(|(t, bits)| (*t, f64::from_bits(*bits))), start_time);
            if cell.count == 0 {
                continue;
            }
            out.push(PaneRow { series: *series, cell, born: self.panes.is_born(*series, &cell, &self.registry), revision: self.late.rounds });
            if let Some(metric) = self.registry.metrics().get(info.metric as usize) {
                told.entry(*pane).or_default().insert(metric.name.clone());
            }
        }
        if !out.is_empty() {
            metrics::counter!(Metric::PaneRowsOut.name()).increment(out.len() as u64);
            self.rollup.push(Arc::new(out));
        }
        told
    }
}
