//! The settings of librdkafka that a configuration may pass through: encryption, authentication, connections. Not those that durability rests on.

use super::error::KafkaLogError;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::fmt;

/// What may be passed through.
const ALLOWED: [&str; 26] = [
    "broker.address.family",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "connections.max.idle.ms",
    "enable.ssl.certificate.verification",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "socket.keepalive.enable",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.sigalgs.list",
];

/// Those of them that nobody may see.
const SECRET: [&str; 4] = ["sasl.password", "ssl.key.password", "ssl.key.pem", "ssl.keystore.password"];

/// What the log sets itself because its promises rest on it, with the reason.
const OURS: [(&str, &str); 13] = [
    ("acks", "a record is acknowledged by all in-sync replicas before its sender is"),
    ("request.required.acks", "a record is acknowledged by all in-sync replicas before its sender is"),
    ("enable.idempotence", "a retry inside the client must not write a record twice"),
    ("enable.gapless.guarantee", "a lost acknowledgement must not end the log"),
    ("max.in.flight", "records are written once and in order"),
    ("max.in.flight.requests.per.connection", "records are written once and in order"),
    ("retries", "log.append_wait_ms says how long it is tried"),
    ("delivery.timeout.ms", "log.append_wait_ms says how long it is tried"),
    ("message.timeout.ms", "log.append_wait_ms says how long it is tried"),
    ("transactional.id", "each record is acknowledged by itself"),
    ("enable.auto.commit", "positions are kept in checkpoints"),
    ("auto.offset.reset", "a position that is gone is an error, not a jump"),
    ("bootstrap.servers", "log.url names the brokers"),
];

/// Stands in place of a secret.
const MASK: &str = "********";

/// Settings by their names; `Debug` masks secrets.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Takes them as they are; [`Self::validate`] checks them.
    pub fn new(settings: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(settings.into_iter().collect())
    }

    /// True where nobody may see the value of that setting.
    pub fn is_secret(name: &str) -> bool {
        SECRET.contains(&name)
    }

    /// Checks the names against the list of what may be passed through, and whether librdkafka takes the values.
    ///
    /// # Errors
    /// `Invalid`, naming the setting and why it is not taken, without any secret.
    pub fn validate(&self) -> Result<(), KafkaLogError> {
        if let Some(name) = self.0.keys().find(|name| !ALLOWED.contains(&name.as_str())) {
            let problem = match OURS.iter().find(|(ours, _)| ours == name) {
                Some((_, why)) => format!("is not to be set: {why}"),
                None => format!("is not passed through; these are: {}", ALLOWED.join(", ")),
            };
            return Err(KafkaLogError::setting(key(name), problem));
        }
        let all: ClientConfig = self.0.clone().into_iter().collect();
        all.create_native_config().map(drop).map_err(|error| self.refused(&error))
    }

    /// What librdkafka says against a configuration.
    pub(super) fn refused(&self, error: &KafkaError) -> KafkaLogError {
        match error {
            KafkaError::ClientConfig(_, _, name, _) if Self::is_secret(name) => KafkaLogError::setting(key(name), "its value is not taken"),
            KafkaError::ClientConfig(_, problem, name, _) => KafkaLogError::setting(key(name), self.masked(problem)),
            other => KafkaLogError::setting("kafka", self.masked(&other.to_string())),
        }
    }

    /// Name and value of each, secrets included.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// True where brokers want more than a plain connection.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text without any secret that it may hold.
    pub(super) fn masked(&self, text: &str) -> String {
        let secrets = self.iter().filter(|(name, value)| Self::is_secret(name) && !value.is_empty());
        secrets.fold(text.to_owned(), |text, (_, secret)| text.replace(secret, MASK))
    }
}

fn key(name: &str) -> String {
    format!("kafka.{name:?}")
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.iter().map(|(name, value)| (name, if Self::is_secret(name) { MASK } else { value }));
        f.debug_map().entries(shown).finish()
    }
}

#[cfg(test)]
mod tests;
