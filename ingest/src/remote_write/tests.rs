//! What the tests of both versions share: building requests, decoding them, and the random requests that prost and our walk must agree on.
#![allow(clippy::unwrap_used)]

use super::oracle::{self, Count, Histogram, Span, ZeroCount};
use crate::config::IngestConfig;
use crate::decoder::{Decoders, Limits};
use crate::error::Error;
use afferent_engine::log::{Decoded, DecodedBody, Format, Record, Reject};
use afferent_engine::sample::{HistogramCounts, NativeHistogram, SampleBatch};
use afferent_engine::series::Labels;
use afferent_engine::time::WallTime;
use proptest::prelude::*;
use prost::Message;

/// When every record of these tests came in.
pub(crate) const NOW: i64 = 1_795_338_000_000;

pub(crate) fn decoders() -> Decoders {
    Decoders::new(IngestConfig::default().limits())
}

pub(crate) fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = IngestConfig::default().limits();
    change(&mut limits);
    limits
}

pub(crate) fn record(format: Format, body: Vec<u8>) -> Record {
    Record { format, source: "test".into(), received_at: WallTime(NOW), body_hash: 0, request_id: 1, body: body.into() }
}

pub(crate) fn snappy(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).unwrap()
}

pub(crate) fn read(decoders: &Decoders, format: Format, inflated: &[u8]) -> Result<(SampleBatch, Vec<Reject>), Error> {
    let Decoded { body, rejects } = decoders.read(&record(format, snappy(inflated)))?;
    match body {
        DecodedBody::Samples(batch) => Ok((batch, rejects)),
        DecodedBody::Events(_) => panic!("remote write holds samples"),
    }
}

/// One flat row: printed labels, time, value bits, start.
pub(crate) type Row = (String, i64, u64, i64);

/// Everything a batch holds, flat, in order; checks on the way that its ranges and keys are what they must be.
pub(crate) fn rows(batch: &SampleBatch) -> Vec<Row> {
    let mut out = Vec::new();
    for slice in &batch.series {
        let wire = batch.labels_of(slice);
        let labels = Labels::from_wire(wire).unwrap();
        assert_eq!(labels.canonical(), wire, "labels in a batch are canonical");
        assert_eq!(labels.key(), slice.key);
        for at in slice.samples.start as usize..slice.samples.end as usize {
            out.push((labels.to_string(), batch.times[at], batch.values[at].to_bits(), slice.start_time));
        }
    }
    let in_series: usize = batch.series.iter().map(|slice| slice.samples.len()).sum();
    assert_eq!(in_series, batch.times.len(), "no sample without a series");
    assert_eq!(batch.times.len(), batch.values.len());
    out
}

pub(crate) fn series_of(batch: &SampleBatch, number: u32) -> String {
    Labels::from_wire(batch.labels_of(&batch.series[number as usize])).unwrap().to_string()
}

pub(crate) fn one(rejects: &[Reject]) -> &Reject {
    assert_eq!(rejects.len(), 1, "{rejects:?}");
    &rejects[0]
}

/// A small valid integer histogram.
pub(crate) fn histogram(time: i64) -> Histogram {
    Histogram {
        count: Some(Count::Int(7)),
        sum: 12.5,
        schema: 2,
        zero_threshold: 0.001,
        zero_count: Some(ZeroCount::Int(1)),
        positive_spans: vec![Span { offset: -2, length: 2 }, Span { offset: 3, length: 1 }],
        positive_deltas: vec![2, 1, -2],
        timestamp: time,
        ..Histogram::default()
    }
}

