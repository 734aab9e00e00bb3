//! One segment file: its name, its header, what is known of it in memory, and walking over its records.
//! Not which segments make up a log: that is `segments`.
//!
//! ```text
//!  0 magic           8
//!  8 version         4
//! 12 header crc      4  CRC-32C of bytes 16..32, seeded with the version
//! 16 first position  8
//! 24 salt            4  seeds the checksums of record headers, so that a body never looks like a record
//! 28 zero            4
//! 32 records
//! ```

use super::disk::Disk;
use super::frame::{self, Fault, Header};
use crate::log::error::LogError;
use afferent_engine::log::Position;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 32;

/// Ends the name of a segment that is still being made.
pub(super) const UNFINISHED_SUFFIX: &str = ".new";

const MAGIC: [u8; 8] = *b"afferlog";
const VERSION: u32 = 1;
const SUFFIX: &str = ".log";

/// Bytes between two entries of the sparse index.
const INDEX_EVERY_BYTES: u64 = 64 << 10;

/// Bytes read at once.
const CHUNK_BYTES: u64 = 256 << 10;

/// What is known of a segment.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) salt: u32,
    pub(super) first: Position,
    /// The position after its last durable record.
    pub(super) end: Position,
    /// Durable bytes.
    pub(super) length: u64,
    pub(super) index: Index,
}

/// Some positions of a segment and where they lie.
#[derive(Debug, Clone, Default)]
pub(super) struct Index(Vec<(Position, u64)>);

impl Index {
    /// Takes note of a record, if the last noted one is far enough away.
    pub(super) fn note(&mut self, position: Position, offset: u64) {
        if self.0.last().is_none_or(|(_, last)| offset - last >= INDEX_EVERY_BYTES) {
            self.0.push((position, offset));
        }
    }

    /// The last noted place at or before `position`.
    pub(super) fn before(&self, position: Position) -> Option<(Position, u64)> {
        let after = self.0.partition_point(|(p, _)| *p <= position);
        after.checked_sub(1).map(|i| self.0[i])
    }
}

/// The file name of the segment that starts at `first`.
pub(super) fn file_name(first: Position) -> String {
    format!("{:020}{SUFFIX}", first.0)
}

/// Reads what [`file_name`] wrote.
pub(super) fn parse_file_name(name: &str) -> Option<Position> {
    let digits = name.strip_suffix(SUFFIX).filter(|d| d.len() == 20)?;
    digits.parse().ok().map(Position)
}

/// Makes an empty segment; file and name are durable on return. An empty segment of the same name is replaced.
pub(super) fn create(disk: &dyn Disk, dir: &Path, first: Position) -> Result<(Segment, File), LogError> {
    let path = dir.join(file_name(first));
    let unfinished = dir.join(file_name(first) + UNFINISHED_SUFFIX);
    let mut file =
        File::options().read(true).write(true).create(true).truncate(true).open(&unfinished).map_err(|e| LogError::io("create", &unfinished, e))?;
    let salt = new_salt();
    let header = encode_header(first, salt);
    disk.write(&mut file, &mut [IoSlice::new(&header)]).map_err(|e| LogError::io("write", &unfinished, e))?;
    disk.sync_all(&file).map_err(|e| LogError::io("sync", &unfinished, e))?;
    disk.rename(&unfinished, &path).map_err(|e| LogError::io("name", &path, e))?;
    Ok((Segment { path, salt, first, end: first, length: SEGMENT_HEADER_BYTES, index: Index::default() }, file))
}

/// A number no sender can know; where it comes from changes nothing that can be observed.
fn new_salt() -> u32 {
    std::collections::hash_map::RandomState::new().build_hasher().finish() as u32
}

