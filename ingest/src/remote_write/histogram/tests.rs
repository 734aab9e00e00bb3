#![allow(clippy::unwrap_used)]
use crate::remote_write::oracle::v1::{Label, TimeSeries, WriteRequest};
use crate::remote_write::oracle::{Count, Histogram, Span, ZeroCount};
use crate::remote_write::tests::*;
use afferent_engine::log::Format;
use afferent_engine::sample::STALE_NAN_BITS;
use prost::Message;

/// The reject's text, or none where the histogram is taken.
fn verdict(histogram: Histogram) -> Option<String> {
    let labels = vec![Label { name: "__name__".into(), value: "h".into() }];
    let series = TimeSeries { labels, histograms: vec![histogram], ..TimeSeries::default() };
    let body = WriteRequest { timeseries: vec![series], metadata: vec![] }.encode_to_vec();
    let (batch, rejects) = read(&decoders(), Format::RemoteWriteV1, &body).unwrap();
    assert_eq!(batch.histograms.len() + rejects.len(), 1);
    rejects.first().map(|reject| {
        assert_eq!(reject.reason, "histogram");
        reject.detail.clone()
    })
}

fn changed(change: impl FnOnce(&mut Histogram)) -> Option<String> {
    let mut histogram = histogram(NOW);
    change(&mut histogram);
    verdict(histogram)
}

fn custom(change: impl FnOnce(&mut Histogram)) -> Option<String> {
    let mut histogram = Histogram {
        count: Some(Count::Int(6)),
        sum: 9.0,
        schema: -53,
        positive_spans: vec![Span { offset: 0, length: 3 }],
        positive_deltas: vec![1, 1, 1],
        custom_values: vec![1.0, 2.5],
        timestamp: NOW,
        ..Histogram::default()
    };
    change(&mut histogram);
    verdict(histogram)
}

fn float(change: impl FnOnce(&mut Histogram)) -> Option<String> {
    let mut histogram = Histogram {
        count: Some(Count::Float(3.5)),
        zero_count: Some(ZeroCount::Float(0.5)),
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_counts: vec![1.0, 2.0],
        timestamp: NOW,
        ..Histogram::default()
    };
    change(&mut histogram);
    verdict(histogram)
}

fn refused(verdict: Option<String>, text: &str) {
    let verdict = verdict.unwrap_or_else(|| panic!("taken, but it should say {text:?}"));
    assert!(verdict.contains(text), "{verdict}");
}

#[test]
fn exponential_histograms() {
    assert_eq!(changed(|_| {}), None);
    assert_eq!(verdict(Histogram { timestamp: NOW, ..Histogram::default() }), None, "an empty histogram is legal");
    refused(changed(|h| h.count = Some(Count::Int(8))), "hold 7 observations, but the count is 8");
    refused(changed(|h| h.positive_spans[0].length = 3), "describe 4 buckets, but 3 are there");
    refused(changed(|h| h.positive_spans[1].offset = -1), "negative offset");
    refused(changed(|h| h.positive_deltas = vec![2, -3, 1]), "fewer than 0");
    refused(changed(|h| h.positive_deltas = vec![i64::MAX, 1, 0]), "overflow");
    refused(changed(|h| h.positive_counts = vec![1.0]), "float counts");
    refused(changed(|h| h.schema = 9), "schema 9 is unknown");
    refused(changed(|h| h.schema = -5), "schema -5 is unknown");
    refused(changed(|h| h.custom_values = vec![1.0]), "only -53");
    refused(changed(|h| h.zero_threshold = -0.5), "zero threshold");
    refused(changed(|h| h.zero_threshold = f64::NAN), "zero threshold");
    refused(changed(|h| h.reset_hint = 4), "reset hint");
    refused(changed(|h| h.negative_spans = vec![Span { offset: 0, length: u32::MAX }]), "negative spans describe 4294967295");
}

#[test]
fn observations_of_nan_are_in_the_count_only() {
    assert_eq!(changed(|h| (h.sum, h.count) = (f64::NAN, Some(Count::Int(9)))), None);
    refused(changed(|h| (h.sum, h.count) = (f64::NAN, Some(Count::Int(6)))), "but the count is 6");
    let stale = Histogram { sum: f64::from_bits(STALE_NAN_BITS), timestamp: NOW, count: Some(Count::Int(0)), ..Histogram::default() };
    assert_eq!(verdict(stale), None);
}

#[test]
fn custom_buckets() {
    assert_eq!(custom(|_| {}), None);
    refused(custom(|h| h.custom_values = vec![2.5, 1.0]), "must rise");
    refused(custom(|h| h.custom_values = vec![1.0, 1.0]), "must rise");
    refused(custom(|h| h.custom_values = vec![1.0, f64::INFINITY]), "not finite");
    refused(custom(|h| h.custom_values = vec![1.0]), "make only 2");
    refused(custom(|h| h.positive_spans[0].offset = -1), "negative offset");
    refused(custom(|h| h.zero_count = Some(ZeroCount::Int(1))), "no zero bucket");
    refused(custom(|h| h.negative_deltas = vec![1]), "no negative side");
}

#[test]
fn float_histograms() {
    assert_eq!(float(|_| {}), None);
    assert_eq!(float(|h| h.count = Some(Count::Float(3.5 - 1e-9))), None, "sums of floats may differ a little");
    refused(float(|h| h.count = Some(Count::Float(3.0))), "hold 3.5 observations");
    assert_eq!(float(|h| (h.count, h.reset_hint) = (Some(Count::Float(3.0)), 3)), None, "a gauge may be a difference");
    refused(float(|h| h.positive_counts[0] = -1.0), "less than 0");
    refused(float(|h| h.positive_deltas = vec![1]), "integer counts");
    refused(float(|h| h.positive_counts.push(1.0)), "describe 2 buckets, but 3 are there");
}
