//! Records in the order of the log: what is delivered in memory, and what lies in the log and is not.

use super::Engine;
use crate::error::{ErrorKind, Result};
use crate::intake::Delivery;
use crate::log::LogName;
use std::time::{Duration, Instant};

/// How long what is missing is waited for before it is read from the log; simulations have no receiver that is only slow.
const GAP_WAIT: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 250 });

/// Bodies read at a time, so that memory is not overrun by much.
const FOLLOW_BYTES: usize = 64 << 10;

/// How long reading may hold up everything else.
const FOLLOW_MAX: Duration = Duration::from_millis(500);

impl Engine {
    /// Puts a delivery in its place and takes every record that is next.
    pub(super) async fn accept(&mut self, delivery: Delivery) -> Result<()> {
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
        for log in self.logs.clone() {
            if let Err(error) = self.follow_one(log).await {
                if error.kind() != ErrorKind::Unavailable {
                    return Err(error);
                }
                if self.outage.log.note(self.clock.now(), &error) {
                    tracing::warn!(%log, %error, "the log cannot be read; it is tried again");
                }
                return Ok(());
            }
        }
        if self.outage.log.over() {
            tracing::info!("the log can be read again");
        }
        Ok(())
    }

    async fn follow_one(&mut self, log: LogName) -> Result<()> {
        let next = self.pipeline.next(log);
        let waits = self.waiting.get(&log).is_some_and(|waiting| !waiting.is_empty());
        if !waits && self.log.bounds(log).await?.1 <= next {
            self.behind.remove(&log);
            return Ok(());
        }
        let since = self.behind.entry(log).or_insert_with(|| (next, Instant::now()));
        if since.0 != next {
            // What is being delivered comes by itself.
            *since = (next, Instant::now());
        }
        if since.1.elapsed() < GAP_WAIT {
            return Ok(());
        }
        let started = Instant::now();
        // Memory that is full is no fuller for what lies in the log: it waits there, with its senders.
        while !self.is_full() && self.take_some(log, FOLLOW_BYTES).await? {
            if started.elapsed() >= FOLLOW_MAX {
                break;
            }
        }
        self.take_waiting(log).await?;
        // What is left is not waited for again.
        self.behind.insert(log, (self.pipeline.next(log), started));
        Ok(())
    }
}
