#![allow(clippy::unwrap_used)]

use super::*;
use crate::import::Samples;
use afferent_engine::log::{DecodedBody, Decoder as _, Format, Record};
use afferent_engine::time::WallTime;
use afferent_ingest::config::IngestConfig;
use afferent_ingest::decoder::Decoders;
use std::collections::BTreeSet;

fn bodies(samples: Samples) -> Vec<Body> {
    let mut bodies = samples.into_bodies().unwrap();
    std::iter::from_fn(|| bodies.take().unwrap()).collect()
}

/// What the real receiver reads: metric and instance of each sample, time, bits.
fn received(body: &Body) -> Vec<(String, i64, u64)> {
    let record = Record {
        format: Format::RemoteWriteV1,
        source: "import:test".into(),
        received_at: WallTime(10_000_000_000_000),
        body_hash: 1,
        request_id: 1,
        body: body.bytes.clone().into(),
    };
    let decoded = Decoders::new(IngestConfig::default().limits()).decode(&record).unwrap();
    assert_eq!(decoded.rejects, []);
    let DecodedBody::Samples(batch) = decoded.body else { panic!("no samples") };
    let mut out = Vec::new();
    for series in &batch.series {
        let labels = Labels::from_wire(&batch.label_bytes[series.labels.start as usize..series.labels.end as usize]).unwrap();
        let name = format!("{}/{}", labels.metric(), labels.get("instance").unwrap_or_default());
        let range = series.samples.clone();
        out.extend(range.map(|at| (name.clone(), batch.times[at as usize], batch.values[at as usize].to_bits())));
    }
    out
}

#[test]
fn the_receiver_reads_every_sample_bit_for_bit_in_the_order_of_time() {
    let special = [f64::NAN.to_bits(), 0x7ff0_0000_0000_0002, f64::NEG_INFINITY.to_bits(), (-0.0_f64).to_bits()];
    let mut samples = Samples::new().unwrap();
    let mut want = BTreeSet::new();
    for i in 0..45_000_i64 {
        let instance = format!("h{}", i % 7);
        let metric = if i % 2 == 0 { "up" } else { "load" };
        let series = samples.series(metric, [("instance", instance.as_str())].into_iter()).unwrap();
        let bits = special.get(i as usize).copied().unwrap_or_else(|| (i as f64).to_bits());
        // The newest come first.
        let time = 1_000_000 - i;
        samples.push(series, time, f64::from_bits(bits)).unwrap();
        want.insert((format!("{metric}/{instance}"), time, bits));
    }
    assert_eq!((samples.count(), samples.span()), (45_000, Some((955_001, 1_000_000))));
    let bodies = bodies(samples);
    assert_eq!(bodies.iter().map(|b| b.sample_count).collect::<Vec<_>>(), [20_000, 20_000, 5_000]);
    let parts: Vec<Vec<(String, i64, u64)>> = bodies.iter().map(received).collect();
    let newest = |part: &[(String, i64, u64)]| part.iter().map(|s| s.1).max().unwrap();
    let oldest = |part: &[(String, i64, u64)]| part.iter().map(|s| s.1).min().unwrap();
    assert!(parts.windows(2).all(|pair| newest(&pair[0]) < oldest(&pair[1])));
    assert_eq!(parts.into_iter().flatten().collect::<BTreeSet<_>>(), want);
}

#[test]
fn the_same_samples_give_the_same_bytes_and_long_labels_smaller_bodies() {
    let make = |backwards: bool| {
        let mut samples = Samples::new().unwrap();
        let mut numbers: Vec<i64> = (0..3_000).collect();
        // The order in which series come decides their order within a body, and nothing else does.
        let series: Vec<u32> = numbers.iter().map(|i| samples.series("m", [("x", format!("{i:04000}").as_str())].into_iter()).unwrap()).collect();
        if backwards {
            numbers.reverse();
        }
        numbers.iter().for_each(|i| samples.push(series[*i as usize], *i, 1.0).unwrap());
        bodies(samples).into_iter().map(|b| b.bytes).collect::<Vec<_>>()
    };
    assert_eq!(make(false), make(true));
    assert_eq!(make(false).len(), 3, "12 MB of labels do not fit into one body");
}
