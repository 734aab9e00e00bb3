//! The log on real Kafka brokers: the suite of every log, brokers that are killed and paused, topics that could lose records, and the real program.

mod members;
mod program;

use afferent_engine::error::{ErrorKind, Result};
use afferent_engine::log::{Format, LogName, LogReader, LogWriter, Position, Record, Topic};
use afferent_engine::time::WallTime;
use afferent_storage::log::conformance::{self, LogFactory, Ports};
use afferent_storage::log::kafka::KafkaLog;
use afferent_storage::log::kafka::config::KafkaLogConfig;
use afferent_tests::kafka::Kafka;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::time::timeout;

const METRICS: LogName = LogName { topic: Topic::Metrics, partition: 0 };

/// How long anything may take to go on again.
const RECOVERY_WAIT: Duration = Duration::from_secs(90);

/// Tasks that append at the same time.
const APPENDERS: u64 = 6;

fn config(kafka: &Kafka, prefix: &str) -> KafkaLogConfig {
    KafkaLogConfig { topic_prefix: prefix.to_owned(), ..KafkaLogConfig::of_url(&kafka.url()).unwrap() }
}

/// The broker that leads the metrics.
fn leader(kafka: &Kafka, prefix: &str) -> usize {
    let told = kafka.tool(&format!("kafka-topics.sh --bootstrap-server {} --describe --topic {prefix}.metrics", kafka.brokers), "").unwrap();
    told.split_once("Leader: ").and_then(|(_, rest)| rest.split_whitespace().next()).expect(&told).parse().unwrap()
}

struct OnKafka {
    config: KafkaLogConfig,
}

#[async_trait]
impl LogFactory for OnKafka {
    async fn open(&self) -> Result<Ports> {
        let log = KafkaLog::open(self.config.clone()).await?;
        Ok(Ports { writer: log.clone(), reader: log })
    }