fn encode_header(first: Position, salt: u32) -> [u8; SEGMENT_HEADER_BYTES as usize] {
    let mut out = [0; SEGMENT_HEADER_BYTES as usize];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[16..24].copy_from_slice(&first.0.to_le_bytes());
    out[24..28].copy_from_slice(&salt.to_le_bytes());
    let crc = crc32c::crc32c_append(VERSION, &out[16..]);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Reads a segment's header: its salt.
///
/// # Errors
/// `Corrupt`: a segment gets its name only after its header is durable, so a bad header is never a torn one.
pub(super) fn read_salt(file: &File, path: &Path, first: Position) -> Result<u32, LogError> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
    match file.read_exact_at(&mut bytes, 0) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(LogError::corrupt(path, 0, "the file's header is cut short"));
        }
        other => other.map_err(|e| LogError::io("read", path, e))?,
    }
    let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let salt = number(24);
    let expected = encode_header(first, salt);
    if bytes == expected {
        return Ok(salt);
    }
    let version = number(8);
    if bytes[..8] == MAGIC && version > VERSION && number(12) == crc32c::crc32c_append(version, &bytes[16..]) {
        return Err(LogError::Version { path: path.to_path_buf(), version, version_max: VERSION });
    }
    Err(LogError::corrupt(path, 0, format!("the file's header is damaged or is not that of a segment from {}", first.0)))
}

/// Walks over the records of a file, checking each.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    file: &'a File,
    salt: u32,
    end: u64,
    offset: u64,
    expected: Position,
    buffer: Vec<u8>,
    buffer_at: u64,
}

/// What [`Cursor::step`] came upon.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// The end.
    End,
    /// A whole record; source and body are empty where only the header was asked for.
    Frame { header: Header, offset: u64, source: &'a [u8], body: &'a [u8] },
    /// Something else; the cursor stays.
    Fault(Fault),
}

/// How much of a record [`Cursor::step`] checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Header,
    Whole,
}

impl<'a> Cursor<'a> {
    /// Starts at `offset`, where `expected` should stand; never reads at or beyond `end`.
    pub(super) fn new(file: &'a File, salt: u32, offset: u64, end: u64, expected: Position) -> Self {
        Self { file, salt, end, offset, expected, buffer: Vec::new(), buffer_at: offset }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn expected(&self) -> Position {
        self.expected
    }

    /// The next record.
    pub(super) fn step(&mut self, check: Check) -> io::Result<Step<'_>> {
        if self.offset >= self.end {
            return Ok(Step::End);
        }
        if !self.load(frame::HEADER_BYTES as u64)? {
            return Ok(Step::Fault(Fault::CutShort));
        }
        let header = match Header::decode(&self.buffer[(self.offset - self.buffer_at) as usize..], self.salt) {
            Ok(header) => header,
            Err(fault) => return Ok(Step::Fault(fault)),
        };
        if header.position != self.expected {
            return Ok(Step::Fault(Fault::OutOfOrder { expected: self.expected, found: header.position }));
        }
        let bytes = header.frame_bytes();
        if bytes > self.end - self.offset || (check == Check::Whole && !self.load(bytes)?) {
            return Ok(Step::Fault(Fault::CutShort));
        }
        let offset = self.offset;
        let payload: &[u8] = match check {
            Check::Header => &[],
            Check::Whole => {
                let start = (offset - self.buffer_at) as usize + frame::HEADER_BYTES;
                let payload = &self.buffer[start..start + header.payload_bytes() as usize];
                if crc32c::crc32c(payload) != header.payload_crc {
                    return Ok(Step::Fault(Fault::PayloadChecksum));
                }
                payload
            }
        };
        self.offset += bytes;
        self.expected = self.expected.next();
        let (source, body) = payload.split_at(payload.len().min(header.source_bytes.into()));
        Ok(Step::Frame { header, offset, source, body })
    }

    /// Has `bytes` from the cursor on in the buffer; false where the file ends before.
    fn load(&mut self, bytes: u64) -> io::Result<bool> {
        let left = self.end - self.offset;
        if bytes > left {
            return Ok(false);
        }
        let skip = (self.offset - self.buffer_at).min(self.buffer.len() as u64) as usize;
        let have = self.buffer.len() - skip;
        if bytes <= have as u64 {
            return Ok(true);
        }
        self.buffer.copy_within(skip.., 0);
        self.buffer.resize(bytes.max(CHUNK_BYTES).min(left) as usize, 0);
        self.buffer_at = self.offset;
        match self.file.read_exact_at(&mut self.buffer[have..], self.offset + have as u64) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                self.buffer.clear();
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
}
