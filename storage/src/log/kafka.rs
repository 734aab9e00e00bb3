//! The log on Kafka: one topic per kind of record, that of metrics with any number of partitions, an idempotent producer, positions that are Kafka's offsets. Where reading goes on stands in
//! checkpoints, not in the group: the group only says which process works the log, and the checkpoints' create-only put keeps two apart.
//!
//! # Invariants
//! - An append returns after all in-sync replicas have the record (`acks=all`); a reader sees nothing that they do not all have.
//! - A record stands once: what the client sends again after a lost answer is recognised by the broker.
//! - Topics that could lose a record are refused: one that expires or compacts records, elects a leader that lags, or has fewer replicas than asked for.
//! - Everything that waits has a limit: records (4096), their bytes (512 MiB), time (`append_wait`).
//! - A message that this program did not write is `Corrupt`, never skipped.
//!
//! # Known gaps
//! - A record whose append failed with `Unavailable` may be in the log. Its sender sends the same bytes again, which count once by their hash.
//! - A topic that is deleted under a running process is made anew by its producer where the brokers do that by themselves
//!   (`auto.create.topics.enable`), with settings of theirs: the next start refuses it, or the store refuses the log that is shorter than it.
//! - While a broker is down at the very first start, a cluster of three counts as one of two: topics get one replica unless `replication` says 3.
//! - A broker acknowledges before its disk is synced: machines that lose power together can lose what was acknowledged.
//! - SASL is PLAIN and SCRAM; Kerberos and OAuth are not built in.

mod cluster;
pub mod config;
pub mod error;
pub mod group;
mod headers;
mod producer;
mod reader;
pub mod settings;
mod topics;

use super::error::LogError;
use super::metrics::Metric;
use afferent_engine::error::Result;
use afferent_engine::log::{LogName, LogReader, LogWriter, Position, Record};
use async_trait::async_trait;
use cluster::Cluster;
use config::KafkaLogConfig;
use error::KafkaLogError;
use producer::Appending;
use rdkafka::admin::AdminOptions;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use reader::Reader;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a trim may take.
const TRIM_WAIT: Duration = Duration::from_secs(20);

/// After how long a leader whose replicas lag says so: as for appends, before it is taken for silent.
const TRIM_REPLICAS_WAIT: Duration = Duration::from_secs(3);

/// How long the cluster may take to say which one it is; it has answered other questions just before.
const ID_WAIT: Duration = Duration::from_secs(20);

/// All logs of one prefix on one cluster.
pub struct KafkaLog {
    cluster: Arc<Cluster>,
    appending: Arc<Appending>,
    readers: Mutex<BTreeMap<LogName, Arc<Reader>>>,
    /// Of the log of metrics.
    partitions: u32,
    /// The cluster's own name for itself; `None` before it was asked, and where it has none.
    cluster_id: Option<String>,
    closed: AtomicBool,
}

impl KafkaLog {
    /// Waits some seconds for the brokers, then makes the topics or checks them.
    ///
    /// # Errors
    /// `Invalid` for a config out of range and for topics with settings that could lose records, with the command that changes them; `Unavailable`
    /// when no broker answers.
    pub async fn open(config: KafkaLogConfig) -> Result<Arc<Self>> {
        let mut log = Self::on_any_topics(config)?;
        log.partitions = topics::prepare(&log.cluster).await?;
        let cluster = Arc::clone(&log.cluster);
        log.cluster_id = blocking(&log.cluster, move || cluster.id(ID_WAIT)).await?;
        Ok(Arc::new(log))
    }

    /// The clients. While the brokers are waited for, the producer's connections tell what is wrong.
    fn on_any_topics(config: KafkaLogConfig) -> Result<Self, KafkaLogError> {
        config.validate()?;
        let cluster = Arc::new(Cluster::new(config)?);
        let appending = Arc::new(Appending::new(Arc::clone(&cluster))?);
        Ok(Self { cluster, appending, readers: Mutex::default(), partitions: 1, cluster_id: None, closed: AtomicBool::new(false) })
    }

    /// What it was opened with.
    pub fn config(&self) -> &KafkaLogConfig {
        &self.cluster.config
    }

