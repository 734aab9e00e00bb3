//! What processes say to each other about stages, as bytes: questions with a head in JSON, answers in frames. Not their transport.

use afferent_engine::error::{Error, ErrorKind};
use arrow::buffer::Buffer;
use arrow::datatypes::Schema;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use datafusion::error::{DataFusionError, Result};
use datafusion_distributed::{ProducerHead, TaskKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Bytes of one question: plans carry small tables with them.
pub const QUESTION_BYTES_MAX: usize = 64 << 20;

/// Bytes of one frame of an answer.
const FRAME_BYTES_MAX: usize = 1 << 30;

/// Part of a stage that one process runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TaskName {
    query: String,
    stage: usize,
    number: usize,
}

impl From<TaskKey> for TaskName {
    fn from(key: TaskKey) -> Self {
        Self { query: key.query_id.simple().to_string(), stage: key.stage_id, number: key.task_number }
    }
}

impl TaskName {
    pub(super) fn key(&self) -> Result<TaskKey> {
        let query_id = Uuid::parse_str(&self.query).map_err(|e| unavailable(format!("{:?} names no statement: {e}", self.query)))?;
        Ok(TaskKey { query_id, stage_id: self.stage, task_number: self.number })
    }
}

/// Take this plan and keep it until this question is dropped. The plan follows the head.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PlanAsked {
    pub(super) version: String,
    pub(super) statement: String,
    pub(super) task: TaskName,
    pub(super) task_count: usize,
    /// The address under which it is asked.
    pub(super) at: String,
    pub(super) started_ns: usize,
    pub(super) settings: Vec<(String, String)>,
    /// Time that the statement still has.
    pub(super) left_ms: u64,
}

/// Run one partition of a plan that was taken. The partitioning follows the head, if it has one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RunAsked {
    pub(super) version: String,
    pub(super) statement: String,
    pub(super) task: TaskName,
    pub(super) partition: usize,
    pub(super) head: Head,
}

/// What stands on top of the plan.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Head {
    Plain,
    Broadcast(usize),
    Repartition,
}

impl Head {
    pub(super) fn with(self, partitioning: Vec<u8>) -> ProducerHead {
        match self {
            Self::Plain => ProducerHead::None,
            Self::Broadcast(output_partitions) => ProducerHead::BroadcastExec { output_partitions },
            Self::Repartition => ProducerHead::RepartitionExec { partitioning: datafusion_distributed::MaybeEncoded::Encoded(partitioning) },
        }
    }
}

/// A question as bytes.
pub(super) fn question(head: &impl Serialize, rest: &[u8]) -> Result<Bytes> {
    let head = serde_json::to_vec(head).map_err(|e| DataFusionError::External(Box::new(e)))?;
    let mut bytes = BytesMut::with_capacity(4 + head.len() + rest.len());
    let length = u32::try_from(head.len()).map_err(|e| DataFusionError::External(Box::new(e)))?;
    bytes.put_u32_le(length);
    bytes.put_slice(&head);
    bytes.put_slice(rest);
    if bytes.len() > QUESTION_BYTES_MAX {
        return Err(unavailable(format!("a stage has {} bytes, more than {QUESTION_BYTES_MAX}", bytes.len())));
    }
    Ok(bytes.freeze())
}

/// Head and rest of a question.
pub(super) fn read_question<T: DeserializeOwned>(mut bytes: Bytes) -> Result<(T, Bytes)> {
    let wrong = |what: String| unavailable(format!("the body is no question of another afferent: {what}"));
    let length = bytes.try_get_u32_le().map_err(|e| wrong(e.to_string()))? as usize;
    if length > bytes.len() {
        return Err(wrong("it is cut off".to_owned()));
    }
    let head = bytes.split_to(length);
    Ok((serde_json::from_slice(&head).map_err(|e| wrong(e.to_string()))?, bytes))
}

/// One part of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The plan is there.
    Taken,
    /// A piece of an Arrow stream.
    Rows(Bytes),
    /// That was all of it. An answer that ends without is none.
    End,
    /// It went wrong.
    Failed(Failure),
}

