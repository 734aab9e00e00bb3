//! What can be wrong with a configuration; every message names file, line and key, and says what to do.

use afferent_engine::error::{Error, ErrorKind};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: cannot read the configuration: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is far larger than any configuration.
    #[error("{path}: more than {bytes_max} bytes, which is no configuration")]
    TooLarge {
        /// The file.
        path: String,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// Not TOML.
    #[error("{path}:{line}: not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// Line from 1.
        line: usize,
        /// The parser's words.
        message: String,
    },
    /// A key that does not exist.
    #[error("{path}:{line}: unknown key {key:?}{}", did_you_mean(.nearest.as_deref()))]
    UnknownKey {
        /// The file.
        path: String,
        /// Line from 1.
        line: usize,
        /// As written, with its section.
        key: String,
        /// The most similar known key.
        nearest: Option<String>,
    },
    /// A value of another type.
    #[error("{path}:{line}: {key} must be of type {expected}, found {found}")]
    WrongType {
        /// The file.
        path: String,
        /// Line from 1.
        line: usize,
        /// With its section.
        key: String,
        /// The reference file's type.
        expected: &'static str,
        /// The user's.
        found: String,
    },
    /// A value that makes no sense.
    #[error("{origin}: {}", with_key(.key, .message))]
    Value {
        /// File and line, flag or default.
        origin: String,
        /// With its section.
        key: String,
        /// What is wrong and what would be right.
        message: String,
    },
}

/// The message with the whole key in front, which other crates say without its section.
fn with_key(key: &str, message: &str) -> String {
    let name = key.split_once('.').map_or(key, |(_, name)| name);
    if message.starts_with(key) {
        message.to_owned()
    } else if let Some(rest) = message.strip_prefix(name) {
        format!("{key}{rest}")
    } else {
        format!("{key}: {message}")
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    match nearest {
        Some(key) => format!("; did you mean {key:?}?"),
        None => "; `afferent check-config` prints every key there is".into(),
    }
}

impl ConfigError {
    /// What the caller should do: always change the configuration.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::caused(error.kind(), error.to_string(), error)
    }
}
