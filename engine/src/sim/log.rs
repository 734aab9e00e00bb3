//! A log in memory.

use crate::error::{Error, Result};
use crate::log::{LogName, LogReader, LogWriter, Position, Record};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Keeps records until they are trimmed. Shared by writer and reader.
#[derive(Debug, Default)]
pub struct MemoryLog {
    identity: Option<String>,
    logs: Mutex<BTreeMap<LogName, Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    first: u64,
    records: Vec<Record>,
}

impl MemoryLog {
    /// One that says what it is.
    pub fn named(identity: Option<&str>) -> Self {
        Self { identity: identity.map(str::to_owned), ..Self::default() }
    }

    fn with<T>(&self, log: LogName, work: impl FnOnce(&mut Kept) -> T) -> T {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        work(logs.entry(log).or_default())
    }
}

#[async_trait]
impl LogWriter for MemoryLog {
    async fn append(&self, log: LogName, record: Record) -> Result<Position> {
        Ok(self.with(log, |kept| {
            kept.records.push(record);
            Position(kept.first + kept.records.len() as u64 - 1)
        }))
    }
}

#[async_trait]
impl LogReader for MemoryLog {
    async fn read(&self, log: LogName, from: Position, bytes_max: usize) -> Result<Vec<(Position, Record)>> {
        self.with(log, |kept| {
            let skip = from.0.checked_sub(kept.first).ok_or_else(|| Error::invalid(format!("{log}: {} was trimmed away", from.0)))?;
            let mut bytes = 0;
            let records = kept.records.iter().enumerate().skip(skip as usize).take_while(|(_, r)| {
                let more = bytes < bytes_max.max(1);
                bytes += r.body.len().max(1);
                more
            });
            Ok(records.map(|(i, r)| (Position(kept.first + i as u64), r.clone())).collect())
        })
    }

    async fn bounds(&self, log: LogName) -> Result<(Position, Position)> {
        Ok(self.with(log, |kept| (Position(kept.first), Position(kept.first + kept.records.len() as u64))))
    }

    async fn trim(&self, log: LogName, before: Position) -> Result<()> {
        self.with(log, |kept| {
            let gone = before.0.saturating_sub(kept.first).min(kept.records.len() as u64);
            kept.records.drain(..gone as usize);
            kept.first += gone;
        });
        Ok(())
    }

    fn identity(&self) -> Option<String> {
        self.identity.clone()
    }
}
