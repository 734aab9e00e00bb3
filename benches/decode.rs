//! What decoding costs: one real body of 2,000 samples, as often as it comes, with its series known and unknown. Not the log, not the engine.

use afferent_benches::capture;
use afferent_benches::fleet::{self, Shape};
use afferent_engine::log::{Format, Record};
use afferent_engine::time::WallTime;
use afferent_ingest::decoder::{Decoders, Limits};
use bytes::Bytes;
use criterion::{Criterion, Throughput};
use std::hint::black_box;

/// 2026-03-31T00:00:00Z.
const START_MS: i64 = 1_774_915_200_000;

const SAMPLES: usize = 2000;

fn record() -> Record {
    let capture = capture::shipped().expect("readable");
    let shape =
        Shape { hosts: 4, scrapes: 1, connections: 1, samples_per_body: SAMPLES, interval_ms: 1000, start_ms: START_MS, run: "bench".to_owned() };
    let body = fleet::bodies(&capture, &shape).expect("encoded").remove(0).remove(0);
    Record {
        format: Format::RemoteWriteV1,
        source: "bench".into(),
        received_at: WallTime(START_MS + 1000),
        body_hash: 0,
        request_id: 0,
        body: Bytes::from(body.bytes),
    }
}

fn limits(known_series_max: usize) -> Limits {
    Limits { inflated_bytes_max: 32 << 20, future_ms_max: 300_000, series_labels_max: 64, label_bytes_max: 16_384, known_series_max }
}

fn decode(criterion: &mut Criterion) {
    let record = record();
    let mut group = criterion.benchmark_group("remote_write_1");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    for (name, known_series_max) in [("known_series", 262_144), ("unknown_series", 0)] {
        let decoders = Decoders::new(limits(known_series_max));
        group.bench_function(name, |bencher| bencher.iter(|| black_box(decoders.read(black_box(&record))).expect("decoded")));
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decode(&mut criterion);
    criterion.final_summary();
}
