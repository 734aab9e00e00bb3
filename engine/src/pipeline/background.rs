//! What of the past waits to be computed again, and in which order it is done: late samples first, then the windows and folds that they touch, then what
//! somebody asked for, then the history of new generations. One step at a time; the supervisor runs it beside the stream.

use super::{Pipeline, Side};
use crate::control::{BackfillId, BackfillRange};
use crate::error::{Error, ErrorKind, Result};
use crate::live::{LiveFilter, ReadView};
use crate::metrics::Metric;
use crate::parts::{Touched, touch};
use crate::recompute::{Lake, Outcome, Step, window_starts};
use crate::schema::{self, TableDef, TableName};
use crate::status::{BackfillState, BackfillStatus, RepairStatus};
use crate::table::{History, TableFiles};
use crate::time::{EventTime, WallTime};
use crate::views::{Applied, Chosen, Extent, Why};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Panes that one round of corrections takes.
const ROUND_PANES: usize = 60;

/// Backfills remembered; those that ended are forgotten first.
const BACKFILLS_MAX: usize = 100;

/// See the module.
#[derive(Default)]
pub(crate) struct Background {
    /// Final panes that were written again and that views do not know of yet.
    pub(crate) touched: Touched,
    /// The panes of the round at work, and the views that still have to look at them.
    round: Option<Round>,
    /// Views whose rows changed: which windows, and which of their readers know.
    pub(crate) changed: BTreeMap<TableName, Changed>,
    pub(crate) backfills: BTreeMap<BackfillId, Backfill>,
    /// Whether history goes before corrections this time: they take turns, so that neither waits for ever.
    history_first: bool,
}

struct Round {
    panes: Touched,
    left: VecDeque<TableName>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Changed {
    pub(crate) starts: BTreeSet<i64>,
    /// Not for a checkpoint: what a step at work tells a reader is not in the reader's state yet.
    #[serde(skip)]
    told: BTreeSet<TableName>,
}

/// A backfill that was asked for.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Backfill {
    view: TableName,
    table: TableName,
    from: i64,
    to: i64,
    done: i64,
    state: BackfillState,
    rows_read: u64,
    rows_written: u64,
    started_at: WallTime,
    error: Option<String>,
}

/// What the outcome of a step is for.
pub(crate) enum Purpose {
    Late,
    View { chosen: Box<Chosen>, of: Of },
}

/// Which of the waiting things a view's step belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Of {
    /// Panes that were corrected.
    Round,
    /// Changed rows of this view.
    Changed(TableName),
    Backfill(BackfillId),
    Fill,
}

/// A step to be run, over the lake as it is now.
pub(crate) struct Job {
    pub(crate) purpose: Purpose,
    pub(crate) step: Step,
    pub(crate) lake: Lake,
}

impl Background {
    /// Everything that views do not know of yet, for a checkpoint.
    pub(crate) fn unknown(&self) -> Touched {
        let mut all = self.touched.clone();
        self.round.iter().for_each(|round| touch(&mut all, &round.panes));
        all
    }

    fn corrections(&self) -> usize {
        let round = self.round.as_ref().map_or(0, |r| r.panes.len());
        self.touched.len() + round + self.changed.values().map(|c| c.starts.len()).sum::<usize>()
    }

    fn begin_round(&mut self, views: impl Iterator<Item = TableName>) {
        let later = self.touched.keys().nth(ROUND_PANES).copied();
        let rest = later.map(|pane| self.touched.split_off(&pane)).unwrap_or_default();
        let panes = std::mem::replace(&mut self.touched, rest);
        if !panes.is_empty() {
            self.round = Some(Round { panes, left: views.collect() });
        }
    }
}

impl Pipeline {
    /// The next step, if any. The one before has been taken or given up.
    pub(crate) fn next_job(&mut self, now: WallTime, stored: &Stored) -> Option<Job> {
        self.feed_views(now);
        self.outbox.seal();
        self.raw.seal();
        let history_first = self.background.history_first;
        self.background.history_first = !history_first;
        // A correction of what came with the stream passes a view by that has not got the older part of its windows yet.
        let joined = self.views.join(self.instants(now)).map(|chosen| of(chosen, Of::Fill));
        let job = match joined {
            Some(job) => Some(job),
            None if history_first => self.history_step(now, stored).or_else(|| self.correction(now)),
            None => self.correction(now).or_else(|| self.history_step(now, stored)),
        };
        let (purpose, step) = job?;
        if let Purpose::View { chosen, .. } = &purpose {
            self.views.begin_step(&chosen.table);
        }
        Some(Job { purpose, step, lake: self.lake(stored) })
    }

