//! What can go wrong in a log, with the facts. Not what the caller should do about it: that is the kind.

use crate::lock::NotOurs;
use afferent_engine::error::{Error, ErrorKind};
use afferent_engine::log::{LogName, Position};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An error of the log. It is `Clone` because one failed write answers every append of its group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// Another process holds the folder.
    #[error("log folder {} is in use by {holder}; stop that one or choose another folder", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// Who has it.
        holder: String,
    },
    /// A configured limit is out of range.
    #[error("log setting {key} = {value} is out of range: {range}")]
    Config {
        /// The key.
        key: &'static str,
        /// Its value.
        value: u64,
        /// What is allowed.
        range: String,
    },
    /// The volume has no room.
    #[error("disk is full: could not {action} {}; free some room, the log goes on by itself", path.display())]
    DiskFull {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A file operation failed.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The configured size is used up.
    #[error(
        "the log is full: {kept} bytes are kept and the record needs {needed} more, the limit bytes_max is {bytes_max}; \
             room comes back as checkpoints trim the log"
    )]
    Full {
        /// Bytes on disk and on the way there.
        kept: u64,
        /// Bytes of the refused record.
        needed: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The log was closed.
    #[error("log {log} is closed: the process is stopping")]
    Closed {
        /// Which log.
        log: LogName,
    },
    /// A record that no segment may hold.
    #[error("record too large: {what} has {bytes} bytes, the limit is {bytes_max}")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The position is no longer kept.
    #[error("position {} of log {log} was trimmed away; the oldest kept is {}", from.0, oldest.0)]
    Trimmed {
        /// Which log.
        log: LogName,
        /// What was asked for.
        from: Position,
        /// What there is.
        oldest: Position,
    },
    /// The position was never written.
    #[error("position {} of log {log} lies beyond its end, {}; was the log replaced by an older one?", from.0, next.0)]
    BeyondEnd {
        /// Which log.
        log: LogName,
        /// What was asked for.
        from: Position,
        /// The position the next record will get.
        next: Position,
    },
    /// Stored bytes are wrong.
    #[error("log file {} is corrupt at byte {offset}: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        detail: String,
    },
    /// A file that another version wrote.
    #[error("log file {} has format version {version}, this program reads up to {version_max}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// The newest known.
        version_max: u32,
    },
    /// The thread behind a log ended without an answer.
    #[error("log {log}: its {task} ended without an answer")]
    TaskLost {
        /// Which log.
        log: LogName,
        /// Which thread.
        task: &'static str,
    },
}

impl LogError {
    /// A failed file operation; a full disk is told apart from the rest.
    pub(crate) fn io(action: &'static str, path: &Path, cause: io::Error) -> Self {
        let full = matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let (path, source) = (path.to_path_buf(), Arc::new(cause));
        if full { Self::DiskFull { action, path, source } } else { Self::Io { action, path, source } }
    }

    /// A folder that another process has.
    pub(crate) fn not_ours(dir: &Path, why: NotOurs) -> Self {
        match why {
            NotOurs::Held { holder } => Self::InUse { dir: dir.to_path_buf(), holder },
            NotOurs::Failed { path, source } => Self::io("lock", &path, source),
        }
    }

    /// Wrong bytes at `offset` of `path`.
    pub(crate) fn corrupt(path: &Path, offset: u64, detail: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_path_buf(), offset, detail: detail.into() }
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse { .. } => ErrorKind::Conflict,
            Self::Config { .. } | Self::TooLarge { .. } | Self::Trimmed { .. } | Self::BeyondEnd { .. } => ErrorKind::Invalid,
            Self::DiskFull { .. } | Self::Io { .. } | Self::Full { .. } | Self::Closed { .. } => ErrorKind::Unavailable,
            Self::Corrupt { .. } | Self::Version { .. } => ErrorKind::Corrupt,
            Self::TaskLost { .. } => ErrorKind::Internal,
        }
    }
}

impl From<LogError> for Error {
    fn from(cause: LogError) -> Self {
        Self::caused(cause.kind(), cause.to_string(), cause)
    }
}