    /// Partitions of the log of metrics, as they were found at the start.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Takes no more appends and waits for those on their way; reads still work.
    ///
    /// # Errors
    /// `Unavailable` when not all were acknowledged in time; nobody was told that they were.
    pub async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        let (appending, wait) = (Arc::clone(&self.appending), self.cluster.config.append_wait);
        Ok(blocking(&self.cluster, move || appending.flush(wait)).await?)
    }

    fn reader(&self, log: LogName) -> Result<Arc<Reader>, KafkaLogError> {
        let partition = producer::partition(log)?;
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(Reader::new(Arc::clone(&self.cluster), log, topics::name(&self.cluster.config, log.topic), partition));
        Ok(Arc::clone(readers.entry(log).or_insert_with(make)))
    }

    async fn delete_records(&self, log: LogName, before: Position) -> Result<(), KafkaLogError> {
        let topic = topics::name(&self.cluster.config, log.topic);
        let failed = |error: &KafkaError| self.cluster.error("trim the log", &topic, error);
        let mut upto = TopicPartitionList::with_capacity(1);
        let offset = Offset::Offset(i64::try_from(before.0).unwrap_or(i64::MAX));
        upto.add_partition_offset(&topic, producer::partition(log)?, offset).map_err(|error| failed(&error))?;
        let options = AdminOptions::new().request_timeout(Some(TRIM_WAIT)).operation_timeout(Some(TRIM_REPLICAS_WAIT));
        let deleting = self.cluster.admin().delete_records(&upto, &options).await;
        let outcome = deleting.and_then(|result| result.elements().first().map_or(Ok(()), |element| element.error()));
        match outcome.map_err(|error| (error.rdkafka_error_code(), failed(&error))) {
            Err((Some(RDKafkaErrorCode::OffsetOutOfRange), _)) => {
                let reader = self.reader(log)?;
                let (_, next) = blocking(&self.cluster, move || reader.bounds()).await?;
                Err(LogError::BeyondEnd { log, from: before, next }.into())
            }
            Err((_, gone @ KafkaLogError::TopicGone { .. })) => {
                let cluster = Arc::clone(&self.cluster);
                let looked = blocking(&self.cluster, move || {
                    cluster.look_again(&topic, TRIM_WAIT);
                    Ok(())
                });
                looked.await?;
                Err(gone)
            }
            Err((_, error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }
}

/// Runs what waits for a broker apart from the async threads.
async fn blocking<T: Send + 'static>(
    cluster: &Cluster,
    work: impl FnOnce() -> Result<T, KafkaLogError> + Send + 'static,
) -> Result<T, KafkaLogError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(cause) => {
            let reason = cause.to_string();
            Err(KafkaLogError::Other { brokers: cluster.brokers.clone(), doing: "work on a thread", reason })
        }
    }
}

#[async_trait]
impl LogWriter for KafkaLog {
    /// After `Unavailable` the record may be in the log or not; the same body again counts once by its hash.
    async fn append(&self, log: LogName, record: Record) -> Result<Position> {
        if self.closed.load(Ordering::Acquire) {
            return Err(LogError::Closed { log }.into());
        }
        let position = self.appending.append(log, &record).await?;
        metrics::counter!(Metric::RecordsIn.name(), "log" => log.to_string()).increment(1);
        metrics::counter!(Metric::BytesIn.name(), "log" => log.to_string()).increment(record.body.len() as u64);
        Ok(position)
    }
}

#[async_trait]
impl LogReader for KafkaLog {
    /// Returns at most 64 MiB at a time, or one record. Positions may skip.
    async fn read(&self, log: LogName, from: Position, bytes_max: usize) -> Result<Vec<(Position, Record)>> {
        let reader = self.reader(log)?;
        Ok(blocking(&self.cluster, move || reader.read(from, bytes_max)).await?)
    }

    async fn bounds(&self, log: LogName) -> Result<(Position, Position)> {
        let reader = self.reader(log)?;
        Ok(blocking(&self.cluster, move || reader.bounds()).await?)
    }

    async fn trim(&self, log: LogName, before: Position) -> Result<()> {
        Ok(self.delete_records(log, before).await?)
    }

    fn identity(&self) -> Option<String> {
        let cluster = self.cluster_id.as_ref()?;
        Some(format!("the topics {}.* of the Kafka cluster {cluster}", self.cluster.config.topic_prefix))
    }
}

#[cfg(test)]
mod tests;
