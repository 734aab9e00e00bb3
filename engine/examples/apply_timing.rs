//! Prints what the engine costs per sample on this machine: registry look-up, pane, raw row. Not a test: nothing is asserted.
#![allow(clippy::print_stdout)]

use afferent_engine::config::EngineConfig;
use afferent_engine::error::Error;
use afferent_engine::log::{Decoded, DecodedBody, Format, LogName, Position, Record, Topic};
use afferent_engine::pipeline::Pipeline;
use afferent_engine::query::LabelInventory;
use afferent_engine::sample::{SampleBatch, SeriesSlice};
use afferent_engine::series::Labels;
use afferent_engine::time::WallTime;
use std::sync::Arc;
use std::time::{Duration, Instant};

const HOSTS: usize = 100;
const SERIES_PER_HOST: usize = 507;
const SCRAPES: usize = 60;
const BODY_SAMPLES: usize = 2_000;

fn main() -> Result<(), Error> {
    let mut pipeline = Pipeline::new(EngineConfig::default(), vec![], Arc::new(LabelInventory))?;
    let mut labels = vec![];
    for host in 0..HOSTS {
        for series in 0..SERIES_PER_HOST {
            let (name, instance, cpu) = (format!("node_metric_{}_total", series / 4), format!("host-{host}:9100"), format!("{}", series % 4));
            let pairs = [("__name__", name.as_str()), ("cpu", cpu.as_str()), ("instance", instance.as_str()), ("job", "node")];
            labels.push(Labels::from_pairs(pairs).map_err(|e| Error::invalid(e.to_string()))?);
        }
    }
    let log = LogName::first(Topic::Metrics);
    let (mut position, mut samples, mut busy) = (0u64, 0u64, Duration::ZERO);
    for scrape in 0..SCRAPES {
        for (chunk, group) in labels.chunks(BODY_SAMPLES).enumerate() {
            let mut batch = SampleBatch::default();
            for (i, labels) in group.iter().enumerate() {
                let start = batch.label_bytes.len() as u32;
                batch.label_bytes.extend_from_slice(labels.canonical());
                batch.times.push(1_700_000_000_000 + scrape as i64 * 1000);
                batch.values.push((scrape * 31 + i) as f64);
                let samples = i as u32..i as u32 + 1;
                batch.series.push(SeriesSlice { key: labels.key(), labels: start..batch.label_bytes.len() as u32, samples, start_time: 0 });
            }
            let record = Record {
                format: Format::RemoteWriteV1,
                source: format!("s{}", chunk % 4).into(),
                received_at: WallTime(position as i64),
                body_hash: u128::from(position),
                request_id: position,
                body: bytes::Bytes::new(),
            };
            let started = Instant::now();
            pipeline.apply(log, Position(position), &record, Decoded { body: DecodedBody::Samples(batch), rejects: vec![] });
            if scrape > 0 {
                busy += started.elapsed();
                samples += group.len() as u64;
            }
            position += 1;
        }
    }
    println!("{samples} samples of {} known series: {:.0} ns a sample", labels.len(), busy.as_nanos() as f64 / samples as f64);
    Ok(())
}
