//! What a process does of the whole: take records in, work the log, answer readers. Not which of those who may work does (storage).

use super::{Check, ConfigError, LogConfig, StorePlace};
use crate::nearest::nearest;

/// The names, as they are written.
const NAMES: [&str; 3] = ["intake", "work", "query"];

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// It takes records in.
    pub intake: bool,
    /// It works the log when it is its turn.
    pub work: bool,
    /// It answers readers.
    pub query: bool,
}

impl Default for Roles {
    fn default() -> Self {
        Self { intake: true, work: true, query: true }
    }
}

impl Check<'_> {
    /// The roles of `text`. A process that is alone has to have them all.
    pub(super) fn roles(&self, text: &str, log: &LogConfig, store: &StorePlace) -> Result<Roles, ConfigError> {
        const KEY: &str = "server.roles";
        let mut roles = Roles { intake: false, work: false, query: false };
        for name in text.split(',').map(str::trim) {
            let role = match name {
                "intake" => &mut roles.intake,
                "work" => &mut roles.work,
                "query" => &mut roles.query,
                _ => {
                    let hint = nearest(name, NAMES).map_or_else(|| format!("roles: {}", NAMES.join(", ")), |near| format!("did you mean {near}?"));
                    return Err(self.wrong(KEY, format!("{name:?} is no role; {hint}")));
                }
            };
            if std::mem::replace(role, true) {
                return Err(self.wrong(KEY, format!("{name} stands twice")));
            }
        }
        if roles != Roles::default() && !shares(log, store) {
            let message = "a process shares the roles with others only where log.url is kafka:// and store.url is s3://; else it needs all of them";
            return Err(self.wrong(KEY, message));
        }
        Ok(roles)
    }

    /// Several processes work one log only where they share it and the store, and can be found.
    pub(super) fn engine_per_partition(&self, log: &LogConfig, store: &StorePlace, advertise: Option<&str>) -> Result<(), ConfigError> {
        const KEY: &str = "server.engine_per_partition";
        if !shares(log, store) {
            return Err(self.wrong(KEY, "partitions have engines of their own only where log.url is kafka:// and store.url is s3://"));
        }
        if advertise.is_none() {
            return Err(self.wrong(KEY, "processes ask each other what their partitions say: server.advertise must say where this one is"));
        }
        Ok(())
    }
}

/// Whether other processes may have the same log and store.
fn shares(log: &LogConfig, store: &StorePlace) -> bool {
    matches!((log, store), (LogConfig::Kafka(_), StorePlace::Bucket(_)))
}
