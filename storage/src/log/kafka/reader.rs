//! Reading one partition in order, from a position that the caller knows. No groups and no committed offsets: positions stand in checkpoints.

use super::cluster::{Cluster, Watcher};
use super::error::KafkaLogError;
use super::headers;
use crate::log::error::LogError;
use crate::log::metrics::Metric;
use afferent_engine::log::{LogName, Position, Record};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a read waits for the next message before it says that the brokers are away.
const MESSAGE_WAIT: Duration = Duration::from_secs(20);

/// How long the bounds of a log may take to come.
const BOUNDS_WAIT: Duration = Duration::from_secs(10);

/// How long one broker may take to tell them before it is looked up who leads now, and after how many tries it may take as long once more: whoever
/// leads has them at hand, but a cluster may be slow and not silent.
const BOUNDS_TRY_WAIT: Duration = Duration::from_secs(1);
const BOUNDS_TRIES: u32 = 3;

/// How long a look at the topic may take after the bounds did not come.
const LOOK_WAIT: Duration = Duration::from_secs(2);

/// Longest sleep in one poll.
const POLL_WAIT: Duration = Duration::from_millis(100);

/// Most bytes of bodies that one read returns, one record apart: 64 MiB.
const READ_BYTES_MAX: usize = 64 << 20;

/// Settings of the consumer, beside those of every client.
const SETTINGS: [(&str, &str); 14] = [
    // Nothing is written for the group; librdkafka wants a name, and permissions may hang on it.
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    // A stranger's open transaction must not hide records.
    ("isolation.level", "read_uncommitted"),
    ("check.crcs", "true"),
    // One partition is read at a time, from one broker: big answers, and the next one asked for while this one is decoded.
    ("fetch.message.max.bytes", "8388608"),
    ("fetch.max.bytes", "67108864"),
    ("fetch.min.bytes", "1"),
    ("fetch.wait.max.ms", "10"),
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.error.backoff.ms", "100"),
    ("queued.max.messages.kbytes", "65536"),
    ("queued.min.messages", "100000"),
];

/// What a consumer at rest may say between two looks.
const SAID_MAX: usize = 1000;

/// The reader of one partition. Its calls block.
pub(super) struct Reader {
    cluster: Arc<Cluster>,
    log: LogName,
    topic: String,
    partition: i32,
    place: Mutex<Place>,
}

/// Where the consumer stands.
#[derive(Default)]
struct Place {
    consumer: Option<BaseConsumer<Watcher>>,
    /// The position it will give next; none when it has nothing assigned.
    next: Option<u64>,
    /// A record that came and did not fit into the read before; it is the next one.
    held: Option<(Position, Record)>,
    /// An end of the log that is known to have been reached.
    end: u64,
}

impl Place {
    /// At the end it would go on fetching what is appended from now on, for nobody, and gather what it has to say. It keeps its connections: another
    /// consumer would take a tenth of a second to come as far.
    fn rest(&mut self) {
        let rested = self.consumer.take().filter(|consumer| consumer.unassign().is_ok());
        *self = Self { consumer: rested, ..Self::default() };
    }

    /// Takes from a consumer that rests what it has to say of its connections, which it would gather.
    fn hear(&self) {
        if let (None, Some(consumer)) = (self.next, &self.consumer) {
            for _ in 0..SAID_MAX {
                let Some(Err(error)) = consumer.poll(Duration::ZERO) else { break };
                tracing::debug!(%error, "a consumer that rests");
            }
        }
    }
}

/// What a poll gave.
enum Polled {
    Record(Position, Record),
    /// The consumer has seen the end of the log, now or some time ago.
    End,
    Nothing,
}

impl Reader {
    /// A reader that has asked for nothing yet.
    pub(super) fn new(cluster: Arc<Cluster>, log: LogName, topic: String, partition: i32) -> Self {
        Self { cluster, log, topic, partition, place: Mutex::default() }
    }

