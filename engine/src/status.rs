//! How fresh everything is: per source, per log, per view. Numbers only; `/freshness` gives them words.

use crate::log::Position;
use crate::time::{EventTime, WallTime};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A log that was not read to its end for longer is told of: readers may lack what other processes took in since.
pub const UNREAD_MAX: Duration = Duration::from_secs(3);

/// One consistent report.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// True once the replay after a start has caught up.
    pub recovered: bool,
    /// The metrics watermark: everything before it is complete.
    pub watermark: Option<EventTime>,
    /// Panes before this are final.
    pub final_before: Option<EventTime>,
    /// The instant answers are for: the newest event time of any log, capped by the future guard.
    pub as_of: Option<EventTime>,
    /// Per source.
    pub sources: BTreeMap<Arc<str>, SourceStatus>,
    /// Per log (`metrics/0`).
    pub logs: BTreeMap<String, LogStatus>,
    /// Per view.
    pub views: BTreeMap<String, ViewStatus>,
    /// Late samples and their repair.
    pub repair: RepairStatus,
    /// The store, as the engine meets it.
    pub store: StoreStatus,
    /// Backfills of this process, the newest few.
    pub backfills: BTreeMap<crate::control::BackfillId, BackfillStatus>,
    /// Live series.
    pub series_count: usize,
    /// Samples in memory that no table has yet.
    pub buffered_rows: usize,
    /// The newest published epoch.
    pub epoch: u64,
    /// Where panes lie in partitions: what each of them said last.
    pub partitions: BTreeMap<u32, PartitionStatus>,
    /// What is not there though it should be, with its reason: rows in memory of partitions that do not answer.
    pub missing: Vec<String>,
}

impl Status {
    /// Adds what only the engine of a partition knows.
    pub fn take_partition(&mut self, partition: &Status) {
        self.logs.extend(partition.logs.iter().map(|(name, log)| (name.clone(), *log)));
        for (name, theirs) in &partition.sources {
            self.sources.entry(name.clone()).and_modify(|ours| ours.take(theirs)).or_insert_with(|| theirs.clone());
        }
        self.series_count += partition.series_count;
        self.buffered_rows += partition.buffered_rows;
        self.repair.take(&partition.repair);
        self.missing.extend(partition.missing.iter().cloned());
    }

    /// The logs whose records of the last seconds before `now` may not all be there: they could not be read to their ends, or were not, for longer than
    /// [`UNREAD_MAX`]. With a sentence for readers.
    pub fn unread(&self, now: Instant) -> Option<String> {
        let unread =
            |(name, log): (&'_ String, &LogStatus)| log.unread(now).filter(|unread| *unread > UNREAD_MAX).map(|unread| (name.clone(), unread));
        let unread: Vec<(String, Duration)> = self.logs.iter().filter_map(unread).collect();
        let longest = unread.iter().map(|(_, unread)| unread.as_secs()).max()?;
        let logs: Vec<String> = unread.into_iter().map(|(name, _)| name).collect();
        Some(format!("records of the last {longest} s may be missing: {} could not be read to the end since", logs.join(", ")))
    }

    /// The same as it was told so long ago.
    #[must_use]
    pub fn aged(&self, by: Duration) -> Self {
        let mut status = self.clone();
        status.logs.values_mut().for_each(|log| log.read_until = log.read_until.map(|until| until.checked_sub(by).unwrap_or(until)));
        status
    }

    /// The same, of an engine that does not answer any more, and what is missing because of that: how far it had read the log does not matter beside it.
    #[must_use]
    pub fn told_last(&self, missing: String) -> Self {
        let mut status = self.clone();
        status.missing.insert(0, missing);
        status.logs.values_mut().for_each(|log| log.read_until = None);
        status
    }

    /// Everything that an answer of `now` may lack.
    pub fn lacks(&self, now: Instant) -> Vec<String> {
        self.missing.iter().cloned().chain(self.unread(now)).collect()
    }
}

/// One partition, as the owner of the views knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartitionStatus {
    /// It has said something.
    pub known: bool,
    /// Run and number of what it said last.
    pub said: (u64, u64),
    /// Its watermark.
    pub watermark: Option<EventTime>,
    /// Panes before this are final in it.
    pub final_before: Option<EventTime>,
    /// When its newest record came in.
    pub newest_received: WallTime,
}

/// The store of tables and checkpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Since when it does not take what it is given or give what it is asked for.
    pub away_since: Option<WallTime>,
    /// What it says.
    pub reason: Option<String>,
    /// When the newest checkpoint was made.
    pub checkpoint_at: Option<WallTime>,
}

/// One sender.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct SourceStatus {
    /// Newest event time it sent.
    pub event_time_max: Option<EventTime>,
    /// When its last record came in.
    pub last_received: WallTime,
    /// False once it was silent too long to hold the watermark back.
    pub active: bool,
    /// Samples and events counted once.
    pub accepted: u64,
    /// Samples, events and whole records that repeated what was there.
    pub duplicates: u64,
    /// Samples that came after their pane was final.
    pub late: u64,
    /// Samples and events refused.
    pub rejected: u64,
}