    /// True where something of the past waits.
    pub(crate) fn has_background(&self) -> bool {
        !self.late.is_empty() || self.has_more_than_late()
    }

    /// True where something waits besides late samples.
    pub(crate) fn has_more_than_late(&self) -> bool {
        self.corrections() > 0 || self.views.fills() || self.background.backfills.values().any(|b| b.state == BackfillState::Running)
    }

    /// Panes and windows that are to be computed again, or were and not every view knows.
    fn corrections(&self) -> usize {
        self.late.rechecks().count() + self.background.corrections()
    }

    /// A view is gone: nothing of it waits any more.
    pub(crate) fn forget_view(&mut self, name: &TableName) {
        self.background.changed.remove(name);
        for backfill in self.background.backfills.values_mut().filter(|b| b.view == *name && b.state == BackfillState::Running) {
            backfill.state = BackfillState::Cancelled;
        }
    }

    fn correction(&mut self, now: WallTime) -> Option<(Purpose, Step)> {
        if let Some(wanted) = self.late_request() {
            return Some((Purpose::Late, Step::Raw(wanted)));
        }
        let at = self.instants(now);
        loop {
            if self.background.round.is_none() {
                let views: Vec<TableName> = self.views.over_panes().collect();
                self.background.begin_round(views.into_iter());
            }
            let Some(round) = &mut self.background.round else { break };
            let Some(table) = round.left.pop_front() else {
                self.background.round = None;
                continue;
            };
            let Some(chosen) = self.views.correct(&table, &round.panes, at) else { continue };
            return Some(of(chosen, Of::Round));
        }
        let names: Vec<TableName> = self.background.changed.keys().cloned().collect();
        for name in names {
            let readers: Vec<TableName> = self.views.readers(&name).collect();
            let Some(changed) = self.background.changed.get_mut(&name) else { continue };
            for table in readers {
                if !changed.told.insert(table.clone()) {
                    continue;
                }
                if let Some(chosen) = self.views.follow(&table, &changed.starts, at) {
                    return Some(of(chosen, Of::Changed(name)));
                }
            }
            self.background.changed.remove(&name);
        }
        None
    }

    fn history_step(&mut self, now: WallTime, stored: &Stored) -> Option<(Purpose, Step)> {
        let at = self.instants(now);
        let extent = |table: &TableDef| self.extent(table, stored);
        let mut ended = vec![];
        for (id, backfill) in self.background.backfills.iter().filter(|(_, b)| b.state == BackfillState::Running) {
            match self.views.backfill(&backfill.table, backfill.done, backfill.to, at, extent) {
                Some(chosen) => return Some(of(chosen, Of::Backfill(*id))),
                None => ended.push(*id),
            }
        }
        let chosen = self.views.fill(at, extent);
        for id in ended {
            if let Some(backfill) = self.background.backfills.get_mut(&id) {
                (backfill.state, backfill.done) = (BackfillState::Done, backfill.to);
            }
        }
        let chosen = chosen?;
        self.views.forget_pending(&chosen.table);
        Some(of(chosen, Of::Fill))
    }

    fn lake(&mut self, stored: &Stored) -> Lake {
        let mut memory: BTreeMap<TableName, Vec<arrow::record_batch::RecordBatch>> =
            self.in_flight.as_ref().map(|f| f.tables.clone()).unwrap_or_default();
        for (table, sealed) in self.outbox.sealed() {
            memory.entry(table.clone()).or_default().extend(sealed.iter().cloned());
        }
        for (table, rows) in self.views.final_rows() {
            memory.entry(table).or_default().extend(rows);
        }
        Lake {
            history: stored.history.clone(),
            files: stored.files.clone(),
            partitions: stored.partitions.clone(),
            memory,
            panes: self.in_flight.iter().flat_map(|f| &f.rollup).chain(&self.rollup).cloned().collect(),
            directory: self.registry.directory(),
            metrics: self.metrics_now(),
            inventory: self.inventory.clone(),
            runtime: stored.runtime.clone(),
        }
    }

    /// Where a table's rows begin, and how many a day has.
    fn extent(&self, table: &TableDef, stored: &Stored) -> Option<Extent> {
        let mut days: BTreeMap<&str, u64> = BTreeMap::new();
        for file in stored.files.get(&table.name).into_iter().flat_map(|f| &f.files) {
            *days.entry(&file.date).or_default() += file.row_count;
        }
        let first = days.keys().next().and_then(|date| day_start(date));
        let in_memory = if table.name.as_str() == schema::ROLLUP_1M {
            let rows = self.in_flight.iter().flat_map(|f| &f.rollup).chain(&self.rollup).flat_map(|rows| rows.iter());
            rows.map(|row| row.cell.start).chain(stored.earliest_pane).min()
        } else {
            self.views.earliest(&table.name).into_iter().chain(self.in_flight.iter().filter_map(|f| f.earliest(&table.name))).min()
        };
        let earliest = first.into_iter().chain(in_memory).min()?;
        let rows: u64 = days.values().sum();
        let per_day = rows.checked_div(days.len() as u64).unwrap_or_default();
        Some(Extent { earliest, rows_per_day: i64::try_from(per_day).unwrap_or(i64::MAX) })
    }