    /// As [`afferent_engine::log::LogReader::bounds`]. Asks again while a new leader is found.
    pub(super) fn bounds(&self) -> Result<(Position, Position), KafkaLogError> {
        // Whoever is reading hears what the consumer says.
        if let Ok(place) = self.place.try_lock() {
            place.hear();
        }
        let (deadline, mut tries) = (Instant::now() + BOUNDS_WAIT, 0);
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(POLL_WAIT);
            let wait = left.min(BOUNDS_TRY_WAIT * (1 + tries / BOUNDS_TRIES));
            let watermarks = self.cluster.admin().inner().fetch_watermarks(&self.topic, self.partition, wait);
            tries += 1;
            let error = match watermarks {
                Ok((low, high)) => return Ok((Position(low.max(0).unsigned_abs()), Position(high.max(0).unsigned_abs()))),
                Err(error) => self.cluster.error("asking for the bounds of the log", &self.topic, &error),
            };
            if !error.may_pass() {
                return Err(error);
            }
            self.cluster.look_again(&self.topic, LOOK_WAIT);
            if Instant::now() >= deadline {
                return Err(error);
            }
            std::thread::sleep(POLL_WAIT);
        }
    }

    /// As [`afferent_engine::log::LogReader::read`].
    pub(super) fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<(Position, Record)>, KafkaLogError> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.next != Some(from.0) || place.end <= from.0 {
            let (oldest, next) = self.bounds()?;
            self.check(from, oldest, next)?;
            place.end = next.0;
        }
        if place.end <= from.0 {
            return Ok(Vec::new());
        }
        let read = self.fill(&mut place, from, bytes_max.min(READ_BYTES_MAX));
        if read.is_err() {
            // A consumer that failed is not asked again.
            *place = Place::default();
        } else if place.next.is_some_and(|next| next >= place.end) {
            place.rest();
        }
        let records = read?;
        metrics::counter!(Metric::RecordsOut.name(), "log" => self.log.to_string()).increment(records.len() as u64);
        Ok(records)
    }

    fn check(&self, from: Position, oldest: Position, next: Position) -> Result<(), LogError> {
        if from < oldest {
            return Err(LogError::Trimmed { log: self.log, from, oldest });
        }
        if from > next {
            return Err(LogError::BeyondEnd { log: self.log, from, next });
        }
        Ok(())
    }

    /// Takes messages until there are enough or no more.
    fn fill(&self, place: &mut Place, from: Position, bytes_max: usize) -> Result<Vec<(Position, Record)>, KafkaLogError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        if place.next != Some(from.0) {
            self.seek(place, from.0)?;
        }
        let mut sought = false;
        let mut deadline = Instant::now() + MESSAGE_WAIT;
        while bytes < bytes_max.max(1) || records.is_empty() {
            let polled = match place.held.take() {
                Some((position, record)) => Polled::Record(position, record),
                None if place.next.is_some_and(|next| next >= place.end) => break,
                None => self.poll(place)?,
            };
            match polled {
                Polled::Record(position, record) => {
                    deadline = Instant::now() + MESSAGE_WAIT;
                    if !records.is_empty() && bytes + record.body.len() > bytes_max {
                        place.held = Some((position, record));
                        break;
                    }
                    bytes += record.body.len();
                    place.next = Some(position.next().0);
                    records.push((position, record));
                }
                // Seen before more was appended, perhaps; if it is seen again after a new start, what is missing is no message.
                Polled::End if !sought => {
                    sought = true;
                    self.seek(place, place.next.unwrap_or(from.0))?;
                }
                Polled::End => break,
                Polled::Nothing if Instant::now() >= deadline => {
                    let reason = self.cluster.said().unwrap_or_else(|| format!("no message for {} s", MESSAGE_WAIT.as_secs()));
                    return Err(KafkaLogError::Away { brokers: self.cluster.brokers.clone(), doing: "reading the log", reason });
                }
                Polled::Nothing => {}
            }
        }
        Ok(records)
    }

    /// Lets the consumer start anew at a position.
    fn seek(&self, place: &mut Place, from: u64) -> Result<(), KafkaLogError> {
        let failed = |error: KafkaError| self.cluster.error("start to read", &self.topic, &error);
        place.held = None;
        let consumer = match place.consumer.take() {
            Some(consumer) => consumer,
            None => self.consumer()?,
        };
        let mut start = TopicPartitionList::with_capacity(1);
        let offset = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
        start.add_partition_offset(&self.topic, self.partition, offset).map_err(failed)?;
        consumer.assign(&start).map_err(failed)?;
        place.consumer = Some(consumer);
        place.next = Some(from);
        Ok(())
    }

    fn consumer(&self) -> Result<BaseConsumer<Watcher>, KafkaLogError> {
        let message_bytes = self.cluster.config.message_bytes_max().max(1 << 20).to_string();
        let response_bytes = (self.cluster.config.message_bytes_max() + (128 << 20)).to_string();
        let mut settings = SETTINGS.to_vec();
        settings.push(("group.id", &self.cluster.config.topic_prefix));
        settings.push(("message.max.bytes", &message_bytes));
        settings.push(("receive.message.max.bytes", &response_bytes));
        self.cluster.client(&settings)
    }

    fn poll(&self, place: &Place) -> Result<Polled, KafkaLogError> {
        let Some(consumer) = &place.consumer else { return Ok(Polled::Nothing) };
        let message = match consumer.poll(POLL_WAIT) {
            None => return Ok(Polled::Nothing),
            Some(Ok(message)) => message,
            Some(Err(error)) => return self.poll_failed(place, &error),
        };
        let wanted = place.next.unwrap_or_default();
        // Of messages that were on their way when the consumer was sent elsewhere.
        if u64::try_from(message.offset()).is_ok_and(|offset| offset < wanted) {
            return Ok(Polled::Nothing);
        }
        self.record(&message)
    }

    fn record(&self, message: &BorrowedMessage<'_>) -> Result<Polled, KafkaLogError> {
        let offset = message.offset();
        let record = headers::decode(message.headers(), message.payload().unwrap_or_default()).and_then(|record| {
            let position = u64::try_from(offset).map_err(|_| "its offset is negative".to_owned())?;
            Ok(Polled::Record(Position(position), record))
        });
        record.map_err(|problem| {
            metrics::counter!(Metric::CorruptFound.name(), "log" => self.log.to_string()).increment(1);
            KafkaLogError::Foreign { topic: self.topic.clone(), partition: self.log.partition, offset, problem }
        })
    }

    /// Ends of the log and brokers that are looked for again are part of reading; the rest is not.
    fn poll_failed(&self, place: &Place, error: &KafkaError) -> Result<Polled, KafkaLogError> {
        use RDKafkaErrorCode as Code;
        if matches!(error, KafkaError::PartitionEOF(_)) {
            return Ok(Polled::End);
        }
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                // Trimmed away in the meantime, or the log is another one.
                let (oldest, next) = self.bounds()?;
                self.check(Position(place.next.unwrap_or_default()), oldest, next)?;
                Err(self.cluster.error("read the log", &self.topic, error))
            }
            Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::OperationTimedOut) => Ok(Polled::Nothing),
            _ => Err(self.cluster.error("read the log", &self.topic, error)),
        }
    }
}
