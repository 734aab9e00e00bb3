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
        for queue in self.queues.iter_mut().filter(|q| q.read.is_empty() && q.from < q.until) {
            queue.read = reader.read(queue.log, queue.from, self.bytes_max).await?.into();
            // Positions may end in a gap: then there is nothing more.
            queue.from = queue.read.back().map_or(queue.until, |(last, _)| last.next());
        }
        let arrival = |queue: &Queue| queue.read.front().map(|(_, record)| record.received_at);
        let first = self.queues.iter_mut().filter(|q| !q.read.is_empty()).min_by_key(|q| arrival(q));
        Ok(first.and_then(|queue| queue.read.pop_front().map(|(at, record)| (queue.log, at, record))))
    }
}
