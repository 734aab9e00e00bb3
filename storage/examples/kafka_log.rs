//! What appending to a log on Kafka and replaying it cost: latency at some numbers of appends at a time, records and bytes a second.
//!
//! `cargo run --release --example kafka_log -- kafka://HOST:PORT,... [none|lz4|snappy] [body bytes] [seconds]`; the topics get a new prefix and
//! stay behind. Bodies are random bytes, as compressed ones look; nothing is decoded.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use afferent_engine::log::{Format, LogName, LogReader as _, LogWriter as _, Position, Record, Topic};
use afferent_engine::time::WallTime;
use afferent_storage::log::kafka::KafkaLog;
use afferent_storage::log::kafka::config::{Compression, KafkaLogConfig};
use bytes::Bytes;
use futures::future::try_join_all;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const LOG: LogName = LogName { topic: Topic::Metrics, partition: 0 };

/// Bytes asked for at a time in the replay, as the engine does.
const REPLAY_BYTES: usize = 8 << 20;

/// Appends at the same time, round by round.
const APPENDERS: [u64; 4] = [1, 4, 16, 64];

/// Bodies that take turns.
const BODIES: u64 = 64;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("name the brokers: kafka://HOST:PORT")?;
    let compression = arguments.next().map_or(Some(Compression::None), |word| Compression::parse(&word)).ok_or("none, lz4 or snappy")?;
    let body_bytes = arguments.next().map_or(Ok(20_000), |text| text.parse::<usize>())?;
    let seconds = arguments.next().map_or(Ok(5), |text| text.parse::<u64>())?;
    let topic_prefix = format!("speed-{}", std::process::id());
    let log = KafkaLog::open(KafkaLogConfig { topic_prefix, compression, ..KafkaLogConfig::of_url(&url)? }).await?;
    let bodies: Vec<Bytes> = (0..BODIES).map(|seed| random(seed + 1, body_bytes)).collect();
    append_for(&log, &bodies, 1, Duration::from_secs(1)).await?;
    println!("bodies of {body_bytes} bytes, compression {}", compression.as_str());
    for appenders in APPENDERS {
        let began = Instant::now();
        let mut micros = append_for(&log, &bodies, appenders, Duration::from_secs(seconds)).await?;
        let taken = began.elapsed().as_secs_f64();
        micros.sort_unstable();
        let at = |share: f64| micros.get((micros.len() as f64 * share) as usize).copied().unwrap_or_default() as f64 / 1000.0;
        let (each_s, mib_s) = rates(micros.len(), body_bytes, taken);
        println!(
            "{appenders:>3} at a time: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; {each_s:.0} records/s, {mib_s:.1} MiB/s",
            at(0.5),
            at(0.99),
            at(1.0 - f64::EPSILON)
        );
    }
    for round in ["first", "second"] {
        let (began, (mut from, end), mut records) = (Instant::now(), log.bounds(LOG).await?, 0);
        while from < end {
            let read = log.read(LOG, from, REPLAY_BYTES).await?;
            records += read.len();
            from = read.last().map_or(end, |(last, _)| last.next());
        }
        let taken = began.elapsed().as_secs_f64();
        let (each_s, mib_s) = rates(records, body_bytes, taken);
        println!("{round} replay of {records} records: {taken:.2} s, {each_s:.0} records/s, {mib_s:.1} MiB/s");
    }
    Ok(log.close().await?)
}

fn rates(records: usize, body_bytes: usize, taken_s: f64) -> (f64, f64) {
    let each_s = records as f64 / taken_s;
    (each_s, each_s * body_bytes as f64 / f64::from(1 << 20))
}

/// Microseconds that each append took.
async fn append_for(log: &Arc<KafkaLog>, bodies: &[Bytes], appenders: u64, time: Duration) -> Result<Vec<u64>> {
    let until = Instant::now() + time;
    let appender = |number: u64| async move {
        let mut micros = Vec::new();
        for turn in number.. {
            let began = Instant::now();
            if began >= until {
                break;
            }
            let _: Position = log.append(LOG, record(turn, &bodies[(turn % BODIES) as usize])).await?;
            micros.push(u64::try_from(began.elapsed().as_micros())?);
        }
        Ok::<_, Box<dyn Error>>(micros)
    };
    Ok(try_join_all((0..appenders).map(appender)).await?.concat())
}

fn record(number: u64, body: &Bytes) -> Record {
    Record {
        format: Format::RemoteWriteV1,
        source: Arc::from("prometheus-a"),
        received_at: WallTime(1_763_800_000_000),
        body_hash: u128::from(number),
        request_id: number,
        body: body.clone(),
    }
}

fn random(mut state: u64, bytes: usize) -> Bytes {
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(next).flat_map(u64::to_le_bytes).take(bytes).collect()
}