/// What our form of a histogram should be, worked out the plain way.
pub(crate) fn expected(histogram: &Histogram) -> NativeHistogram {
    let sum_up = |deltas: &[i64]| {
        deltas
            .iter()
            .scan(0, |sum, delta| {
                *sum += delta;
                Some(*sum)
            })
            .collect::<Vec<i64>>()
    };
    let counts = match histogram.count {
        Some(Count::Float(count)) => HistogramCounts::Float {
            count,
            zero: match histogram.zero_count {
                Some(ZeroCount::Float(zero)) => zero,
                _ => 0.0,
            },
            negative: histogram.negative_counts.clone(),
            positive: histogram.positive_counts.clone(),
        },
        Some(Count::Int(count)) => HistogramCounts::Integer {
            count,
            zero: match histogram.zero_count {
                Some(ZeroCount::Int(zero)) => zero,
                _ => 0,
            },
            negative: sum_up(&histogram.negative_deltas),
            positive: sum_up(&histogram.positive_deltas),
        },
        None => panic!("made with a count"),
    };
    let spans = |spans: &[Span]| spans.iter().map(|span| (span.offset, span.length)).collect();
    NativeHistogram {
        time: histogram.timestamp,
        start_time: histogram.start_timestamp,
        counts,
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        negative_spans: spans(&histogram.negative_spans),
        positive_spans: spans(&histogram.positive_spans),
        reset_hint: histogram.reset_hint,
        custom_values: histogram.custom_values.clone(),
    }
}

/// Random valid histograms: integer, float and custom buckets.
pub(crate) fn any_histogram() -> impl Strategy<Value = Histogram> {
    let side = || prop::collection::vec((0i32..5, prop::collection::vec(0u32..1000, 0..5)), 0..4);
    (side(), side(), 0u32..100, 0usize..3, NOW - 100_000..NOW, 0i64..2).prop_map(|(negative, positive, zero, form, timestamp, start)| {
        let spans = |side: &[(i32, Vec<u32>)]| side.iter().map(|(offset, counts)| Span { offset: *offset, length: counts.len() as u32 }).collect();
        let flat = |side: &[(i32, Vec<u32>)]| side.iter().flat_map(|(_, counts)| counts.clone()).map(i64::from).collect::<Vec<i64>>();
        let (negative, zero) = if form == 2 { (vec![], 0) } else { (negative, zero) };
        let (low, high) = (flat(&negative), flat(&positive));
        let count = low.iter().chain(&high).sum::<i64>() as u64 + u64::from(zero);
        let deltas = |counts: &[i64]| {
            counts
                .iter()
                .scan(0, |last, count| {
                    let delta = count - *last;
                    *last = *count;
                    Some(delta)
                })
                .collect()
        };
        let floats = |counts: &[i64]| counts.iter().map(|count| *count as f64).collect::<Vec<f64>>();
        let buckets: usize = positive.iter().map(|(offset, counts)| *offset as usize + counts.len()).sum();
        let mut out = Histogram {
            sum: count as f64 / 3.0,
            schema: if form == 2 { -53 } else { 3 },
            zero_threshold: if form == 2 { 0.0 } else { 1e-6 },
            negative_spans: spans(&negative),
            positive_spans: spans(&positive),
            reset_hint: form as i32,
            timestamp,
            start_timestamp: start * (NOW - 200_000),
            custom_values: if form == 2 { (0..buckets).map(|n| n as f64).collect() } else { vec![] },
            ..Histogram::default()
        };
        if form == 1 {
            (out.count, out.zero_count) = (Some(Count::Float(count as f64)), Some(ZeroCount::Float(f64::from(zero))));
            (out.negative_counts, out.positive_counts) = (floats(&low), floats(&high));
        } else {
            (out.count, out.zero_count) = (Some(Count::Int(count)), Some(ZeroCount::Int(u64::from(zero))));
            (out.negative_deltas, out.positive_deltas) = (deltas(&low), deltas(&high));
        }
        out
    })
}

/// Random valid label sets, sorted, some with values that will be dropped.
pub(crate) fn any_labels() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::btree_map("[a-z_]{1,6}", prop_oneof![4 => "[a-zA-Z0-9/é錯]{1,12}", 1 => Just(String::new())], 0..6).prop_map(|mut labels| {
        labels.insert("__name__".to_owned(), format!("metric_{}", labels.len()));
        labels.into_iter().collect()
    })
}

