//! The one door to wall time, so that tests turn the hands themselves.

use crate::time::WallTime;
use std::sync::atomic::{AtomicI64, Ordering};

/// Tells the wall time.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch, now.
    fn now(&self) -> WallTime;
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one door to wall time")]
    fn now(&self) -> WallTime {
        WallTime(chrono::Utc::now().timestamp_millis())
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that says `now`.
    pub fn at(now: WallTime) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Moves the hands forward by `ms`.
    pub fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> WallTime {
        WallTime(self.0.load(Ordering::SeqCst))
    }
}
