//! What can go wrong, in five kinds that say what to do. Not a list of causes: each crate keeps its own and maps it here.

use std::fmt;

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Change the request; sending it again gives the same answer.
    Invalid,
    /// Try again later; nothing of the request was kept.
    Unavailable,
    /// Another writer owns this group: stop.
    Conflict,
    /// Stored data is wrong: a person must look.
    Corrupt,
    /// A bug of ours.
    Internal,
}

impl ErrorKind {
    /// The word used in answers, logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The cause below an [`Error`], as its own crate knew it.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The error every port returns: a kind, a sentence with the facts, and the cause.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    #[source]
    cause: Option<Cause>,
}

/// The result of every port.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; the message carries the facts (path, log, position).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), cause: None }
    }

    /// The same with what caused it.
    pub fn caused(kind: ErrorKind, message: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self { kind, message: message.into(), cause: Some(cause.into()) }
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// An [`ErrorKind::Invalid`] error.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// An [`ErrorKind::Unavailable`] error.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// An [`ErrorKind::Corrupt`] error.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// An [`ErrorKind::Internal`] error.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(cause: arrow::error::ArrowError) -> Self {
        Self::caused(ErrorKind::Internal, format!("column operation failed: {cause}"), cause)
    }
}
