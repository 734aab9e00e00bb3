#![allow(clippy::unwrap_used)]
use crate::decoder::Decoders;
use crate::remote_write::oracle::v1::{Exemplar, Label, MetricMetadata, Sample, TimeSeries, WriteRequest};
use crate::remote_write::tests::*;
use afferent_engine::log::{Format, Reject};
use afferent_engine::sample::SampleBatch;
use proptest::prelude::*;
use prost::Message;

fn labels(pairs: &[(&str, &str)]) -> Vec<Label> {
    pairs.iter().map(|(name, value)| Label { name: (*name).into(), value: (*value).into() }).collect()
}

fn series(pairs: &[(&str, &str)], times: &[i64]) -> TimeSeries {
    let samples = times.iter().map(|timestamp| Sample { value: 1.5, timestamp: *timestamp }).collect();
    TimeSeries { labels: labels(pairs), samples, ..TimeSeries::default() }
}

fn decode(all: Vec<TimeSeries>) -> (SampleBatch, Vec<Reject>) {
    read(&decoders(), Format::RemoteWriteV1, &WriteRequest { timeseries: all, metadata: vec![] }.encode_to_vec()).unwrap()
}

pub(crate) fn any_series() -> impl Strategy<Value = TimeSeries> {
    let sample = (any_value(), NOW - 1_000_000..NOW).prop_map(|(value, timestamp)| Sample { value, timestamp });
    let exemplar = (any_value(), NOW - 1000..NOW).prop_map(|(value, timestamp)| Exemplar { labels: labels(&[("trace_id", "t")]), value, timestamp });
    let samples = prop::collection::vec(sample, 0..4);
    (any_labels(), samples, prop::collection::vec(any_histogram(), 0..2), prop::collection::vec(exemplar, 0..2)).prop_map(
        |(pairs, samples, histograms, exemplars)| TimeSeries {
            labels: pairs.into_iter().map(|(name, value)| Label { name, value }).collect(),
            samples,
            exemplars,
            histograms,
        },
    )
}

