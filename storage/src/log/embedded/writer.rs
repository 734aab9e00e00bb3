//! The thread that owns the end of one log: it gathers waiting appends into groups, writes and syncs each group once, and
//! rebuilds itself after a failure. Not a place for decisions about room: appends come with theirs reserved.

use super::budget::Reservation;
use super::disk::Disk;
use super::frame;
use super::mark::Mark;
use super::recovery;
use super::segment::{self, SEGMENT_HEADER_BYTES, Segment};
use super::segments::Segments;
use crate::log::error::LogError;
use crate::log::metrics::Metric;
use afferent_engine::log::{Position, Record};
use std::fs::File;
use std::io::{IoSlice, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Records that may wait for the writer.
pub(super) const QUEUE_RECORDS_MAX: usize = 256;

/// Bytes after which a group takes no more records: 8 MiB.
const GROUP_BYTES_MAX: u64 = 8 << 20;

/// Records in one group.
const GROUP_RECORDS_MAX: usize = 256;

/// How long appends are refused at once after a failed attempt to go on, so that a full disk costs next to nothing.
pub(super) const REBUILD_PAUSE: Duration = Duration::from_millis(100);

/// Something for the writer to do.
pub(super) enum Job {
    /// Make a record durable.
    Append(Append),
    /// Close the current segment, so that a trim can free it.
    CloseSegment,
}

/// A record on its way.
pub(super) struct Append {
    pub(super) record: Record,
    pub(super) room: Reservation,
    pub(super) reply: oneshot::Sender<Result<Position, LogError>>,
}

/// The end of a log.
pub(super) struct Writer {
    segments: Arc<Segments>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    mark: Mark,
    file: File,
    path: PathBuf,
    salt: u32,
    first: Position,
    next: Position,
    /// Durable bytes of the file.
    length: u64,
    health: Health,
    heads: Vec<u8>,
    log_label: String,
}

/// Whether the file's end is known.
enum Health {
    Good,
    /// A write or sync failed: nothing is written until the segment is cut back, checked and followed by a new one.
    Poisoned {
        error: LogError,
        since: Instant,
        checked: bool,
    },
}

impl Writer {
    /// Takes over a log that was just opened.
    ///
    /// # Errors
    /// `Unavailable` when the last segment cannot be opened for writing.
    pub(super) fn new(segments: Arc<Segments>, active: Segment, dir: PathBuf, segment_bytes: u64, mark: Mark) -> Result<Self, LogError> {
        let path = active.path;
        let mut file = File::options().write(true).open(&path).map_err(|e| LogError::io("open", &path, e))?;
        file.seek(SeekFrom::Start(active.length)).map_err(|e| LogError::io("seek", &path, e))?;
        Ok(Self {
            disk: Arc::clone(&segments.disk),
            log_label: segments.log.to_string(),
            segments,
            dir,
            segment_bytes,
            mark,
            file,
            path,
            salt: active.salt,
            first: active.first,
            next: active.end,
            length: active.length,
            health: Health::Good,
            heads: Vec::new(),
        })
    }

    /// Works until every sender is gone.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut carried = None;
        while let Some(job) = carried.take().or_else(|| jobs.blocking_recv()) {
            match job {
                Job::Append(first) => {
                    let (group, left) = self.gather(first, &mut jobs);
                    carried = left;
                    self.commit(group);
                }
                Job::CloseSegment => self.close_segment(),
            }
        }
        self.mark.sync();
    }

    /// What waits and fits into one group and one segment; the job that did not fit comes back beside it.
    fn gather(&self, first: Append, jobs: &mut mpsc::Receiver<Job>) -> (Vec<Append>, Option<Job>) {
        let mut bytes = first.room.bytes();
        let start = if self.fits(bytes) { self.length } else { SEGMENT_HEADER_BYTES };
        let bytes_max = self.segment_bytes.saturating_sub(start).min(GROUP_BYTES_MAX);
        let mut group = vec![first];
        while group.len() < GROUP_RECORDS_MAX {
            match jobs.try_recv() {
                Ok(Job::Append(append)) if bytes + append.room.bytes() <= bytes_max => {
                    bytes += append.room.bytes();
                    group.push(append);
                }
                Ok(job) => return (group, Some(job)),
                Err(_) => break,
            }
        }
        (group, None)
    }

    /// True when the current segment takes `bytes` more; an empty one takes any record.
    fn fits(&self, bytes: u64) -> bool {
        self.length == SEGMENT_HEADER_BYTES || self.length + bytes <= self.segment_bytes
    }

    /// Makes a group durable and answers its appends.
    fn commit(&mut self, group: Vec<Append>) {
        let bytes: u64 = group.iter().map(|a| a.room.bytes()).sum();
        // First of all, so that a process that slept does not change its successor's files.
        let written = self.segments.check_folder().and_then(|()| self.ready(bytes)).and_then(|()| self.write(&group, bytes));
        match written {
            Ok(first) => {
                metrics::counter!(Metric::RecordsIn.name(), "log" => self.log_label.clone()).increment(group.len() as u64);
                metrics::counter!(Metric::BytesIn.name(), "log" => self.log_label.clone()).increment(bytes);
                for (append, position) in group.into_iter().zip(first.0..) {
                    append.room.keep();
                    // An appender that went away does not change that its record is in the log.
                    append.reply.send(Ok(Position(position))).ok();
                }
                self.segments.budget.publish();
            }
            Err(error) => {
                for append in group {
                    // Room is given back before the answer, so that a retry finds it.
                    drop(append.room);
                    append.reply.send(Err(error.clone())).ok();
                }
            }
        }
    }

    /// Has a sound segment with room for `bytes`.
    fn ready(&mut self, bytes: u64) -> Result<(), LogError> {
        match &self.health {
            Health::Good if self.fits(bytes) => Ok(()),
            Health::Good => self.rotate().inspect_err(|e| self.poison(e, true)),
            Health::Poisoned { error, since, .. } if since.elapsed() < REBUILD_PAUSE => Err(error.clone()),
            Health::Poisoned { checked, .. } => {
                let checked = *checked;
                self.rebuild(checked)
            }
        }
    }

    /// Writes and syncs a group; the position of its first record.
    fn write(&mut self, group: &[Append], bytes: u64) -> Result<Position, LogError> {
        let first = self.next;
        let mut heads = std::mem::take(&mut self.heads);
        heads.clear();
        let mut ends = Vec::with_capacity(group.len());
        let mut places = Vec::with_capacity(group.len());
        let mut offset = self.length;
        for (append, position) in group.iter().zip(first.0..) {
            frame::encode_head(&append.record, Position(position), first, self.salt, &mut heads);
            ends.push(heads.len());
            places.push((Position(position), offset));
            offset += append.room.bytes();
        }
        let mut slices = Vec::with_capacity(2 * group.len());
        let mut start = 0;
        for (append, end) in group.iter().zip(ends) {
            slices.push(IoSlice::new(&heads[start..end]));
            slices.push(IoSlice::new(&append.record.body));
            start = end;
        }
        let written = self.disk.write(&mut self.file, &mut slices).map_err(|e| LogError::io("write to", &self.path, e));
        drop(slices);
        self.heads = heads;
        let began = Instant::now();
        written
            .and_then(|()| self.disk.sync_data(&self.file).map_err(|e| LogError::io("sync", &self.path, e)))
            .inspect_err(|e| self.poison(e, false))?;
        // And after it: what is acknowledged must be in the log that counts.
        self.segments.check_folder().inspect_err(|e| self.poison(e, false))?;
        metrics::counter!(Metric::Syncs.name(), "log" => self.log_label.clone()).increment(1);
        metrics::histogram!(Metric::SyncSeconds.name(), "log" => self.log_label.clone()).record(began.elapsed().as_secs_f64());
        self.length += bytes;
        self.next = Position(first.0 + group.len() as u64);
        self.segments.grow(&places, self.length, self.next);
        self.mark.set(self.next);
        Ok(first)
    }

    /// Nothing is written any more until [`Writer::rebuild`] succeeds. `checked`: the file's end is known to be sound.
    fn poison(&mut self, error: &LogError, checked: bool) {
        metrics::counter!(Metric::WriteFailures.name(), "log" => self.log_label.clone()).increment(1);
        if matches!(self.health, Health::Good) {
            if matches!(error, LogError::DiskFull { .. }) {
                tracing::warn!(log = %self.log_label, %error, "appends are refused until there is room");
            } else {
                tracing::error!(log = %self.log_label, %error, "appends are refused until the log can be written again");
            }
        }
        self.health = Health::Poisoned { error: error.clone(), since: Instant::now(), checked };
    }

    /// Cuts the segment back to what is durable, checks all of it as it reads from the file, and goes on in a new one:
    /// after a failed sync the old file's pages are not to be trusted, whatever a second sync says.
    fn rebuild(&mut self, checked: bool) -> Result<(), LogError> {
        if !checked {
            self.cut_back().inspect_err(|e| self.poison(e, false))?;
        }
        self.rotate().inspect_err(|e| self.poison(e, true))?;
        tracing::info!(log = %self.log_label, next = self.next.0, "the log can be written again");
        Ok(())
    }

    fn cut_back(&self) -> Result<(), LogError> {
        let path = &self.path;
        let file = File::options().read(true).write(true).open(path).map_err(|e| LogError::io("open", path, e))?;
        self.disk.truncate(&file, self.length).map_err(|e| LogError::io("truncate", path, e))?;
        self.disk.sync_all(&file).map_err(|e| LogError::io("sync", path, e))?;
        recovery::check_closed(&recovery::scan(&file, path, self.first)?, self.next)
    }

    /// Starts a new segment. The current one is durable to its last byte.
    fn rotate(&mut self) -> Result<(), LogError> {
        let (segment, file) = segment::create(&*self.disk, &self.dir, self.next)?;
        self.file = file;
        self.path.clone_from(&segment.path);
        (self.salt, self.first, self.length) = (segment.salt, segment.first, segment.length);
        self.segments.push(segment);
        self.mark.sync();
        self.health = Health::Good;
        Ok(())
    }

    fn close_segment(&mut self) {
        if matches!(self.health, Health::Good) && self.next > self.first && self.segments.check_folder().is_ok() {
            // A failure poisons the writer and is answered to the next append.
            self.rotate().inspect_err(|e| self.poison(e, true)).ok();
        }
    }
}
