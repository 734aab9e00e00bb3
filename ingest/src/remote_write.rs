//! What both versions of remote write share: the batch being built, its limits, and the rules on time. The wire shapes are in `v1` and `v2`.

mod histogram;
pub(crate) mod known;
mod labels;
pub(crate) mod v1;
pub(crate) mod v2;

use crate::decoder::Limits;
use crate::error::Error;
use crate::rejects::Rejects;
use crate::wire::Malformed;
use afferent_engine::log::{Decoded, DecodedBody};
use afferent_engine::sample::{Exemplar, Metadata, NativeHistogram, SampleBatch, SeriesSlice};
use afferent_engine::series::SeriesKey;
use afferent_engine::time::WallTime;
use known::{KnownSeries, Steps};
use std::ops::Range;

/// Series one body may hold.
const SERIES_PER_BODY_MAX: usize = 1 << 20;
/// Samples one body may hold.
const SAMPLES_PER_BODY_MAX: usize = 1 << 20;
/// Native histograms, exemplars and metadata entries one body may hold, each.
const EXTRAS_PER_BODY_MAX: usize = 1 << 16;
/// Histogram buckets, spans and bounds one body may hold, all together.
const BUCKETS_PER_BODY_MAX: usize = 1 << 22;
/// Series for which room is made at the start; more than that grows as usual.
const SERIES_EXPECTED_MAX: usize = 1 << 16;

/// The first millisecond of year 1; an earlier time has no date.
pub(crate) const TIME_MS_MIN: i64 = -62_135_596_800_000;
/// The last millisecond of year 9999; a later time has no date of four digits.
pub(crate) const TIME_MS_MAX: i64 = 253_402_300_799_999;

/// What a body is judged by.
#[derive(Clone, Copy)]
pub(crate) struct Judge<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) known: &'a KnownSeries,
    pub(crate) received_at: WallTime,
    /// Where series lie is told, too.
    pub(crate) places: bool,
}

impl Judge<'_> {
    /// The newest time that is not in the future.
    fn newest(&self) -> i64 {
        newest(self.received_at, self.limits.future_ms_max)
    }
}

/// The newest time that is accepted from a record received at `received_at`.
pub(crate) fn newest(received_at: WallTime, future_ms_max: i64) -> i64 {
    received_at.0.saturating_add(future_ms_max).min(TIME_MS_MAX)
}

/// Why a whole body is refused.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It is no message.
    Malformed(Malformed),
    /// It holds more than `max` of something.
    Full { what: &'static str, max: usize, unit: &'static str },
    /// Its symbol table does not start with the empty string.
    Symbols(String),
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl Stop {
    /// The same with the name of the message.
    pub(crate) fn of(self, message: &'static str) -> Error {
        match self {
            Self::Malformed(Malformed { at, wanted }) => Error::Protobuf { message, at, wanted },
            Self::Full { what, max, unit } => Error::TooLarge { what, size: max as u64 + 1, max: max as u64, unit },
            Self::Symbols(found) => Error::Symbols { found },
        }
    }
}

/// Why one series or a part of it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The metric label.
    pub(crate) reason: &'static str,
    /// The facts.
    pub(crate) what: String,
}

impl Refusal {
    pub(crate) fn new(reason: &'static str, what: impl Into<String>) -> Self {
        Self { reason, what: what.into() }
    }
}

/// A decoded body and what it cost.
pub(crate) struct Outcome {
    pub(crate) decoded: Decoded,
    /// Series whose labels had to be parsed.
    pub(crate) checked: u64,
    /// The series in the order of the body, where [`Judge::places`] asks for them.
    pub(crate) places: Vec<Place>,
}

/// One series as it stands in a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Whose it is; none where its labels were refused.
    pub(crate) key: Option<SeriesKey>,
    /// Its slices in the batch are those before this one, and after those of the series before it.
    pub(crate) slices_end: u32,
}

/// Valid labels: their key and where they lie.
pub(crate) type Named = Result<(SeriesKey, Range<u32>), Refusal>;

