//! One open log: its writer thread and the doors to it. Not the files: those are the writer's and the segments'.

use super::budget::{Budget, Reservation};
use super::disk::Disk;
use super::read;
use super::recovery::{self, Recovered};
use super::segments::Segments;
use super::writer::{Append, Job, QUEUE_RECORDS_MAX, Writer};
use crate::lock::FolderLock;
use crate::log::config::EmbeddedLogConfig;
use crate::log::error::LogError;
use afferent_engine::log::{LogName, Position, Record};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// An open log.
pub(super) struct Partition {
    segments: Arc<Segments>,
    /// `None` once closed.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Partition {
    /// Opens or makes the log in `dir` and starts its writer.
    pub(super) fn open(
        log: LogName,
        dir: PathBuf,
        config: &EmbeddedLogConfig,
        budget: Arc<Budget>,
        disk: Arc<dyn Disk>,
        lock: Arc<FolderLock>,
    ) -> Result<Self, LogError> {
        let Recovered { segments, active, mark } = recovery::recover(&*disk, log, &dir)?;
        budget.add(segments.iter().map(|s| s.length).sum());
        budget.publish();
        let segments = Arc::new(Segments::new(log, budget, disk, lock, segments));
        let writer = Writer::new(Arc::clone(&segments), active, dir.clone(), config.segment_bytes, mark)?;
        let (sender, receiver) = mpsc::channel(QUEUE_RECORDS_MAX);
        let thread = std::thread::Builder::new()
            .name(format!("log-{}-{}", log.topic.as_str(), log.partition))
            .spawn(move || writer.run(receiver))
            .map_err(|e| LogError::io("start the writer of", &dir, e))?;
        Ok(Self { segments, jobs: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    fn sender(&self) -> Option<mpsc::Sender<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Appends a record for which there is room; returns when it is durable.
    pub(super) async fn append(&self, record: Record, room: Reservation) -> Result<Position, LogError> {
        let log = self.segments.log;
        let Some(jobs) = self.sender() else { return Err(LogError::Closed { log }) };
        let (reply, answer) = oneshot::channel();
        let lost = LogError::TaskLost { log, task: "writer" };
        if jobs.send(Job::Append(Append { record, room, reply })).await.is_err() {
            return Err(lost);
        }
        answer.await.unwrap_or(Err(lost))
    }

    pub(super) fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<(Position, Record)>, LogError> {
        read::read(&self.segments, from, bytes_max)
    }

    pub(super) fn bounds(&self) -> (Position, Position) {
        self.segments.bounds()
    }

    /// Frees whole segments before `before`. Where room is short, the segment being written is closed as well, so that the
    /// next trim can free it: otherwise a full log of few segments could never come back.
    pub(super) fn trim(&self, before: Position) -> Result<(), LogError> {
        self.segments.trim(before)?;
        let tight = self.segments.budget.is_tight() && self.segments.active_starts_before(before);
        if let Some(jobs) = self.sender().filter(|_| tight) {
            // A full queue means that the writer is busy; the next trim asks again.
            jobs.try_send(Job::CloseSegment).ok();
        }
        Ok(())
    }

    /// Ends the writer after it has answered what was handed to it, and the trims.
    pub(super) fn close(&self) -> Result<(), LogError> {
        self.segments.close_trimming();
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        match self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(thread) => thread.join().map_err(|_| LogError::TaskLost { log: self.segments.log, task: "writer" }),
            None => Ok(()),
        }
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(log = %self.segments.log, %error, "the log's writer did not end well");
        }
    }
}
