//! From a decoded body to a durable record that the engine has: reserve, append, deliver, in a task that outlives the client. It decodes nothing.

use crate::error::{Error, Result};
use crate::metrics::Metric;
use crate::spread::{Share, Spread};
use afferent_engine::clock::Clock;
use afferent_engine::error::{Error as EngineError, Result as EngineResult};
use afferent_engine::intake::{Delivery, Intake};
use afferent_engine::log::{Format, LogWriter, Record};
use afferent_engine::time::WallTime;
use bytes::Bytes;
use futures::future::join_all;
use std::collections::BTreeMap;
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
    spread: Spread,
    intake: Intake,
    appends: Arc<Semaphore>,
    request_ids: Arc<AtomicU64>,
}

impl Appender {
    /// An appender that writes to `log`, whose partitions are those of `spread`, and hands over to `intake`.
    pub fn new(log: Arc<dyn LogWriter>, spread: Spread, intake: Intake, clock: Arc<dyn Clock>) -> Self {
        let first = clock.now().0.max(0).unsigned_abs() << REQUEST_ID_SHIFT;
        Self { log, spread, intake, appends: Arc::new(Semaphore::new(APPENDS_MAX as usize)), request_ids: Arc::new(AtomicU64::new(first)) }
    }

    /// How bodies are to be spread.
    pub fn spread(&self) -> Spread {
        self.spread
    }

    /// The record of a body, with its hash and a request id.
    pub fn record(&self, format: Format, source: Arc<str>, received_at: WallTime, body: Bytes) -> Record {
        let body_hash = Record::hash_of(&body);
        Record { format, source, received_at, body_hash, request_id: self.request_ids.fetch_add(1, Relaxed), body }
    }

    /// Makes the records of a request durable and hands them to the engine with what was decoded from them; those of one partition one after the
    /// other, partitions side by side. `hold` is kept until all are handed over.
    ///
    /// # Errors
    /// `Unavailable` when the engine is behind, the log is full or too many appends are under way: a retry is right. Of several records some may have
    /// been kept; the same bytes again make the same records, which count once.
    ///
    /// # Cancel safety
    /// Safe: once the append has begun it is finished, whether or not anybody still waits for the answer.
    pub async fn submit<H: Send + 'static>(&self, shares: Vec<Share>, hold: H) -> Result<()> {
        let appending = Arc::clone(&self.appends).try_acquire_owned().map_err(|_| Error::Busy { what: "256 appends are under way" })?;
        let began = Instant::now();
        let place = self.intake.reserve().await?;
        let writer = Arc::clone(&self.log);
        let task = async move {
            let (deliveries, done) = append(&*writer, shares).await;
            if !deliveries.is_empty() {
                place.deliver_all(deliveries);
            }
            metrics::histogram!(Metric::AppendSeconds.name()).record(began.elapsed().as_secs_f64());
            drop((hold, appending));
            done
        };
        // The task ends with the append, is counted by `appends`, and `drained` waits for it; supervision would add nothing.
        #[allow(clippy::disallowed_methods)]
        let task = tokio::spawn(task);
        match task.await {
            Ok(done) => Ok(done?),
            Err(cause) => Err(EngineError::caused(afferent_engine::error::ErrorKind::Internal, "the append did not end", cause).into()),
        }
    }

    /// Returns once no append is under way; for a stop, after the doors are closed.
    pub async fn drained(&self) {
        drop(self.appends.acquire_many(APPENDS_MAX).await);
    }
}

/// Appends what goes to each log in order; what is durable, and whether that is all.
async fn append(writer: &dyn LogWriter, shares: Vec<Share>) -> (Vec<Delivery>, EngineResult<()>) {
    let mut by_log: BTreeMap<_, Vec<Share>> = BTreeMap::new();
    for share in shares {
        by_log.entry(share.log).or_default().push(share);
    }
    let one_log = |shares: Vec<Share>| async move {
        let mut deliveries = Vec::with_capacity(shares.len());
        for Share { log, record, decoded } in shares {
            let header = Record { body: Bytes::new(), ..record.clone() };
            match writer.append(log, record).await {
                Ok(position) => deliveries.push(Delivery { log, position, record: header, decoded }),
                Err(error) => return (deliveries, Err(error)),
            }
        }
        (deliveries, Ok(()))
    };
    let mut durable = Vec::new();
    let mut outcome = Ok(());
    for (deliveries, done) in join_all(by_log.into_values().map(one_log)).await {
        durable.extend(deliveries);
        outcome = outcome.and(done);
    }
    (durable, outcome)
}

#[cfg(test)]
mod tests;
