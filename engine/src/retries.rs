//! Remembers what was taken already: bodies within the retry window, and event ids. Not the per-sample rule (panes).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Body hashes remembered per source; the oldest go first.
pub const BODIES_MAX: usize = 131_072;

/// Event ids remembered; the oldest go first.
pub const EVENTS_MAX: usize = 1_000_000;

/// Bodies seen per source within the retry window.
#[derive(Debug, Default)]
pub struct SeenBodies {
    window_ms: i64,
    sources: HashMap<Arc<str>, Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    order: VecDeque<(i64, u128)>,
    set: HashSet<u128>,
}

impl SeenBodies {
    /// Remembers for `window_ms` of arrival time.
    pub fn new(window_ms: i64) -> Self {
        Self { window_ms, sources: HashMap::new() }
    }

    /// True where the same bytes came from this source within the window; else remembers them.
    pub fn is_retry(&mut self, source: &Arc<str>, received_at: i64, hash: u128) -> bool {
        let ring = self.sources.entry(source.clone()).or_default();
        while ring.order.front().is_some_and(|(at, _)| *at < received_at - self.window_ms) || ring.order.len() >= BODIES_MAX {
            if let Some((_, old)) = ring.order.pop_front() {
                ring.set.remove(&old);
            }
        }
        if !ring.set.insert(hash) {
            return true;
        }
        ring.order.push_back((received_at, hash));
        false
    }

    /// Forgets sources whose newest body is older than the window at `now`.
    pub fn forget_idle(&mut self, now: i64) {
        let horizon = now - self.window_ms;
        self.sources.retain(|_, ring| ring.order.back().is_some_and(|(at, _)| *at >= horizon));
    }

    /// Everything remembered: source, arrival, hash; oldest first per source.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, i64, u128)> {
        self.sources.iter().flat_map(|(source, ring)| ring.order.iter().map(move |(at, hash)| (source, *at, *hash)))
    }
}

/// Event ids seen.
#[derive(Debug, Default)]
pub struct SeenEvents {
    order: VecDeque<u128>,
    set: HashSet<u128>,
}

impl SeenEvents {
    /// True where this event was taken before; else remembers it.
    pub fn is_repeat(&mut self, source: &str, kind: &str, event_id: &str) -> bool {
        let mut text = Vec::with_capacity(source.len() + kind.len() + event_id.len() + 2);
        for part in [source, kind, event_id] {
            text.extend_from_slice(part.as_bytes());
            text.push(0xff);
        }
        !self.remember(xxhash_rust::xxh3::xxh3_128(&text))
    }

    /// Remembers a hash; false where it was there.
    pub fn remember(&mut self, hash: u128) -> bool {
        if !self.set.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > EVENTS_MAX
            && let Some(old) = self.order.pop_front()
        {
            self.set.remove(&old);
        }
        true
    }

    /// Everything remembered, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = u128> {
        self.order.iter().copied()
    }
}

#[cfg(test)]
mod tests;
