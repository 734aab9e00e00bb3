//! Which other processes of this deployment run stages of statements. Nobody keeps a list of members: those that wait ask the one that works every
//! second anyway, and say where they are; its answers tell all of them. Not what they run (queries).

use afferent_ingest::config::Secret;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use url::Url;

/// How long a process that was heard of is taken to be there.
const HEARD_FOR: Duration = Duration::from_secs(4);

/// Processes that are remembered at once.
const PROCESSES_MAX: usize = 256;

/// A process that runs stages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Where the others find it.
    pub at: Url,
    /// What it has to be of to understand their plans.
    pub version: String,
}

/// What the processes of a deployment show each other: without it anybody could offer to run stages, and answer what he likes.
#[derive(Clone)]
pub struct Key {
    header: HeaderValue,
    secret: Secret,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The header that carries it.
pub(crate) const KEY: HeaderName = HeaderName::from_static("x-afferent-process");

impl Key {
    /// Of the deployment's secret; none where that cannot stand in a header.
    pub fn new(secret: &str) -> Option<Self> {
        let mut header = HeaderValue::from_str(secret).ok()?;
        header.set_sensitive(true);
        Some(Self { header, secret: Secret::new(secret) })
    }

    /// What goes with every question to another process.
    pub(crate) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// Whether a question comes from a process of the deployment.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        headers.get(KEY).and_then(|value| value.to_str().ok()).is_some_and(|given| self.secret.matches(given))
    }
}

/// Those that were heard of.
#[derive(Debug, Default)]
pub struct Roster {
    own: Option<Place>,
    key: Option<Key>,
    heard: Mutex<BTreeMap<Url, Instant>>,
}

impl Roster {
    /// Of a process that runs stages itself, `own` being its place, or of one that does not; without a key nobody is known.
    pub fn new(own: Option<Place>, key: Option<Key>) -> Self {
        Self { own: own.filter(|_| key.is_some()), key, heard: Mutex::default() }
    }

    /// What this process says of itself.
    pub fn own(&self) -> Option<&Place> {
        self.own.as_ref()
    }

    /// What this process shows others.
    pub(crate) fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// Whether a question comes from a process that may be asked for help, and may ask for it.
    pub(crate) fn knows(&self, headers: &HeaderMap) -> bool {
        self.key().is_some_and(|key| key.is_in(headers))
    }

    /// A process has said that it is there, or was said to be. One of another version would not understand what it is asked.
    pub fn hear(&self, place: Place, now: Instant) {
        let Some(own) = self.own() else { return };
        if place.version != own.version || place.at == own.at {
            return;
        }
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() < PROCESSES_MAX || heard.contains_key(&place.at) {
            heard.insert(place.at, now);
        }
    }

    /// Where the others are.
    pub fn others(&self, now: Instant) -> Vec<Url> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.retain(|_, at| now.duration_since(*at) <= HEARD_FOR);
        heard.keys().cloned().collect()
    }

    /// This process and the others, for one that asks.
    pub fn told(&self, now: Instant) -> Vec<Place> {
        let Some(own) = self.own() else { return Vec::new() };
        let others = self.others(now).into_iter().map(|at| Place { at, version: own.version.clone() });
        std::iter::once(own.clone()).chain(others).collect()
    }
}

#[cfg(test)]
mod tests;
