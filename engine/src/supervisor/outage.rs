//! The store is away: what is noticed of it, and what waits. Intake goes on until its limits; what is in memory stays fresh; nothing is given up.

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
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Wait between tries of a checkpoint while the store is away; simulations bring it back at once.
const RETRY_WAIT: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 1_000 });

/// Wait between tries to read while the store is away, and how long one of them may hold everything else up.
const READ_AGAIN: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 10_000 });
const READ_WAIT_AWAY: Duration = Duration::from_secs(1);

/// What is known of the store being away, by those who met it.
#[derive(Debug, Default)]
pub(super) struct Outage {
    writing: Mutex<Option<Away>>,
    reading: Mutex<Option<Away>>,
}

#[derive(Debug, Clone)]
struct Away {
    since: WallTime,
    reason: String,
    tried: Instant,
}

/// Notes a failure; since when it is so stays.
fn note(slot: &Mutex<Option<Away>>, now: WallTime, error: &Error) {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    let since = slot.as_ref().map_or(now, |away| away.since);
    *slot = Some(Away { since, reason: error.to_string(), tried: Instant::now() });
}

fn look(slot: &Mutex<Option<Away>>) -> Option<Away> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn over(slot: &Mutex<Option<Away>>) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

impl Outage {
    /// For readers; `checkpoint` is the newest that stands.
    pub(super) fn status(&self, checkpoint: Option<&Checkpoint>) -> StoreStatus {
        let away = [look(&self.writing), look(&self.reading)].into_iter().flatten().min_by_key(|away| away.since);
        let (away_since, reason) = away.map(|away| (away.since, away.reason)).unzip();
        StoreStatus { away_since, reason, checkpoint_at: checkpoint.map(|c| c.created_at) }
    }

    /// Whether reading is not worth a try: somebody else is trying, or one failed a moment ago.
    fn is_resting(&self) -> bool {
        look(&self.writing).is_some() || look(&self.reading).is_some_and(|away| away.tried.elapsed() < READ_AGAIN)
    }
}

impl Engine {
    /// A start waits, as a checkpoint does, and readers are told why.
    pub(super) async fn wait_out(&mut self, error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Unavailable || self.cancel.is_cancelled() {
            return Err(error);
        }
        if look(&self.outage.writing).is_none() {
            tracing::warn!(%error, "the start waits until the store answers");
        }
        note(&self.outage.writing, self.clock.now(), &error);
        self.show(None);
        tokio::select! {
            () = self.cancel.cancelled() => Err(error),
            () = tokio::time::sleep(RETRY_WAIT) => Ok(()),
        }
    }

    /// It has.
    pub(super) fn waited_out(&self) {
        over(&self.outage.writing);
    }

    /// Reads what out-of-order samples need; while the store is away they go on waiting, and nothing final is made without them.
    pub(super) async fn resolve_if_there(&mut self, request: SlowRequest) -> Result<()> {
        if self.outage.is_resting() {
            return Ok(());
        }
        let read = self.read_around(request);
        let rows = if look(&self.outage.reading).is_some() {
            let late = |_| Err(Error::unavailable("the store does not answer"));
            tokio::time::timeout(READ_WAIT_AWAY, read).await.unwrap_or_else(late)
        } else {
            read.await
        };
        match rows {
            Ok(rows) => {
                over(&self.outage.reading);
                self.pipeline.resolve_slow(&rows)
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!(%error, "out-of-order samples wait until the store can be read");
                note(&self.outage.reading, self.clock.now(), &error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The same, where nothing can go on without them.
    pub(super) async fn resolve_all(&mut self) -> Result<()> {
        let Some(request) = self.pipeline.slow_request() else { return Ok(()) };
        let rows = self.read_around(request).await?;
        self.pipeline.resolve_slow(&rows)
    }

    async fn read_around(&self, request: SlowRequest) -> Result<Vec<RecordBatch>> {
        let files = self.live.view().files.get(&TableName::new(SAMPLES)).cloned().unwrap_or_default();
        let wanted = Wanted { series: Some(request.series), micros: Some(request.micros), metrics: None };
        self.history.read(&schema::samples(), &files, &wanted).await
    }
}

/// Tries until the store takes it; only a stop with the store away gives up (the log still has everything).
pub(super) async fn commit_until_done(
    chain: &Chain,
    cut: Cut,
    previous: Option<Checkpoint>,
    epoch: Epoch,
    cancel: &CancellationToken,
    outage: &Outage,
) -> Result<Published> {
    let mut told = false;
    loop {
        match chain.commit(&cut, previous.as_ref(), epoch).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                note(&outage.writing, chain.clock.now(), &error);
                if !told {
                    tracing::warn!(%epoch, %error, "the checkpoint waits until the store takes it");
                    told = true;
                }
                if cancel.is_cancelled() {
                    return Err(error);
                }
                tokio::time::sleep(RETRY_WAIT).await;
            }
            done => {
                if told {
                    tracing::info!(%epoch, "the store takes checkpoints again");
                }
                over(&outage.writing);
                return done;
            }
        }
    }
}