proptest! {
    #[test]
    fn what_prost_wrote_is_read_back(all in prop::collection::vec(any_series(), 0..12)) {
        let body = WriteRequest { timeseries: all.clone(), metadata: vec![] }.encode_to_vec();
        let decoders = decoders();
        // Twice: the second time the labels are known and not parsed.
        for _ in 0..2 {
            let (batch, rejects) = read(&decoders, Format::RemoteWriteV1, &body).unwrap();
            prop_assert_eq!(&rejects, &vec![]);
            let pairs = |series: &TimeSeries| series.labels.iter().map(|l| (l.name.clone(), l.value.clone())).collect::<Vec<_>>();
            let wanted: Vec<Row> = all.iter().flat_map(|series| {
                let name = print(&pairs(series));
                series.samples.iter().map(move |sample| (name.clone(), sample.timestamp, sample.value.to_bits(), 0)).collect::<Vec<_>>()
            }).collect();
            prop_assert_eq!(rows(&batch), wanted);
            let wanted: Vec<_> = all.iter().flat_map(|series| series.histograms.iter().map(|h| (print(&pairs(series)), expected(h))).collect::<Vec<_>>()).collect();
            let found: Vec<_> = batch.histograms.iter().map(|(number, h)| (series_of(&batch, *number), h.clone())).collect();
            prop_assert_eq!(found, wanted);
            let wanted: Vec<_> = all.iter().flat_map(|series| series.exemplars.iter().map(|e| (print(&pairs(series)), e.timestamp, e.value.to_bits())).collect::<Vec<_>>()).collect();
            let found: Vec<_> = batch.exemplars.iter().map(|(number, e)| (series_of(&batch, *number), e.time, e.value.to_bits())).collect();
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn the_table_of_known_series_changes_nothing(all in prop::collection::vec(any_series(), 0..8), spoil in any::<prop::sample::Index>(), warm in any::<bool>()) {
        let mut all = all;
        if !all.is_empty() {
            let at = spoil.index(all.len());
            all[at].labels.reverse();
        }
        let body = WriteRequest { timeseries: all.clone(), metadata: vec![] }.encode_to_vec();
        let cold = Decoders::new(limits(|limits| limits.known_series_max = 0));
        let known = decoders();
        if warm {
            all.iter_mut().for_each(|series| series.labels.sort_by(|a, b| a.name.cmp(&b.name)));
            read(&known, Format::RemoteWriteV1, &WriteRequest { timeseries: all, metadata: vec![] }.encode_to_vec()).unwrap();
        }
        let (batch, rejects) = read(&known, Format::RemoteWriteV1, &body).unwrap();
        let (wanted, wanted_rejects) = read(&cold, Format::RemoteWriteV1, &body).unwrap();
        prop_assert_eq!(rows(&batch), rows(&wanted));
        prop_assert_eq!(rejects, wanted_rejects);
        prop_assert_eq!(format!("{:?}", batch), format!("{:?}", wanted));
    }
}

#[test]
fn each_bad_label_set_is_refused_alone_and_named() {
    let good = || series(&[("__name__", "up"), ("job", "a")], &[NOW]);
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Pairs<'_>, &str, &str); 6] = [
        (&[("job", "a"), ("__name__", "up")], "labels_unsorted", "sorted"),
        (&[("__name__", "up"), ("job", "a"), ("job", "b")], "labels_duplicate", "job"),
        (&[("__name__", "up"), ("", "a")], "labels_empty_name", "empty name"),
        (&[("", "a"), ("__name__", "up")], "labels_empty_name", "empty name"),
        (&[("job", "a")], "metric_missing", "__name__"),
        (&[("__name__", "")], "metric_missing", "__name__"),
    ];
    for (pairs, reason, text) in cases {
        let (batch, rejects) = decode(vec![good(), series(pairs, &[NOW - 1, NOW]), good()]);
        assert_eq!(rows(&batch).len(), 2, "the good ones are kept");
        let reject = one(&rejects);
        assert_eq!((reject.reason, reject.count), (reason, 2), "{reject:?}");
        assert!(reject.detail.contains(text), "{reject:?}");
        assert!(reject.detail.starts_with("series {"), "{reject:?}");
    }
}

#[test]
fn labels_over_the_limits_are_refused_and_exactly_at_them_taken() {
    let many = |count: usize| {
        let names: Vec<String> = (1..count).map(|n| format!("l{n:04}")).collect();
        let mut pairs = vec![("__name__", "up")];
        pairs.extend(names.iter().map(|name| (name.as_str(), "v")));
        decode(vec![series(&pairs, &[NOW])])
    };
    assert!(many(64).1.is_empty());
    assert_eq!(one(&many(65).1).reason, "labels_too_many");
    let long = |bytes: usize| decode(vec![series(&[("__name__", "up"), ("l", &"v".repeat(bytes))], &[NOW])]);
    // 16 bytes are those of __name__="up", 9 the tags and lengths around a long value.
    let overhead = afferent_engine::series::Labels::from_pairs([("__name__", "up"), ("l", &"v".repeat(16_000))]).unwrap().canonical().len() - 16_000;
    assert!(long(16 * 1024 - overhead).1.is_empty());
    assert_eq!(one(&long(16 * 1024 - overhead + 1).1).reason, "labels_too_long");
}

#[test]
fn empty_values_are_dropped_and_make_the_same_series() {
    let (batch, rejects) =
        decode(vec![series(&[("__name__", "up"), ("a", ""), ("b", "1")], &[NOW]), series(&[("__name__", "up"), ("b", "1")], &[NOW])]);
    assert!(rejects.is_empty());
    assert_eq!(batch.series[0].key, batch.series[1].key);
    assert_eq!(rows(&batch)[0].0, "up{b=\"1\"}");
}

#[test]
fn times_out_of_bounds_are_refused_sample_by_sample() {
    let (batch, rejects) = decode(vec![series(&[("__name__", "up")], &[NOW, NOW + 300_000, NOW + 300_001, i64::MAX, i64::MIN, NOW + 5])]);
    assert_eq!(batch.times, [NOW, NOW + 300_000, NOW + 5]);
    rows(&batch);
    let mut found: Vec<_> = rejects.iter().map(|reject| (reject.reason, reject.count)).collect();
    found.sort_unstable();
    assert_eq!(found, [("future", 1), ("time_range", 2)]);
    assert!(rejects.iter().all(|reject| reject.detail.contains("{__name__=\"up\"}")), "{rejects:?}");
    let (batch, rejects) = decode(vec![series(&[("__name__", "up")], &[NOW + 400_000])]);
    assert!(batch.series.is_empty() && batch.times.is_empty(), "a series of which nothing is left is not there");
    assert_eq!(one(&rejects).reason, "future");
}

#[test]
fn duplicates_and_disorder_in_time_are_left_to_the_engine() {
    let (batch, rejects) = decode(vec![series(&[("__name__", "up")], &[NOW, NOW, NOW - 5])]);
    assert_eq!((batch.times.as_slice(), rejects.len()), ([NOW, NOW, NOW - 5].as_slice(), 0));
}

#[test]
fn bad_histograms_and_exemplars_leave_their_series_alone() {
    let mut broken = histogram(NOW);
    broken.positive_deltas.pop();
    let twice = Exemplar { labels: labels(&[("a", "1"), ("a", "2")]), value: 1.0, timestamp: NOW };
    let timeless = Exemplar { labels: vec![], value: 2.0, timestamp: 0 };
    let all = TimeSeries {
        histograms: vec![histogram(NOW), broken, histogram(NOW + 400_000)],
        exemplars: vec![twice, timeless],
        ..series(&[("__name__", "h")], &[NOW - 7])
    };
    let (batch, rejects) = decode(vec![all]);
    assert_eq!((batch.times.len(), batch.histograms.len(), batch.exemplars.len()), (1, 1, 1));
    assert_eq!(batch.exemplars[0].1.time, NOW, "an exemplar without a time takes its series' newest");
    let mut reasons: Vec<_> = rejects.iter().map(|reject| (reject.reason, reject.count)).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, [("exemplar", 1), ("future", 1), ("histogram", 1)]);
}

