//! One process per folder: a locked file that names its holder. Not the fence of a group's chain, which is the create-only checkpoint.
//!
//! The kernel keeps the lock for as long as the holder exists, stopped or not. Where a file system loses locks, or a person removes the file,
//! the holder notices before it next changes anything, because the file at the path is no longer the one that it locked.

use afferent_engine::clock::{Clock, SystemClock};
use chrono::{DateTime, SecondsFormat};
use std::fs::{File, Metadata, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file's name.
pub(crate) const LOCK_FILE: &str = "LOCK";

/// Bytes of the file that are read to name a holder.
const HOLDER_BYTES_MAX: u64 = 256;

/// A folder that is ours.
#[derive(Debug)]
pub(crate) struct FolderLock {
    file: File,
    path: PathBuf,
}

/// Why a folder is not ours.
#[derive(Debug)]
pub(crate) enum NotOurs {
    /// Somebody else has it.
    Held { holder: String },
    /// The file could not be made, read or locked.
    Failed { path: PathBuf, source: io::Error },
}

impl FolderLock {
    /// Takes the folder, which exists.
    pub(crate) fn take(dir: &Path) -> Result<Self, NotOurs> {
        let path = dir.join(LOCK_FILE);
        let failed = |source| NotOurs::Failed { path: path.clone(), source };
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(NotOurs::Held { holder: holder(&path) }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // For the next one to read; the lock holds whether or not it can be written.
        if let Err(error) = file.set_len(0).and_then(|()| file.write_all(own_name().as_bytes())) {
            tracing::debug!(path = %path.display(), %error, "the lock file could not be given the holder's name");
        }
        Ok(Self { file, path })
    }

    /// Checks that the folder is still ours.
    pub(crate) fn check(&self) -> Result<(), NotOurs> {
        let ours = self.file.metadata().map_err(|source| NotOurs::Failed { path: self.path.clone(), source })?;
        match std::fs::metadata(&self.path) {
            Ok(found) if same(&found, &ours) => Ok(()),
            Ok(_) => Err(NotOurs::Held { holder: holder(&self.path) }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(NotOurs::Held { holder: "nobody: its lock file was removed".to_owned() }),
            Err(source) => Err(NotOurs::Failed { path: self.path.clone(), source }),
        }
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing alone is not enough: a child process that is just being started holds the file, and with it the lock.
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "could not unlock a folder; it is free once this process has ended");
        }
    }
}

fn same(a: &Metadata, b: &Metadata) -> bool {
    a.ino() == b.ino() && a.dev() == b.dev()
}

fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let since = DateTime::from_timestamp_millis(SystemClock.now().0).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true);
    format!("process {} on host {} since {since}", std::process::id(), if host.is_empty() { "(unnamed)" } else { host })
}

/// What the holder wrote about itself.
fn holder(path: &Path) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(HOLDER_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests;
