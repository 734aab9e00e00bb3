//! The section `log`: which log, and its settings. Not the log itself.

use super::{Check, ConfigError};
use afferent_storage::log::config::EmbeddedLogConfig;
use afferent_storage::log::kafka::config::{BODY_BYTES_LIMIT, Compression, KafkaLogConfig, PARTITIONS_MAX};
use afferent_storage::log::kafka::error::KafkaLogError;
use afferent_storage::log::kafka::settings::Settings;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::{Table, Value};

/// Where accepted records are kept until they are in tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogConfig {
    /// A folder of this machine.
    Embedded {
        /// The folder.
        dir: PathBuf,
        /// Its limits.
        limits: EmbeddedLogConfig,
        /// Partitions of the log of metrics.
        partitions: u32,
    },
    /// Topics of a Kafka cluster.
    Kafka(KafkaLogConfig),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    url: String,
    bytes_max: i64,
    segment_bytes: i64,
    topic_prefix: String,
    partitions: i64,
    record_bytes_max: i64,
    replication: i64,
    compression: String,
    append_wait_ms: i64,
    kafka: Table,
}

impl Check<'_> {
    /// The log; values of the other kind of log are checked as well, so that a wrong one is found before it is used.
    pub(super) fn log(&self, data_dir: &Path, body_bytes_max: u64) -> Result<LogConfig, ConfigError> {
        let raw: RawLog = self.section("log")?;
        let limits = EmbeddedLogConfig {
            bytes_max: self.range("log.bytes_max", raw.bytes_max, 0..=i64::MAX)?,
            segment_bytes: self.range("log.segment_bytes", raw.segment_bytes, 0..=i64::MAX)?,
        };
        self.by_crate("log", limits.validate())?;
        let is_embedded = raw.url == "embedded";
        if !is_embedded && !raw.url.starts_with("kafka://") {
            return Err(self.wrong("log.url", "must be \"embedded\" or kafka://HOST:PORT,HOST:PORT"));
        }
        let url = if is_embedded { ANY_KAFKA } else { &raw.url };
        let words = || Compression::ALL.map(Compression::as_str).join(", ");
        let partitions = u32::try_from(self.range("log.partitions", raw.partitions, 0..=i64::from(PARTITIONS_MAX))?).unwrap_or(u32::MAX);
        let record_bytes_max = match raw.record_bytes_max {
            0 => body_bytes_max,
            set => body_bytes_max.min(self.range("log.record_bytes_max", set, RECORD_BYTES_LEAST..=BODY_BYTES_LIMIT as i64)?),
        };
        let kafka = KafkaLogConfig {
            partitions,
            topic_prefix: raw.topic_prefix,
            replication: u32::try_from(self.range("log.replication", raw.replication, 0..=15)?).unwrap_or(u32::MAX),
            compression: Compression::parse(&raw.compression)
                .ok_or_else(|| self.wrong("log.compression", format!("{:?} must be one of {}", raw.compression, words())))?,
            append_wait: Duration::from_millis(self.range("log.append_wait_ms", raw.append_wait_ms, 200..=300_000)?),
            body_bytes_max: if is_embedded { 0 } else { record_bytes_max },
            settings: Settings::new(raw.kafka.into_iter().map(|(name, value)| (name, plain(value)))),
            ..KafkaLogConfig::of_url(url).map_err(|e| self.kafka(&e))?
        };
        kafka.validate().map_err(|e| self.kafka(&e))?;
        Ok(if is_embedded {
            LogConfig::Embedded { dir: data_dir.join("log"), limits, partitions: partitions.max(1) }
        } else {
            LogConfig::Kafka(kafka)
        })
    }

    /// Says where the setting was set that a log on Kafka does not take.
    fn kafka(&self, error: &KafkaLogError) -> ConfigError {
        let KafkaLogError::Setting { key, problem } = error else { return self.wrong("log.url", error.to_string()) };
        match key.split_once('.') {
            Some((section, name)) => self.wrong(&format!("log.{section}"), format!("{name} {problem}")),
            None => self.wrong(&format!("log.{key}"), problem.as_str()),
        }
    }
}

/// Least that `log.record_bytes_max` can be set to: a series of the most labels must fit.
const RECORD_BYTES_LEAST: i64 = 32_768;

/// Stands in for the brokers while the other settings are checked.
const ANY_KAFKA: &str = "kafka://localhost:9092";

/// The text that librdkafka takes.
fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
