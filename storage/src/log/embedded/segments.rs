//! The segments of one log as readers and the trim see them: durable records only. Not the writer's unfinished business.

use super::budget::Budget;
use super::disk::Disk;
use super::segment::Segment;
use crate::lock::FolderLock;
use crate::log::error::LogError;
use afferent_engine::log::{LogName, Position};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared between the writer thread, readers and the trim.
pub(super) struct Segments {
    pub(super) log: LogName,
    pub(super) budget: Arc<Budget>,
    pub(super) disk: Arc<dyn Disk>,
    folder: Arc<FolderLock>,
    /// In order, without gaps, never empty; the last one is being written.
    list: Mutex<VecDeque<Segment>>,
    /// Held for the whole of a trim: two at once would count freed bytes twice. True when nothing more is to be removed.
    trimming_closed: Mutex<bool>,
}

/// Where to start reading in which file.
#[derive(Debug)]
pub(super) struct View {
    pub(super) path: PathBuf,
    pub(super) salt: u32,
    /// A known place at or before the wanted position.
    pub(super) start: (Position, u64),
    /// Durable bytes of the file.
    pub(super) length: u64,
    /// The position after its last durable record.
    pub(super) end: Position,
}

impl Segments {
    pub(super) fn new(log: LogName, budget: Arc<Budget>, disk: Arc<dyn Disk>, folder: Arc<FolderLock>, list: VecDeque<Segment>) -> Self {
        Self { log, budget, disk, folder, list: Mutex::new(list), trimming_closed: Mutex::new(false) }
    }

    /// The list. Each change to it is whole before the lock is let go, so a panic elsewhere leaves it right.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Segment>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that no other process took the folder over.
    ///
    /// # Errors
    /// `Conflict`, naming the new holder: nothing may be written or removed any more.
    pub(super) fn check_folder(&self) -> Result<(), LogError> {
        let dir = self.lock().back().and_then(|s| s.path.parent().map(Path::to_path_buf)).unwrap_or_default();
        self.folder.check().map_err(|why| LogError::not_ours(&dir, why))
    }

    /// The oldest kept position and the next one.
    pub(super) fn bounds(&self) -> (Position, Position) {
        bounds(&self.lock())
    }

    /// True when the segment that is being written holds something before `before`.
    pub(super) fn active_starts_before(&self, before: Position) -> bool {
        self.lock().back().is_some_and(|s| s.first < before)
    }

    /// Shows a group that has become durable: the places of its records, and the length and position after it.
    pub(super) fn grow(&self, places: &[(Position, u64)], length: u64, end: Position) {
        if let Some(active) = self.lock().back_mut() {
            for (position, offset) in places {
                active.index.note(*position, *offset);
            }
            (active.length, active.end) = (length, end);
        }
    }

    /// Starts a new segment; an empty one before it was replaced by it.
    pub(super) fn push(&self, segment: Segment) {
        let mut list = self.lock();
        if list.back().is_some_and(|last| last.first == segment.first) {
            list.pop_back();
        } else {
            self.budget.add(segment.length);
        }
        list.push_back(segment);
    }

    /// Where to read `from`; `None` at the end.
    ///
    /// # Errors
    /// `Invalid` outside the bounds.
    pub(super) fn view(&self, from: Position) -> Result<Option<View>, LogError> {
        let list = self.lock();
        let (oldest, next) = bounds(&list);
        let Some(segment) = list.get(list.partition_point(|s| s.end <= from)) else {
            let beyond = from > next;
            return if beyond { Err(LogError::BeyondEnd { log: self.log, from, next }) } else { Ok(None) };
        };
        match segment.index.before(from) {
            Some(start) => Ok(Some(View { path: segment.path.clone(), salt: segment.salt, start, length: segment.length, end: segment.end })),
            None => Err(LogError::Trimmed { log: self.log, from, oldest }),
        }
    }

    /// Removes segments that hold nothing at or after `before`, oldest first; the last one always stays.
    ///
    /// Each removal is durable before the next, so that a power cut never leaves a gap.
    ///
    /// # Errors
    /// `Unavailable` when a file cannot be removed or the log is closed, `Invalid` beyond the end, `Conflict` once the folder is another's.
    pub(super) fn trim(&self, before: Position) -> Result<(), LogError> {
        let closed = self.trimming_closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Err(LogError::Closed { log: self.log });
        }
        let (_, next) = self.bounds();
        if before > next {
            return Err(LogError::BeyondEnd { log: self.log, from: before, next });
        }
        while let Some(segment) = self.pop_before(before) {
            if let Err(fenced) = self.check_folder() {
                self.lock().push_front(segment);
                return Err(fenced);
            }
            if let Err(e) = self.disk.remove(&segment.path) {
                let failed = LogError::io("remove", &segment.path, e);
                self.lock().push_front(segment);
                return Err(failed);
            }
            self.budget.release(segment.length);
        }
        self.budget.publish();
        Ok(())
    }

    /// Waits for a running trim; no file is removed after this.
    pub(super) fn close_trimming(&self) {
        *self.trimming_closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Takes the oldest segment out of sight, if it may go.
    fn pop_before(&self, before: Position) -> Option<Segment> {
        let mut list = self.lock();
        let may_go = list.len() > 1 && list.front().is_some_and(|s| s.end <= before);
        if may_go { list.pop_front() } else { None }
    }
}

fn bounds(list: &VecDeque<Segment>) -> (Position, Position) {
    let oldest = list.front().map_or(Position(0), |s| s.first);
    (oldest, list.back().map_or(oldest, |s| s.end))
}
