//! Where the logs end, asked with every tick. A log that does not answer holds up neither the tick nor the others, and is not asked twice at a time.

use crate::error::{Error, ErrorKind, Result};
use crate::log::{LogName, LogReader, Position};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::timeout_at;

/// How long an answer is waited for, once.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Wait until a log that failed is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 1_000 });

/// See the module.
#[derive(Default)]
pub(super) struct Ends {
    /// Questions, each with the log and when it was asked.
    asked: JoinSet<(LogName, Instant, Result<Position>)>,
    unanswered: BTreeMap<LogName, Instant>,
    failed: BTreeMap<LogName, Instant>,
}

/// A log's answer.
pub(super) struct End {
    pub(super) log: LogName,
    /// The position after its last record.
    pub(super) next: Position,
    /// Whatever anybody had acknowledged by then lies before that position.
    pub(super) asked: Instant,
}

impl Ends {
    /// Answers that have come, in the order of the logs; and what keeps the others, if there are others.
    ///
    /// # Errors
    /// As [`LogReader::bounds`], but for `Unavailable`.
    pub(super) async fn ask(&mut self, reader: &Arc<dyn LogReader>, logs: &[LogName]) -> Result<(Vec<End>, Option<Error>)> {
        let mut away = None;
        for log in logs.iter().copied() {
            if self.failed.get(&log).is_some_and(|failed| failed.elapsed() < ASK_AGAIN) {
                away.get_or_insert_with(|| Error::unavailable(format!("the log {log} could not be asked a moment ago")));
            } else if let Entry::Vacant(unanswered) = self.unanswered.entry(log) {
                let (reader, asked) = (reader.clone(), *unanswered.insert(Instant::now()));
                self.asked.spawn(async move { (log, asked, reader.bounds(log).await.map(|(_, next)| next)) });
            }
        }
        let mut ends = vec![];
        while let Some(newest) = self.unanswered.values().max() {
            let Ok(answered) = timeout_at((*newest + ANSWER_WAIT).into(), self.asked.join_next()).await else { break };
            let Some(answered) = answered else { break };
            let (log, asked, next) = answered.map_err(|e| Error::internal(format!("asking a log failed: {e}")))?;
            self.unanswered.remove(&log);
            self.failed.remove(&log);
            match next {
                Ok(next) => ends.push(End { log, next, asked }),
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    self.failed.insert(log, Instant::now());
                    away = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        ends.sort_by_key(|end| end.log);
        let silent = self.unanswered.first_key_value().map(|(log, _)| Error::unavailable(format!("the log {log} does not say where it ends")));
        Ok((ends, away.or(silent)))
    }
}

#[cfg(test)]
mod tests;
