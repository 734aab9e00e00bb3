//! The log that the configuration names, opened: both of its ports, and its end. Not what goes through it.

use super::instance::Instance;
use super::work::Seat;
use crate::config::LogConfig;
use afferent_engine::error::Result;
use afferent_engine::log::{LogName, LogReader, LogWriter, Topic};
use afferent_ingest::spread::Spread;
use afferent_storage::log::embedded::EmbeddedLog;
use afferent_storage::log::kafka::KafkaLog;
use afferent_storage::log::kafka::group::Membership;
use afferent_storage::steps::Steps;
use std::sync::Arc;

/// An open log of either kind.
#[derive(Clone)]
pub(super) enum Log {
    /// With the number of partitions of its metrics.
    Embedded(Arc<EmbeddedLog>, u32),
    Kafka(Arc<KafkaLog>),
}

impl Log {
    /// Opens it: reads and checks the folder apart from the async threads, or finds the brokers and their topics.
    ///
    /// # Errors
    /// As the log's own `open`.
    pub(super) async fn open(config: &LogConfig, steps: Steps) -> Result<Self> {
        match config.clone() {
            LogConfig::Embedded { dir, limits, partitions } => {
                Ok(Self::Embedded(super::on_thread(move || EmbeddedLog::open_watched(&dir, limits, steps)).await?, partitions))
            }
            LogConfig::Kafka(config) => Ok(Self::Kafka(KafkaLog::open(config).await?)),
        }
    }

    /// How bodies lie in it.
    pub(super) fn spread(&self) -> Spread {
        match self {
            Self::Embedded(_, partitions) => Spread { partitions: *partitions, ..Spread::default() },
            Self::Kafka(log) => {
                Spread { partitions: log.partitions(), body_bytes_max: usize::try_from(log.config().body_bytes_max).unwrap_or(usize::MAX) }
            }
        }
    }

    /// Its partitions.
    pub(super) fn names(&self) -> Vec<LogName> {
        let metrics = (0..self.spread().partitions).map(|partition| LogName { topic: Topic::Metrics, partition });
        metrics.chain([LogName::first(Topic::Events)]).collect()
    }

    pub(super) fn writer(&self) -> Arc<dyn LogWriter> {
        match self {
            Self::Embedded(log, _) => log.clone(),
            Self::Kafka(log) => log.clone(),
        }
    }

    pub(super) fn reader(&self) -> Arc<dyn LogReader> {
        match self {
            Self::Embedded(log, _) => log.clone(),
            Self::Kafka(log) => log.clone(),
        }
    }

    /// This process's place among those that share it, where it works; a log on this machine has one process.
    ///
    /// # Errors
    /// `Unavailable` where this process cannot be given its name, `Invalid` where the client refuses the settings.
    pub(super) fn join(&self, instance: Option<&Instance>) -> Result<Seat> {
        match (self, instance) {
            (Self::Embedded(..), _) => Ok(Seat::Alone),
            (Self::Kafka(_), None) => Ok(Seat::Onlooker),
            (Self::Kafka(log), Some(instance)) => Ok(Seat::Member(log.join(&instance.name)?)),
        }
    }

    /// This process's places among those that share the partitions of the metrics, by partition; none where it never works.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub(super) fn join_partitions(&self, instance: Option<&Instance>) -> Result<Vec<Membership>> {
        match (self, instance) {
            (Self::Kafka(log), Some(instance)) => log.join_partitions(&instance.name),
            _ => Ok(vec![]),
        }
    }

    /// True while a process of a group works it; one that was stopped may be taken for one for some seconds, which are waited. The embedded log has a lock.
    ///
    /// # Errors
    /// `Unavailable` where the brokers do not say.
    pub(super) async fn is_worked(&self) -> Result<bool> {
        match self {
            Self::Embedded(..) => Ok(false),
            Self::Kafka(log) => log.is_worked().await,
        }
    }

    /// Ends what was handed to it.
    ///
    /// # Errors
    /// As the log's own `close`.
    pub(super) async fn close(&self) -> Result<()> {
        match self {
            Self::Embedded(log, _) => log.close().await,
            Self::Kafka(log) => log.close().await,
        }
    }
}
