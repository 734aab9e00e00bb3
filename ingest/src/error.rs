//! What a receiver can answer other than yes, with the facts. Not how it is said over HTTP: that is `http/answer.rs`.

use afferent_engine::error::{Error as EngineError, ErrorKind};

/// Why a request was not taken, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration value is out of its range.
    #[error("{key} = {value} is not allowed: {rule}")]
    Config {
        /// The key.
        key: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        rule: &'static str,
    },
    /// A content type nobody here reads.
    #[error("content type {found:?} is not known here; {known}")]
    ContentType {
        /// As sent.
        found: String,
        /// What is read.
        known: &'static str,
    },
    /// A content encoding nobody here reads.
    #[error("content encoding {found:?} is not known here; {known}")]
    ContentEncoding {
        /// As sent.
        found: String,
        /// What is read.
        known: &'static str,
    },
    /// More than a limit allows; nothing was kept.
    #[error("{what} has {size} {unit}, more than the {max} that are allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is, or how much of it was read when the limit was reached.
        size: u64,
        /// The limit.
        max: u64,
        /// Unit of both.
        unit: &'static str,
    },
    /// The body is no snappy block.
    #[error("the body is not a snappy block: {detail}")]
    Snappy {
        /// What snappy says.
        detail: String,
    },
    /// The inflated body is no protobuf message of the declared type.
    #[error("the inflated body is not a valid {message}: at byte {at} there should be {wanted}")]
    Protobuf {
        /// Full name of the message.
        message: &'static str,
        /// Byte of the inflated body.
        at: usize,
        /// What should stand there.
        wanted: &'static str,
    },
    /// The symbol table breaks a rule that every series depends on.
    #[error("symbols[0] is {found:?}, it must be the empty string")]
    Symbols {
        /// What stands there, cut short.
        found: String,
    },
    /// The body is not JSON.
    #[error("the body is not valid JSON: {detail}")]
    Json {
        /// What the parser says, with line and column.
        detail: String,
    },
    /// The JSON is of another shape than this door reads.
    #[error("{path} {wanted}")]
    Shape {
        /// JSON path.
        path: String,
        /// What should stand there.
        wanted: &'static str,
    },
    /// The good part is durable; this was refused.
    #[error("{refused} of {total} {unit} refused, the rest is kept: {named}")]
    Partial {
        /// How many were refused.
        refused: u64,
        /// How many the body held.
        total: u64,
        /// Samples or events.
        unit: &'static str,
        /// The first refused ones with their reasons.
        named: String,
    },
    /// No or wrong credentials.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// A header or parameter breaks a rule.
    #[error("{what} {rule}")]
    Parameter {
        /// Which.
        what: &'static str,
        /// The rule.
        rule: &'static str,
    },
    /// The body did not arrive.
    #[error("the body could not be read: {detail}")]
    Body {
        /// What broke.
        detail: String,
    },
    /// The body took too long to arrive.
    #[error("the body did not arrive within {wait_ms} ms")]
    Slow {
        /// How long was waited.
        wait_ms: u64,
    },
    /// Too much is in flight already.
    #[error("the receiver is full: {what}")]
    Busy {
        /// Which limit was reached.
        what: &'static str,
    },
    /// The log or the engine said so.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What the sender should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            // A slow network is no fault of the request: as a 4xx its sender would drop the data.
            Self::Busy { .. } | Self::Slow { .. } => ErrorKind::Unavailable,
            Self::Engine(cause) => cause.kind(),
            _ => ErrorKind::Invalid,
        }
    }

    /// A short word for the metric label `reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Config { .. } => "config",
            Self::ContentType { .. } => "content_type",
            Self::ContentEncoding { .. } => "content_encoding",
            Self::TooLarge { .. } => "too_large",
            Self::Snappy { .. } => "snappy",
            Self::Protobuf { .. } => "protobuf",
            Self::Symbols { .. } => "symbols",
            Self::Json { .. } => "json",
            Self::Shape { .. } => "shape",
            Self::Partial { .. } => "partial",
            Self::Unauthorized(_) => "unauthorized",
            Self::Parameter { .. } => "parameter",
            Self::Body { .. } => "body",
            Self::Slow { .. } => "slow",
            Self::Busy { .. } => "busy",
            Self::Engine(cause) => cause.kind().as_str(),
        }
    }

    /// What the sender can do about it, in a sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Config { .. } => "correct the configuration file",
            Self::ContentType { .. } | Self::ContentEncoding { .. } => "send the type and encoding that are read here",
            Self::TooLarge { .. } => "send less in one request, or raise the limit in the receiver's configuration",
            Self::Snappy { .. } => "compress the message as one snappy block, not in the framed format",
            Self::Protobuf { .. } => "check that the content type names the message that was sent",
            Self::Symbols { .. } => "start the symbol table with the empty string",
            Self::Json { .. } => "send one JSON document encoded as UTF-8",
            Self::Shape { .. } => "compare the payload with the shape this webhook documents",
            Self::Partial { .. } => "do not send the kept part again; the refused part stands in the table dead_letters with its reasons",
            Self::Unauthorized(_) => "check the secret or token configured for this sender",
            Self::Parameter { .. } => "correct the header or parameter",
            Self::Body { .. } => "send the request again",
            Self::Slow { .. } | Self::Busy { .. } => "send the same request again after the Retry-After time",
            Self::Engine(cause) => match cause.kind() {
                ErrorKind::Unavailable => "send the same request again after the Retry-After time",
                ErrorKind::Invalid => "change the request",
                ErrorKind::Conflict => "another writer owns this log: send to that one",
                ErrorKind::Corrupt | ErrorKind::Internal => "look at the receiver's log",
            },
        }
    }
}
