//! Everything that can go wrong in this crate, with its facts. Not the five kinds themselves: those are the engine's.

use afferent_engine::error::{Error as EngineError, ErrorKind};
use datafusion::error::DataFusionError;
use datafusion::object_store;

/// This crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between a text and its rows.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file the operator or we ourselves wrote (view, inventory, objectives, prices) says something it cannot mean.
    #[error("{file}: {problem}")]
    Definition {
        /// The file or statement.
        file: String,
        /// What is wrong, where in it, and what to write.
        problem: String,
    },
    /// A view that cannot be computed continuously.
    #[error("view {view} cannot run continuously: {clause}: {why}; {instead}")]
    Refused {
        /// The view's name.
        view: String,
        /// The clause in question.
        clause: String,
        /// Why it does not work.
        why: String,
        /// What to write.
        instead: String,
    },
    /// A statement that the planner does not accept: syntax, unknown names, types.
    #[error("{}", plain(.0))]
    Statement(#[source] Box<DataFusionError>),
    /// A statement that is not allowed here.
    #[error(
        "{0} is not allowed: one statement is taken, SELECT, WITH, EXPLAIN, DESCRIBE or SHOW TABLES, which change nothing, or one that is about views: CREATE, DROP or ROLLBACK MATERIALIZED VIEW, SHOW VIEWS"
    )]
    Forbidden(String),
    /// A query reached one of its limits.
    #[error("limit {limit} = {value} reached: {hint}")]
    Limit {
        /// The limit's name in the configuration.
        limit: &'static str,
        /// What it stands at.
        value: u64,
        /// What to do.
        hint: &'static str,
    },
    /// A view's state reached one of its limits.
    #[error("limit of {value} {limit} reached in {what}: {hint}")]
    ViewLimit {
        /// Which view.
        what: String,
        /// What is limited.
        limit: &'static str,
        /// The limit.
        value: usize,
        /// What to write.
        hint: &'static str,
    },
    /// All slots for queries were taken for as long as we wait.
    #[error("limit concurrent_max = {value} reached: {value} queries are running; try again in a moment")]
    Busy {
        /// How many run at once.
        value: usize,
    },
    /// A query failed while it ran.
    #[error("query failed: {}", plain(.0))]
    Execution(#[source] Box<DataFusionError>),
    /// A compiled plan failed while it ran, which its checks should have made impossible.
    #[error("plan of {what} failed: {cause}")]
    Plan {
        /// Which plan.
        what: String,
        /// What DataFusion said.
        #[source]
        cause: Box<DataFusionError>,
    },
    /// Bytes of a state that are not one.
    #[error("state of {what} is damaged: {problem}")]
    State {
        /// Whose state.
        what: String,
        /// What does not fit.
        problem: String,
    },
    /// A bug of ours.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Definition { .. }
            | Self::Refused { .. }
            | Self::Statement(_)
            | Self::Forbidden(_)
            | Self::Limit { .. }
            | Self::ViewLimit { .. } => ErrorKind::Invalid,
            Self::Busy { .. } => ErrorKind::Unavailable,
            Self::Execution(cause) => kind_of(cause),
            Self::State { .. } => ErrorKind::Corrupt,
            Self::Plan { .. } | Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// A definition error.
    pub fn definition(file: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Definition { file: file.into(), problem: problem.into() }
    }

    /// A planner's refusal.
    pub(crate) fn statement(cause: DataFusionError) -> Self {
        Self::Statement(Box::new(cause))
    }

    /// A failure of a checked plan.
    pub(crate) fn plan(what: &str, cause: DataFusionError) -> Self {
        Self::Plan { what: what.to_owned(), cause: Box::new(cause) }
    }
}

impl From<Error> for EngineError {
    fn from(cause: Error) -> Self {
        let (kind, message) = (cause.kind(), cause.to_string());
        EngineError::caused(kind, message, cause)
    }
}

/// What an error of a running query asks of the caller.
fn kind_of(error: &DataFusionError) -> ErrorKind {
    // Parquet and Arrow wrap what the store said as they please.
    if is_store(error) {
        return ErrorKind::Unavailable;
    }
    match error.find_root() {
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => ErrorKind::Unavailable,
        DataFusionError::ParquetError(_) => ErrorKind::Corrupt,
        DataFusionError::External(cause) => cause.downcast_ref::<EngineError>().map_or(ErrorKind::Internal, EngineError::kind),
        DataFusionError::Internal(_) | DataFusionError::ExecutionJoin(_) | DataFusionError::Configuration(_) | DataFusionError::Ffi(_) => {
            ErrorKind::Internal
        }
        _ => ErrorKind::Invalid,
    }
}

/// Whether a failed call of the store is among the causes; an object that is not there is damage, not an outage.
fn is_store(error: &(dyn std::error::Error + 'static)) -> bool {
    match error.downcast_ref::<object_store::Error>() {
        Some(object_store::Error::NotFound { .. }) => false,
        Some(_) => true,
        None => error.source().is_some_and(is_store),
    }
}

/// DataFusion's message without its backtrace hint.
fn plain(error: &DataFusionError) -> String {
    error.strip_backtrace()
}