/// Random values, the odd ones among them.
pub(crate) fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![any::<u64>().prop_map(f64::from_bits), Just(f64::from_bits(afferent_engine::sample::STALE_NAN_BITS)), Just(0.0), -1e6..1e6]
}

pub(crate) fn print(labels: &[(String, String)]) -> String {
    let pairs = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Labels::from_pairs(pairs).unwrap().to_string()
}

/// A body of every feature, to be mutated.
pub(crate) fn rich_v1() -> Vec<u8> {
    let label = |name: &str, value: &str| oracle::v1::Label { name: name.into(), value: value.into() };
    let series = |n: i64| oracle::v1::TimeSeries {
        labels: vec![label("__name__", "http_requests_total"), label("code", &n.to_string()), label("job", "api")],
        samples: (0..n % 4).map(|at| oracle::v1::Sample { value: n as f64, timestamp: NOW - at }).collect(),
        exemplars: vec![oracle::v1::Exemplar { labels: vec![label("trace_id", "abc")], value: 1.0, timestamp: NOW }],
        histograms: vec![histogram(NOW)],
    };
    let metadata = vec![oracle::v1::MetricMetadata { kind: 1, family: "http_requests".into(), help: "Requests.".into(), unit: String::new() }];
    oracle::v1::WriteRequest { timeseries: (0..8).map(series).collect(), metadata }.encode_to_vec()
}

pub(crate) fn rich_v2() -> Vec<u8> {
    let series = |n: u32| oracle::v2::TimeSeries {
        labels_refs: vec![1, 2, 3, 4 + n % 3],
        samples: (0..n % 4).map(|at| oracle::v2::Sample { value: 1.0, timestamp: NOW, start_timestamp: i64::from(at) }).collect(),
        histograms: vec![histogram(NOW)],
        exemplars: vec![oracle::v2::Exemplar { labels_refs: vec![3, 4], value: 1.0, timestamp: NOW }],
        metadata: Some(oracle::v2::Metadata { kind: 1, help_ref: 6, unit_ref: 0 }),
        created_timestamp: 0,
    };
    let symbols = ["", "__name__", "up", "job", "a", "b", "c"].map(str::to_owned).to_vec();
    oracle::v2::Request { symbols, timeseries: (0..8).map(series).collect() }.encode_to_vec()
}

/// Bytes a batch holds on to.
fn held_bytes(batch: &SampleBatch, rejects: &[Reject]) -> usize {
    batch.label_bytes.capacity()
        + batch.series.capacity() * size_of::<afferent_engine::sample::SeriesSlice>()
        + (batch.times.capacity() + batch.values.capacity()) * 8
        + batch.histograms.capacity() * 256
        + batch.exemplars.capacity() * 64
        + rejects.iter().map(|reject| reject.detail.len() + 64).sum::<usize>()
}

/// Changes a few bytes of a body, before or after it is compressed, and decodes what came of it.
fn try_mutated(format: Format, inflated: Vec<u8>, changes: &Changes, mutate_block: bool) {
    let mut bytes = if mutate_block { snappy(&inflated) } else { inflated };
    mutate(&mut bytes, changes);
    let body = if mutate_block { bytes } else { snappy(&bytes) };
    let decoders = Decoders::new(limits(|limits| limits.known_series_max = 64));
    if let Ok(Decoded { body: DecodedBody::Samples(batch), rejects }) = decoders.read(&record(format, body)) {
        rows(&batch);
        assert!(held_bytes(&batch, &rejects) < 1 << 20, "{} bytes held", held_bytes(&batch, &rejects));
    }
}

/// Where, with what, and how a byte is changed.
pub(crate) type Changes = Vec<(prop::sample::Index, u8, usize)>;

pub(crate) fn any_changes() -> impl Strategy<Value = Changes> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0usize..4), 1..8)
}

