//! Watermarks per source and their minimum. Time is judged by when records came in, never by this machine's clock, so a replay judges alike.

use crate::time::{EventTime, WallTime};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How far a source has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceClock {
    /// Its newest event time.
    pub event_time_max: EventTime,
    /// When its newest record came in.
    pub last_received: WallTime,
}

/// The watermark of one partition.
#[derive(Debug, Clone)]
pub struct Watermark {
    slack_ms: i64,
    idle_ms: i64,
    lateness_ms: i64,
    sources: BTreeMap<Arc<str>, SourceClock>,
    newest_received: WallTime,
    current: Option<EventTime>,
}

/// Sources kept; the longest silent one makes room (it comes back as a new source when it speaks again).
pub const SOURCES_MAX: usize = 10_000;

impl Watermark {
    /// No source seen; `slack_ms` is how much later than the newest sample its neighbours may come, `idle_ms` how long a silent source holds
    /// others back. A source further behind than `lateness_ms` holds nobody back: what it sends is final already.
    pub fn new(slack_ms: i64, idle_ms: i64, lateness_ms: i64) -> Self {
        Self { slack_ms, idle_ms, lateness_ms, sources: BTreeMap::new(), newest_received: WallTime::default(), current: None }
    }

    /// Takes the newest event time of a record (`None`: it held no sample) and moves the watermark, never back.
    pub fn observe(&mut self, source: &Arc<str>, newest: Option<EventTime>, received_at: WallTime) {
        self.newest_received = self.newest_received.max(received_at);
        match (self.sources.get_mut(source), newest) {
            (Some(clock), newest) => {
                clock.last_received = clock.last_received.max(received_at);
                clock.event_time_max = newest.map_or(clock.event_time_max, |n| clock.event_time_max.max(n));
            }
            (None, Some(event_time_max)) => {
                self.make_room();
                self.sources.insert(source.clone(), SourceClock { event_time_max, last_received: received_at });
            }
            (None, None) => {}
        }
        let hopeless = self.current.map(|now| now.plus_ms(-self.lateness_ms));
        let leading = self.sources.values().filter(|s| self.is_active(s) && Some(s.event_time_max) >= hopeless);
        let low = leading.map(|s| s.event_time_max).min();
        self.current = self.current.max(low.map(|t| t.plus_ms(-self.slack_ms)));
    }

    fn make_room(&mut self) {
        if self.sources.len() >= SOURCES_MAX {
            let longest_silent = self.sources.iter().min_by_key(|(_, s)| s.last_received).map(|(name, _)| name.clone());
            if let Some(name) = longest_silent {
                self.sources.remove(&name);
            }
        }
    }

    /// True while the source holds the watermark back.
    pub fn is_active(&self, source: &SourceClock) -> bool {
        self.newest_received.0 - source.last_received.0 <= self.idle_ms
    }

    /// Everything before it is complete, but for what comes late.
    pub fn current(&self) -> Option<EventTime> {
        self.current
    }

    /// The newest event time of any source.
    pub fn newest(&self) -> Option<EventTime> {
        self.sources.values().map(|s| s.event_time_max).max()
    }

    /// Every known source.
    pub fn sources(&self) -> impl Iterator<Item = (&Arc<str>, &SourceClock)> {
        self.sources.iter()
    }

    /// Takes the watermark of those that have the sources.
    pub fn advance(&mut self, to: Option<EventTime>, newest_received: WallTime) {
        (self.current, self.newest_received) = (self.current.max(to), self.newest_received.max(newest_received));
    }

    /// Puts back what a checkpoint kept.
    pub fn restore(&mut self, current: Option<EventTime>, newest_received: WallTime, sources: BTreeMap<Arc<str>, SourceClock>) {
        (self.current, self.newest_received, self.sources) = (current, newest_received, sources);
    }

    /// When the newest record of any source came in.
    pub fn newest_received(&self) -> WallTime {
        self.newest_received
    }
}

#[cfg(test)]
mod tests;
