//! The file `identity`: which log the folder holds. Made with the folder and never changed; a copy of the folder is the same log.

use super::disk::{Disk as _, RealDisk};
use crate::layout::fresh_token;
use crate::log::error::LogError;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// Its name in the folder of all logs.
pub(super) const FILE_NAME: &str = "identity";

/// Under this name it is written.
const UNFINISHED: &str = "identity.new";

/// What stands there; durable on return where it had to be made. The folder is locked.
pub(super) fn read_or_make(dir: &Path) -> Result<String, LogError> {
    let path = dir.join(FILE_NAME);
    match std::fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(LogError::io("read", &path, e)),
        _ => {}
    }
    let name = format!("{:016x}{:016x}", fresh_token(), fresh_token());
    let unfinished = dir.join(UNFINISHED);
    let write = || {
        let mut file = File::create(&unfinished)?;
        writeln!(file, "{name}")?;
        file.sync_all()?;
        RealDisk.rename(&unfinished, &path)
    };
    write().map_err(|e| LogError::io("write", &path, e))?;
    Ok(name)
}