/// The batch of one body, filled series by series.
pub(crate) struct Builder<'a> {
    pub(crate) judge: Judge<'a>,
    pub(crate) steps: Steps<'a>,
    batch: SampleBatch,
    rejects: Rejects,
    checked: u64,
    buckets: usize,
    newest: i64,
    places: Vec<Place>,
    draft: Draft,
}

/// The series being read. Its samples stand at the end of the batch already.
#[derive(Default)]
struct Draft {
    samples: usize,
    histograms: usize,
    exemplars: usize,
    /// Start of each sample's counter, where the version has such a thing.
    starts: Vec<i64>,
    /// Some sample's time is out of bounds.
    odd_time: bool,
    faults: Vec<(Refusal, u32)>,
}

impl<'a> Builder<'a> {
    /// A builder with room for as many series as are expected, within reason.
    pub(crate) fn new(judge: Judge<'a>, series_expected: usize) -> Self {
        let room = series_expected.min(SERIES_EXPECTED_MAX);
        let batch = SampleBatch {
            series: Vec::with_capacity(room),
            times: Vec::with_capacity(room),
            values: Vec::with_capacity(room),
            ..SampleBatch::default()
        };
        Self {
            judge,
            steps: Steps::over(judge.known),
            batch,
            rejects: Rejects::default(),
            checked: 0,
            buckets: 0,
            newest: judge.newest(),
            places: Vec::with_capacity(if judge.places { room } else { 0 }),
            draft: Draft::default(),
        }
    }

    /// Starts a series.
    #[inline]
    pub(crate) fn begin(&mut self) -> Result<(), Stop> {
        if self.batch.series.len() >= SERIES_PER_BODY_MAX {
            return Err(Stop::Full { what: "the body", max: SERIES_PER_BODY_MAX, unit: "series" });
        }
        self.draft.samples = self.batch.times.len();
        self.draft.histograms = self.batch.histograms.len();
        self.draft.exemplars = self.batch.exemplars.len();
        self.draft.starts.clear();
        self.draft.odd_time = false;
        Ok(())
    }

    /// Adds a sample to the series.
    #[inline]
    pub(crate) fn sample(&mut self, time: i64, value: f64) -> Result<(), Stop> {
        if self.batch.times.len() >= SAMPLES_PER_BODY_MAX {
            return Err(Stop::Full { what: "the body", max: SAMPLES_PER_BODY_MAX, unit: "samples" });
        }
        self.draft.odd_time |= time > self.newest || time < TIME_MS_MIN;
        self.batch.times.push(time);
        self.batch.values.push(value);
        Ok(())
    }

    /// Says when the counter of the sample just added started; 0 is unknown.
    #[inline]
    pub(crate) fn start(&mut self, start_time: i64) {
        self.draft.starts.push(start_time);
    }

    /// Adds a native histogram, or what is wrong with it.
    pub(crate) fn histogram(&mut self, histogram: Result<NativeHistogram, Refusal>) -> Result<(), Stop> {
        self.room_for_extra(self.batch.histograms.len(), "histograms")?;
        match histogram {
            Ok(histogram) => self.batch.histograms.push((self.batch.series.len() as u32, histogram)),
            Err(refusal) => self.fault(refusal, 1),
        }
        Ok(())
    }

    /// Adds an exemplar, or what is wrong with it.
    pub(crate) fn exemplar(&mut self, exemplar: Result<Exemplar, Refusal>) -> Result<(), Stop> {
        self.room_for_extra(self.batch.exemplars.len(), "exemplars")?;
        match exemplar {
            Ok(exemplar) => self.batch.exemplars.push((self.batch.series.len() as u32, exemplar)),
            Err(refusal) => self.fault(refusal, 1),
        }
        Ok(())
    }

    /// Adds a description of a metric, or what is wrong with it.
    pub(crate) fn metadata(&mut self, metadata: Result<Metadata, Refusal>) -> Result<(), Stop> {
        self.room_for_extra(self.batch.metadata.len(), "metadata entries")?;
        match metadata {
            Ok(metadata) => self.batch.metadata.push(metadata),
            Err(Refusal { reason, what }) => self.rejects.push(reason, 1, || format!("metadata: {what}")),
        }
        Ok(())
    }

