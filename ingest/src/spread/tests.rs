#![allow(clippy::unwrap_used)]
use super::*;
use crate::decoder::Decoders;
use crate::remote_write::oracle::v1::{Label, MetricMetadata, TimeSeries, WriteRequest};
use crate::remote_write::tests::{Changes, Row, any_changes, limits, mutate, record, rich_v1, rich_v2, rows, series_of, snappy};
use crate::remote_write::{v1, v2};
use afferent_engine::log::{Decoder as _, Reject};
use proptest::prelude::*;
use prost::Message;
use std::collections::BTreeMap;

/// Everything a body holds, by the words of its series: rows in order, histograms and exemplars in order.
type Held = BTreeMap<String, (Vec<Row>, Vec<String>, Vec<String>)>;

fn held(batch: &SampleBatch) -> Held {
    let mut held = Held::new();
    for row in rows(batch) {
        held.entry(row.0.clone()).or_default().0.push(row);
    }
    for (series, histogram) in &batch.histograms {
        held.entry(series_of(batch, *series)).or_default().1.push(format!("{histogram:?}"));
    }
    for (series, exemplar) in &batch.exemplars {
        held.entry(series_of(batch, *series)).or_default().2.push(format!("{exemplar:?}"));
    }
    held
}

/// They remember few series: a table of the usual size is slow to make.
fn decoders() -> Decoders {
    Decoders::new(limits(|limits| limits.known_series_max = 64))
}

fn samples(decoded: &Decoded) -> &SampleBatch {
    match &decoded.body {
        DecodedBody::Samples(batch) => batch,
        DecodedBody::Events(_) => panic!("remote write holds samples"),
    }
}

/// What begins the detail of a description that was refused.
const OF_DESCRIPTION: &str = "metadata: ";

/// Refused items by reason, but for descriptions: those stand once in every record that has a series of theirs.
fn refused(rejects: &[Reject]) -> BTreeMap<&'static str, u64> {
    let mut by_reason = BTreeMap::new();
    for reject in rejects.iter().filter(|reject| !reject.detail.starts_with(OF_DESCRIPTION)) {
        *by_reason.entry(reject.reason).or_default() += u64::from(reject.count);
    }
    by_reason
}

/// Spreads a body and looks at what came of it; how many records, if it can be spread at all.
fn check(format: Format, body: &[u8], spread: Spread) -> Option<usize> {
    let (decoders, other) = (decoders(), decoders());
    let whole = record(format, snappy(body));
    let Ok(wanted) = decoders.read(&whole) else {
        assert!(decoders.read_spread(whole, spread).is_err());
        return None;
    };
    let shares = match decoders.read_spread(whole.clone(), spread) {
        Ok(shares) => shares,
        Err(error) => {
            assert!(matches!(error, Error::TooLarge { what: "one series of the body", .. }), "{error}");
            assert!(spread.body_bytes_max < usize::MAX);
            return None;
        }
    };
    let (mut found, mut described, mut rejects) = (Held::new(), vec![], vec![]);
    for Share { log, record, decoded } in &shares {
        assert!(log.partition < spread.partitions && record.body.len() <= spread.body_bytes_max, "{log}: {} bytes", record.body.len());
        assert_eq!(record.body_hash, if record.body == whole.body { 0 } else { Record::hash_of(&record.body) });
        // A replay reads the same, but for descriptions, which it may read more often.
        let replayed = other.decode(record).unwrap();
        assert_eq!(held(samples(decoded)), held(samples(&replayed)));
        assert_eq!(decoded.rejects, replayed.rejects);
        described.extend(samples(&replayed).metadata.clone());
        rejects.extend(decoded.rejects.clone());
        for slice in &samples(decoded).series {
            assert_eq!(slice.key.partition(spread.partitions), log.partition);
        }
        for (series, (rows, histograms, exemplars)) in held(samples(decoded)) {
            let entry = found.entry(series).or_default();
            entry.0.extend(rows);
            entry.1.extend(histograms);
            entry.2.extend(exemplars);
        }
    }
    assert_eq!(found, held(samples(&wanted)));
    assert_eq!(refused(&rejects), refused(&wanted.rejects));
    let descriptions = |rejects: &[Reject]| rejects.iter().filter(|r| r.detail.starts_with(OF_DESCRIPTION)).count();
    let (found, once) = (descriptions(&rejects), descriptions(&wanted.rejects));
    assert!(once <= found && found <= once * shares.len(), "{found} descriptions are refused, {once} of the whole body");
    let wanted = &samples(&wanted).metadata;
    assert!(wanted.iter().all(|m| described.contains(m)) && described.iter().all(|m| wanted.contains(m)), "{wanted:?} {described:?}");
    let delivered: Vec<_> = shares.iter().flat_map(|share| samples(&share.decoded).metadata.clone()).collect();
    assert!(wanted.iter().all(|m| delivered.contains(m)), "{wanted:?} {delivered:?}");
    Some(shares.len())
}

