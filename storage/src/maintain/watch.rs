//! What the worker tells time by: the wall for dates and ages of files, a steady count for waiting. Not a scheduler.

use afferent_engine::clock::{Clock, ManualClock, SystemClock};
use afferent_engine::time::WallTime;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Both hands. A wall clock that jumps must not make a grace period pass, so waiting is counted apart from it.
#[derive(Debug, Clone)]
pub struct Watch(Hands);

#[derive(Debug, Clone)]
enum Hands {
    /// Waiting passes so many times faster than on the machine.
    Machine(Instant, u32),
    Manual(Arc<ManualClock>, WallTime),
}

impl Watch {
    /// The machine's clocks; waiting passes `haste` times faster, 1 outside tests.
    pub(super) fn machine(haste: u32) -> Self {
        Self(Hands::Machine(Instant::now(), haste))
    }

    /// A clock that is moved by hand moves both.
    pub fn manual(clock: Arc<ManualClock>) -> Self {
        let started = clock.now();
        Self(Hands::Manual(clock, started))
    }

    /// Wall time.
    pub(super) fn now(&self) -> WallTime {
        match &self.0 {
            Hands::Machine(..) => SystemClock.now(),
            Hands::Manual(clock, _) => clock.now(),
        }
    }

    /// How long this watch runs.
    pub(super) fn elapsed(&self) -> Duration {
        match &self.0 {
            Hands::Machine(started, haste) => started.elapsed() * *haste,
            Hands::Manual(clock, started) => Duration::from_millis(u64::try_from(clock.now().0 - started.0).unwrap_or_default()),
        }
    }
}