    /// Takes what a step gave.
    ///
    /// # Errors
    /// `Corrupt` where rows of the lake do not have their columns; `Internal`.
    pub(crate) fn take_outcome(&mut self, purpose: Purpose, outcome: Outcome, now: WallTime) -> Result<()> {
        let (chosen, of) = match (purpose, outcome) {
            (Purpose::Late, Outcome::Raw(rows)) => {
                let touched = self.judge_late(&rows)?;
                match &mut self.side {
                    Side::Partition(emitter) => emitter.tell(touched),
                    Side::Whole | Side::Views(_) => touch(&mut self.background.touched, &touched),
                }
                return Ok(());
            }
            (Purpose::View { chosen, of }, outcome) => {
                self.feed_views(now);
                let at = self.instants(now);
                let applied = match outcome {
                    Outcome::Windows(done) => self.views.take_windows(&chosen, done, at)?,
                    Outcome::Fold(done) => self.views.take_fold(&chosen, done, at)?,
                    Outcome::Keyed { state, rows_read } => self.views.take_keyed(&chosen, state, rows_read),
                    Outcome::Raw(_) => return Err(Error::internal("raw rows for a view")),
                };
                self.views.end_step();
                if chosen.why == Why::Join {
                    // Windows that completed meanwhile are given out with the next feed.
                    self.fed = None;
                }
                self.propagate(&chosen, &of, &applied);
                (self.unshown, self.unsaved) = (true, true);
                (chosen, (of, applied))
            }
            (Purpose::Late, _) => return Err(Error::internal("a view's rows for late samples")),
        };
        let (of, applied) = of;
        metrics::counter!(Metric::BackgroundRowsIn.name()).increment(applied.rows_read);
        metrics::counter!(Metric::BackgroundRowsOut.name()).increment(applied.rows_written);
        if let (Of::Backfill(id), Why::Backfill { until }) = (of, &chosen.why)
            && let Some(backfill) = self.background.backfills.get_mut(&id)
        {
            backfill.done = backfill.done.max(*until).min(backfill.to);
            backfill.rows_read += applied.rows_read;
            backfill.rows_written += applied.rows_written;
        }
        if matches!(chosen.why, Why::Fill { last: true, .. }) {
            // A view that serves has all of its rows.
            self.tick(now);
        }
        Ok(())
    }

    fn propagate(&mut self, chosen: &Chosen, of: &Of, applied: &Applied) {
        if applied.again
            && let Some(round) = &self.background.round
        {
            // Only panes of windows that were open then can have been passed by.
            touch(&mut self.background.touched, &round.panes);
        }
        if let (true, Of::Changed(name)) = (applied.again, of)
            && let Some(changed) = self.background.changed.get_mut(name)
        {
            changed.told.remove(&chosen.table);
        }
        if let Some(name) = self.views.serving_name(&chosen.table).filter(|_| !applied.changed.is_empty()) {
            self.views.restart_fills(&name);
            let changed = self.background.changed.entry(name).or_default();
            changed.starts.extend(applied.changed.iter().copied());
            changed.told.clear();
        }
    }

    /// Notes that a step failed. What can be tried again is; what cannot is told where its user looks.
    pub(crate) fn background_failed(&mut self, purpose: Purpose, error: &Error) {
        let again = error.kind() == ErrorKind::Unavailable;
        tracing::warn!(%error, again, "a step that computes the past again failed");
        let Purpose::View { chosen, of } = purpose else { return };
        self.views.end_step();
        match of {
            Of::Round => {
                if let Some(round) = self.background.round.as_mut().filter(|_| again) {
                    round.left.push_front(chosen.table.clone());
                }
            }
            Of::Changed(name) => {
                if let Some(changed) = self.background.changed.get_mut(&name).filter(|_| again) {
                    changed.told.remove(&chosen.table);
                }
            }
            Of::Backfill(id) => {
                if let Some(backfill) = self.background.backfills.get_mut(&id).filter(|_| !again) {
                    (backfill.state, backfill.error) = (BackfillState::Failed, Some(error.to_string()));
                }
            }
            Of::Fill => {
                if !again {
                    self.views.fill_failed(&chosen.table, error);
                }
            }
        }
    }