impl SourceStatus {
    /// The same sender, with what another partition has of it.
    fn take(&mut self, other: &Self) {
        self.event_time_max = self.event_time_max.max(other.event_time_max);
        self.last_received = self.last_received.max(other.last_received);
        self.active |= other.active;
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.late += other.late;
        self.rejected += other.rejected;
    }
}

/// One log.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub struct LogStatus {
    /// Every record before this is in what readers see.
    pub next: Position,
    /// Where a replay would start: the last checkpoint's position.
    pub checkpointed: Position,
    /// Everything that any process had acknowledged by then is in what readers see, but for late samples ([`RepairStatus`]); none before that is known. Told to others as an age, since their
    /// clocks may differ.
    #[serde(default, with = "age")]
    pub read_until: Option<Instant>,
}

impl LogStatus {
    /// How long ago, at `now`, that was.
    pub fn unread(&self, now: Instant) -> Option<Duration> {
        self.read_until.map(|until| now.saturating_duration_since(until))
    }
}

/// An instant as the milliseconds since then.
mod age {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use std::time::{Duration, Instant};

    pub(super) fn serialize<S: Serializer>(at: &Option<Instant>, to: S) -> Result<S::Ok, S::Error> {
        at.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Instant>, D::Error> {
        let age = Option::<u64>::deserialize(from)?;
        Ok(age.and_then(|ms| Instant::now().checked_sub(Duration::from_millis(ms))))
    }
}

/// One view.
#[derive(Debug, Clone, Default)]
pub struct ViewStatus {
    /// Results are complete up to here.
    pub watermark: Option<EventTime>,
    /// When it was last computed.
    pub evaluated_at: WallTime,
    /// Rows shown at present that are not final.
    pub provisional_rows: usize,
    /// Definition.
    pub generation: u64,
    /// Why it is not computed, if it is not.
    pub error: Option<String>,
    /// Every generation that is kept, oldest first.
    pub generations: Vec<GenerationStatus>,
}

/// One generation of a view.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationStatus {
    /// Its number.
    pub generation: u64,
    /// What it is doing.
    pub state: GenerationState,
    /// Where the definition comes from.
    pub origin: crate::control::Origin,
    /// The statement.
    pub sql: String,
    /// While it fills: history is computed up to here (none yet, without a time), and has to be computed up to there.
    pub filled: Option<(Option<EventTime>, EventTime)>,
    /// Input rows read while it filled.
    pub rows_read: u64,
    /// Rows written while it filled.
    pub rows_written: u64,
    /// How its rows differ from those of the generation that served when it had filled.
    pub difference: Option<Difference>,
    /// Why it does not go on, if it does not.
    pub error: Option<String>,
}

/// What a generation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GenerationState {
    /// Its history is being computed; readers see the one before, or nothing.
    Filling,
    /// Readers see it.
    Serving,
    /// It served before and is kept up to date, so that one statement brings it back.
    Previous,
}

impl GenerationState {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Serving => "serving",
            Self::Previous => "previous",
        }
    }
}

/// Rows of two generations compared by key, over the windows both have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Difference {
    /// Keys with equal values.
    pub same: u64,
    /// Keys with other values.
    pub changed: u64,
    /// Keys only the new one has.
    pub added: u64,
    /// Keys only the old one has.
    pub gone: u64,
}

/// A backfill that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct BackfillStatus {
    /// What was asked.
    pub range: crate::control::BackfillRange,
    /// How it stands.
    pub state: BackfillState,
    /// Windows before this are done.
    pub done_until: EventTime,
    /// Input rows read.
    pub rows_read: u64,
    /// Rows that differed and were written again.
    pub rows_written: u64,
    /// When it was asked for.
    pub started_at: WallTime,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// How a backfill stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackfillState {
    /// It goes on.
    Running,
    /// Every window was computed again.
    Done,
    /// Somebody stopped it.
    Cancelled,
    /// It met an error.
    Failed,
}

impl BackfillState {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// Samples that came after their pane was final.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RepairStatus {
    /// They wait to be counted.
    pub waiting: usize,
    /// Panes and windows whose correction has not reached every view yet.
    pub corrections: usize,
    /// Event time of the oldest that waits.
    pub oldest_waiting: Option<EventTime>,
    /// Samples that were repaired into tables and views so far.
    pub repaired: u64,
    /// Rounds of repair so far.
    pub rounds: u64,
}

impl RepairStatus {
    fn take(&mut self, other: &Self) {
        self.waiting += other.waiting;
        self.corrections += other.corrections;
        self.oldest_waiting = self.oldest_waiting.into_iter().chain(other.oldest_waiting).min();
        self.repaired += other.repaired;
        self.rounds += other.rounds;
    }
}
