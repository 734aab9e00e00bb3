#![allow(clippy::unwrap_used)]
use crate::decoder::Decoders;
use crate::error::Error;
use crate::remote_write::oracle::v2::{Exemplar, Histogram, Metadata, Request, Sample, TimeSeries};
use crate::remote_write::tests::*;
use afferent_engine::log::{Format, Reject};
use afferent_engine::sample::SampleBatch;
use proptest::prelude::*;
use prost::Message;

/// Hands out references like a sender does.
struct Table(Vec<String>);

impl Table {
    fn new() -> Self {
        Self(vec![String::new()])
    }

    fn refer(&mut self, text: &str) -> u32 {
        match self.0.iter().position(|symbol| symbol == text) {
            Some(at) => at as u32,
            None => {
                self.0.push(text.to_owned());
                self.0.len() as u32 - 1
            }
        }
    }

    fn refs(&mut self, pairs: &[(String, String)]) -> Vec<u32> {
        pairs.iter().flat_map(|(name, value)| [name, value]).map(|text| self.refer(text)).collect()
    }
}

const SYMBOLS: [&str; 9] = ["", "__name__", "up", "job", "a", "b", "Help.", "seconds", "instance"];

fn decode(all: Vec<TimeSeries>) -> (SampleBatch, Vec<Reject>) {
    let symbols = SYMBOLS.map(str::to_owned).to_vec();
    read(&decoders(), Format::RemoteWriteV2, &Request { symbols, timeseries: all }.encode_to_vec()).unwrap()
}

fn series(refs: &[u32], times: &[i64]) -> TimeSeries {
    let samples = times.iter().map(|timestamp| Sample { value: 1.5, timestamp: *timestamp, start_timestamp: 0 }).collect();
    TimeSeries { labels_refs: refs.to_vec(), samples, ..TimeSeries::default() }
}

pub(crate) type Parts = (Vec<(String, String)>, Vec<Sample>, Vec<Histogram>, i64);

pub(crate) fn any_parts() -> impl Strategy<Value = Parts> {
    let start = prop_oneof![Just(0i64), Just(NOW - 5000), Just(NOW - 9000)];
    let sample =
        (any_value(), NOW - 1_000_000..NOW, start).prop_map(|(value, timestamp, start_timestamp)| Sample { value, timestamp, start_timestamp });
    let created = prop_oneof![Just(0i64), Just(NOW - 7777)];
    (any_labels(), prop::collection::vec(sample, 0..5), prop::collection::vec(any_histogram(), 0..2), created)
}

pub(crate) fn request(all: &[Parts], reverse: bool) -> Vec<u8> {
    let mut table = Table::new();
    let mut timeseries = Vec::new();
    for (pairs, samples, histograms, created_timestamp) in all {
        let exemplars = vec![Exemplar { labels_refs: table.refs(&[("trace".into(), "t1".into())]), value: 4.0, timestamp: NOW }];
        let labels_refs = table.refs(pairs);
        let created_timestamp = *created_timestamp;
        timeseries.push(TimeSeries {
            labels_refs,
            samples: samples.clone(),
            histograms: histograms.clone(),
            exemplars,
            metadata: None,
            created_timestamp,
        });
    }
    let (symbols, series) = (Request { symbols: table.0, timeseries: vec![] }, Request { symbols: vec![], timeseries });
    let (symbols, series) = (symbols.encode_to_vec(), series.encode_to_vec());
    // Protobuf lets the symbols come after the series that refer to them.
    if reverse { [series, symbols].concat() } else { [symbols, series].concat() }
}

