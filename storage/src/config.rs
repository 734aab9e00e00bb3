//! Settings of the lake's background work. Where the store lies is an argument of [`crate::object_store::open`].

use afferent_engine::error::{Error, Result};
use afferent_engine::schema;
use std::collections::BTreeMap;

/// Compaction and vacuum.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaintainConfig {
    /// Files smaller than this, in bytes, are merged with others of their date. Range 64 KiB to `compaction_target_bytes`.
    pub compaction_small_file_bytes: u64,
    /// Merged files are made about this big, in bytes. Range 1 MiB to 1 GiB.
    pub compaction_target_bytes: u64,
    /// Seconds that a file nothing names any more is kept for readers that still use it. More than an epoch takes, or files are
    /// taken away before they are published. Range 300 to 30 days.
    pub vacuum_grace_s: u64,
    /// Seconds between two looks at the tables. Range 1 to 3600.
    pub interval_s: u64,
    /// Days that a table's dates are kept after they are over, by table; whole dates go. A table that is not named keeps everything. Range 1
    /// to 36500. Raw samples are what late ones are judged against and what a new view is filled from: neither reaches further back than `samples`.
    pub retention_days: BTreeMap<String, u32>,
}

impl Default for MaintainConfig {
    fn default() -> Self {
        Self {
            compaction_small_file_bytes: 64 * MIB,
            compaction_target_bytes: 256 * MIB,
            vacuum_grace_s: 3600,
            interval_s: 30,
            retention_days: BTreeMap::new(),
        }
    }
}

const MIB: u64 = 1024 * 1024;

/// A hundred years.
const RETENTION_DAYS_MAX: u32 = 36_500;

impl MaintainConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// `Invalid`, naming the key, its value and its range.
    pub fn validate(&self) -> Result<()> {
        let ranges = [
            ("compaction_target_bytes", self.compaction_target_bytes, MIB, 1024 * MIB),
            ("compaction_small_file_bytes", self.compaction_small_file_bytes, 64 * 1024, self.compaction_target_bytes),
            ("vacuum_grace_s", self.vacuum_grace_s, 300, 30 * 86_400),
            ("interval_s", self.interval_s, 1, 3600),
        ];
        for (key, value, least, most) in ranges {
            if value < least || value > most {
                return Err(Error::invalid(format!("{key} is {value}, but must be between {least} and {most}")));
            }
        }
        for (table, days) in &self.retention_days {
            if table.is_empty() || !table.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
                return Err(Error::invalid(format!("retention_days names {table:?}, but tables have lower-case letters, digits and underscores")));
            }
            if !(1..=RETENTION_DAYS_MAX).contains(days) {
                return Err(Error::invalid(format!("retention_days of {table} is {days}, but must be between 1 and {RETENTION_DAYS_MAX}")));
            }
        }
        Ok(())
    }

    /// Days for which both raw and pane rows are kept, where either has a retention: what is older cannot be computed again.
    pub fn pane_days(&self) -> Option<u32> {
        [schema::SAMPLES, schema::ROLLUP_1M].into_iter().filter_map(|table| self.retention_days.get(table).copied()).min()
    }
}
