//! Records in the order of the log: what is delivered in memory, and what lies in the log and is not.

use super::Engine;
use super::merge::Merge;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::Delivery;
use crate::log::{LogName, Position};
use std::time::{Duration, Instant};

/// How long what is missing is waited for before it is read from the log; simulations have no receiver that is only slow.
const GAP_WAIT: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 250 });

/// Bodies read at a time of each log, so that memory is not overrun by much.
const FOLLOW_BYTES: usize = 64 << 10;

/// How long reading may hold up everything else.
const FOLLOW_MAX: Duration = Duration::from_millis(500);

/// Wait between tries to read a log that is away, and how long one of them may hold everything else up.
const FOLLOW_AGAIN: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 1_000 });
const FOLLOW_WAIT_AWAY: Duration = Duration::from_secs(1);

impl Engine {
    /// Takes the records of one request.
    pub(super) async fn accept(&mut self, deliveries: Vec<Delivery>) -> Result<()> {
        for delivery in deliveries {
            self.accept_one(delivery).await?;
        }
        Ok(())
    }

    /// Puts a delivery in its place and takes every record that is next.
    async fn accept_one(&mut self, delivery: Delivery) -> Result<()> {
        let log = delivery.log;
        if delivery.position > self.pipeline.next(log) {
            self.waiting.entry(log).or_default().insert(delivery.position, delivery);
            return Ok(());
        }
        // What a replay read from the log already is not taken again.
        if delivery.position == self.pipeline.next(log) {
            self.take(delivery).await?;
        }
        self.take_waiting(log).await
    }

    /// Takes what came before its predecessors, as far as those are there by now.
    async fn take_waiting(&mut self, log: LogName) -> Result<()> {
        while let Some(next) = self.next_waiting(log) {
            self.take(next).await?;
        }
        Ok(())
    }

    fn next_waiting(&mut self, log: LogName) -> Option<Delivery> {
        let next = self.pipeline.next(log);
        let waiting = self.waiting.get_mut(&log)?;
        while waiting.first_key_value().is_some_and(|(at, _)| *at < next) {
            waiting.pop_first();
        }
        waiting.remove(&next)
    }

    /// Reads from the log what was appended and is not delivered: by another process, or by a receiver that died or got no answer in between.
    pub(super) async fn follow(&mut self) -> Result<()> {
        if self.is_full() {
            // Nothing is taken at all, so nothing is missing yet.
            self.behind.clear();
            return Ok(());
        }
        if self.outage.log.is_resting(FOLLOW_AGAIN) {
            return Ok(());
        }
        if let Err(error) = self.follow_due().await {
            if error.kind() != ErrorKind::Unavailable {
                return Err(error);
            }
            if self.outage.log.note(self.clock.now(), &error) {
                tracing::warn!(%error, "the log cannot be read; it is tried again");
            }
            return Ok(());
        }
        if self.outage.log.over() {
            tracing::info!("the log can be read again");
        }
        Ok(())
    }

    async fn follow_due(&mut self) -> Result<()> {
        self.pipeline.caught_up = false;
        let due = if self.outage.log.is_away() {
            let late = |_| Err(Error::unavailable("the log does not answer"));
            tokio::time::timeout(FOLLOW_WAIT_AWAY, self.due()).await.unwrap_or_else(late)?
        } else {
            self.due().await?
        };
        if due.is_empty() {
            self.pipeline.caught_up = self.behind.is_empty();
            return Ok(());
        }
        let started = Instant::now();
        let mut merge = Merge::over(due.iter().map(|(log, end)| (*log, self.pipeline.next(*log)..*end)), FOLLOW_BYTES * due.len());
        // Memory that is full is no fuller for what lies in the log: it waits there, with its senders.
        while !self.is_full() && started.elapsed() < FOLLOW_MAX {
            let Some((log, position, record)) = merge.next(&*self.log).await? else { break };
            self.take_read(log, position, record).await?;
        }
        for (log, _) in due {
            self.take_waiting(log).await?;
            // What is left is not waited for again.
            self.behind.insert(log, (self.pipeline.next(log), started));
        }
        Ok(())
    }

    /// Logs with records that were waited for long enough, and where they end.
    async fn due(&mut self) -> Result<Vec<(LogName, Position)>> {
        let mut due = vec![];
        for log in self.logs.clone() {
            let next = self.pipeline.next(log);
            let (_, end) = self.log.bounds(log).await?;
            if end <= next {
                self.behind.remove(&log);
                continue;
            }
            let since = self.behind.entry(log).or_insert_with(|| (next, Instant::now()));
            if since.0 != next {
                // What is being delivered comes by itself.
                *since = (next, Instant::now());
            }
            if since.1.elapsed() >= GAP_WAIT {
                due.push((log, end));
            }
        }
        Ok(due)
    }
}
