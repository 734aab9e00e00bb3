//! How much may be worked on at once. What exceeds it is told to come back; nothing waits here.

use crate::error::{Error, Result};
use crate::metrics::Metric;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests being worked on at once.
const REQUESTS_MAX: usize = 512;
/// Bytes are counted in units of this, so that any size fits the counter.
const UNIT_BYTES: usize = 1024;

/// The room there is.
pub(crate) struct InFlight {
    requests: Arc<Semaphore>,
    units: Arc<Semaphore>,
    units_max: usize,
}

/// One request's share of the room; given back when dropped.
pub(crate) struct Hold {
    _request: OwnedSemaphorePermit,
    units: OwnedSemaphorePermit,
}

impl InFlight {
    /// Room for `bytes_max`.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let units_max = (bytes_max / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { requests: Arc::new(Semaphore::new(REQUESTS_MAX)), units: Arc::new(Semaphore::new(units_max)), units_max }
    }

    /// Takes room for a request that will need about `bytes`.
    pub(crate) fn enter(&self, bytes: usize) -> Result<Hold> {
        let request = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| Error::Busy { what: "512 requests are in flight" })?;
        Ok(Hold { _request: request, units: self.take(bytes)? })
    }

    /// Takes more room for a request that turned out to need it.
    pub(crate) fn grow(&self, hold: &mut Hold, bytes: usize) -> Result<()> {
        hold.units.merge(self.take(bytes.min(self.left(hold)))?);
        Ok(())
    }

    /// One request alone may always run, however large: it is counted as no more than all there is.
    fn left(&self, hold: &Hold) -> usize {
        (self.units_max - hold.units.num_permits().min(self.units_max)) * UNIT_BYTES
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let units = bytes.div_ceil(UNIT_BYTES).min(self.units_max);
        let busy = |_| Error::Busy { what: "in_flight_bytes_max is reached" };
        let permit = Arc::clone(&self.units).try_acquire_many_owned(units as u32).map_err(busy)?;
        metrics::gauge!(Metric::InFlightBytes.name()).increment((units * UNIT_BYTES) as f64);
        Ok(permit)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        metrics::gauge!(Metric::InFlightBytes.name()).decrement((self.units.num_permits() * UNIT_BYTES) as f64);
    }
}

#[cfg(test)]
mod tests;
