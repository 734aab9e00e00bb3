//! The log that the configuration names, opened: both of its ports, and its end. Not what goes through it.

use super::work::Seat;
use crate::config::{Config, LogConfig};
use afferent_engine::error::{Error, ErrorKind, Result};
use afferent_engine::log::{LogName, LogReader, LogWriter, Topic};
use afferent_ingest::spread::Spread;
use afferent_storage::log::embedded::EmbeddedLog;
use afferent_storage::log::kafka::KafkaLog;
use afferent_storage::log::kafka::group::Membership;
use afferent_storage::steps::Steps;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::Path;
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

    /// This process's place among those that share it; a log on this machine has one process.
    ///
    /// # Errors
    /// `Unavailable` where this process cannot be given its name, `Invalid` where the client refuses the settings.
    pub(super) fn join(&self, config: &Config) -> Result<Seat> {
        match self {
            Self::Embedded(..) => Ok(Seat::Alone),
            Self::Kafka(_) if !config.server.roles.work => Ok(Seat::Onlooker),
            Self::Kafka(log) => Ok(Seat::Member(log.join(&instance(&config.data_dir)?)?)),
        }
    }

    /// This process's places among those that share the partitions of the metrics, by partition; none where it never works.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub(super) fn join_partitions(&self, config: &Config) -> Result<Vec<Membership>> {
        match self {
            Self::Kafka(log) if config.server.roles.work => log.join_partitions(&instance(&config.data_dir)?),
            Self::Embedded(..) | Self::Kafka(_) => Ok(vec![]),
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

/// The file in the folder of data that names this process across its restarts.
const INSTANCE_FILE: &str = "instance";

/// Names this process within its group: the same after a restart, another for every folder of data.
fn instance(data_dir: &Path) -> Result<String> {
    let path = data_dir.join(INSTANCE_FILE);
    let failed = |e: io::Error| Error::caused(ErrorKind::Unavailable, format!("{} cannot be read or made", path.display()), e);
    match std::fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let name = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
    std::fs::create_dir_all(data_dir).and_then(|()| std::fs::write(&path, &name)).map_err(failed)?;
    Ok(name)
}
