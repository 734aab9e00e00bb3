//! From a decoded body to a durable record that the engine has: reserve, append, deliver, in a task that outlives the client. It decodes nothing.

use crate::error::{Error, Result};
use crate::metrics::Metric;
use afferent_engine::clock::Clock;
use afferent_engine::error::Error as EngineError;
use afferent_engine::intake::{Delivery, Intake};
use afferent_engine::log::{Decoded, Format, LogName, LogWriter, Position, Record};
use afferent_engine::time::WallTime;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;
use tokio::sync::Semaphore;

/// Appends at once; more are told to come back.
const APPENDS_MAX: u32 = 256;
/// Request ids start at the clock's milliseconds shifted by this, so that those of two runs differ.
const REQUEST_ID_SHIFT: u32 = 20;

/// The way into the log. Cheap to clone; all clones share their limits.
#[derive(Clone)]
pub struct Appender {
    log: Arc<dyn LogWriter>,
    intake: Intake,
    appends: Arc<Semaphore>,
    request_ids: Arc<AtomicU64>,
}

impl Appender {
    /// An appender that writes to `log` and hands over to `intake`.
    pub fn new(log: Arc<dyn LogWriter>, intake: Intake, clock: Arc<dyn Clock>) -> Self {
        let first = clock.now().0.max(0).unsigned_abs() << REQUEST_ID_SHIFT;
        Self { log, intake, appends: Arc::new(Semaphore::new(APPENDS_MAX as usize)), request_ids: Arc::new(AtomicU64::new(first)) }
    }

    /// The record of a body, with its hash and a request id.
    pub fn record(&self, format: Format, source: Arc<str>, received_at: WallTime, body: Bytes) -> Record {
        let body_hash = xxhash_rust::xxh3::xxh3_128(&body);
        Record { format, source, received_at, body_hash, request_id: self.request_ids.fetch_add(1, Relaxed), body }
    }

    /// Makes a record durable and hands it to the engine with what was decoded from it.
    ///
    /// # Errors
    /// `Unavailable` when the engine is behind, the log is full or too many appends are under way: nothing was kept and a retry is right.
    ///
    /// # Cancel safety
    /// Safe: once the append has begun it is finished, whether or not anybody still waits for the answer.
    pub async fn submit(&self, record: Record, decoded: Decoded) -> Result<Position> {
        self.submit_holding(record, decoded, ()).await
    }

    /// The same; `hold` is kept until the record is handed over.
    pub(crate) async fn submit_holding<H: Send + 'static>(&self, record: Record, decoded: Decoded, hold: H) -> Result<Position> {
        let appending = Arc::clone(&self.appends).try_acquire_owned().map_err(|_| Error::Busy { what: "256 appends are under way" })?;
        let began = Instant::now();
        let place = self.intake.reserve().await?;
        let writer = Arc::clone(&self.log);
        let task = async move {
            let log = LogName::first(record.format.topic());
            let header = Record { body: Bytes::new(), ..record.clone() };
            let position = writer.append(log, record).await?;
            place.deliver(Delivery { log, position, record: header, decoded });
            metrics::histogram!(Metric::AppendSeconds.name()).record(began.elapsed().as_secs_f64());
            drop((hold, appending));
            Ok::<_, EngineError>(position)
        };
        // The task ends with the append, is counted by `appends`, and `drained` waits for it; supervision would add nothing.
        #[allow(clippy::disallowed_methods)]
        let task = tokio::spawn(task);
        match task.await {
            Ok(position) => Ok(position?),
            Err(cause) => Err(EngineError::caused(afferent_engine::error::ErrorKind::Internal, "the append did not end", cause).into()),
        }
    }

    /// Returns once no append is under way; for a stop, after the doors are closed.
    pub async fn drained(&self) {
        drop(self.appends.acquire_many(APPENDS_MAX).await);
    }
}

#[cfg(test)]
mod tests;
