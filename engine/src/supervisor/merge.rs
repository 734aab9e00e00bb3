//! Records of several logs in the order in which they came in, as nearly as that can be told: what one partition holds of a minute is not taken
//! long after what another one holds of it. Not the order within a log, which is the log's.

use crate::error::Result;
use crate::log::{LogName, LogReader, Position, Record};
use std::collections::VecDeque;
use std::ops::Range;

/// See the module.
pub(super) struct Merge {
    queues: Vec<Queue>,
    bytes_max: usize,
}

struct Queue {
    log: LogName,
    from: Position,
    until: Position,
    read: VecDeque<(Position, Record)>,
}

impl Queue {
    /// Nothing of it can be given before more is read.
    fn is_dry(&self) -> bool {
        self.read.is_empty() && self.from < self.until
    }
}

impl Merge {
    /// Each log from its position on until another one; about `bytes_max` bytes of bodies are read at a time, of all of them together.
    pub(super) fn over(logs: impl IntoIterator<Item = (LogName, Range<Position>)>, bytes_max: usize) -> Self {
        let queue = |(log, Range { start, end })| Queue { log, from: start, until: end, read: VecDeque::new() };
        let queues: Vec<Queue> = logs.into_iter().map(queue).collect();
        let bytes_max = bytes_max / queues.len().max(1);
        Self { queues, bytes_max }
    }

    /// The next record; none where all logs are read as far as they are to be.
    pub(super) async fn next(&mut self, reader: &dyn LogReader) -> Result<Option<(LogName, Position, Record)>> {
        self.fill(reader).await?;
        Ok(self.pop())
    }

    /// The logs of which more has to be read, and from where, before it can be told which record is next.
    pub(super) fn dry(&self) -> impl Iterator<Item = (LogName, Position)> {
        self.queues.iter().filter(|q| q.is_dry()).map(|q| (q.log, q.from))
    }

    /// Reads on, where that has to be.
    pub(super) async fn fill(&mut self, reader: &dyn LogReader) -> Result<()> {
        for queue in self.queues.iter_mut().filter(|q| q.is_dry()) {
            queue.read = reader.read(queue.log, queue.from, self.bytes_max).await?.into();
            // Positions may end in a gap: then there is nothing more.
            queue.from = queue.read.back().map_or(queue.until, |(last, _)| last.next());
        }
        Ok(())
    }

    /// The next record of what is read; to be called when nothing is dry.
    pub(super) fn pop(&mut self) -> Option<(LogName, Position, Record)> {
        let arrival = |queue: &Queue| queue.read.front().map(|(_, record)| record.received_at);
        let first = self.queues.iter_mut().filter(|q| !q.read.is_empty()).min_by_key(|q| arrival(q));
        first.and_then(|queue| queue.read.pop_front().map(|(at, record)| (queue.log, at, record)))
    }
}
