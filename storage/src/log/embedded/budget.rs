//! Bytes on disk over all logs of a folder, and the limit on them. Not a measure of free disk space.

use crate::log::error::LogError;
use crate::log::metrics::Metric;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what is kept and what is on its way there.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_max: u64,
    kept: AtomicU64,
}

/// Room for one record; given back when dropped, unless it was [`Reservation::keep`]t.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes_max, kept: AtomicU64::new(0) })
    }

    /// Takes room for a record.
    ///
    /// # Errors
    /// `Unavailable` when it would not fit, `Invalid` when it never could.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, LogError> {
        if bytes > self.bytes_max {
            return Err(LogError::TooLarge { what: "record", bytes, bytes_max: self.bytes_max });
        }
        let fits = |kept: u64| kept.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        match self.kept.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits) {
            Ok(_) => Ok(Reservation { budget: Arc::clone(self), bytes }),
            Err(kept) => {
                metrics::counter!(Metric::FullRejections.name()).increment(1);
                Err(LogError::Full { kept, needed: bytes, bytes_max: self.bytes_max })
            }
        }
    }

    /// Counts bytes that are there already.
    pub(super) fn add(&self, bytes: u64) {
        self.kept.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Counts bytes that are gone.
    pub(super) fn release(&self, bytes: u64) {
        self.kept.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Bytes kept and on their way.
    pub(super) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Acquire)
    }

    /// True when more than half is used: time to close segments early so that a trim can free them.
    pub(super) fn is_tight(&self) -> bool {
        self.kept() > self.bytes_max / 2
    }

    /// Shows the figure.
    pub(super) fn publish(&self) {
        metrics::gauge!(Metric::BytesKept.name()).set(self.kept() as f64);
    }
}

impl Reservation {
    /// Bytes taken.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes are on disk now.
    pub(super) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}
