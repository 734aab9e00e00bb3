//! Reading durable records. Not their meaning: bodies are bytes here.

use super::segment::{Check, Cursor, Step};
use super::segments::{Segments, View};
use crate::log::error::LogError;
use crate::log::metrics::Metric;
use afferent_engine::log::{Format, Position, Record};
use afferent_engine::time::WallTime;
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// Most bytes one read returns, whatever it is asked for: 64 MiB, and a single record of any size.
pub(super) const READ_BYTES_MAX: usize = 64 << 20;

/// What a record counts beside its body, so that many empty bodies end a read too.
const RECORD_OVERHEAD_BYTES: usize = 128;

/// Records from `from` on: at least one if there is any, then up to about `bytes_max`.
///
/// # Errors
/// `Invalid` outside the bounds, `Corrupt` where a record differs from its checksum.
pub(super) fn read(segments: &Segments, from: Position, bytes_max: usize) -> Result<Vec<(Position, Record)>, LogError> {
    let mut out = Batch { records: Vec::new(), bytes: 0, bytes_max: bytes_max.min(READ_BYTES_MAX), source: Arc::from("") };
    let mut next = from;
    while let Some(view) = segments.view(next)? {
        let file = match File::open(&view.path) {
            // A trim took the file away between the look and the opening: look again.
            Err(e) if e.kind() == io::ErrorKind::NotFound && segments.bounds().0 > next => {
                if out.records.is_empty() {
                    continue;
                }
                break;
            }
            other => other.map_err(|e| LogError::io("open", &view.path, e))?,
        };
        let full = read_segment(&file, &view, next, &mut out).inspect_err(|e| note_corrupt(segments, e))?;
        if full {
            break;
        }
        next = view.end;
    }
    let count = out.records.len() as u64;
    metrics::counter!(Metric::RecordsOut.name(), "log" => segments.log.to_string()).increment(count);
    Ok(out.records)
}

fn note_corrupt(segments: &Segments, error: &LogError) {
    if matches!(error, LogError::Corrupt { .. }) {
        metrics::counter!(Metric::CorruptFound.name(), "log" => segments.log.to_string()).increment(1);
        tracing::error!(log = %segments.log, %error, "stored log is corrupt");
    }
}

/// What was read so far.
struct Batch {
    records: Vec<(Position, Record)>,
    bytes: usize,
    bytes_max: usize,
    /// The last source: neighbours mostly share it.
    source: Arc<str>,
}

/// Takes records of one segment; true when the batch is full.
fn read_segment(file: &File, view: &View, from: Position, out: &mut Batch) -> Result<bool, LogError> {
    let (start, offset) = view.start;
    let mut cursor = Cursor::new(file, view.salt, offset, view.length, start);
    loop {
        let check = if cursor.expected() < from { Check::Header } else { Check::Whole };
        let at = cursor.offset();
        match cursor.step(check).map_err(|e| LogError::io("read", &view.path, e))? {
            Step::End => break,
            Step::Fault(fault) => return Err(LogError::corrupt(&view.path, at, fault.to_string())),
            Step::Frame { .. } if check == Check::Header => {}
            Step::Frame { header, source, body, .. } => {
                let bytes = body.len() + RECORD_OVERHEAD_BYTES;
                if !out.records.is_empty() && out.bytes + bytes > out.bytes_max {
                    return Ok(true);
                }
                let corrupt = |detail: String| LogError::corrupt(&view.path, at, detail);
                let Some(format) = Format::from_code(header.format) else {
                    return Err(corrupt(format!("position {} has the unknown format {}", header.position.0, header.format)));
                };
                if source != out.source.as_bytes() {
                    let text = std::str::from_utf8(source).map_err(|_| corrupt("a source is not UTF-8".to_owned()))?;
                    out.source = Arc::from(text);
                }
                let record = Record {
                    format,
                    source: Arc::clone(&out.source),
                    received_at: WallTime(header.received_at),
                    body_hash: header.body_hash,
                    request_id: header.request_id,
                    body: Bytes::copy_from_slice(body),
                };
                out.bytes += bytes;
                out.records.push((header.position, record));
            }
        }
    }
    if cursor.expected() != view.end {
        return Err(LogError::corrupt(&view.path, cursor.offset(), format!("position {} is missing", cursor.expected().0)));
    }
    Ok(false)
}