    /// Kafka trims to the record.
    fn trim_grain_bytes(&self) -> usize {
        1000
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_on_one_broker_conforms() {
    let Some(kafka) = Kafka::start_or_skip("the_log_on_one_broker_conforms", 1) else { return };
    conformance::run(|| OnKafka { config: config(&kafka, &kafka.prefix()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_on_three_brokers_conforms() {
    let Some(kafka) = Kafka::start_or_skip("the_log_on_three_brokers_conforms", 3) else { return };
    conformance::run(|| OnKafka { config: config(&kafka, &kafka.prefix()) }).await;
}

/// A client that has heard of a partition without a leader does not ask again by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_had_no_leader_for_a_while_is_found_again() {
    let Some(kafka) = Kafka::start_or_skip("a_partition_that_had_no_leader_for_a_while_is_found_again", 3) else { return };
    let prefix = kafka.prefix();
    let log = KafkaLog::open(KafkaLogConfig { replication: 1, ..config(&kafka, &prefix) }).await.unwrap();
    let kept = log.append(METRICS, record(0)).await.unwrap();
    let leader = leader(&kafka, &prefix);
    kafka.kill(leader).unwrap();
    let began = Instant::now();
    while !log.bounds(METRICS).await.is_err_and(|error| error.to_string().contains("is not there any more")) {
        assert!(began.elapsed() < RECOVERY_WAIT, "the partition has a leader without its only broker");
    }
    kafka.restart([leader]).unwrap();
    let began = Instant::now();
    let bounds = loop {
        match log.bounds(METRICS).await {
            Ok(bounds) => break bounds,
            Err(error) => assert!(began.elapsed() < RECOVERY_WAIT, "{error}"),
        }
    };
    assert_eq!(bounds, (Position(0), kept.next()));
    log.trim(METRICS, kept.next()).await.unwrap();
}

/// What a client knows of leaders must not be as old as its last request, and silence must be noticed before the append that meets it has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_at_rest_knows_the_new_leader_when_a_broker_stands_still() {
    let Some(kafka) = Kafka::start_or_skip("a_client_at_rest_knows_the_new_leader_when_a_broker_stands_still", 3) else { return };
    let (prefix, wait) = (kafka.prefix(), Duration::from_secs(4));
    let open = || async { KafkaLog::open(KafkaLogConfig { append_wait: wait, ..config(&kafka, &prefix) }).await.unwrap() };
    let (busy, at_rest) = (open().await, open().await);
    let first = busy.append(METRICS, record(0)).await.unwrap();
    at_rest.append(METRICS, record(1)).await.unwrap();
    assert_eq!(at_rest.read(METRICS, first, 1 << 20).await.unwrap().len(), 2);
    kafka.pause(leader(&kafka, &prefix)).unwrap();
    let began = Instant::now();
    while let Err(error) = busy.append(METRICS, record(2)).await {
        assert!(began.elapsed() < RECOVERY_WAIT, "{error}");
    }
    // Longer than Kafka takes to name another leader, and than a client takes to look; nothing is asked of the other one meanwhile.
    tokio::time::sleep(Duration::from_secs(9)).await;
    let kept = at_rest.append(METRICS, record(3)).await.unwrap();
    let read = timeout(wait, at_rest.read(METRICS, kept, 1 << 20)).await.expect("the reader waits for the silent broker").unwrap();
    assert_eq!(read.iter().map(|(at, found)| (*at, found.request_id)).collect::<Vec<_>>(), [(kept, 3)]);
}

/// A record that is told apart from every other by its number.
fn record(number: u64) -> Record {
    let body = number.to_le_bytes().repeat(100 + number as usize % 400);
    Record {
        format: Format::RemoteWriteV1,
        source: Arc::from("kafka-test"),
        received_at: WallTime(number as i64),
        body_hash: u128::from(number),
        request_id: number,
        body: body.into(),
    }
}

/// What was appended: where each record was acknowledged, and how often an append of it failed.
#[derive(Default)]
struct Appended {
    acknowledged: BTreeMap<Position, u64>,
    failures: BTreeMap<u64, u64>,
}

/// Appends one record after the other until it is told to stop; one that fails is appended again, as a sender does.
async fn append_on(log: &KafkaLog, first: u64, stop: &AtomicBool, count: &AtomicU64) -> Appended {
    let mut appended = Appended::default();
    let mut number = first;
    while !stop.load(Ordering::Relaxed) {
        match log.append(METRICS, record(number)).await {
            Ok(position) => {
                assert!(appended.acknowledged.insert(position, number).is_none(), "two records at {}", position.0);
                count.fetch_add(1, Ordering::Relaxed);
                number += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                *appended.failures.entry(number).or_default() += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    appended
}

/// Waits until so many more records were acknowledged.
async fn more(count: &AtomicU64, records: u64, when: &str) {
    let (before, began) = (count.load(Ordering::Relaxed), Instant::now());
    while count.load(Ordering::Relaxed) < before + records {
        assert!(began.elapsed() < RECOVERY_WAIT, "no {records} more appends {when} within {} s", RECOVERY_WAIT.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn read_all(log: &dyn LogReader) -> BTreeMap<Position, Record> {
    let (mut from, end) = log.bounds(METRICS).await.unwrap();
    let mut all = BTreeMap::new();
    while from < end {
        let records = log.read(METRICS, from, 1 << 20).await.unwrap();
        let Some((last, _)) = records.last() else { return all };
        from = last.next();
        all.extend(records);
    }
    all
}

/// Every acknowledged record stands where it was acknowledged, as it was sent; one whose append never failed stands once.
async fn expect(log: &dyn LogReader, all: &[Appended]) {
    let stands = read_all(log).await;
    let mut copies: BTreeMap<u64, u64> = BTreeMap::new();
    for found in stands.values() {
        *copies.entry(found.request_id).or_default() += 1;
        assert!(found.body == record(found.request_id).body, "the body of record {} differs", found.request_id);
    }
    for (position, number) in all.iter().flat_map(|appended| &appended.acknowledged) {
        let found = stands.get(position).map(|found| found.request_id);
        assert_eq!(found, Some(*number), "what was acknowledged at {}", position.0);
        let failures: u64 = all.iter().filter_map(|appended| appended.failures.get(number)).sum();
        assert!(copies[number] <= 1 + failures, "record {number} stands {} times after {failures} failed appends", copies[number]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_stands_once_when_brokers_are_killed_and_paused() {
    let Some(kafka) = Kafka::start_or_skip("what_was_acknowledged_stands_once_when_brokers_are_killed_and_paused", 3) else { return };
    let wait = Duration::from_secs(5);
    let log = KafkaLog::open(KafkaLogConfig { append_wait: wait, ..config(&kafka, &kafka.prefix()) }).await.unwrap();
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let faults = async {
        more(&count, 100, "at first").await;
        // One of them leads.
        for number in kafka.numbers() {
            tokio::task::block_in_place(|| kafka.kill(number)).unwrap();
            more(&count, 100, "while a broker of three is gone").await;
            tokio::task::block_in_place(|| kafka.restart([number])).unwrap();
            more(&count, 100, "after a broker came back").await;
        }
        kafka.numbers().for_each(|number| kafka.pause(number).unwrap());
        let began = Instant::now();
        let error = log.append(METRICS, record(u64::MAX >> 1)).await.expect_err("no broker runs");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(began.elapsed() < wait + Duration::from_secs(1), "answered after {:?}", began.elapsed());
        assert!(error.to_string().contains(&kafka.brokers), "it does not say where: {error}");
        kafka.numbers().for_each(|number| kafka.resume(number).unwrap());
        more(&count, 100, "after all brokers stood still").await;
        kafka.numbers().for_each(|number| kafka.kill(number).unwrap());
        tokio::task::block_in_place(|| kafka.restart(kafka.numbers())).unwrap();
        more(&count, 100, "after all brokers were killed").await;
        stop.store(true, Ordering::Relaxed);
    };
    let appenders = (0..APPENDERS).map(|appender| append_on(&log, appender * 1_000_000, &stop, &count));
    let (all, ()) = tokio::join!(join_all(appenders), faults);
    let failures: u64 = all.iter().flat_map(|appended| appended.failures.values()).sum();
    assert!(failures > 0, "nobody was told that all brokers were away");
    expect(&*log, &all).await;
    log.close().await.unwrap();
    assert!(log.append(METRICS, record(0)).await.is_err(), "a closed log takes nothing");
    let again = KafkaLog::open(log_config(&log)).await.unwrap();
    expect(&*again, &all).await;
    eprintln!("{} records acknowledged, {failures} appends answered Unavailable", count.load(Ordering::Relaxed));
}

fn log_config(log: &KafkaLog) -> KafkaLogConfig {
    log.config().clone()
}

/// Runs them at the same time, on this task.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |context| {
        for (future, done) in running.iter_mut().filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(output) = future.as_mut().poll(context) {
                *done = Some(output);
            }
        }
        if running.iter().any(|(_, done)| done.is_none()) {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(running.iter_mut().filter_map(|(_, done)| done.take()).collect())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_could_lose_records_is_refused_until_the_command_it_names_was_run() {
    let Some(kafka) = Kafka::start_or_skip("a_topic_that_could_lose_records_is_refused_until_the_command_it_names_was_run", 1) else { return };
    let prefix = kafka.prefix();
    let make = |topic: &str, rest: &str| {
        let line = format!("kafka-topics.sh --bootstrap-server {} --create --replication-factor 1 --topic {topic} {rest}", kafka.brokers);
        kafka.tool(&line, "").unwrap();
    };
    make(&format!("{prefix}.metrics"), "--partitions 1 --config retention.ms=3600000 --config cleanup.policy=compact");
    make(&format!("{prefix}.events"), "--partitions 1 --config max.message.bytes=1000");
    for topic in ["metrics", "events"] {
        let error = KafkaLog::open(config(&kafka, &prefix)).await.map(drop).expect_err("a topic that could lose records");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("topic {prefix}.{topic} ")), "{text}");
        assert!(topic == "events" || text.contains("retention.ms is 3600000 and must be -1"), "{text}");
        let command = text.lines().find(|line| line.starts_with("kafka-configs.sh ")).unwrap();
        kafka.tool(command, "").unwrap();
    }
    KafkaLog::open(config(&kafka, &prefix)).await.unwrap();
    // More partitions than the log reads, and more replicas than there are brokers.
    let prefix = kafka.prefix();
    make(&format!("{prefix}.metrics"), "--partitions 4 --config retention.ms=-1 --config max.message.bytes=20000000");
    assert_eq!(KafkaLog::open(config(&kafka, &prefix)).await.unwrap().partitions(), 4, "as many as there are");
    let one = KafkaLogConfig { partitions: 1, ..config(&kafka, &prefix) };
    let error = KafkaLog::open(one).await.map(drop).expect_err("four partitions");
    assert!(error.to_string().contains("it has 4 partitions and must have 1"), "{error}");
    // Fewer: the command that is named adds them.
    let more = KafkaLogConfig { partitions: 6, ..config(&kafka, &prefix) };
    let error = KafkaLog::open(more.clone()).await.map(drop).expect_err("four partitions").to_string();
    let command = error.lines().find(|line| line.starts_with("kafka-topics.sh ")).unwrap();
    kafka.tool(command, "").unwrap();
    assert_eq!(KafkaLog::open(more).await.unwrap().partitions(), 6);
    let many = KafkaLogConfig { replication: 3, ..config(&kafka, &kafka.prefix()) };
    let error = KafkaLog::open(many).await.map(drop).expect_err("three replicas on one broker");
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("too few brokers for 3 replicas"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_a_stranger_is_corrupt_and_named_by_its_place() {
    let Some(kafka) = Kafka::start_or_skip("a_message_of_a_stranger_is_corrupt_and_named_by_its_place", 1) else { return };
    let prefix = kafka.prefix();
    let log = KafkaLog::open(config(&kafka, &prefix)).await.unwrap();
    let first = log.append(METRICS, record(1)).await.unwrap();
    kafka.tool(&format!("kafka-console-producer.sh --bootstrap-server {} --topic {prefix}.metrics", kafka.brokers), "hello\n").unwrap();
    let after = log.append(METRICS, record(2)).await.unwrap();
    assert_eq!(after.0, first.0 + 2, "the stranger's message lies between");
    let error = log.read(METRICS, first, 1 << 20).await.expect_err("a message without our headers");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let place = format!("message {} of topic {prefix}.metrics, partition 0, ", first.0 + 1);
    assert!(error.to_string().starts_with(&place), "{error}");
    // What lies after it can be read by those who know.
    let records = log.read(METRICS, after, 1 << 20).await.unwrap();
    assert_eq!(records.iter().map(|(at, found)| (*at, found.request_id)).collect::<Vec<_>>(), [(after, 2)]);
}
