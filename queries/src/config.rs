//! What an operator may set about queries. Not the defaults' documentation: that is `default.toml`.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Bytes one statement may have.
pub const STATEMENT_BYTES_MAX: usize = 256 * 1024;
/// Milliseconds a statement waits for a free slot.
pub const SLOT_WAIT_MS: u64 = 2_000;
/// Batches that lie ready between a query and its reader.
pub const BATCHES_AHEAD_MAX: usize = 2;

/// Limits of ad hoc SQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SqlLimits {
    /// Rows of one answer.
    pub rows_max: u64,
    /// Bytes one query may hold while it sorts, joins and groups.
    pub memory_bytes_max: u64,
    /// Seconds from the statement's arrival to its last row.
    pub seconds_max: u64,
    /// Queries that run at once.
    pub concurrent_max: usize,
    /// Threads that run them.
    pub threads: usize,
    /// Bytes of published files that a query reads of one table before other processes help with it.
    pub spread_bytes_min: u64,
}

impl Default for SqlLimits {
    fn default() -> Self {
        Self { rows_max: 1_000_000, memory_bytes_max: 1 << 30, seconds_max: 30, concurrent_max: 8, threads: 2, spread_bytes_min: 64 << 20 }
    }
}

impl SqlLimits {
    /// Checks the ranges.
    ///
    /// # Errors
    /// `Invalid`, naming the key.
    pub fn check(&self) -> Result<()> {
        let range = |key: &str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(Error::definition("configuration", format!("sql.{key} = {value} must lie in {low}..={high}")))
            }
        };
        range("rows_max", self.rows_max, 1, 1_000_000_000)?;
        range("memory_bytes_max", self.memory_bytes_max, 1 << 20, 1 << 40)?;
        range("seconds_max", self.seconds_max, 1, 3_600)?;
        range("concurrent_max", self.concurrent_max as u64, 1, 1_000)?;
        range("threads", self.threads as u64, 1, 256)?;
        range("spread_bytes_min", self.spread_bytes_min, 0, 1 << 50)
    }
}