proptest! {
    #[test]
    fn what_prost_wrote_is_read_back(all in prop::collection::vec(any_parts(), 0..12), reverse in any::<bool>()) {
        let body = request(&all, reverse);
        let decoders = decoders();
        for _ in 0..2 {
            let (batch, rejects) = read(&decoders, Format::RemoteWriteV2, &body).unwrap();
            prop_assert_eq!(&rejects, &vec![]);
            let wanted: Vec<Row> = all.iter().flat_map(|(pairs, samples, _, created)| {
                let start = |sample: &Sample| if sample.start_timestamp == 0 { *created } else { sample.start_timestamp };
                samples.iter().map(|sample| (print(pairs), sample.timestamp, sample.value.to_bits(), start(sample))).collect::<Vec<_>>()
            }).collect();
            prop_assert_eq!(rows(&batch), wanted);
            let wanted: Vec<_> = all.iter().flat_map(|(pairs, _, histograms, _)| histograms.iter().map(|h| (print(pairs), expected(h))).collect::<Vec<_>>()).collect();
            let found: Vec<_> = batch.histograms.iter().map(|(number, h)| (series_of(&batch, *number), h.clone())).collect();
            prop_assert_eq!(found, wanted);
            let found: Vec<_> = batch.exemplars.iter().map(|(number, e)| (series_of(&batch, *number), e.labels.clone(), e.time)).collect();
            let wanted: Vec<_> = all.iter().map(|(pairs, ..)| (print(pairs), vec![("trace".to_owned(), "t1".to_owned())], NOW)).collect();
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn the_table_of_known_series_changes_nothing(all in prop::collection::vec(any_parts(), 0..8), spoil in any::<prop::sample::Index>()) {
        let mut spoilt = all.clone();
        if !all.is_empty() {
            spoilt[spoil.index(all.len())].0.reverse();
        }
        let known = decoders();
        read(&known, Format::RemoteWriteV2, &request(&all, false)).unwrap();
        let cold = Decoders::new(limits(|limits| limits.known_series_max = 0));
        let (batch, rejects) = read(&known, Format::RemoteWriteV2, &request(&spoilt, false)).unwrap();
        let (wanted, wanted_rejects) = read(&cold, Format::RemoteWriteV2, &request(&spoilt, false)).unwrap();
        prop_assert_eq!(format!("{:?}", batch), format!("{:?}", wanted));
        prop_assert_eq!(rejects, wanted_rejects);
    }

    #[test]
    fn both_versions_name_a_series_alike(pairs in any_labels()) {
        let (name, label) = (print(&pairs), |(name, value): &(String, String)| crate::remote_write::oracle::v1::Label { name: name.clone(), value: value.clone() });
        let sample = crate::remote_write::oracle::v1::Sample { value: 1.0, timestamp: NOW };
        let one = crate::remote_write::oracle::v1::TimeSeries { labels: pairs.iter().map(label).collect(), samples: vec![sample], ..Default::default() };
        let body = crate::remote_write::oracle::v1::WriteRequest { timeseries: vec![one], metadata: vec![] }.encode_to_vec();
        let (first, _) = read(&decoders(), Format::RemoteWriteV1, &body).unwrap();
        let parts = (pairs, vec![Sample { value: 1.0, timestamp: NOW, start_timestamp: 0 }], vec![], 0);
        let (second, _) = read(&decoders(), Format::RemoteWriteV2, &request(&[parts], false)).unwrap();
        prop_assert_eq!(first.series[0].key, second.series[0].key);
        prop_assert_eq!(series_of(&second, 0), name);
    }
}

#[test]
fn the_first_symbol_must_be_empty() {
    for symbols in [vec!["__name__".to_owned(), "up".to_owned()], vec![]] {
        let body = Request { symbols, timeseries: vec![series(&[0, 1], &[NOW])] }.encode_to_vec();
        let error = read(&decoders(), Format::RemoteWriteV2, &body).unwrap_err();
        assert!(matches!(error, Error::Symbols { .. }), "{error}");
    }
}

#[test]
fn each_bad_reference_or_label_is_refused_alone() {
    let cases: [(&[u32], &str); 9] = [
        (&[1, 2, 3], "symbols"),
        (&[1, 2, 3, 99], "symbols"),
        (&[1, 2, u32::MAX, 4], "symbols"),
        (&[3, 4, 1, 2], "labels_unsorted"),
        (&[1, 2, 3, 4, 3, 5], "labels_duplicate"),
        (&[0, 4, 1, 2], "labels_empty_name"),
        (&[3, 4], "metric_missing"),
        (&[1, 0], "metric_missing"),
        (&[], "metric_missing"),
    ];
    for (refs, reason) in cases {
        let (batch, rejects) = decode(vec![series(&[1, 2, 3, 4], &[NOW]), series(refs, &[NOW, NOW]), series(&[1, 2, 3, 5], &[NOW])]);
        assert_eq!(rows(&batch).len(), 2, "{refs:?}");
        assert_eq!((one(&rejects).reason, one(&rejects).count), (reason, 2), "{rejects:?}");
    }
}

#[test]
fn empty_values_obey_every_other_rule() {
    // The dropped label stands out of order, and the rest is a series that is known by then.
    let (batch, rejects) = decode(vec![series(&[1, 2, 3, 4], &[NOW]), series(&[1, 2, 3, 4, 8, 0], &[NOW])]);
    assert_eq!(batch.series.len(), 1);
    assert_eq!(one(&rejects).reason, "labels_unsorted");
    let (batch, rejects) = decode(vec![series(&[1, 2, 8, 0, 3, 4], &[NOW])]);
    assert!(rejects.is_empty());
    assert_eq!(rows(&batch)[0].0, "up{job=\"a\"}");
}

#[test]
fn too_many_labels_are_refused_before_they_are_read() {
    let (_, rejects) = decode(vec![series(&[1, 2].repeat(1000), &[NOW])]);
    assert_eq!(one(&rejects).reason, "labels_too_many");
}

#[test]
fn unpacked_references_are_read() {
    let mut wire = Vec::new();
    for number in [1u8, 2, 3, 4] {
        wire.extend([0x08, number]);
    }
    wire.extend([0x12, 0x00]);
    let mut body = Request { symbols: SYMBOLS.map(str::to_owned).to_vec(), timeseries: vec![] }.encode_to_vec();
    body.extend([0x2a, wire.len() as u8]);
    body.extend(wire);
    let (batch, _) = read(&decoders(), Format::RemoteWriteV2, &body).unwrap();
    assert_eq!(rows(&batch), [("up{job=\"a\"}".to_owned(), 0, 0, 0)]);
}

#[test]
fn metadata_is_given_once_per_body_and_bad_references_in_it_are_refused() {
    let with = |metadata| TimeSeries { metadata: Some(metadata), ..series(&[1, 2, 3, 4], &[NOW]) };
    let good = Metadata { kind: 1, help_ref: 6, unit_ref: 7 };
    let (batch, rejects) = decode(vec![with(good), with(good), with(Metadata { help_ref: 77, ..good })]);
    assert_eq!(batch.times.len(), 3, "the samples are kept");
    assert_eq!(one(&rejects).reason, "symbols");
    let found: Vec<_> = batch.metadata.iter().map(|m| (m.metric.as_str(), m.kind, m.unit.as_str(), m.help.as_str())).collect();
    assert_eq!(found, [("up", "counter", "seconds", "Help.")]);
}

#[test]
fn a_sample_that_starts_anew_gets_a_slice_of_its_own() {
    let sample = |at: i64, start_timestamp: i64| Sample { value: 1.0, timestamp: NOW + at, start_timestamp };
    let samples = vec![sample(1, 5), sample(2, 5), sample(400_000, 6), sample(3, 7), sample(4, 0)];
    let (batch, rejects) = decode(vec![TimeSeries { samples, histograms: vec![histogram(NOW)], created_timestamp: 9, ..series(&[1, 2], &[]) }]);
    assert_eq!(one(&rejects).reason, "future");
    let slices: Vec<_> = batch.series.iter().map(|slice| (slice.samples.clone(), slice.start_time)).collect();
    assert_eq!(slices, [(0..2, 5), (2..3, 7), (3..4, 9)]);
    assert_eq!(batch.histograms[0].0, 0);
}
