//! The log that the configuration names, opened: both of its ports, and its end. Not what goes through it.

use crate::config::LogConfig;
use afferent_engine::error::{Error, ErrorKind, Result};
use afferent_engine::log::{LogReader, LogWriter};
use afferent_storage::log::embedded::EmbeddedLog;
use afferent_storage::log::kafka::KafkaLog;
use afferent_storage::steps::Steps;
use std::sync::Arc;

/// An open log of either kind.
#[derive(Clone)]
pub(super) enum Log {
    Embedded(Arc<EmbeddedLog>),
    Kafka(Arc<KafkaLog>),
}

impl Log {
    /// Opens it: reads and checks the folder apart from the async threads, or finds the brokers and their topics.
    ///
    /// # Errors
    /// As the log's own `open`.
    pub(super) async fn open(config: &LogConfig, steps: Steps) -> Result<Self> {
        match config.clone() {
            LogConfig::Embedded { dir, limits } => {
                let opened = tokio::task::spawn_blocking(move || EmbeddedLog::open_watched(&dir, limits, steps));
                Ok(Self::Embedded(opened.await.map_err(|e| Error::caused(ErrorKind::Internal, "opening the log failed", e))??))
            }
            LogConfig::Kafka(config) => Ok(Self::Kafka(KafkaLog::open(config).await?)),
        }
    }

    pub(super) fn writer(&self) -> Arc<dyn LogWriter> {
        match self {
            Self::Embedded(log) => log.clone(),
            Self::Kafka(log) => log.clone(),
        }
    }

    pub(super) fn reader(&self) -> Arc<dyn LogReader> {
        match self {
            Self::Embedded(log) => log.clone(),
            Self::Kafka(log) => log.clone(),
        }
    }

    /// Ends what was handed to it.
    ///
    /// # Errors
    /// As the log's own `close`.
    pub(super) async fn close(&self) -> Result<()> {
        match self {
            Self::Embedded(log) => log.close().await,
            Self::Kafka(log) => log.close().await,
        }
    }
}
