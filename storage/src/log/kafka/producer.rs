//! Appending: each record is one message of an idempotent producer, answered when all in-sync replicas have it. No reading, no topics.
//!
//! Records that are appended at the same time travel in one batch, which the brokers write at once: that is the group commit.

use super::cluster::{Cluster, Watcher};
use super::error::KafkaLogError;
use super::{headers, topics};
use crate::log::error::LogError;
use crate::log::metrics::Metric;
use afferent_engine::log::{LogName, Position, Record};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::Delivery;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// How long a record waits for others to share its batch, milliseconds. Fewer and larger batches keep the slowest appends shorter under load; one
/// append alone pays for it (see the decisions).
const LINGER_MS: &str = "1";

/// After how long a leader whose replicas lag says so, and is asked again: less than a broker may be silent, so that only one that stands still is
/// taken for silent. The broker knows a batch that it has already.
const REPLICAS_WAIT_MS: &str = "3000";

/// Records that may wait for their acknowledgement.
const RECORDS_WAITING_MAX: &str = "4096";

/// Bytes of them, KiB: 512 MiB.
const KIB_WAITING_MAX: &str = "524288";

/// The producer, and the way to a new one.
pub(super) struct Appending {
    cluster: Arc<Cluster>,
    now: RwLock<Arc<Numbered>>,
}

/// A producer and how many there were before it.
struct Numbered {
    number: u64,
    producer: FutureProducer<Watcher>,
}

impl Appending {
    /// Makes the producer; connects to nothing yet.
    pub(super) fn new(cluster: Arc<Cluster>) -> Result<Self, KafkaLogError> {
        let first = Numbered { number: 0, producer: make(&cluster)? };
        Ok(Self { cluster, now: RwLock::new(Arc::new(first)) })
    }

    /// Appends and waits for the acknowledgement.
    ///
    /// After [`KafkaLogError::Unacknowledged`] and [`KafkaLogError::ProducerEnded`] the record may be in the log or not. That is fine: its sender
    /// sends it again, and if both are there, the second is recognised by its body hash.
    pub(super) async fn append(&self, log: LogName, record: &Record) -> Result<Position, KafkaLogError> {
        let topic = topics::name(&self.cluster.config, log.topic);
        let wait = self.cluster.config.append_wait;
        check_size(record, self.cluster.config.body_bytes_max)?;
        let numbered = Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner));
        let message = FutureRecord::<(), [u8]>::to(&topic).partition(partition(log)?).payload(&record.body).headers(headers::encode(record));
        let sent = numbered.producer.send_result(message);
        let outcome = match sent {
            Err((error, _)) => Err(error),
            Ok(delivery) => match tokio::time::timeout(wait, delivery).await {
                Ok(Ok(delivered)) => delivered.map_err(|(error, _)| error),
                Ok(Err(_)) => Err(KafkaError::Canceled),
                Err(_) => Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut)),
            },
        };
        match outcome {
            Ok(delivery) => self.position(log, &delivery),
            Err(error) => Err(self.failed(log, &topic, record, &numbered, &error)),
        }
    }

    /// A broker that has a message already, and forgot where, says so without the offset.
    fn position(&self, log: LogName, delivery: &Delivery) -> Result<Position, KafkaLogError> {
        u64::try_from(delivery.offset).map(Position).map_err(|_| {
            let reason = "it was kept, at an offset that the broker did not tell".to_owned();
            self.unacknowledged(log, reason)
        })
    }

    fn unacknowledged(&self, log: LogName, reason: String) -> KafkaLogError {
        let wait_ms = u64::try_from(self.cluster.config.append_wait.as_millis()).unwrap_or(u64::MAX);
        KafkaLogError::Unacknowledged { brokers: self.cluster.brokers.clone(), log, wait_ms, reason }
    }

    fn failed(&self, log: LogName, topic: &str, record: &Record, numbered: &Numbered, error: &KafkaError) -> KafkaLogError {
        let brokers = self.cluster.brokers.clone();
        metrics::counter!(Metric::WriteFailures.name(), "log" => log.to_string()).increment(1);
        if let Some((_, reason)) = numbered.producer.client().fatal_error() {
            let reason = self.cluster.config.settings.masked(&reason);
            if let Err(error) = self.renew(numbered.number, &reason) {
                return error;
            }
            return KafkaLogError::ProducerEnded { brokers, reason };
        }
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => {
                metrics::counter!(Metric::FullRejections.name()).increment(1);
                KafkaLogError::QueueFull { brokers, records: numbered.producer.in_flight_count() }
            }
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                let bytes_needed = self.cluster.config.message_bytes_max();
                KafkaLogError::TooLargeForTopic { topic: topic.to_owned(), bytes: record.body.len(), bytes_needed }
            }
            Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::RequestTimedOut) => {
                let silent = "no broker answered".to_owned();
                self.unacknowledged(log, self.cluster.said().unwrap_or(silent))
            }
            _ => self.cluster.error("append a record", topic, error),
        }
    }

    /// Puts a new producer in the place of that one, unless it happened already. Whoever still waits for the old one is answered with an error.
    fn renew(&self, number: u64, reason: &str) -> Result<(), KafkaLogError> {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if now.number == number {
            let next = Numbered { number: number + 1, producer: make(&self.cluster)? };
            tracing::warn!(brokers = self.cluster.brokers, reason, "the Kafka producer cannot go on, a new one takes over");
            let ended = std::mem::replace(&mut *now, Arc::new(next));
            // Dropping it waits for its threads.
            std::thread::spawn(move || drop(ended));
        }
        Ok(())
    }

    /// Waits for what is on its way; blocks.
    pub(super) fn flush(&self, wait: Duration) -> Result<(), KafkaLogError> {
        let numbered = Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner));
        let flushed = numbered.producer.flush(wait);
        flushed.map_err(|error| self.cluster.error("flush", &self.cluster.config.topic_prefix, &error))
    }
}

fn make(cluster: &Cluster) -> Result<FutureProducer<Watcher>, KafkaLogError> {
    let config = &cluster.config;
    let (wait_ms, bytes_max) = (config.append_wait.as_millis().to_string(), config.message_bytes_max().to_string());
    cluster.client(&[
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("linger.ms", LINGER_MS),
        ("delivery.timeout.ms", &wait_ms),
        ("request.timeout.ms", REPLICAS_WAIT_MS),
        ("message.max.bytes", &bytes_max),
        ("queue.buffering.max.messages", RECORDS_WAITING_MAX),
        ("queue.buffering.max.kbytes", KIB_WAITING_MAX),
        ("compression.type", config.compression.as_str()),
    ])
}

/// The number of a partition as Kafka has it.
pub(super) fn partition(log: LogName) -> Result<i32, KafkaLogError> {
    i32::try_from(log.partition).map_err(|_| KafkaLogError::setting("url", format!("log {log} has no partition in Kafka")))
}

fn check_size(record: &Record, body_bytes_max: u64) -> Result<(), LogError> {
    let bytes = record.body.len() as u64;
    if bytes > body_bytes_max {
        return Err(LogError::TooLarge { what: "body", bytes, bytes_max: body_bytes_max });
    }
    Ok(())
}