fn any_spread() -> impl Strategy<Value = Spread> {
    let bytes = prop_oneof![2 => Just(usize::MAX), 1 => 300usize..4000];
    (1u32..14, bytes).prop_map(|(partitions, body_bytes_max)| Spread { partitions, body_bytes_max })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_spread_of_1_0_is_what_was_sent(all in prop::collection::vec(v1::tests::any_series(), 0..24), described in 0usize..4, spread in any_spread()) {
        let describe = |n: usize| MetricMetadata { kind: 1, family: format!("metric_{n}"), help: "Help.".into(), unit: String::new() };
        let body = WriteRequest { timeseries: all, metadata: (0..described).map(describe).collect() }.encode_to_vec();
        check(Format::RemoteWriteV1, &body, spread);
    }

    #[test]
    fn what_is_spread_of_2_0_is_what_was_sent(all in prop::collection::vec(v2::tests::any_parts(), 0..24), reverse in any::<bool>(), spread in any_spread()) {
        check(Format::RemoteWriteV2, &v2::tests::request(&all, reverse), spread);
    }

    #[test]
    fn what_is_spread_of_damaged_bodies_is_what_can_be_read_of_them(changes in any_changes(), second in any::<bool>(), spread in any_spread()) {
        let (format, mut body) = if second { (Format::RemoteWriteV2, rich_v2()) } else { (Format::RemoteWriteV1, rich_v1()) };
        let changes: Changes = changes;
        mutate(&mut body, &changes);
        check(format, &body, spread);
    }
}

#[test]
fn bodies_are_spread_as_thinly_as_need_be_and_no_more() {
    let spread = |partitions, body_bytes_max| Spread { partitions, body_bytes_max };
    for (format, body) in [(Format::RemoteWriteV1, rich_v1()), (Format::RemoteWriteV2, rich_v2())] {
        assert_eq!(check(format, &body, spread(1, usize::MAX)), Some(1));
        let many = check(format, &body, spread(12, usize::MAX)).unwrap();
        assert!((2..=8).contains(&many), "{many} records");
    }
    let label = |name: &str, value: String| Label { name: name.into(), value };
    let series = |n: u32| TimeSeries {
        labels: vec![label("__name__", "up".into()), label("id", format!("{:032x}", Record::hash_of(&n.to_le_bytes())))],
        ..TimeSeries::default()
    };
    let body = WriteRequest { timeseries: (0..100).map(series).collect(), metadata: vec![] }.encode_to_vec();
    let parts = check(Format::RemoteWriteV1, &body, spread(1, 2000)).unwrap();
    assert!((3..=4).contains(&parts), "{parts} records of at most 2000 bytes, of {}", body.len());
}

#[test]
fn a_series_larger_than_a_record_may_be_is_refused_with_its_size() {
    let error = decoders().read_spread(record(Format::RemoteWriteV1, snappy(&rich_v1())), Spread { partitions: 1, body_bytes_max: 100 }).unwrap_err();
    assert!(error.to_string().starts_with("one series of the body has "), "{error}");
}

#[test]
fn a_body_whose_series_belong_together_stays_as_it_was_sent() {
    let body = snappy(&rich_v1());
    let one = WriteRequest { timeseries: WriteRequest::decode(rich_v1().as_slice()).unwrap().timeseries[..1].to_vec(), metadata: vec![] };
    for sent in [snappy(&one.encode_to_vec()), snappy(&[])] {
        let shares =
            decoders().read_spread(record(Format::RemoteWriteV1, sent.clone()), Spread { partitions: 12, body_bytes_max: usize::MAX }).unwrap();
        assert_eq!((shares.len(), shares[0].record.body.as_ref()), (1, sent.as_slice()));
    }
    let events = record(Format::Incidents, b"{}".to_vec());
    assert!(
        Spread { partitions: 12, body_bytes_max: 1 }.keeps_whole(&events)
            && !Spread { partitions: 2, ..Spread::default() }.keeps_whole(&record(Format::RemoteWriteV1, body))
    );
}