    /// Takes a request to compute a range again.
    ///
    /// # Errors
    /// `Invalid`, see [`crate::control::Control::backfill`].
    pub(crate) fn begin_backfill(&mut self, range: &BackfillRange, now: WallTime) -> Result<BackfillId> {
        let table = self.views.backfillable(&range.view, &(range.from.0..range.to.0))?;
        let ended: Vec<BackfillId> = self.background.backfills.iter().filter(|(_, b)| b.state != BackfillState::Running).map(|(id, _)| *id).collect();
        let surplus = (self.background.backfills.len() + 1).saturating_sub(BACKFILLS_MAX);
        if surplus > ended.len() {
            return Err(Error::unavailable(format!("{BACKFILLS_MAX} backfills run already")));
        }
        for id in ended.into_iter().take(surplus) {
            self.background.backfills.remove(&id);
        }
        let id = BackfillId(self.background.backfills.keys().next_back().map_or(1, |id| id.0 + 1));
        let backfill = Backfill {
            view: range.view.clone(),
            table,
            from: range.from.0,
            to: range.to.0,
            done: range.from.0,
            state: BackfillState::Running,
            rows_read: 0,
            rows_written: 0,
            started_at: now,
            error: None,
        };
        self.background.backfills.insert(id, backfill);
        Ok(id)
    }

    /// Stops a backfill.
    ///
    /// # Errors
    /// `Invalid` where it is unknown or over.
    pub(crate) fn cancel_backfill(&mut self, id: BackfillId) -> Result<()> {
        match self.background.backfills.get_mut(&id) {
            Some(backfill) if backfill.state == BackfillState::Running => {
                backfill.state = BackfillState::Cancelled;
                Ok(())
            }
            Some(_) => Err(Error::invalid(format!("backfill {} is over", id.0))),
            None => Err(Error::invalid(format!("there is no backfill {}", id.0))),
        }
    }

    pub(crate) fn backfill_status(&self) -> BTreeMap<BackfillId, BackfillStatus> {
        let one = |b: &Backfill| BackfillStatus {
            range: BackfillRange { view: b.view.clone(), from: EventTime(b.from), to: EventTime(b.to) },
            state: b.state,
            done_until: EventTime(b.done),
            rows_read: b.rows_read,
            rows_written: b.rows_written,
            started_at: b.started_at,
            error: b.error.clone(),
        };
        self.background.backfills.iter().map(|(id, b)| (*id, one(b))).collect()
    }

    pub(crate) fn repair_status(&self) -> RepairStatus {
        RepairStatus {
            waiting: self.late.len(),
            corrections: self.corrections() + usize::from(self.unshown),
            oldest_waiting: self.late.oldest().map(EventTime),
            repaired: self.late.repaired,
            rounds: u64::try_from(self.late.rounds).unwrap_or_default(),
        }
    }
}

fn day_start(date: &str) -> Option<i64> {
    let date = chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
    Some(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis())
}

/// Start of the earliest pane row in the memory of partitions, if that is before what their files have. Blocks while they are asked.
///
/// # Errors
/// `Unavailable` where one of them does not give its rows: there may be some, so no step is to be chosen.
pub(crate) fn earliest_pane(partitions: &ReadView) -> Result<Option<i64>> {
    let table = TableName::new(schema::ROLLUP_1M);
    let Some(rows) = partitions.live.get(&table) else { return Ok(None) };
    let dates = partitions.files.get(&table).into_iter().flat_map(|files| &files.files).map(|file| file.date.as_str());
    let first = dates.min().and_then(day_start);
    let earlier = LiveFilter { metric: None, micros: first.map(|from| i64::MIN..from.saturating_mul(1000)) };
    Ok(rows.scan(&earlier)?.iter().flat_map(window_starts).min())
}

/// What is stored when a step is chosen.
pub(crate) struct Stored {
    pub(crate) history: Arc<dyn History>,
    pub(crate) files: Files,
    /// Whose memory has the rest, of a stream whose panes lie in partitions.
    pub(crate) partitions: Option<Arc<ReadView>>,
    /// See [`earliest_pane`].
    pub(crate) earliest_pane: Option<i64>,
    pub(crate) runtime: Handle,
}

/// Published files by table.
pub(crate) type Files = BTreeMap<TableName, Arc<TableFiles>>;

fn of(mut chosen: Chosen, of: Of) -> (Purpose, Step) {
    let step = std::mem::replace(&mut chosen.step, Step::Raw(crate::table::Wanted::default()));
    (Purpose::View { chosen: Box::new(chosen), of }, step)
}
