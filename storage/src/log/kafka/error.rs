//! What can go wrong in a log on Kafka, with the facts and what to check. Trimmed and unknown positions are the errors of every log.

use crate::log::error::LogError;
use afferent_engine::error::{Error, ErrorKind};
use afferent_engine::log::LogName;

/// An error of the log on Kafka. Its texts hold no secret: what librdkafka says is masked before it gets here.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KafkaLogError {
    /// What every log can answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A setting that cannot be used.
    #[error("{key}: {problem}")]
    Setting {
        /// The key, as it is written in the section `log`.
        key: String,
        /// What is wrong, without the value where that is a secret.
        problem: String,
    },
    /// No broker answers.
    #[error(
        "Kafka at {brokers} does not answer ({doing}): {reason}; check that the brokers run, that this machine reaches them and that [log.kafka] \
             fits their listeners. It is tried again"
    )]
    Away {
        /// Where they should be.
        brokers: String,
        /// What was tried.
        doing: &'static str,
        /// What librdkafka said.
        reason: String,
    },
    /// A record was sent, and no acknowledgement came in time; it may be in the log or not.
    #[error(
        "Kafka at {brokers} did not acknowledge a record of {log} within {wait_ms} ms ({reason}): check that the brokers run and are in sync. The \
             same body again is recognised, whether or not the first one was kept"
    )]
    Unacknowledged {
        /// Where they should be.
        brokers: String,
        /// Which log.
        log: LogName,
        /// How long it was waited for.
        wait_ms: u64,
        /// What librdkafka said.
        reason: String,
    },
    /// Too few replicas keep up.
    #[error("topic {topic} has fewer in-sync replicas than its min.insync.replicas: check that all brokers of {brokers} run")]
    FewReplicas {
        /// Where they should be.
        brokers: String,
        /// The topic.
        topic: String,
    },
    /// Too many records wait for their acknowledgement.
    #[error("{records} records wait for Kafka at {brokers} to acknowledge them; no more are taken until it has")]
    QueueFull {
        /// Where they should be.
        brokers: String,
        /// How many wait.
        records: i32,
    },
    /// The producer cannot go on; a new one takes its place.
    #[error("the producer to Kafka at {brokers} ended and was made anew: {reason}. Records that were not acknowledged are to be sent again")]
    ProducerEnded {
        /// Where they should be.
        brokers: String,
        /// What librdkafka said.
        reason: String,
    },
    /// The broker forbids it.
    #[error(
        "Kafka at {brokers} refuses to {doing} for {topic}: {reason}; the log needs Describe, DescribeConfigs, Create, Read, Write and Delete on its \
             topics"
    )]
    Denied {
        /// Where they should be.
        brokers: String,
        /// What was tried.
        doing: &'static str,
        /// The topic.
        topic: String,
        /// What the broker said.
        reason: String,
    },
    /// A topic that was there is gone.
    #[error("topic {topic} is not there any more at {brokers}: was it deleted? A restart makes it anew")]
    TopicGone {
        /// Where they should be.
        brokers: String,
        /// The topic.
        topic: String,
    },
    /// A topic whose settings could lose or refuse records.
    #[error("topic {topic} cannot be the log: {}. To change it:\n{}", problems.join("; "), commands.join("\n"))]
    Topic {
        /// The topic.
        topic: String,
        /// What was found and what is needed.
        problems: Vec<String>,
        /// Commands of Kafka's own tools, one a line.
        commands: Vec<String>,
    },
    /// A topic takes smaller records than configured.
    #[error(
        "a record of {bytes} bytes is larger than topic {topic} takes: raise its max.message.bytes to {bytes_needed}, or lower log.record_bytes_max"
    )]
    TooLargeForTopic {
        /// The topic.
        topic: String,
        /// Bytes of the body.
        bytes: usize,
        /// What `max.message.bytes` has to be.
        bytes_needed: u64,
    },
    /// A message that is no record of ours.
    #[error("message {offset} of topic {topic}, partition {partition}, is no record of this log: {problem}; nothing else may write to that topic")]
    Foreign {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// Its offset.
        offset: i64,
        /// What is wrong with it.
        problem: String,
    },
    /// Something librdkafka says that has no name here.
    #[error("Kafka at {brokers}: cannot {doing}: {reason}")]
    Other {
        /// Where they should be.
        brokers: String,
        /// What was tried.
        doing: &'static str,
        /// What librdkafka said.
        reason: String,
    },
}

impl KafkaLogError {
    /// A setting that cannot be used.
    pub(super) fn setting(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), problem: problem.into() }
    }

    /// True for what a cluster says for a moment when a topic is new or a leader is replaced.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::FewReplicas { .. } | Self::TopicGone { .. } | Self::Other { .. })
    }

    /// What the caller should do. What a broker refuses while records come in is `Unavailable`, never `Invalid`: a sender would drop its data.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Log(error) => error.kind(),
            Self::Setting { .. } | Self::Topic { .. } | Self::TooLargeForTopic { .. } => ErrorKind::Invalid,
            Self::Foreign { .. } => ErrorKind::Corrupt,
            Self::Away { .. }
            | Self::Unacknowledged { .. }
            | Self::FewReplicas { .. }
            | Self::QueueFull { .. }
            | Self::ProducerEnded { .. }
            | Self::Denied { .. }
            | Self::TopicGone { .. }
            | Self::Other { .. } => ErrorKind::Unavailable,
        }
    }
}

impl From<KafkaLogError> for Error {
    fn from(cause: KafkaLogError) -> Self {
        match cause {
            KafkaLogError::Log(cause) => cause.into(),
            cause => Self::caused(cause.kind(), cause.to_string(), cause),
        }
    }
}
