//! The configuration: what stands in the file and on the command line, checked and turned into what the program uses. `default.toml` is the manual.

mod document;
mod error;
mod log;
mod roles;

pub use document::{DEFAULT_TOML, Document, Origin};
pub use error::ConfigError;
pub use log::LogConfig;
pub use roles::Roles;

use afferent_engine::config::EngineConfig;
use afferent_ingest::config::{IngestConfig, Secret};
use afferent_queries::config::SqlLimits;
use afferent_storage::config::MaintainConfig;
use afferent_storage::log::kafka::settings::Settings;
use afferent_storage::object_store::s3::Bucket;
use axum::http::Uri;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The effective configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The HTTP server.
    pub server: ServerConfig,
    /// Logs.
    pub telemetry: TelemetryConfig,
    /// Folder for everything on this machine.
    pub data_dir: PathBuf,
    /// The log.
    pub log: LogConfig,
    /// The receivers.
    pub ingest: IngestConfig,
    /// The engine.
    pub engine: EngineConfig,
    /// Where tables and checkpoints lie.
    pub store: StorePlace,
    /// Compaction and vacuum.
    pub maintain: MaintainConfig,
    /// Limits of ad hoc SQL.
    pub sql: SqlLimits,
    /// Definitions.
    pub files: Files,
}

/// Where tables and checkpoints lie.
#[derive(Debug, Clone)]
pub enum StorePlace {
    /// A folder.
    Folder(PathBuf),
    /// A bucket.
    Bucket(Bucket),
}

/// The HTTP server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Connections at once.
    pub connections_max: usize,
    /// Longest silence of a connection.
    pub connection_idle: Duration,
    /// Longest request other than SQL.
    pub request_max: Duration,
    /// How long a graceful stop waits for requests in flight.
    pub stop_wait: Duration,
    /// Where other processes of the group send their readers to this one.
    pub advertise: Option<String>,
    /// What this process does.
    pub roles: Roles,
    /// Each partition of the metrics has an engine, so that several processes work the log.
    pub engine_per_partition: bool,
    /// What a caller must show who defines views; `None`: only callers on this machine may.
    pub view_token: Option<Secret>,
}

/// Logs of the program itself.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// For people or for collectors.
    pub log_format: LogFormat,
    /// Directives of the filter.
    pub log_level: String,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `Human` on a terminal, else `Json`.
    Auto,
    /// Lines for people.
    Human,
    /// One JSON object per line.
    Json,
}

/// Definitions in files.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Service inventory.
    pub inventory: Option<PathBuf>,
    /// Folder of OpenSLO files.
    pub slo: Option<PathBuf>,
    /// Price map.
    pub prices: Option<PathBuf>,
    /// Folder of view definitions, which is looked at again while the server runs.
    pub views: Option<PathBuf>,
}

/// Lays a configuration file over the document, if there is one.
///
/// # Errors
/// Names the file, and line and key where those are wrong.
pub fn read(document: &mut Document, file: Option<&Path>) -> Result<(), ConfigError> {
    let Some(file) = file else { return Ok(()) };
    let path = file.display().to_string();
    match std::fs::read_to_string(file) {
        Ok(text) => document.overlay(&path, &text),
        Err(source) => Err(ConfigError::Read { path, source }),
    }
}