pub(crate) fn mutate(bytes: &mut Vec<u8>, changes: &Changes) {
    for (at, byte, how) in changes {
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = *byte,
            1 => bytes.insert(at, *byte),
            2 if bytes.len() > 1 => drop(bytes.remove(at)),
            _ => bytes[at] ^= 1 << (byte % 8),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_bodies_of_1_0_never_panic_and_stay_small(changes in any_changes(), mutate_block in any::<bool>()) {
        try_mutated(Format::RemoteWriteV1, rich_v1(), &changes, mutate_block);
    }

    #[test]
    fn mutated_bodies_of_2_0_never_panic_and_stay_small(changes in any_changes(), mutate_block in any::<bool>()) {
        try_mutated(Format::RemoteWriteV2, rich_v2(), &changes, mutate_block);
    }
}

#[test]
fn a_declared_size_is_judged_before_inflating() {
    let mut bomb = vec![0xff, 0xff, 0xff, 0x7f];
    bomb.extend([0; 16]);
    let error = decoders().read(&record(Format::RemoteWriteV1, bomb)).unwrap_err();
    assert!(matches!(error, Error::TooLarge { size: 268_435_455, max: 33_554_432, .. }), "{error}");
    let mut liar = vec![0x80, 0x80, 0x80, 0x08];
    liar.extend([0; 16]);
    let error = decoders().read(&record(Format::RemoteWriteV1, liar)).unwrap_err();
    assert!(matches!(error, Error::Snappy { .. }), "16 bytes cannot inflate to 16 MiB: {error}");
}

#[test]
fn what_is_no_snappy_or_no_protobuf_is_refused_whole() {
    for format in [Format::RemoteWriteV1, Format::RemoteWriteV2] {
        for body in [vec![], b"not snappy at all".to_vec(), snappy(b"\xff\xff\xff"), snappy(b"\x0a\xff\x01abc"), snappy(b"\x2a\xff\x01abc")] {
            let error = decoders().read(&record(format, body.clone())).unwrap_err();
            assert!(matches!(error, Error::Snappy { .. } | Error::Protobuf { .. }), "{body:?}: {error}");
        }
    }
}

#[test]
fn hostile_bodies_of_tiny_items_are_bounded() {
    // Empty series: two bytes each, all refused.
    let (batch, rejects) = read(&decoders(), Format::RemoteWriteV1, &[0x0a, 0x00].repeat(1 << 18)).unwrap();
    assert!(batch.series.is_empty() && rejects.len() <= 200, "{}", rejects.len());
    assert_eq!(rejects.iter().map(|reject| u64::from(reject.count)).sum::<u64>(), 1 << 18);
    // Empty samples, empty histograms: more than a body may hold.
    for item in [[0x12, 0x00], [0x22, 0x00]] {
        let mut series = b"\x0a\x0d\x0a\x08__name__\x12\x01x".to_vec();
        series.extend(item.repeat(1 << 21));
        let mut body = vec![0x0a];
        prost::encoding::encode_varint(series.len() as u64, &mut body);
        body.extend(series);
        let error = read(&decoders(), Format::RemoteWriteV1, &body).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
}

#[test]
fn references_cannot_blow_a_body_up() {
    let long = "v".repeat(16_000);
    let symbols = vec![String::new(), "__name__".into(), "x".into(), "a".into(), long];
    let series = oracle::v2::TimeSeries {
        labels_refs: vec![1, 2, 3, 4],
        samples: vec![oracle::v2::Sample { timestamp: NOW, ..Default::default() }],
        ..Default::default()
    };
    let body = oracle::v2::Request { symbols, timeseries: vec![series; 10_000] }.encode_to_vec();
    assert!(body.len() < 300_000);
    let error = read(&decoders(), Format::RemoteWriteV2, &body).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "the body with its references expanded", .. }), "{error}");
}

#[test]
fn an_empty_request_is_nothing_and_no_error() {
    for format in [Format::RemoteWriteV1, Format::RemoteWriteV2] {
        let (batch, rejects) = read(&decoders(), format, &[]).unwrap();
        assert!(batch.series.is_empty() && rejects.is_empty());
    }
}
