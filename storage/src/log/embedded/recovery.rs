//! Opening a log that is on disk: every record is checked, a torn tail is cut, anything else that is wrong is reported.
//! Not the repair of a running writer, which knows what was durable; see `writer`.

use super::disk::{Disk, create_folder};
use super::frame::{self, Fault, Header};
use super::mark::{self, Mark};
use super::segment::{self, Check, Cursor, Index, SEGMENT_HEADER_BYTES, Segment, Step, UNFINISHED_SUFFIX};
use crate::log::error::LogError;
use crate::log::metrics::Metric;
use afferent_engine::log::{LogName, Position};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes searched at once for a record after a damaged place.
const SEARCH_BYTES: usize = 1 << 20;

/// A log's state on disk, checked.
pub(super) struct Recovered {
    pub(super) segments: VecDeque<Segment>,
    /// The last of them.
    pub(super) active: Segment,
    pub(super) mark: Mark,
}

/// What a segment's file holds from its header to the first thing that is no record.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) segment: Segment,
    pub(super) file_bytes: u64,
    pub(super) fault: Option<Fault>,
}

/// What to do about the end of the last segment.
#[derive(Debug, PartialEq, Eq)]
enum Tail {
    /// Nothing is wrong.
    Whole,
    /// What stands after the good records was never acknowledged.
    Torn,
    /// An acknowledged record is damaged or missing.
    Corrupt(String),
}

/// Opens the log in `dir`, which is made if it is not there.
///
/// # Errors
/// `Corrupt` naming file and byte, `Unavailable` where files cannot be read or changed.
pub(super) fn recover(disk: &dyn Disk, log: LogName, dir: &Path) -> Result<Recovered, LogError> {
    create_folder(disk, dir).map_err(|e| LogError::io("create", dir, e))?;
    let firsts = list_segments(dir)?;
    let (mut mark, durable) = Mark::open(dir)?;
    let durable = durable.unwrap_or_default();
    let mut segments = VecDeque::with_capacity(firsts.len().max(1));
    for (i, first) in firsts.iter().enumerate() {
        let path = dir.join(segment::file_name(*first));
        let file = File::options().read(true).write(true).open(&path).map_err(|e| LogError::io("open", &path, e))?;
        let scan = scan(&file, &path, *first).inspect_err(|e| note_corrupt(log, e))?;
        let checked = match firsts.get(i + 1) {
            Some(next) => check_closed(&scan, *next),
            None => settle_last(disk, log, &file, &scan, durable),
        };
        checked.inspect_err(|e| note_corrupt(log, e))?;
        segments.push_back(scan.segment);
    }
    let active = match segments.back() {
        Some(last) => {
            // It may have got its name from a process that died before that was durable.
            disk.sync_entry(&last.path).map_err(|e| LogError::io("sync the folder of", &last.path, e))?;
            last.clone()
        }
        None if durable > Position(0) => {
            let missing = format!("positions before {} were acknowledged and no segment is there", durable.0);
            return Err(LogError::corrupt(dir, 0, missing)).inspect_err(|e| note_corrupt(log, e));
        }
        None => {
            let created = segment::create(disk, dir, Position(0))?.0;
            segments.push_back(created.clone());
            created
        }
    };
    mark.set(active.end);
    mark.sync();
    tracing::info!(log = %log, dir = %dir.display(), segments = segments.len(), next = active.end.0, "log opened");
    Ok(Recovered { segments, active, mark })
}

fn note_corrupt(log: LogName, error: &LogError) {
    if matches!(error, LogError::Corrupt { .. }) {
        metrics::counter!(Metric::CorruptFound.name(), "log" => log.to_string()).increment(1);
        tracing::error!(log = %log, %error, "stored log is corrupt");
    }
}

