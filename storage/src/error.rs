//! What can go wrong in the lake, with the facts. Mapped to the engine's five kinds in one place. The embedded log keeps its own errors.

use afferent_engine::error::{Error, ErrorKind};
use deltalake_core::DeltaTableError;
use parquet::errors::ParquetError;

/// Errors of the store, the tables, the checkpoints and the history.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The configured store cannot be used.
    #[error("store {store:?}: {reason}")]
    BadStore {
        /// What was configured.
        store: String,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// The service of a bucket does not answer.
    #[error("store {store}: {endpoint} does not answer as a store should: {}; check store.endpoint (AWS_ENDPOINT_URL) and whether it runs", causes(.source))]
    Away {
        /// What was configured.
        store: String,
        /// Where it was asked.
        endpoint: String,
        /// The cause.
        #[source]
        source: object_store::Error,
    },
    /// An object could not be written, read, listed or removed.
    #[error("cannot {doing} {path}: {}", causes(.source))]
    Object {
        /// write, read, list or remove.
        doing: &'static str,
        /// Path in the store.
        path: String,
        /// The cause.
        #[source]
        source: object_store::Error,
    },
    /// An object that something names is not there.
    #[error("{path} is missing, though {named_by} names it: restore it from a copy of the store")]
    Missing {
        /// Path in the store.
        path: String,
        /// What names it.
        named_by: &'static str,
    },
    /// An object's bytes are not what they should be.
    #[error("{path} cannot be used: {reason}")]
    Damaged {
        /// Path in the store.
        path: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// A checkpoint of that number exists.
    #[error("checkpoint {path} was written by {holder}, which owns the group now: this process stops")]
    Fenced {
        /// Path in the store.
        path: String,
        /// Who wrote it.
        holder: String,
    },
    /// Another process has the store.
    #[error("store {store} is in use by {holder}; stop that one or choose another folder")]
    InUse {
        /// The place.
        store: String,
        /// Who has it.
        holder: String,
    },
    /// A Delta log could not be read or written.
    #[error("table {table}: cannot {doing}: {source}")]
    Delta {
        /// The table.
        table: String,
        /// What was tried.
        doing: &'static str,
        /// The cause.
        #[source]
        source: DeltaTableError,
    },
    /// A commit met other writers too often.
    #[error("table {table}: {attempts} commits in a row met another writer's; try again later")]
    Contended {
        /// The table.
        table: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// Files to be replaced are no longer part of the table.
    #[error("table {table}: another writer removed {path} while it was being merged")]
    Superseded {
        /// The table.
        table: String,
        /// One of the files.
        path: String,
    },
    /// A table was never made known.
    #[error("table {table} does not exist; it must be ensured before it is written or published")]
    UnknownTable {
        /// The table.
        table: String,
    },
    /// The columns on disk are not those of the program.
    #[error("table {table}: its columns differ from this program's: {difference}; move the table's folder away or run the version that wrote it")]
    ColumnsDiffer {
        /// The table.
        table: String,
        /// The first difference.
        difference: String,
    },
    /// A column type that the lake cannot hold.
    #[error("table {table}: column {column} has type {kind}, which a Delta table cannot hold")]
    UnsupportedType {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Its type.
        kind: String,
    },
    /// Rows that do not fit their table.
    #[error("table {table}: {reason}")]
    BadRows {
        /// The table.
        table: String,
        /// What is wrong.
        reason: String,
    },
    /// Parquet could not be written or read.
    #[error("{path}: {source}")]
    Parquet {
        /// Path in the store.
        path: String,
        /// The cause.
        #[source]
        source: ParquetError,
    },
    /// A query plan over files failed.
    #[error("table {table}: cannot merge files: {source}")]
    Merge {
        /// The table.
        table: String,
        /// The cause.
        #[source]
        source: datafusion::error::DataFusionError,
    },
    /// A read would take more memory than it may.
    #[error("{what} would give more than {limit} rows: ask for a shorter range or fewer series")]
    TooManyRows {
        /// The request.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Merged files do not hold what the merged ones held; nothing was changed.
    #[error("table {table}: merging {date} accounts for {read} rows where there should be {expected}; the files were left as they are")]
    MergeMismatch {
        /// The table.
        table: String,
        /// The date.
        date: String,
        /// Rows accounted for: read, or written and superseded.
        read: u64,
        /// Rows that there should be.
        expected: u64,
    },
    /// The process is stopping.
    #[error("stopped before it was done")]
    Stopped,
    /// A background thread died.
    #[error("a background thread stopped: {reason}")]
    Task {
        /// What it said.
        reason: String,
    },
}

impl StorageError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadStore { .. } | Self::TooManyRows { .. } => ErrorKind::Invalid,
            Self::Away { .. } | Self::Object { .. } | Self::Contended { .. } | Self::Superseded { .. } | Self::Stopped => ErrorKind::Unavailable,
            Self::Missing { .. } | Self::Damaged { .. } | Self::ColumnsDiffer { .. } | Self::MergeMismatch { .. } => ErrorKind::Corrupt,
            Self::Fenced { .. } | Self::InUse { .. } => ErrorKind::Conflict,
            Self::UnknownTable { .. } | Self::UnsupportedType { .. } | Self::BadRows { .. } | Self::Task { .. } => ErrorKind::Internal,
            Self::Delta { source, .. } => delta_kind(source),
            Self::Parquet { source, .. } => parquet_kind(source),
            Self::Merge { source, .. } => merge_kind(source),
        }
    }
}

/// A log that could not be fetched says nothing about what is in it.
fn delta_kind(error: &DeltaTableError) -> ErrorKind {
    match error {
        DeltaTableError::ObjectStore { .. } | DeltaTableError::Io { .. } => ErrorKind::Unavailable,
        DeltaTableError::Parquet { source } => parquet_kind(source),
        // The kernel hides what the store said, but for the text.
        error if is_store(error) || error.to_string().contains(KERNEL_STORE) => ErrorKind::Unavailable,
        _ => ErrorKind::Corrupt,
    }
}

/// How the kernel below deltalake begins its account of a failed call of the store.
const KERNEL_STORE: &str = "Error interacting with object store";

/// Whether a failed call of the store is among the causes.
fn is_store(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<object_store::Error>() || error.source().is_some_and(is_store)
}

/// A failed read or write of the store comes back from Parquet as an external error; everything else is the file's own fault.
fn parquet_kind(error: &ParquetError) -> ErrorKind {
    match error {
        ParquetError::External(_) => ErrorKind::Unavailable,
        _ => ErrorKind::Corrupt,
    }
}

fn merge_kind(error: &datafusion::error::DataFusionError) -> ErrorKind {
    use datafusion::error::DataFusionError;
    match error.find_root() {
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) | DataFusionError::ResourcesExhausted(_) => ErrorKind::Unavailable,
        DataFusionError::ParquetError(e) => parquet_kind(e),
        _ => ErrorKind::Internal,
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        Self::caused(error.kind(), error.to_string(), error)
    }
}

/// Names the object and the deed of a failed store call.
pub(crate) fn object_error(doing: &'static str, path: &object_store::path::Path) -> impl FnOnce(object_store::Error) -> StorageError {
    let path = path.to_string();
    move |source| StorageError::Object { doing, path, source }
}

/// An error with all its causes: of a connection that broke, only the last one says why.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}
