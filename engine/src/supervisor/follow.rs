//! Records in the order of the log: what is delivered in memory, and what lies in the log and is not.

use super::Engine;
use super::ends::{ANSWER_WAIT, End, Ends};
use super::merge::Merge;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::Delivery;
use crate::log::{LogName, LogReader, Position};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

/// How long what is missing is waited for before it is read from the log; simulations have no receiver that is only slow.
const GAP_WAIT: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 250 });

/// Bodies read at a time of each log, so that memory is not overrun by much.
const FOLLOW_BYTES: usize = 64 << 10;

/// How long reading may hold up everything else.
const FOLLOW_MAX: Duration = Duration::from_millis(500);

/// How far the logs are read.
#[derive(Default)]
pub(super) struct Following {
    ends: Ends,
    reading: Option<Reading>,
    /// Logs with records that are not delivered: from which position, and since when.
    behind: BTreeMap<LogName, (Position, Instant)>,
    /// What the logs answered last.
    answered: Vec<End>,
    /// An end that a log had at that instant; the next one is looked at when everything before it is taken.
    open: BTreeMap<LogName, (Position, Instant)>,
    /// Everything that anybody had acknowledged by then is taken.
    pub(super) read_until: BTreeMap<LogName, Instant>,
}

/// What is read of the logs at present, and takes long.
struct Reading {
    from: Vec<(LogName, Position)>,
    began: Instant,
    filling: Pin<Box<dyn Future<Output = (Merge, Result<()>)> + Send>>,
}

impl Reading {
    fn of(mut merge: Merge, reader: Arc<dyn LogReader>) -> Self {
        let from = merge.dry().collect();
        let filling = async move {
            let filled = merge.fill(&*reader).await;
            (merge, filled)
        };
        Self { from, began: Instant::now(), filling: Box::pin(filling) }
    }
}

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
            self.following.behind.clear();
            return Ok(());
        }
        match self.follow_due().await? {
            Some(error) if self.outage.log.note(self.clock.now(), &error) => tracing::warn!(%error, "the log cannot be read; it is tried again"),
            None if self.outage.log.over() => tracing::info!("the log can be read again"),
            _ => {}
        }
        Ok(())
    }

    /// What keeps it from reading all there is, if anything does but time.
    async fn follow_due(&mut self) -> Result<Option<Error>> {
        self.pipeline.caught_up = false;
        let (ends, silent) = self.following.ends.ask(&self.log, &self.logs).await?;
        let due = self.due(&ends);
        let started = Instant::now();
        let read = match self.following.reading.take() {
            Some(reading) => self.read_on(reading, started).await,
            None if due.is_empty() => {
                self.pipeline.caught_up = self.following.behind.is_empty() && silent.is_none();
                Ok(None)
            }
            None => {
                let ranges = due.iter().map(|(log, end)| (*log, self.pipeline.next(*log)..*end));
                let reading = Reading::of(Merge::over(ranges, FOLLOW_BYTES * due.len()), self.log.clone());
                self.read_on(reading, started).await
            }
        };
        for (log, _) in due {
            self.take_waiting(log).await?;
            // What is left is not waited for again.
            self.following.behind.insert(log, (self.pipeline.next(log), started));
        }
        self.following.answered = ends;
        match read {
            Err(error) if error.kind() == ErrorKind::Unavailable => Ok(Some(error)),
            read => Ok(read?.or(silent)),
        }
    }

    /// Logs with records that were waited for long enough, and where they end.
    fn due(&mut self, ends: &[End]) -> Vec<(LogName, Position)> {
        let mut due = vec![];
        for end in ends {
            let next = self.pipeline.next(end.log);
            if end.next <= next {
                self.following.behind.remove(&end.log);
                continue;
            }
            let since = self.following.behind.entry(end.log).or_insert_with(|| (next, Instant::now()));
            if since.0 != next {
                // What is being delivered comes by itself.
                *since = (next, Instant::now());
            }
            if since.1.elapsed() >= GAP_WAIT {
                due.push((end.log, end.next));
            }
        }
        due
    }

    /// Takes what is read, and reads on for as long as that may take; what the log keeps to itself holds nothing up.
    async fn read_on(&mut self, mut reading: Reading, started: Instant) -> Result<Option<Error>> {
        loop {
            let deadline = reading.began + ANSWER_WAIT;
            let Ok((mut merge, filled)) = timeout_at(deadline.into(), &mut reading.filling).await else {
                let logs: Vec<String> = reading.from.iter().map(|(log, _)| log.to_string()).collect();
                let error = Error::unavailable(format!("{} does not give its records", logs.join(", ")));
                self.following.reading = Some(reading);
                return Ok(Some(error));
            };
            // What was delivered, checkpointed and trimmed meanwhile is not there to be read.
            if filled.is_err() && reading.from.iter().any(|(log, from)| self.pipeline.next(*log) > *from) {
                return Ok(None);
            }
            filled?;
            while merge.dry().next().is_none() {
                // Memory that is full is no fuller for what lies in the log: it waits there, with its senders.
                if self.is_full() || started.elapsed() >= FOLLOW_MAX {
                    return Ok(None);
                }
                let Some((log, position, record)) = merge.pop() else { return Ok(None) };
                // Others may have been delivered while it was read.
                if position >= self.pipeline.next(log) {
                    self.take_read(log, position, record).await?;
                }
            }
            reading = Reading::of(merge, self.log.clone());
        }
    }

    /// Notes until when everything that was acknowledged is in what readers see from now on; not what is late, which waits for its repair. To be called
    /// when out-of-order samples had their chance: those that could not be placed are nowhere to be seen.
    pub(super) fn look_how_far(&mut self) {
        let ends = std::mem::take(&mut self.following.answered);
        if self.pipeline.has_slow() {
            return;
        }
        for end in ends {
            let open = self.following.open.entry(end.log).or_insert((end.next, end.asked));
            let next = self.pipeline.next(end.log);
            if open.0 <= next {
                let until = if end.next <= next { end.asked } else { open.1 };
                self.following.read_until.insert(end.log, until);
                *open = (end.next, end.asked);
            }
        }
    }
}
