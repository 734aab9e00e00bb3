//! The store, or the log, is away: what is noticed of it, and what waits. Intake goes on until its limits; what is in memory stays fresh; nothing is
//! given up.

use super::Engine;
use crate::checkpoint::{Checkpoint, Epoch};
use crate::commit::{Chain, Published};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::{Cut, SlowRequest};
use crate::schema::{self, SAMPLES, TableName};
use crate::status::StoreStatus;
use crate::table::Wanted;
use crate::time::WallTime;
use arrow::record_batch::RecordBatch;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Wait between tries of a checkpoint while the store is away; simulations bring it back at once.
pub(super) const RETRY_WAIT: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 1_000 });

/// Wait between tries to read while the store is away, and how long one of them may hold everything else up.
const READ_AGAIN: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 10_000 });
const READ_WAIT_AWAY: Duration = Duration::from_secs(1);

/// How long a stop tries to leave nothing to be replayed while the store is away; the log has everything, so giving up loses nothing.
const STOP_WAIT: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 20_000 });

/// What is known of the store and the log being away, by those who met it.
#[derive(Debug, Default)]
pub(super) struct Outage {
    writing: Slot,
    reading: Slot,
    pub(super) log: Slot,
}

#[derive(Debug, Clone)]
struct Away {
    since: WallTime,
    reason: String,
    tried: Instant,
}

/// One thing that may be away.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<Option<Away>>);

impl Slot {
    /// Notes a failure; since when it is so stays. True for the first one.
    pub(super) fn note(&self, now: WallTime, error: &Error) -> bool {
        let mut slot = self.lock();
        let since = slot.as_ref().map(|away| away.since);
        *slot = Some(Away { since: since.unwrap_or(now), reason: error.to_string(), tried: Instant::now() });
        since.is_none()
    }

    /// It is there; true where it was away.
    pub(super) fn over(&self) -> bool {
        self.lock().take().is_some()
    }

    pub(super) fn is_away(&self) -> bool {
        self.lock().is_some()
    }

    /// Whether it is not worth a try, because one failed a moment ago.
    pub(super) fn is_resting(&self, wait: Duration) -> bool {
        self.lock().as_ref().is_some_and(|away| away.tried.elapsed() < wait)
    }

    fn look(&self) -> Option<Away> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Away>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outage {
    /// For readers; `checkpoint` is the newest that stands.
    pub(super) fn status(&self, checkpoint: Option<&Checkpoint>) -> StoreStatus {
        let away = [self.writing.look(), self.reading.look()].into_iter().flatten().min_by_key(|away| away.since);
        let (away_since, reason) = away.map(|away| (away.since, away.reason)).unzip();
        StoreStatus { away_since, reason, checkpoint_at: checkpoint.map(|c| c.created_at) }
    }

    /// Whether reading is not worth a try: somebody else is trying, or one failed a moment ago.
    fn is_resting(&self) -> bool {
        self.writing.is_away() || self.reading.is_resting(READ_AGAIN)
    }
}

impl Engine {
    /// A start waits, as a checkpoint does, and readers are told why.
    pub(super) async fn wait_out(&mut self, error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Unavailable || self.cancel.is_cancelled() {
            return Err(error);
        }
        if self.outage.writing.note(self.clock.now(), &error) {
            tracing::warn!(%error, "the start waits until the store answers");
        }
        self.show(None);
        tokio::select! {
            () = self.cancel.cancelled() => Err(error),
            () = tokio::time::sleep(RETRY_WAIT) => Ok(()),
        }
    }

    /// It has.
    pub(super) fn waited_out(&self) {
        self.outage.writing.over();
    }

    /// Reads what out-of-order samples need; while the store is away they go on waiting, and nothing final is made without them.
    pub(super) async fn resolve_if_there(&mut self, request: SlowRequest) -> Result<()> {
        if self.outage.is_resting() {
            return Ok(());
        }
        let read = self.read_around(request);
        let rows = if self.outage.reading.is_away() {
            let late = |_| Err(Error::unavailable("the store does not answer"));
            tokio::time::timeout(READ_WAIT_AWAY, read).await.unwrap_or_else(late)
        } else {
            read.await
        };
        match rows {
            Ok(rows) => {
                self.outage.reading.over();
                self.pipeline.resolve_slow(&rows)
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!(%error, "out-of-order samples wait until the store can be read");
                self.outage.reading.note(self.clock.now(), &error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The same, where nothing can go on without them: a stop tries until its time is up.
    pub(super) async fn resolve_all(&mut self) -> Result<()> {
        let began = Instant::now();
        while let Some(request) = self.pipeline.slow_request() {
            match self.read_around(request).await {
                Ok(rows) => self.pipeline.resolve_slow(&rows)?,
                Err(error) if error.kind() == ErrorKind::Unavailable && began.elapsed() < STOP_WAIT => tokio::time::sleep(RETRY_WAIT).await,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn read_around(&self, request: SlowRequest) -> Result<Vec<RecordBatch>> {
        let files = self.live.view().files.get(&TableName::new(SAMPLES)).cloned().unwrap_or_default();
        let wanted = Wanted { series: Some(request.series), micros: Some(request.micros), metrics: None };
        self.history.read(&schema::samples(), &files, &wanted).await
    }
}

/// Tries until the store takes it; only a stop gives up, where the store stays away for as long as a stop may take.
pub(super) async fn commit_until_done(
    chain: &Chain,
    cut: Cut,
    previous: Option<Checkpoint>,
    epoch: Epoch,
    cancel: &CancellationToken,
    outage: &Outage,
) -> Result<Published> {
    let mut stopping = None;
    loop {
        match chain.commit(&cut, previous.as_ref(), epoch).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                if outage.writing.note(chain.clock.now(), &error) {
                    tracing::warn!(%epoch, %error, "the checkpoint waits until the store takes it");
                }
                if cancel.is_cancelled() && stopping.get_or_insert_with(Instant::now).elapsed() >= STOP_WAIT {
                    return Err(error);
                }
                tokio::time::sleep(RETRY_WAIT).await;
            }
            done => {
                if outage.writing.over() {
                    tracing::info!(%epoch, "the store takes checkpoints again");
                }
                return done;
            }
        }
    }
}
