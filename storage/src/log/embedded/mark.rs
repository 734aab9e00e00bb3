//! The file `durable`: up to where a log is known to be on disk. It lets an opening tell a damaged acknowledged record
//! from one that was still being written. Not needed to read the log: without it only the last group loses that proof.
//!
//! It is written after each sync and not itself synced each time. A stale mark is still true (what was durable stays
//! durable), after `kill -9` it is exact, and after a power cut it is at most as old as the kernel's write-back.

use crate::log::error::LogError;
use afferent_engine::log::Position;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Its name in a log's folder.
pub(super) const FILE_NAME: &str = "durable";

const MAGIC: [u8; 8] = *b"afdurab1";

/// Magic, position, checksum of both. Well within one sector, so that a write is whole or not there.
const BYTES: usize = 20;

/// The open file.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    path: PathBuf,
    failing: bool,
}

impl Mark {
    /// Opens or creates the mark of a log's folder and reads it; `None` where there is none yet or it is unreadable.
    pub(super) fn open(dir: &Path) -> Result<(Self, Option<Position>), LogError> {
        let path = dir.join(FILE_NAME);
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(|e| LogError::io("open", &path, e))?;
        let mut bytes = Vec::with_capacity(BYTES);
        (&mut file).take(BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|e| LogError::io("read", &path, e))?;
        let position = decode(&bytes);
        if position.is_none() && !bytes.is_empty() {
            tracing::warn!(path = %path.display(), "the durable mark is unreadable; opening without it");
        }
        Ok((Self { file, path, failing: false }, position))
    }

    /// Everything before `next` is durable. A failure weakens a later opening's proof and nothing else.
    pub(super) fn set(&mut self, next: Position) {
        match self.file.write_all_at(&encode(next), 0) {
            Ok(()) => self.failing = false,
            Err(e) if !self.failing => {
                self.failing = true;
                tracing::warn!(path = %self.path.display(), error = %e, "could not write the durable mark; the log is whole");
            }
            Err(_) => {}
        }
    }

    /// Makes the mark itself durable, where it is cheap: when opening, closing and changing segments.
    pub(super) fn sync(&self) {
        if let Err(e) = self.file.sync_data() {
            tracing::warn!(path = %self.path.display(), error = %e, "could not sync the durable mark; the log is whole");
        }
    }
}

pub(super) fn encode(next: Position) -> [u8; BYTES] {
    let mut out = [0; BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..16].copy_from_slice(&next.0.to_le_bytes());
    let crc = crc32c::crc32c(&out[..16]);
    out[16..].copy_from_slice(&crc.to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<Position> {
    let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
    let position = Position(u64::from_le_bytes(bytes[8..16].try_into().ok()?));
    (encode(position) == *bytes).then_some(position)
}
