//! The receivers' settings as a user writes them, their ranges, and secrets that never print themselves.

use crate::decoder::Limits;
use crate::error::{Error, Result};
use crate::snappy::INFLATED_BYTES_CEILING;
use std::collections::BTreeMap;
use std::fmt;
use subtle::ConstantTimeEq;

/// Settings of the receivers.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// Largest request body as sent, in bytes (1 KiB to 256 MiB). Larger: 413.
    pub body_bytes_max: usize,
    /// Largest remote write body after inflating, in bytes (1 KiB to 256 MiB); judged by the declared size, before inflating. Larger: 413.
    pub inflated_bytes_max: usize,
    /// How far after its arrival a sample or event may lie, in milliseconds (0 to 86,400,000). Further: refused with the reason `future`.
    pub future_ms_max: i64,
    /// Labels one series may have (1 to 1,000). More: the series is refused.
    pub series_labels_max: usize,
    /// Bytes the labels of one series may have, encoded (64 to 1,048,576). More: the series is refused.
    pub label_bytes_max: usize,
    /// Series whose labels are remembered as valid, so that they are not parsed again (0 to 67,108,864, 24 bytes each). More: some are checked again.
    pub known_series_max: usize,
    /// Bytes of all requests being worked on, in bytes (1 MiB to 64 GiB). More: 503.
    pub in_flight_bytes_max: usize,
    /// How long a body may take to arrive, in milliseconds (100 to 600,000). Longer: 408.
    pub body_wait_ms_max: u64,
    /// Secret per webhook (`alertmanager`, `incidents`, `approvals`, `llm-usage`): its bodies must carry an HMAC-SHA256 made with it.
    pub webhook_secrets: BTreeMap<String, Secret>,
    /// Bearer token per user. When there is any, every request must carry one, except where a webhook's signature stands for it.
    pub write_tokens: BTreeMap<String, Secret>,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            body_bytes_max: 16 * 1024 * 1024,
            inflated_bytes_max: 32 * 1024 * 1024,
            future_ms_max: 300_000,
            series_labels_max: 64,
            label_bytes_max: 16 * 1024,
            known_series_max: 262_144,
            in_flight_bytes_max: 256 * 1024 * 1024,
            body_wait_ms_max: 30_000,
            webhook_secrets: BTreeMap::new(),
            write_tokens: BTreeMap::new(),
        }
    }
}

/// Webhooks that have a door, by the name in their path.
pub const WEBHOOKS: [&str; 4] = ["alertmanager", "incidents", "approvals", "llm-usage"];

impl IngestConfig {
    /// Checks every value against its range.
    ///
    /// # Errors
    /// Names the first key that is out of range and what it may be.
    pub fn validate(&self) -> Result<()> {
        let check = |key: &'static str, value: u64, low: u64, high: u64, rule: &'static str| match (low..=high).contains(&value) {
            true => Ok(()),
            false => Err(Error::Config { key, value: value.to_string(), rule }),
        };
        let ceiling = INFLATED_BYTES_CEILING as u64;
        check("body_bytes_max", self.body_bytes_max as u64, 1024, ceiling, "1024 to 268435456 bytes")?;
        check("inflated_bytes_max", self.inflated_bytes_max as u64, 1024, ceiling, "1024 to 268435456 bytes")?;
        let future = u64::try_from(self.future_ms_max).unwrap_or(u64::MAX);
        check("future_ms_max", future, 0, 86_400_000, "0 to 86400000 milliseconds")?;
        check("series_labels_max", self.series_labels_max as u64, 1, 1000, "1 to 1000 labels")?;
        check("label_bytes_max", self.label_bytes_max as u64, 64, 1 << 20, "64 to 1048576 bytes")?;
        check("known_series_max", self.known_series_max as u64, 0, 1 << 26, "0 to 67108864 series")?;
        check("in_flight_bytes_max", self.in_flight_bytes_max as u64, 1 << 20, 1 << 36, "1048576 to 68719476736 bytes")?;
        check("body_wait_ms_max", self.body_wait_ms_max, 100, 600_000, "100 to 600000 milliseconds")?;
        for (name, secret) in &self.webhook_secrets {
            if !WEBHOOKS.contains(&name.as_str()) {
                let rule = "the webhooks are alertmanager, incidents, approvals and llm-usage";
                return Err(Error::Config { key: "webhook_secrets", value: name.clone(), rule });
            }
            not_empty("webhook_secrets", name, secret)?;
        }
        self.write_tokens.iter().try_for_each(|(user, token)| not_empty("write_tokens", user, token))
    }

    /// What decoding depends on.
    pub fn limits(&self) -> Limits {
        Limits {
            inflated_bytes_max: self.inflated_bytes_max,
            future_ms_max: self.future_ms_max,
            series_labels_max: self.series_labels_max,
            label_bytes_max: self.label_bytes_max,
            known_series_max: self.known_series_max,
        }
    }
}

fn not_empty(key: &'static str, name: &str, secret: &Secret) -> Result<()> {
    match name.is_empty() || secret.expose().is_empty() {
        true => Err(Error::Config { key, value: name.to_owned(), rule: "names and secrets must not be empty" }),
        false => Ok(()),
    }
}

/// A value that must not be seen: it prints and serialises as `***`.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that needs it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Compares without telling by its duration where the difference lies.
    pub fn matches(&self, candidate: &str) -> bool {
        self.0.as_bytes().ct_eq(candidate.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

#[cfg(test)]
mod tests;