/// True for keys whose values must not be seen.
pub fn is_secret(key: &str) -> bool {
    let words = ["secret", "secrets", "token", "tokens", "password", "secret_access_key"];
    words.iter().any(|word| key.ends_with(word)) || Settings::is_secret(key)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    listen: String,
    connections_max: i64,
    connection_idle_s: i64,
    request_s_max: i64,
    stop_wait_s: i64,
    view_token: String,
    advertise: String,
    roles: String,
    engine_per_partition: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTelemetry {
    log_format: String,
    log_level: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawData {
    dir: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStore {
    url: String,
    endpoint: String,
    region: String,
    ca_file: String,
    access_key_id: String,
    secret_access_key: String,
    timeout_ms: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFiles {
    inventory: String,
    slo: String,
    prices: String,
    views: String,
}

impl Config {
    /// Checks every value and turns them into what the program uses.
    ///
    /// # Errors
    /// The first value that makes no sense, with where it was set.
    pub fn validate(document: &Document) -> Result<Self, ConfigError> {
        let check = Check { document };
        let sql: SqlLimits = check.section("sql")?;
        check.by_crate("sql", sql.check())?;
        let ingest: IngestConfig = check.section("ingest")?;
        check.by_crate("ingest", ingest.validate())?;
        let maintain: MaintainConfig = check.section("maintain")?;
        check.by_crate("maintain", maintain.validate())?;
        let engine: EngineConfig = check.section("engine")?;
        check.by_crate("engine", engine.validate())?;
        let data: RawData = check.section("data")?;
        let data_dir = check.folder("data.dir", &data.dir)?;
        let (log, store) = (check.log(&data_dir, ingest.body_bytes_max as u64)?, check.store(&data_dir)?);
        Ok(Self {
            server: check.server(&sql, &log, &store)?,
            telemetry: check.telemetry()?,
            log,
            store,
            data_dir,
            ingest,
            engine,
            maintain,
            sql,
            files: check.files()?,
        })
    }

    /// The defaults.
    ///
    /// # Errors
    /// Only if the built-in file is wrong, which a test excludes.
    pub fn defaults() -> Result<Self, ConfigError> {
        Self::validate(&Document::reference()?)
    }
}

/// Checks values and says where a wrong one was set.
struct Check<'a> {
    document: &'a Document,
}

impl Check<'_> {
    fn wrong(&self, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError::Value { origin: self.document.origin(key).to_string(), key: key.into(), message: message.into() }
    }

    fn section<T: DeserializeOwned>(&self, section: &str) -> Result<T, ConfigError> {
        let table = self.document.table().get(section).cloned().unwrap_or(toml::Value::Table(toml::Table::new()));
        // The printed form, unlike the message alone, ends with the key.
        table.try_into().map_err(|e: toml::de::Error| self.blame(section, e.to_string().trim().replace('\n', " ").as_str()))
    }

    /// What another crate says about its section; its message names the key, so that the place can be looked up.
    fn by_crate(&self, section: &str, checked: Result<(), impl std::fmt::Display>) -> Result<(), ConfigError> {
        checked.map_err(|e| self.blame(section, &e.to_string()))
    }

    fn blame(&self, section: &str, message: &str) -> ConfigError {
        let keys = self.document.entries().map(|(key, _)| key).filter(|key| key.starts_with(section));
        let named = keys.filter(|key| key.split_once('.').is_some_and(|(_, name)| message.contains(name)));
        let key = named.max_by_key(String::len).unwrap_or_else(|| section.to_owned());
        self.wrong(&key, message)
    }

    fn range(&self, key: &str, value: i64, range: RangeInclusive<i64>) -> Result<u64, ConfigError> {
        if range.contains(&value) {
            return Ok(value.unsigned_abs());
        }
        Err(self.wrong(key, format!("{value} is out of range, it must lie in {} to {}", range.start(), range.end())))
    }

    fn server(&self, sql: &SqlLimits, log: &LogConfig, store: &StorePlace) -> Result<ServerConfig, ConfigError> {
        let raw: RawServer = self.section("server")?;
        let listen = raw.listen.replace("localhost:", "127.0.0.1:").parse().map_err(|_| {
            self.wrong("server.listen", format!("{:?} is not ADDRESS:PORT; examples: 127.0.0.1:9600, 0.0.0.0:9600, [::1]:9600", raw.listen))
        })?;
        let idle_s = self.range("server.connection_idle_s", raw.connection_idle_s, 5..=3600)?;
        if idle_s <= sql.seconds_max {
            let message = format!("{idle_s} must be more than sql.seconds_max = {}, else a long statement loses its connection", sql.seconds_max);
            return Err(self.wrong("server.connection_idle_s", message));
        }
        let connections_max = self.range("server.connections_max", raw.connections_max, 1..=100_000)?;
        let advertise = self.advertise(raw.advertise, listen)?;
        if raw.engine_per_partition {
            self.engine_per_partition(log, store, advertise.as_deref())?;
        }
        Ok(ServerConfig {
            listen,
            connections_max: usize::try_from(connections_max).unwrap_or(usize::MAX),
            connection_idle: Duration::from_secs(idle_s),
            request_max: Duration::from_secs(self.range("server.request_s_max", raw.request_s_max, 1..=600)?),
            stop_wait: Duration::from_secs(self.range("server.stop_wait_s", raw.stop_wait_s, 1..=600)?),
            advertise,
            engine_per_partition: raw.engine_per_partition,
            roles: self.roles(&raw.roles, log, store)?,
            view_token: Some(raw.view_token).filter(|token| !token.is_empty()).map(Secret::new),
        })
    }

    fn advertise(&self, given: String, listen: SocketAddr) -> Result<Option<String>, ConfigError> {
        if given.is_empty() {
            return Ok((!listen.ip().is_unspecified() && listen.port() != 0).then(|| format!("http://{listen}")));
        }
        let nowhere = |host: &str| host.is_empty() || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
        let fits = given.parse::<Uri>().is_ok_and(|uri| {
            let place = uri.authority().filter(|place| !place.as_str().contains('@') && !nowhere(place.host()));
            matches!(uri.scheme_str(), Some("http" | "https")) && place.is_some()
        });
        if fits { Ok(Some(given)) } else { Err(self.wrong("server.advertise", format!("{given:?} is not http://HOST:PORT"))) }
    }

    fn telemetry(&self) -> Result<TelemetryConfig, ConfigError> {
        let raw: RawTelemetry = self.section("telemetry")?;
        let log_format = match raw.log_format.as_str() {
            "auto" => LogFormat::Auto,
            "human" => LogFormat::Human,
            "json" => LogFormat::Json,
            other => return Err(self.wrong("telemetry.log_format", format!("{other:?} must be one of auto, human, json"))),
        };
        crate::telemetry::filter(&raw.log_level).map_err(|e| self.wrong("telemetry.log_level", format!("{:?}: {e}", raw.log_level)))?;
        Ok(TelemetryConfig { log_format, log_level: raw.log_level })
    }

    fn store(&self, data_dir: &Path) -> Result<StorePlace, ConfigError> {
        let raw: RawStore = self.section("store")?;
        if raw.url.starts_with("s3://") {
            return self.bucket(raw).map(StorePlace::Bucket);
        }
        if raw.url.contains("://") {
            return Err(self.wrong("store.url", format!("{:?} must be a folder or s3://BUCKET/PREFIX", raw.url)));
        }
        let folder = if raw.url.is_empty() { data_dir.join("store") } else { self.folder("store.url", &raw.url)? };
        Ok(StorePlace::Folder(folder))
    }

    fn bucket(&self, raw: RawStore) -> Result<Bucket, ConfigError> {
        let timeout = Duration::from_millis(self.range("store.timeout_ms", raw.timeout_ms, 500..=300_000)?);
        let bucket = Bucket::parse(&raw.url, timeout).map_err(|e| self.wrong("store.url", e.to_string()))?;
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let endpoint = given(raw.endpoint).map(|text| self.endpoint(&text)).transpose()?;
        let keys = match (given(raw.access_key_id), given(raw.secret_access_key)) {
            (Some(id), Some(secret)) => Some((id, secret)),
            (None, None) => None,
            (Some(_), None) => return Err(self.wrong("store.secret_access_key", "must be set where store.access_key_id is")),
            (None, Some(_)) => return Err(self.wrong("store.access_key_id", "must be set where store.secret_access_key is")),
        };
        let ca_file = given(raw.ca_file).map(PathBuf::from);
        if let Some(file) = ca_file.as_ref().filter(|file| !file.is_file()) {
            return Err(self.wrong("store.ca_file", format!("{} is not a readable file", file.display())));
        }
        Ok(Bucket { endpoint, region: given(raw.region), ca_file, keys, ..bucket })
    }

    fn endpoint(&self, text: &str) -> Result<String, ConfigError> {
        let plain = text.trim_end_matches('/');
        let host = plain.strip_prefix("https://").or_else(|| plain.strip_prefix("http://"));
        match host.filter(|host| !host.is_empty() && !host.contains(['/', '@', '?', '#', ' '])) {
            Some(_) => Ok(plain.to_owned()),
            None => Err(self.wrong("store.endpoint", format!("{text:?} must be https://HOST:PORT or http://HOST:PORT, without the bucket"))),
        }
    }

    fn folder(&self, key: &str, path: &str) -> Result<PathBuf, ConfigError> {
        if path.is_empty() {
            return Err(self.wrong(key, "must name a folder"));
        }
        let path = PathBuf::from(path);
        if path.exists() && !path.is_dir() {
            return Err(self.wrong(key, format!("{} is there and is no folder", path.display())));
        }
        std::path::absolute(&path).map_err(|e| self.wrong(key, format!("{}: {e}", path.display())))
    }

    fn files(&self) -> Result<Files, ConfigError> {
        let raw: RawFiles = self.section("files")?;
        let existing = |key: &str, path: String, folder: bool| {
            if path.is_empty() {
                return Ok(None);
            }
            let path = PathBuf::from(path);
            let right = if folder { path.is_dir() } else { path.is_file() };
            let wanted = if folder { "folder" } else { "file" };
            if right { Ok(Some(path)) } else { Err(self.wrong(key, format!("{} is not a readable {wanted}", path.display()))) }
        };
        Ok(Files {
            inventory: existing("files.inventory", raw.inventory, false)?,
            slo: existing("files.slo", raw.slo, true)?,
            prices: existing("files.prices", raw.prices, false)?,
            views: existing("files.views", raw.views, true)?,
        })
    }
}

#[cfg(test)]
mod tests;
