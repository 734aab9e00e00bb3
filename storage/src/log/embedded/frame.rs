//! How a record lies in a segment: a header with its own checksum, the source, the body. Not where: that is the segment.
//!
//! ```text
//!  0 sync word      4  found again by a search when what stands before it is damaged
//!  4 header crc     4  CRC-32C of bytes 8..72, seeded with the segment's salt
//!  8 position       8
//! 16 durable        8  every position below this was durable before this record was written
//! 24 received_at    8  milliseconds since the epoch
//! 32 body_hash     16
//! 48 request_id     8
//! 56 body bytes     4
//! 60 source bytes   2
//! 62 format         1
//! 63 zero           1
//! 64 payload crc    4  CRC-32C of source and body
//! 68 zero           4
//! 72 source, body
//! ```
//! Numbers are little-endian. The layout is stored: a change needs a new segment version.

use crate::log::error::LogError;
use afferent_engine::log::{Position, Record};
use std::fmt;

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 72;

/// Marks the start of a record.
pub(super) const SYNC_WORD: [u8; 4] = [0xAF, 0xFE, 0xC7, 0x01];

/// Largest body: 64 MiB.
pub(super) const BODY_BYTES_MAX: u64 = 64 << 20;

/// Longest source name.
pub(super) const SOURCE_BYTES_MAX: u64 = 4096;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) position: Position,
    pub(super) durable: Position,
    pub(super) received_at: i64,
    pub(super) body_hash: u128,
    pub(super) request_id: u64,
    pub(super) body_bytes: u32,
    pub(super) source_bytes: u16,
    pub(super) format: u8,
    pub(super) payload_crc: u32,
}

/// Why the bytes at some place are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    CutShort,
    SyncWord,
    HeaderChecksum,
    Lengths,
    PayloadChecksum,
    OutOfOrder { expected: Position, found: Position },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort => f.write_str("the record is cut short"),
            Self::SyncWord => f.write_str("no record starts here"),
            Self::HeaderChecksum => f.write_str("the checksum of a record's header differs"),
            Self::Lengths => f.write_str("a record's header names lengths beyond the limits"),
            Self::PayloadChecksum => f.write_str("the checksum of a record's source and body differs"),
            Self::OutOfOrder { expected, found } => {
                write!(f, "position {} stands where {} belongs", found.0, expected.0)
            }
        }
    }
}

impl Header {
    /// Bytes of source and body.
    pub(super) fn payload_bytes(&self) -> u64 {
        u64::from(self.source_bytes) + u64::from(self.body_bytes)
    }

    /// Bytes of the whole record on disk.
    pub(super) fn frame_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + self.payload_bytes()
    }

    /// Reads a header.
    pub(super) fn decode(bytes: &[u8], salt: u32) -> Result<Self, Fault> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return Err(Fault::CutShort) };
        if bytes[..4] != SYNC_WORD {
            return Err(Fault::SyncWord);
        }
        if u32::from_le_bytes(part(bytes, 4)) != crc32c::crc32c_append(salt, &bytes[8..]) {
            return Err(Fault::HeaderChecksum);
        }
        let header = Self {
            position: Position(u64::from_le_bytes(part(bytes, 8))),
            durable: Position(u64::from_le_bytes(part(bytes, 16))),
            received_at: i64::from_le_bytes(part(bytes, 24)),
            body_hash: u128::from_le_bytes(part(bytes, 32)),
            request_id: u64::from_le_bytes(part(bytes, 48)),
            body_bytes: u32::from_le_bytes(part(bytes, 56)),
            source_bytes: u16::from_le_bytes(part(bytes, 60)),
            format: bytes[62],
            payload_crc: u32::from_le_bytes(part(bytes, 64)),
        };
        let within = u64::from(header.body_bytes) <= BODY_BYTES_MAX && u64::from(header.source_bytes) <= SOURCE_BYTES_MAX;
        if within { Ok(header) } else { Err(Fault::Lengths) }
    }
}

/// `N` bytes from `at`; the offsets are constants of the layout.
fn part<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Bytes a record will take on disk.
///
/// # Errors
/// `Invalid` where a part is over its limit.
pub(super) fn frame_bytes(record: &Record) -> Result<u64, LogError> {
    let (body, source) = (record.body.len() as u64, record.source.len() as u64);
    if body > BODY_BYTES_MAX {
        return Err(LogError::TooLarge { what: "body", bytes: body, bytes_max: BODY_BYTES_MAX });
    }
    if source > SOURCE_BYTES_MAX {
        return Err(LogError::TooLarge { what: "source", bytes: source, bytes_max: SOURCE_BYTES_MAX });
    }
    Ok(HEADER_BYTES as u64 + source + body)
}

/// Appends header and source to `out`; the body follows them on disk and is not copied here.
/// The record's sizes were checked by [`frame_bytes`].
pub(super) fn encode_head(record: &Record, position: Position, durable: Position, salt: u32, out: &mut Vec<u8>) {
    let source = record.source.as_bytes();
    let payload_crc = crc32c::crc32c_append(crc32c::crc32c(source), &record.body);
    let start = out.len();
    out.extend_from_slice(&SYNC_WORD);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&position.0.to_le_bytes());
    out.extend_from_slice(&durable.0.to_le_bytes());
    out.extend_from_slice(&record.received_at.0.to_le_bytes());
    out.extend_from_slice(&record.body_hash.to_le_bytes());
    out.extend_from_slice(&record.request_id.to_le_bytes());
    out.extend_from_slice(&(record.body.len() as u32).to_le_bytes());
    out.extend_from_slice(&(source.len() as u16).to_le_bytes());
    out.extend_from_slice(&[record.format.code(), 0]);
    out.extend_from_slice(&payload_crc.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let crc = crc32c::crc32c_append(salt, &out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(source);
}