/// First positions in order; what a crash left of a segment being made is removed.
fn list_segments(dir: &Path) -> Result<Vec<Position>, LogError> {
    let mut firsts = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| LogError::io("list", dir, e))? {
        let entry = entry.map_err(|e| LogError::io("list", dir, e))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if let Some(first) = segment::parse_file_name(&name) {
            firsts.push(first);
        } else if name.ends_with(UNFINISHED_SUFFIX) {
            std::fs::remove_file(entry.path()).map_err(|e| LogError::io("remove", &entry.path(), e))?;
        } else if name != mark::FILE_NAME {
            tracing::warn!(path = %entry.path().display(), "a file that does not belong to the log is left alone");
        }
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Reads a whole segment and checks every record up to the first fault.
pub(super) fn scan(file: &File, path: &Path, first: Position) -> Result<Scan, LogError> {
    let read_failed = |e: io::Error| LogError::io("read", path, e);
    let file_bytes = file.metadata().map_err(read_failed)?.len();
    let salt = segment::read_salt(file, path, first)?;
    let mut index = Index::default();
    let mut cursor = Cursor::new(file, salt, SEGMENT_HEADER_BYTES, file_bytes, first);
    let fault = loop {
        match cursor.step(Check::Whole).map_err(read_failed)? {
            Step::Frame { header, offset, .. } => index.note(header.position, offset),
            Step::End => break None,
            Step::Fault(fault) => break Some(fault),
        }
    };
    let (end, length) = (cursor.expected(), cursor.offset());
    Ok(Scan { segment: Segment { path: path.to_path_buf(), salt, first, end, length, index }, file_bytes, fault })
}

/// A segment that another one follows was durable to its last byte before that one was made.
pub(super) fn check_closed(scan: &Scan, next: Position) -> Result<(), LogError> {
    let Segment { path, end, length, .. } = &scan.segment;
    if let Some(fault) = scan.fault {
        return Err(LogError::corrupt(path, *length, format!("{fault}, in the place of position {}", end.0)));
    }
    if *end != next {
        let detail = format!("it ends before position {}, and the next segment starts at {}: records are missing", end.0, next.0);
        return Err(LogError::corrupt(path, *length, detail));
    }
    Ok(())
}

/// Judges the end of the last segment, cuts a torn tail and makes what is left durable.
fn settle_last(disk: &dyn Disk, log: LogName, file: &File, scan: &Scan, durable: Position) -> Result<(), LogError> {
    let Segment { path, end, length, .. } = &scan.segment;
    let proof = match scan.fault {
        Some(_) => later_durable(file, scan).map_err(|e| LogError::io("read", path, e))?,
        None => None,
    };
    match judge_tail(scan.fault, *end, durable, proof) {
        Tail::Whole => {}
        Tail::Corrupt(detail) => return Err(LogError::corrupt(path, *length, detail)),
        Tail::Torn => {
            let cut_bytes = scan.file_bytes - length;
            tracing::warn!(log = %log, path = %path.display(), offset = length, cut_bytes, position = end.0,
                "cut a torn tail: it was being written when the process ended and was never acknowledged");
            metrics::counter!(Metric::TornTails.name(), "log" => log.to_string()).increment(1);
            disk.truncate(file, *length).map_err(|e| LogError::io("truncate", path, e))?;
        }
    }
    rewrite_unproven(file, &scan.segment, durable).map_err(|e| LogError::io("rewrite", path, e))?;
    disk.sync_all(file).map_err(|e| LogError::io("sync", path, e))
}

/// Decides what a fault at the end of the last segment means.
///
/// `end` is the position that should have stood there, `durable` what the mark proves, `proof` the highest position that
/// a record after the fault proves to have been durable. A record after the fault that proves nothing was written in the
/// same group: the disk kept a later part of an unacknowledged write and lost an earlier one.
fn judge_tail(fault: Option<Fault>, end: Position, durable: Position, proof: Option<Position>) -> Tail {
    let known = proof.map_or(durable, |p| p.max(durable));
    let corrupt = |what: String| Tail::Corrupt(format!("{what} position {}, and records before {} were acknowledged", end.0, known.0));
    match fault {
        Some(fault) if known > end => corrupt(format!("{fault}, in the place of")),
        Some(_) => Tail::Torn,
        None if known > end => corrupt("the log ends before".to_owned()),
        None => Tail::Whole,
    }
}

/// Searches what follows the fault for headers of later records; the highest position they prove to have been durable.
/// The checksum of a header is seeded with the segment's salt, so bytes of a body are never taken for one.
fn later_durable(file: &File, scan: &Scan) -> io::Result<Option<Position>> {
    let mut buffer = vec![0; SEARCH_BYTES];
    let mut at = scan.segment.length + 1;
    let mut proof = None;
    while at + (frame::HEADER_BYTES as u64) <= scan.file_bytes {
        let bytes = (scan.file_bytes - at).min(SEARCH_BYTES as u64) as usize;
        let window = &mut buffer[..bytes];
        file.read_exact_at(window, at)?;
        let starts = bytes - frame::HEADER_BYTES + 1;
        for start in (0..starts).filter(|i| window[*i] == frame::SYNC_WORD[0]) {
            if let Ok(header) = Header::decode(&window[start..], scan.segment.salt) {
                proof = proof.max(Some(header.durable));
            }
        }
        at += starts as u64;
    }
    Ok(proof)
}

/// Writes the records that nothing proves durable once more, byte for byte, so that the sync after it covers them.
///
/// They may come from a process that ended after a failed sync: the page cache then shows bytes that are marked as
/// written and are not on disk, and a sync alone would do nothing about them.
fn rewrite_unproven(file: &File, segment: &Segment, durable: Position) -> io::Result<()> {
    if durable >= segment.end {
        return Ok(());
    }
    let mut at = segment.index.before(durable).map_or(SEGMENT_HEADER_BYTES, |(_, offset)| offset);
    let mut buffer = vec![0; SEARCH_BYTES];
    while at < segment.length {
        let bytes = (segment.length - at).min(SEARCH_BYTES as u64) as usize;
        file.read_exact_at(&mut buffer[..bytes], at)?;
        file.write_all_at(&buffer[..bytes], at)?;
        at += bytes as u64;
    }
    Ok(())
}