    /// Counts buckets, spans and bounds against what one body may hold.
    fn buckets(&mut self, count: usize) -> Result<(), Stop> {
        self.buckets += count;
        match self.buckets > BUCKETS_PER_BODY_MAX {
            true => Err(Stop::Full { what: "the body", max: BUCKETS_PER_BODY_MAX, unit: "histogram buckets" }),
            false => Ok(()),
        }
    }

    /// Counts a series whose labels were parsed.
    pub(crate) fn checked(&mut self) {
        self.checked += 1;
    }

    /// Ends the series: keeps what is good of it under its labels, refuses the rest under its name.
    #[inline]
    pub(crate) fn end(&mut self, labels: Named, created: i64, name: impl Fn() -> String) {
        let (key, labels) = match labels {
            Ok(labels) => labels,
            Err(refusal) => {
                self.refuse_series(refusal, name);
                return self.place(None);
            }
        };
        if self.draft.odd_time {
            self.drop_odd_samples();
        }
        if self.batch.histograms.len() > self.draft.histograms || self.batch.exemplars.len() > self.draft.exemplars {
            self.judge_extras();
        }
        if !self.draft.faults.is_empty() {
            self.name_faults(&name);
        }
        self.push_slices(key, labels, created);
        self.place(Some(key));
    }

    #[inline]
    fn place(&mut self, key: Option<SeriesKey>) {
        if self.judge.places {
            self.places.push(Place { key, slices_end: self.batch.series.len() as u32 });
        }
    }

    /// The finished batch; `label_bytes` is what its label ranges point into.
    pub(crate) fn finish(self, label_bytes: Vec<u8>) -> Outcome {
        self.steps.finish(self.batch.series.iter().map(|slice| slice.key));
        let batch = SampleBatch { label_bytes, ..self.batch };
        let decoded = Decoded { body: DecodedBody::Samples(batch), rejects: self.rejects.finish() };
        Outcome { decoded, checked: self.checked, places: self.places }
    }

    fn room_for_extra(&self, count: usize, unit: &'static str) -> Result<(), Stop> {
        match count >= EXTRAS_PER_BODY_MAX {
            true => Err(Stop::Full { what: "the body", max: EXTRAS_PER_BODY_MAX, unit }),
            false => Ok(()),
        }
    }

    /// Faults of one kind are one entry, so that a series full of them stays small; the first one's facts stand for all.
    fn fault(&mut self, refusal: Refusal, count: u32) {
        match self.draft.faults.iter_mut().find(|(known, _)| known.reason == refusal.reason) {
            Some((_, sum)) => *sum = sum.saturating_add(count),
            None => self.draft.faults.push((refusal, count)),
        }
    }

    fn name_faults(&mut self, name: impl Fn() -> String) {
        for (Refusal { reason, what }, count) in self.draft.faults.drain(..) {
            self.rejects.push(reason, count, || format!("series {}: {what}", name()));
        }
    }

    #[cold]
    fn refuse_series(&mut self, refusal: Refusal, name: impl Fn() -> String) {
        let draft = &mut self.draft;
        let kept = (self.batch.times.len() - draft.samples)
            + (self.batch.histograms.len() - draft.histograms)
            + (self.batch.exemplars.len() - draft.exemplars);
        let faulty: u32 = draft.faults.drain(..).map(|(_, count)| count).sum();
        self.batch.times.truncate(draft.samples);
        self.batch.values.truncate(draft.samples);
        self.batch.histograms.truncate(draft.histograms);
        self.batch.exemplars.truncate(draft.exemplars);
        // A series that holds nothing still counts as one refused item: it must not vanish.
        let count = (kept as u32 + faulty).max(1);
        self.rejects.push(refusal.reason, count, || format!("series {}: {}", name(), refusal.what));
    }

