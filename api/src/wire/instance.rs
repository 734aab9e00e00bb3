//! The name by which a process is known in its group, the same after every restart: a file in the folder of data, which is this process's own for as long
//! as it runs. Of two processes with one name Kafka takes each other's place away, in turn.

use crate::config::{Config, LogConfig};
use afferent_engine::error::{Error, ErrorKind, Result};
use std::fs::{File, TryLockError};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};

/// The file.
const INSTANCE_FILE: &str = "instance";

/// See the module.
pub(super) struct Instance {
    pub(super) name: String,
    /// Locked.
    _file: File,
}

impl Instance {
    /// Reads the name or makes one; none where this process is in no group.
    ///
    /// # Errors
    /// `Conflict` where another process has it, `Unavailable` where it cannot be read or made.
    pub(super) fn take(config: &Config) -> Result<Option<Self>> {
        let (LogConfig::Kafka(_), true) = (&config.log, config.server.roles.work) else { return Ok(None) };
        let path = config.data_dir.join(INSTANCE_FILE);
        let failed = |e: io::Error| Error::caused(ErrorKind::Unavailable, format!("{} cannot be read or made", path.display()), e);
        std::fs::create_dir_all(&config.data_dir).map_err(failed)?;
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another process has the folder {}: give each a data.dir of its own", config.data_dir.display());
                return Err(Error::new(ErrorKind::Conflict, message));
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        let mut name = String::new();
        file.read_to_string(&mut name).map_err(failed)?;
        let mut name = name.trim().to_owned();
        if name.is_empty() {
            name = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
            file.write_all(name.as_bytes()).map_err(failed)?;
        }
        Ok(Some(Self { name, _file: file }))
    }
}

#[cfg(test)]
mod tests;