#[test]
fn metadata_is_read() {
    let entry = |kind, family: &str| MetricMetadata { kind, family: family.into(), help: "Help.".into(), unit: "bytes".into() };
    let body = WriteRequest { timeseries: vec![], metadata: vec![entry(1, "a_total"), entry(99, "b"), entry(2, "")] }.encode_to_vec();
    let (batch, rejects) = read(&decoders(), Format::RemoteWriteV1, &body).unwrap();
    let kinds: Vec<_> = batch.metadata.iter().map(|m| (m.metric.as_str(), m.kind, m.unit.as_str(), m.help.as_str())).collect();
    assert_eq!(kinds, [("a_total", "counter", "bytes", "Help."), ("b", "unknown", "bytes", "Help.")]);
    assert_eq!(one(&rejects).reason, "metadata");
}

/// One length-delimited field.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

#[test]
fn fields_in_any_order_and_unknown_ones_are_legal() {
    let label = |name: &str, value: &str| field(0x0a, &Label { name: name.into(), value: value.into() }.encode_to_vec());
    let sample = |at: i64| field(0x12, &Sample { value: 1.0, timestamp: NOW + at }.encode_to_vec());
    let unknown = [field(0x7a, b"later"), vec![0x78, 5], [vec![0x79], vec![0; 8]].concat()].concat();
    let orders = [
        [sample(1), label("__name__", "up"), label("job", "a"), sample(2)].concat(),
        [label("__name__", "up"), sample(1), label("job", "a"), sample(2)].concat(),
        [unknown.clone(), label("__name__", "up"), unknown.clone(), label("job", "a"), sample(1), unknown, sample(2)].concat(),
        // Inside of a label: the value first, an unknown field, and a name given twice of which the last counts.
        [
            field(0x0a, &[field(0x12, b"up"), field(0x1a, b"?"), field(0x0a, b"x"), field(0x0a, b"__name__")].concat()),
            label("job", "a"),
            sample(1),
            sample(2),
        ]
        .concat(),
    ];
    for series in orders {
        let (batch, rejects) = read(&decoders(), Format::RemoteWriteV1, &field(0x0a, &series)).unwrap();
        assert!(rejects.is_empty(), "{rejects:?}");
        let found = rows(&batch);
        assert_eq!(found.iter().map(|row| (row.0.as_str(), row.1)).collect::<Vec<_>>(), [("up{job=\"a\"}", NOW + 1), ("up{job=\"a\"}", NOW + 2)]);
    }
}

#[test]
fn labels_that_are_no_text_are_refused_and_shown() {
    let bad = field(0x0a, &[field(0x0a, b"__name__"), field(0x12, b"\xff\xfe")].concat());
    let sample = field(0x12, &Sample { value: 1.0, timestamp: NOW }.encode_to_vec());
    let (batch, rejects) = read(&decoders(), Format::RemoteWriteV1, &field(0x0a, &[bad, sample].concat())).unwrap();
    assert!(batch.series.is_empty());
    assert_eq!(one(&rejects).reason, "labels_not_utf8");
}