    /// Takes samples out that lie too far in the future or have no date.
    #[cold]
    fn drop_odd_samples(&mut self) {
        let mut to = self.draft.samples;
        for from in self.draft.samples..self.batch.times.len() {
            let time = self.batch.times[from];
            match self.time_fault(time) {
                Some(refusal) => self.fault(refusal, 1),
                None => {
                    self.batch.times[to] = time;
                    self.batch.values[to] = self.batch.values[from];
                    if let Some(start) = self.draft.starts.get(from - self.draft.samples).copied() {
                        self.draft.starts[to - self.draft.samples] = start;
                    }
                    to += 1;
                }
            }
        }
        self.batch.times.truncate(to);
        self.batch.values.truncate(to);
        self.draft.starts.truncate(to - self.draft.samples);
    }

    /// Applies the rules on time to histograms and exemplars; an exemplar without a time takes that of its series' newest item.
    fn judge_extras(&mut self) {
        let histograms = self.batch.histograms.split_off(self.draft.histograms);
        for (series, histogram) in histograms {
            match self.time_fault(histogram.time) {
                Some(refusal) => self.fault(refusal, 1),
                None => self.batch.histograms.push((series, histogram)),
            }
        }
        let sampled = self.batch.times[self.draft.samples..].last().copied();
        let observed = self.batch.histograms[self.draft.histograms..].last().map(|(_, histogram)| histogram.time);
        let implied = sampled.max(observed).unwrap_or(self.judge.received_at.0);
        let exemplars = self.batch.exemplars.split_off(self.draft.exemplars);
        for (series, mut exemplar) in exemplars {
            if exemplar.time == 0 {
                exemplar.time = implied;
            }
            match self.time_fault(exemplar.time) {
                Some(refusal) => self.fault(refusal, 1),
                None => self.batch.exemplars.push((series, exemplar)),
            }
        }
    }

    fn time_fault(&self, time: i64) -> Option<Refusal> {
        time_fault(time, self.newest, self.judge.received_at)
    }

    /// One slice per run of samples with the same start, usually one in all. What holds nothing gets none.
    #[inline]
    fn push_slices(&mut self, key: SeriesKey, labels: Range<u32>, created: i64) {
        let (from, to) = (self.draft.samples, self.batch.times.len());
        let extras = self.batch.histograms.len() > self.draft.histograms || self.batch.exemplars.len() > self.draft.exemplars;
        if from == to && !extras {
            return;
        }
        let or_created = |start: i64| if start == 0 { created } else { start };
        let mut begin = from;
        let mut start_time = or_created(self.draft.starts.first().copied().unwrap_or(0));
        for at in from + 1..to {
            let next = or_created(self.draft.starts.get(at - from).copied().unwrap_or(0));
            if next != start_time {
                self.batch.series.push(SeriesSlice { key, labels: labels.clone(), samples: begin as u32..at as u32, start_time });
                (begin, start_time) = (at, next);
            }
        }
        self.batch.series.push(SeriesSlice { key, labels, samples: begin as u32..to as u32, start_time });
    }
}

/// The word for a metric type; both versions count alike.
fn kind_of(number: u64) -> &'static str {
    match number {
        1 => "counter",
        2 => "gauge",
        3 => "histogram",
        4 => "gaugehistogram",
        5 => "summary",
        6 => "info",
        7 => "stateset",
        _ => "unknown",
    }
}

/// What is wrong with a time, if anything.
pub(crate) fn time_fault(time: i64, newest: i64, received_at: WallTime) -> Option<Refusal> {
    if !(TIME_MS_MIN..=TIME_MS_MAX).contains(&time) {
        return Some(Refusal::new("time_range", format!("time {time} ms lies outside of the years 1 to 9999")));
    }
    if time <= newest {
        return None;
    }
    let ahead = time.saturating_sub(received_at.0);
    Some(Refusal::new("future", format!("time {time} ms is {ahead} ms after its arrival at {} ms", received_at.0)))
}

#[cfg(test)]
pub(crate) mod oracle;
#[cfg(test)]
pub(crate) mod tests;