/// What went wrong elsewhere, as far as it matters here.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) why: Why,
    pub(super) text: String,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Why {
    /// The statement's.
    Statement,
    /// That of its size.
    Memory,
    /// That of the processes or the store.
    Other,
}

impl Failure {
    pub(super) fn of(error: &DataFusionError) -> Self {
        let why = match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Why::Memory,
            DataFusionError::Execution(_) | DataFusionError::ArrowError(..) => Why::Statement,
            _ => Why::Other,
        };
        Self { why, text: error.strip_backtrace() }
    }

    pub(super) fn other(text: impl Into<String>) -> Self {
        Self { why: Why::Other, text: text.into() }
    }

    pub(super) fn error(self, at: &str) -> DataFusionError {
        match self.why {
            Why::Memory => DataFusionError::ResourcesExhausted(self.text),
            Why::Statement => DataFusionError::Execution(self.text),
            Why::Other => unavailable(format!("a stage at {at} failed: {}", self.text)),
        }
    }
}

/// Another process did not do what was asked of it: the statement may be tried again.
pub(super) fn unavailable(text: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(Error::new(ErrorKind::Unavailable, text)))
}

impl Frame {
    pub(super) fn bytes(&self) -> Bytes {
        let (kind, body) = match self {
            Self::Taken => (0, Bytes::new()),
            Self::Rows(rows) => (1, rows.clone()),
            Self::End => (2, Bytes::new()),
            // Two plain fields: this cannot fail.
            Self::Failed(failure) => (3, serde_json::to_vec(failure).unwrap_or_default().into()),
        };
        let mut bytes = BytesMut::with_capacity(5 + body.len());
        bytes.put_u8(kind);
        bytes.put_u32_le(u32::try_from(body.len()).unwrap_or(u32::MAX));
        bytes.put_slice(&body);
        bytes.freeze()
    }
}

/// Finds frames in what comes in.
#[derive(Debug, Default)]
pub(super) struct Frames(BytesMut);

impl Frames {
    pub(super) fn take_in(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn next(&mut self) -> Result<Option<Frame>> {
        let wrong = |what: &str| unavailable(format!("the answer of another process cannot be read: {what}"));
        let mut head = self.0.as_ref();
        let (Ok(kind), Ok(length)) = (head.try_get_u8(), head.try_get_u32_le()) else { return Ok(None) };
        let length = length as usize;
        if length > FRAME_BYTES_MAX {
            return Err(wrong("a frame is too long"));
        }
        if head.len() < length {
            self.0.reserve(5 + length - self.0.len());
            return Ok(None);
        }
        self.0.advance(5);
        let body = self.0.split_to(length).freeze();
        Ok(Some(match kind {
            0 => Frame::Taken,
            1 => Frame::Rows(body),
            2 => Frame::End,
            3 => Frame::Failed(serde_json::from_slice(&body).map_err(|e| wrong(&e.to_string()))?),
            _ => return Err(wrong("a frame is of no known kind")),
        }))
    }
}

/// Makes frames of batches.
pub(super) struct Batches(StreamWriter<Vec<u8>>);

impl Batches {
    pub(super) fn new(schema: &Schema) -> Result<Self> {
        Ok(Self(StreamWriter::try_new(Vec::new(), schema)?))
    }

    pub(super) fn frame(&mut self, batch: &RecordBatch) -> Result<Frame> {
        self.0.write(batch)?;
        Ok(Frame::Rows(std::mem::take(self.0.get_mut()).into()))
    }
}

/// Makes batches of frames again.
#[derive(Debug, Default)]
pub(super) struct Rows(StreamDecoder);

impl Rows {
    pub(super) fn take_in(&mut self, bytes: Bytes, ready: &mut impl Extend<RecordBatch>) -> Result<()> {
        let mut buffer = Buffer::from(bytes);
        while !buffer.is_empty() {
            ready.extend(self.0.decode(&mut buffer)?);
        }
        Ok(())
    }
}
