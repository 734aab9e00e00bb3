//! Rows in the memory of another process: fetched when a statement is planned, told to be over when it has ended.

use super::ROWS_WAIT;
use afferent_engine::error::{Error, ErrorKind, Result};
use afferent_engine::live::{LiveFilter, LiveRows};
use afferent_engine::schema::TableName;
use afferent_engine::state::decode_batches;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes that are read of the rows of one table; the process that works gives no more.
pub(super) const ROWS_BYTES_MAX: usize = 256 << 20;

/// Which rows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RowsAsked {
    /// Of which state.
    pub(super) read: u64,
    /// Of which table.
    pub(super) table: TableName,
    /// Which of them.
    pub(super) filter: LiveFilter,
}

/// A state that the process that works keeps for one statement.
pub(super) struct Lease {
    agent: ureq::Agent,
    url: String,
    read: u64,
    /// Until the first rows come.
    wait: Duration,
    over: Arc<Mutex<Vec<u64>>>,
    failed: AtomicBool,
    too_large: AtomicBool,
}

impl Lease {
    pub(super) fn new(agent: ureq::Agent, url: String, read: u64, wait: Duration, over: Arc<Mutex<Vec<u64>>>) -> Arc<Self> {
        Arc::new(Self { agent, url, read, wait, over, failed: AtomicBool::new(false), too_large: AtomicBool::new(false) })
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.too_large.load(Ordering::Acquire)
    }

    fn fetch(&self, table: &TableName, filter: &LiveFilter) -> Result<Vec<RecordBatch>> {
        let failed = |why: String| {
            self.failed.store(true, Ordering::Release);
            Error::new(ErrorKind::Unavailable, format!("rows in memory of {table} cannot be had from {}: {why}", self.url))
        };
        let asked = RowsAsked { read: self.read, table: table.clone(), filter: filter.clone() };
        let body = serde_json::to_vec(&asked).map_err(|e| failed(e.to_string()))?;
        let request = self.agent.post(&self.url).config().timeout_global(Some(ROWS_WAIT)).timeout_recv_response(Some(self.wait)).build();
        let request = request.header("content-type", "application/json");
        let mut answer = request.send(body.as_slice()).map_err(|e| failed(e.to_string()))?;
        match answer.status().as_u16() {
            200 => {}
            204 => return Ok(vec![]),
            413 => {
                self.too_large.store(true, Ordering::Release);
                let limit = ROWS_BYTES_MAX >> 20;
                return Err(Error::invalid(format!(
                    "more than {limit} MiB of {table} are in the memory of another process: narrow the statement by metric or time"
                )));
            }
            status => return Err(failed(format!("HTTP {status}"))),
        }
        let bytes = answer.body_mut().with_config().limit(2 * ROWS_BYTES_MAX as u64).read_to_vec().map_err(|e| failed(e.to_string()))?;
        decode_batches(&bytes).map_err(|e| failed(e.to_string()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.over.lock().unwrap_or_else(PoisonError::into_inner).push(self.read);
    }
}

/// The rows of one table.
pub(super) struct RemoteRows {
    table: TableName,
    lease: Arc<Lease>,
}

impl RemoteRows {
    pub(super) fn new(table: TableName, lease: Arc<Lease>) -> Self {
        Self { table, lease }
    }
}

impl LiveRows for RemoteRows {
    fn scan(&self, filter: &LiveFilter) -> Result<Vec<RecordBatch>> {
        self.lease.fetch(&self.table, filter)
    }
}
