//! What a log on Kafka is told. Not read from files here: the caller passes it in. Which settings of librdkafka may be passed through stands in
//! `settings`.

use super::error::KafkaLogError;
use super::settings::Settings;
use std::time::Duration;

/// Default of [`KafkaLogConfig::append_wait`]: longer than the 9 s after which Kafka gives up a broker that died, shorter than a sender's patience.
pub const APPEND_WAIT: Duration = Duration::from_secs(15);

/// Shortest wait for an acknowledgement.
pub const APPEND_WAIT_MIN: Duration = Duration::from_millis(200);

/// Longest wait for an acknowledgement.
pub const APPEND_WAIT_MAX: Duration = Duration::from_secs(300);

/// Default of [`KafkaLogConfig::topic_prefix`].
pub const TOPIC_PREFIX: &str = "afferent";

/// Default of [`KafkaLogConfig::body_bytes_max`]: 16 MiB.
pub const BODY_BYTES_MAX: u64 = 16 << 20;

/// Largest body a log on Kafka can be told to take: brokers close connections that send more than 100 MiB (`socket.request.max.bytes`).
pub const BODY_BYTES_LIMIT: u64 = 96 << 20;

/// What a message may have beside its body: headers and Kafka's own framing.
pub const OVERHEAD_BYTES: u64 = 64 << 10;

/// Longest prefix; a topic's name may have 249 characters.
const PREFIX_CHARS_MAX: usize = 200;

/// Most replicas that can be asked for.
const REPLICATION_MAX: u32 = 15;

/// Most partitions of the log of metrics; one process reads them all.
pub const PARTITIONS_MAX: u32 = 256;

/// The scheme of a log on Kafka.
const SCHEME: &str = "kafka://";

/// How batches of records are compressed on their way to the brokers and on their disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all: bodies of remote write are compressed already.
    #[default]
    None,
    /// LZ4.
    Lz4,
    /// Snappy.
    Snappy,
}

impl Compression {
    /// Every one there is.
    pub const ALL: [Self; 3] = [Self::None, Self::Lz4, Self::Snappy];

    /// The word in configurations, librdkafka's own.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Snappy => "snappy",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.as_str() == word)
    }
}

/// Which cluster, which topics, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaLogConfig {
    /// Brokers to ask for the others, each `HOST:PORT`; at least one.
    pub brokers: Vec<String>,
    /// Topics are named `<prefix>.metrics` and `<prefix>.events`.
    pub topic_prefix: String,
    /// Partitions of `<prefix>.metrics`; 0: as many as there are, and one where the topic is made.
    pub partitions: u32,
    /// Replicas of each topic; 0: three where the cluster has three brokers or more, else one.
    pub replication: u32,
    /// Compression on top of the bodies' own.
    pub compression: Compression,
    /// How long an append waits for its acknowledgement.
    pub append_wait: Duration,
    /// Largest body that will be appended.
    pub body_bytes_max: u64,
    /// Settings of librdkafka for TLS, SASL and connections.
    pub settings: Settings,
}

impl KafkaLogConfig {
    /// The defaults, for the brokers of a URL `kafka://HOST:PORT,HOST:PORT`.
    ///
    /// # Errors
    /// `Invalid` where it is no such URL; what it says holds no credentials, should the URL have any.
    pub fn of_url(url: &str) -> Result<Self, KafkaLogError> {
        Ok(Self {
            brokers: brokers_of(url)?,
            topic_prefix: TOPIC_PREFIX.to_owned(),
            partitions: 0,
            replication: 0,
            compression: Compression::default(),
            append_wait: APPEND_WAIT,
            body_bytes_max: BODY_BYTES_MAX,
            settings: Settings::default(),
        })
    }

    /// Checks every value.
    ///
    /// # Errors
    /// `Invalid`, naming the key and what is allowed.
    pub fn validate(&self) -> Result<(), KafkaLogError> {
        let wrong = |key: &str, problem: String| Err(KafkaLogError::setting(key, problem));
        if self.brokers.is_empty() {
            return wrong("url", "names no broker".to_owned());
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.topic_prefix.is_empty() || self.topic_prefix.len() > PREFIX_CHARS_MAX || !self.topic_prefix.chars().all(is_plain) {
            return wrong(
                "topic_prefix",
                format!("{:?} must be 1 to {PREFIX_CHARS_MAX} letters, digits, dots, underscores or hyphens", self.topic_prefix),
            );
        }
        if self.partitions > PARTITIONS_MAX {
            return wrong("partitions", format!("{} is out of range, it must lie in 0 to {PARTITIONS_MAX}", self.partitions));
        }
        if self.replication > REPLICATION_MAX {
            return wrong("replication", format!("{} is out of range, it must lie in 0 to {REPLICATION_MAX}", self.replication));
        }
        if !(APPEND_WAIT_MIN..=APPEND_WAIT_MAX).contains(&self.append_wait) {
            let (least, most) = (APPEND_WAIT_MIN.as_millis(), APPEND_WAIT_MAX.as_millis());
            return wrong("append_wait_ms", format!("{} is out of range, it must lie in {least} to {most}", self.append_wait.as_millis()));
        }
        if self.body_bytes_max > BODY_BYTES_LIMIT {
            let problem = format!(
                "brokers take requests of up to 100 MiB: with a log on Kafka, log.record_bytes_max, or else ingest.body_bytes_max, must be at most {BODY_BYTES_LIMIT}, and is {}",
                self.body_bytes_max
            );
            return wrong("url", problem);
        }
        self.settings.validate()
    }

    /// Where the cluster is, for messages and for librdkafka.
    pub(super) fn bootstrap(&self) -> String {
        self.brokers.join(",")
    }

    /// What a topic's `max.message.bytes` must be at least.
    pub(super) fn message_bytes_max(&self) -> u64 {
        self.body_bytes_max + OVERHEAD_BYTES
    }
}

/// The brokers of a URL, as `HOST:PORT`.
fn brokers_of(url: &str) -> Result<Vec<String>, KafkaLogError> {
    let wrong = |problem: &str| KafkaLogError::setting("url", format!("{problem}; example: kafka://kafka-1:9092,kafka-2:9092"));
    let list = url.strip_prefix(SCHEME).ok_or_else(|| wrong("a log on Kafka begins with kafka://"))?;
    if list.contains('@') {
        return Err(wrong("user and password do not belong there but under [log.kafka], as sasl.username and sasl.password"));
    }
    let list = list.strip_suffix('/').unwrap_or(list);
    let brokers = list.split(',').map(|broker| is_address(broker).then(|| broker.to_owned()).ok_or(broker));
    brokers.collect::<Result<_, _>>().map_err(|broker| wrong(&format!("{broker:?} is not HOST:PORT")))
}

/// True for `host:9092`, `10.0.0.1:9092` and `[::1]:9092`.
fn is_address(broker: &str) -> bool {
    let Some((host, port)) = broker.rsplit_once(':') else { return false };
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || (bare.is_some() && c == ':');
    let host = bare.unwrap_or(host);
    !host.is_empty() && host.chars().all(fits) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests;
