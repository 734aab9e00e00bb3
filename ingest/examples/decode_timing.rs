//! Prints what decoding costs per sample, on bodies made of one scrape in the text exposition format times many hosts. No benchmark suite: one figure, quickly.
//!
//! `cargo run --release -p afferent-ingest --example decode_timing [scrape.txt]`; without a file it makes up a scrape.

#![allow(clippy::print_stdout)]

use afferent_engine::log::{Decoded, DecodedBody, Format, Record};
use afferent_engine::series::push_label;
use afferent_engine::time::WallTime;
use afferent_ingest::config::IngestConfig;
use afferent_ingest::decoder::Decoders;
use std::collections::HashMap;
use std::time::Instant;

const HOSTS: usize = 100;
const SAMPLES_PER_BODY: usize = 2000;
const ROUNDS: usize = 40;
const NOW_MS: i64 = 1_795_000_000_000;

/// Time this thread has had a processor for, so that other work on the machine counts less; elsewhere than on Linux, wall time.
#[derive(Clone, Copy)]
struct Cpu(Option<u64>, Instant);

impl Cpu {
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
        Self(text.and_then(|text| text.split_whitespace().next()?.parse().ok()), Instant::now())
    }

    fn elapsed_ns(self) -> f64 {
        match (self.0, Self::now().0) {
            (Some(from), Some(to)) => (to - from) as f64,
            _ => self.1.elapsed().as_nanos() as f64,
        }
    }
}

/// Labels sorted by name, and a value.
type Series = (Vec<(String, String)>, f64);

fn main() {
    let scrape = match std::env::args().nth(1) {
        Some(path) => parse(&std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))),
        None => invent(),
    };
    let all: Vec<Series> = (0..HOSTS).flat_map(|host| scrape.iter().map(move |series| on_host(series, host))).collect();
    println!("CPU time: {} series, {SAMPLES_PER_BODY} samples a body, {ROUNDS} rounds", all.len());
    time("remote write 1.0", Format::RemoteWriteV1, &all, encode_v1);
    time("remote write 2.0", Format::RemoteWriteV2, &all, encode_v2);
}

fn time(name: &str, format: Format, all: &[Series], encode: fn(&[Series]) -> Vec<u8>) {
    let inflated: Vec<Vec<u8>> = all.chunks(SAMPLES_PER_BODY).map(encode).collect();
    let records: Vec<Record> = inflated.iter().map(|body| record(format, body)).collect();
    let decoders = Decoders::new(IngestConfig::default().limits());
    let first = pass(&decoders, &records);
    let rest = (1..ROUNDS).map(|_| pass(&decoders, &records)).sum::<f64>() / (ROUNDS - 1) as f64;
    let snappy = time_snappy(&records);
    let per_sample = |bytes: usize| bytes as f64 / all.len() as f64;
    let (inflated, sent) = (inflated.iter().map(Vec::len).sum(), records.iter().map(|r| r.body.len()).sum());
    println!(
        "{name}: {rest:.0} ns/sample, of which {snappy:.0} are snappy ({first:.0} with no series known); {:.0} bytes/sample inflated, {:.0} sent",
        per_sample(inflated),
        per_sample(sent)
    );
}

/// Decodes everything once; nanoseconds per sample.
fn pass(decoders: &Decoders, records: &[Record]) -> f64 {
    let (began, mut samples) = (Cpu::now(), 0);
    for record in records {
        if let Ok(Decoded { body: DecodedBody::Samples(batch), .. }) = decoders.read(record) {
            samples += batch.times.len();
        }
    }
    began.elapsed_ns() / samples.max(1) as f64
}

fn time_snappy(records: &[Record]) -> f64 {
    let began = Cpu::now();
    for record in (0..ROUNDS).flat_map(|_| records) {
        let mut out = vec![0; snap::raw::decompress_len(&record.body).unwrap_or(0)];
        drop(snap::raw::Decoder::new().decompress(&record.body, &mut out));
    }
    began.elapsed_ns() / (ROUNDS * records.len() * SAMPLES_PER_BODY) as f64
}

fn record(format: Format, body: &[u8]) -> Record {
    let body = snap::raw::Encoder::new().compress_vec(body).unwrap_or_default();
    Record { format, source: "timing".into(), received_at: WallTime(NOW_MS), body_hash: 0, request_id: 0, body: body.into() }
}

fn on_host((labels, value): &Series, host: usize) -> Series {
    let mut labels = labels.clone();
    labels.push(("instance".to_owned(), format!("10.0.{}.{}:9100", host / 100, host % 100)));
    labels.push(("job".to_owned(), "node".to_owned()));
    labels.sort();
    (labels, value + host as f64)
}

/// Lines of `name{a="b"} value`; comments are passed over.
fn parse(text: &str) -> Vec<Series> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, value)| (labels(series), value.parse().unwrap_or(f64::NAN))).collect()
}

fn labels(series: &str) -> Vec<(String, String)> {
    let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
    let mut out = vec![("__name__".to_owned(), name.to_owned())];
    for pair in rest.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty()) {
        if let Some((label, value)) = pair.split_once("=\"") {
            out.push((label.to_owned(), value.trim_end_matches('"').to_owned()));
        }
    }
    out
}

fn invent() -> Vec<Series> {
    let one = |n: usize| {
        let name = format!("node_made_up_{}_bytes_total", n / 6);
        let labels = [("__name__", name), ("device", format!("sda{}", n % 6)), ("mode", ["read", "write"][n % 2].to_owned())];
        (labels.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(), n as f64 * 1.5)
    };
    (0..500).map(one).collect()
}

fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn sample(value: f64) -> Vec<u8> {
    let mut out = vec![0x09];
    out.extend_from_slice(&value.to_le_bytes());
    out.push(0x10);
    varint(&mut out, NOW_MS as u64);
    out
}

fn encode_v1(all: &[Series]) -> Vec<u8> {
    let mut out = Vec::new();
    for (labels, value) in all {
        let mut series = Vec::new();
        labels.iter().for_each(|(name, value)| push_label(&mut series, name, value));
        field(&mut series, 0x12, &sample(*value));
        field(&mut out, 0x0a, &series);
    }
    out
}

fn encode_v2(all: &[Series]) -> Vec<u8> {
    let mut symbols: Vec<&str> = vec![""];
    let mut numbers: HashMap<&str, u64> = HashMap::from([("", 0)]);
    let mut bodies = Vec::new();
    for (labels, value) in all {
        let mut refs = Vec::new();
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            let number = *numbers.entry(text).or_insert_with(|| {
                symbols.push(text);
                symbols.len() as u64 - 1
            });
            varint(&mut refs, number);
        }
        let mut series = Vec::new();
        field(&mut series, 0x0a, &refs);
        field(&mut series, 0x12, &sample(*value));
        field(&mut series, 0x2a, &[0x08, 0x01]);
        bodies.push(series);
    }
    let mut out = Vec::new();
    symbols.iter().for_each(|symbol| field(&mut out, 0x22, symbol.as_bytes()));
    bodies.iter().for_each(|series| field(&mut out, 0x2a, series));
    out
}
