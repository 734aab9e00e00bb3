//! What one remote-write body holds after decoding: flat arrays and ranges into the inflated bytes. Not how it got there (ingest).

use crate::series::SeriesKey;
use std::ops::Range;

/// The bits of Prometheus' staleness marker; it is stored as a null value and is never a number.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// True for the staleness marker, false for every other NaN.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// One decoded remote-write body. The arrays `times` and `values` are parallel; each series owns a range of them.
#[derive(Debug, Default)]
pub struct SampleBatch {
    /// Bytes that hold the canonical label encodings (the inflated body itself where its labels are canonical as they stand).
    pub label_bytes: Vec<u8>,
    /// The series in the order of the body; one may stand several times.
    pub series: Vec<SeriesSlice>,
    /// Event times, milliseconds since the Unix epoch.
    pub times: Vec<i64>,
    /// Values bit for bit as sent; staleness markers by [`is_stale`].
    pub values: Vec<f64>,
    /// Native histograms, each with the index of its series in `series`.
    pub histograms: Vec<(u32, NativeHistogram)>,
    /// Exemplars, each with the index of its series in `series`.
    pub exemplars: Vec<(u32, Exemplar)>,
    /// Metadata of metrics.
    pub metadata: Vec<Metadata>,
}

/// One series' part of a [`SampleBatch`].
#[derive(Debug, Clone)]
pub struct SeriesSlice {
    /// Hash of the canonical labels.
    pub key: SeriesKey,
    /// Where the canonical labels lie in `label_bytes`; valid labels, checked by the decoder.
    pub labels: Range<u32>,
    /// Which entries of `times` and `values` belong to it; may be empty.
    pub samples: Range<u32>,
    /// When the counter started, milliseconds; 0 where the sender does not say.
    pub start_time: i64,
}

/// A native histogram sample, nothing dropped. Counts are exact integers or floats as sent.
#[derive(Debug, Clone, PartialEq)]
pub struct NativeHistogram {
    /// Event time, milliseconds.
    pub time: i64,
    /// Start of the counter, milliseconds; 0 where unknown.
    pub start_time: i64,
    /// Integer or float form.
    pub counts: HistogramCounts,
    /// Sum of observations.
    pub sum: f64,
    /// Resolution: -4 to 8 exponential, -53 custom buckets.
    pub schema: i32,
    /// Breadth of the zero bucket.
    pub zero_threshold: f64,
    /// (offset, length) of runs of negative buckets.
    pub negative_spans: Vec<(i32, u32)>,
    /// (offset, length) of runs of positive buckets.
    pub positive_spans: Vec<(i32, u32)>,
    /// 0 unknown, 1 yes, 2 no, 3 gauge.
    pub reset_hint: i32,
    /// Upper bounds of custom buckets (schema -53).
    pub custom_values: Vec<f64>,
}

/// Bucket populations of a native histogram: absolute counts, already summed up from deltas in the integer form.
#[derive(Debug, Clone, PartialEq)]
pub enum HistogramCounts {
    /// Integer histogram: count, zero bucket, negative and positive buckets (absolute).
    Integer {
        /// Observations.
        count: u64,
        /// Observations in the zero bucket.
        zero: u64,
        /// Absolute counts of the negative buckets.
        negative: Vec<i64>,
        /// Absolute counts of the positive buckets.
        positive: Vec<i64>,
    },
    /// Float histogram.
    Float {
        /// Observations.
        count: f64,
        /// Observations in the zero bucket.
        zero: f64,
        /// Counts of the negative buckets.
        negative: Vec<f64>,
        /// Counts of the positive buckets.
        positive: Vec<f64>,
    },
}

/// An exemplar: a value with labels (a trace id, say) attached to a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Label pairs in the order sent.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
    /// Event time, milliseconds.
    pub time: i64,
}

/// Type, unit and help of a metric.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// The metric (family) name.
    pub metric: String,
    /// counter, gauge, histogram, gaugehistogram, summary, info, stateset or unknown.
    pub kind: &'static str,
    /// Unit, may be empty.
    pub unit: String,
    /// Help text, may be empty.
    pub help: String,
}

impl SampleBatch {
    /// The canonical labels of one series of this batch.
    pub fn labels_of(&self, slice: &SeriesSlice) -> &[u8] {
        self.label_bytes.get(slice.labels.start as usize..slice.labels.end as usize).unwrap_or_default()
    }
}
