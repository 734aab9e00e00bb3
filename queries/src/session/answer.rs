//! The rows of one answer on their way to a reader, and what is known of them. Not their encoding.

use crate::config::{BATCHES_AHEAD_MAX, SqlLimits};
use crate::error::{Error, Result};
use crate::metrics::Metric;
use afferent_engine::status::Status;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use futures::{Stream, StreamExt};
use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Sleep;

/// How much longer than its limit a query is waited for: one that looks at the clock itself ends by then.
const DEADLINE_GRACE: Duration = Duration::from_millis(500);

/// An answer: columns first, rows as they come. Dropping it ends the query.
pub struct Answer {
    schema: SchemaRef,
    processes: usize,
    status: Arc<Status>,
    messages: mpsc::Receiver<Message>,
    outcome: Arc<Mutex<Option<Result<()>>>>,
    query: Option<AbortHandle>,
    started: Instant,
    deadline: Duration,
    /// A query that never lets go of its thread cannot look at the clock: the reader's end does.
    timer: Pin<Box<Sleep>>,
    seconds_max: u64,
    rows: u64,
    bytes: u64,
    over: bool,
}

/// What an answer has brought so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerStats {
    /// Rows.
    pub rows: u64,
    /// Bytes of their columns in memory.
    pub bytes: u64,
    /// Time since the statement came.
    pub elapsed: Duration,
}

enum Message {
    /// With the number of processes that compute the rows.
    Columns(SchemaRef, usize),
    Rows(RecordBatch),
}

/// The query's end of an answer.
pub(super) struct Sender {
    messages: mpsc::Sender<Message>,
    outcome: Arc<Mutex<Option<Result<()>>>>,
}

/// Both ends of an answer that has not begun.
pub(super) fn channel(status: Arc<Status>, limits: &SqlLimits) -> (Sender, Answer) {
    let (messages, received) = mpsc::channel(BATCHES_AHEAD_MAX);
    let outcome = Arc::new(Mutex::new(None));
    metrics::gauge!(Metric::StatementsRunning.name()).increment(1.0);
    let answer = Answer {
        schema: Arc::new(Schema::empty()),
        processes: 1,
        status,
        messages: received,
        outcome: Arc::clone(&outcome),
        query: None,
        started: Instant::now(),
        deadline: Duration::from_secs(limits.seconds_max),
        timer: Box::pin(tokio::time::sleep(Duration::from_secs(limits.seconds_max) + DEADLINE_GRACE)),
        seconds_max: limits.seconds_max,
        rows: 0,
        bytes: 0,
        over: false,
    };
    (Sender { messages, outcome }, answer)
}

impl Sender {
    pub(super) async fn columns(&self, schema: SchemaRef, processes: usize) {
        // A reader that went away is noticed with the first rows.
        if self.messages.send(Message::Columns(schema, processes)).await.is_err() {
            tracing::debug!("the reader of an answer went away before it began");
        }
    }

    /// False where nobody listens any more.
    pub(super) async fn rows(&self, batch: RecordBatch) -> bool {
        self.messages.send(Message::Rows(batch)).await.is_ok()
    }

    /// Says how the query ended; a reader sees it after the rows that are on their way.
    pub(super) fn end(self, outcome: Result<()>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}

impl Answer {
    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// How many processes compute it.
    pub fn processes(&self) -> usize {
        self.processes
    }

    /// The state of all sources and views that the answer stands on.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// What has come so far; complete once the stream has ended.
    pub fn stats(&self) -> AnswerStats {
        AnswerStats { rows: self.rows, bytes: self.bytes, elapsed: self.started.elapsed() }
    }

    /// Takes all rows into memory.
    ///
    /// # Errors
    /// As the stream.
    pub async fn collect(mut self) -> Result<(SchemaRef, Vec<RecordBatch>, AnswerStats)> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok((self.schema(), batches, self.stats()))
    }

    pub(super) fn cancels(&mut self, query: AbortHandle) {
        self.query = Some(query);
    }

    /// Waits for the columns.
    pub(super) async fn begin(&mut self) -> Result<()> {
        match self.messages.recv().await {
            Some(Message::Columns(schema, processes)) => {
                (self.schema, self.processes) = (schema, processes);
                Ok(())
            }
            Some(Message::Rows(_)) => Err(Error::Internal("an answer began with rows".to_owned())),
            None => {
                self.over = true;
                self.outcome().and_then(|()| Err(Error::Internal("an answer ended before it began".to_owned())))
            }
        }
    }

    fn overdue(&self) -> Error {
        Error::Limit { limit: "seconds_max", value: self.seconds_max, hint: "the query took longer; narrow the time range" }
    }

    /// How the query ended. A query that says nothing was cut off, which must not look like an end.
    fn outcome(&self) -> Result<()> {
        let said = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        said.unwrap_or_else(|| {
            if self.started.elapsed() >= self.deadline {
                return Err(self.overdue());
            }
            Err(Error::Internal("the query stopped without a word; see the log".to_owned()))
        })
    }
}

impl Stream for Answer {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        loop {
            match self.messages.poll_recv(context) {
                Poll::Pending => {
                    if self.timer.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    self.over = true;
                    let error = self.overdue();
                    count_failure(&error);
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Message::Columns(..))) => {}
                Poll::Ready(Some(Message::Rows(batch))) => {
                    self.rows += batch.num_rows() as u64;
                    self.bytes += batch.get_array_memory_size() as u64;
                    return Poll::Ready(Some(Ok(batch)));
                }
                Poll::Ready(None) => {
                    self.over = true;
                    return Poll::Ready(match self.outcome() {
                        Ok(()) => {
                            metrics::counter!(Metric::StatementsOut.name()).increment(1);
                            None
                        }
                        Err(error) => {
                            count_failure(&error);
                            Some(Err(error))
                        }
                    });
                }
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(query) = &self.query {
            query.abort();
        }
        metrics::gauge!(Metric::StatementsRunning.name()).decrement(1.0);
        metrics::counter!(Metric::RowsOut.name()).increment(self.rows);
        metrics::histogram!(Metric::StatementSeconds.name()).record(self.started.elapsed().as_secs_f64());
    }
}

/// Counts a statement that was refused or failed.
pub(super) fn count_failure(error: &Error) {
    let reason = match error {
        Error::Limit { limit, .. } => limit,
        Error::Busy { .. } => "concurrent_max",
        Error::Forbidden(_) => "forbidden",
        other => other.kind().as_str(),
    };
    metrics::counter!(Metric::StatementsRejected.name(), "reason" => reason).increment(1);
}
