//! The log: records, positions, and the ports that storage implements. A record is the sender's own bytes plus headers.

use crate::error::Result;
use crate::event::Event;
use crate::sample::SampleBatch;
use crate::time::WallTime;
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// What a log carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Samples, histograms, exemplars, metadata.
    Metrics,
    /// Webhook events.
    Events,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Topic; 2] = [Topic::Metrics, Topic::Events];

    /// The word in paths and topic names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Events => "events",
        }
    }
}

/// One ordered log: a partition of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName {
    /// What it carries.
    pub topic: Topic,
    /// Which partition.
    pub partition: u32,
}

impl LogName {
    /// Partition 0 of a topic.
    pub fn first(topic: Topic) -> Self {
        Self { topic, partition: 0 }
    }

    /// Reads what `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (topic, partition) = text.split_once('/')?;
        let topic = Topic::ALL.into_iter().find(|t| t.as_str() == topic)?;
        Some(Self { topic, partition: partition.parse().ok()? })
    }
}

impl fmt::Display for LogName {
    /// `metrics/0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic.as_str(), self.partition)
    }
}

/// The place of a record in its log; the first is 0 and each next one is 1 more (embedded), or greater (Kafka).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct Position(pub u64);

impl Position {
    /// The place after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// How a record's body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `application/x-protobuf`, snappy block: remote write 1.0.
    RemoteWriteV1,
    /// `application/x-protobuf;proto=io.prometheus.write.v2.Request`, snappy block: remote write 2.0.
    RemoteWriteV2,
    /// Alertmanager webhook version 4, JSON.
    Alertmanager,
    /// Incident life cycle, JSON.
    Incidents,
    /// Approval life cycle, JSON.
    Approvals,
    /// LLM usage, JSON.
    LlmUsage,
}

impl Format {
    /// Every format with the number that is stored; numbers are never reused.
    pub const ALL: [(Format, u8); 6] = [
        (Format::RemoteWriteV1, 1),
        (Format::RemoteWriteV2, 2),
        (Format::Alertmanager, 3),
        (Format::Incidents, 4),
        (Format::Approvals, 5),
        (Format::LlmUsage, 6),
    ];

    /// The stored number.
    pub fn code(self) -> u8 {
        Self::ALL.iter().find(|(f, _)| *f == self).map_or(0, |(_, c)| *c)
    }

    /// Reads a stored number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, c)| *c == code).map(|(f, _)| *f)
    }

    /// The log it goes to.
    pub fn topic(self) -> Topic {
        match self {
            Self::RemoteWriteV1 | Self::RemoteWriteV2 => Topic::Metrics,
            Self::Alertmanager | Self::Incidents | Self::Approvals | Self::LlmUsage => Topic::Events,
        }
    }
}

/// One entry of the log: the sender's own bytes and what the receiver knew about them.
#[derive(Debug, Clone)]
pub struct Record {
    /// How to read the body.
    pub format: Format,
    /// Who sent it.
    pub source: Arc<str>,
    /// When it came in; every time rule is judged by this, so that a replay judges alike.
    pub received_at: WallTime,
    /// XXH3-128 of the body: the same bytes again are a retry.
    pub body_hash: u128,
    /// The request this record came in with.
    pub request_id: u64,
    /// The body as sent (compressed where it was).
    pub body: Bytes,
}

impl Record {
    /// The hash of a body.
    pub fn hash_of(body: &[u8]) -> u128 {
        xxhash_rust::xxh3::xxh3_128(body)
    }
}

/// A decoded record: what is good, and what was refused with the reason.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The good part.
    pub body: DecodedBody,
    /// What was refused; each becomes a row of `dead_letters`.
    pub rejects: Vec<Reject>,
}

/// The good part of a record.
#[derive(Debug)]
pub enum DecodedBody {
    /// Remote write.
    Samples(SampleBatch),
    /// Webhooks.
    Events(Vec<Event>),
}

impl Default for DecodedBody {
    fn default() -> Self {
        Self::Samples(SampleBatch::default())
    }
}

/// One refused item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// A short word, used as a metric label and in `dead_letters.reason`.
    pub reason: &'static str,
    /// What exactly, and where; names the series or event.
    pub detail: String,
    /// Samples (or events) refused with it.
    pub count: u32,
}

/// Turns a record into rows. Pure: the same record always gives the same answer, live and in a replay.
pub trait Decoder: Send + Sync + 'static {
    /// Decodes a record that was validated before it was appended.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Corrupt`] where the body cannot be read at all; a body with bad parts is not an error.
    fn decode(&self, record: &Record) -> Result<Decoded>;
}

/// Appends to the log.
#[async_trait]
pub trait LogWriter: Send + Sync + 'static {
    /// Appends one record; returns when it is durable.
    ///
    /// # Errors
    /// `Unavailable` when the log is full, the disk is full or the broker is away: nothing was kept and a retry is right.
    ///
    /// # Cancel safety
    /// A dropped future may or may not have appended; callers run it in a task that is not dropped.
    async fn append(&self, log: LogName, record: Record) -> Result<Position>;
}

/// Reads and trims the log.
#[async_trait]
pub trait LogReader: Send + Sync + 'static {
    /// Durable records from `from` on, in order, at least one if there is any, up to about `bytes_max` of bodies.
    ///
    /// # Errors
    /// `Corrupt` where a checksum fails anywhere but in a torn tail; `Invalid` where `from` was trimmed away.
    async fn read(&self, log: LogName, from: Position, bytes_max: usize) -> Result<Vec<(Position, Record)>>;

    /// The oldest kept position and the one the next record will get.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    async fn bounds(&self, log: LogName) -> Result<(Position, Position)>;

    /// Records before `before` are no longer needed.
    ///
    /// # Errors
    /// `Unavailable` when files cannot be removed; trying again later is right.
    async fn trim(&self, log: LogName, before: Position) -> Result<()>;

    /// Names what holds the records, in words that stay the same for as long as it does: positions mean nothing in another one. `None` where that cannot
    /// be told.
    fn identity(&self) -> Option<String> {
        None
    }
}
