//! One view at work: its state, its rows, and how a tick changes them.

use super::envelope::{Envelope, full_schema};
use super::input::PaneInput;
use super::upserts::Upserts;
use super::window::{Revised, WindowState, by_bucket};
use super::{Instants, KEYS_MAX, RECENT_MS, SNAPSHOT_EVERY_MS, with_envelope};
use crate::control::Origin;
use crate::error::{Error, Result};
use crate::metrics::Metric;
use crate::panes::Panes;
use crate::query::{Fold, KeyedProgram, Program, SnapshotProgram, View, WindowSource};
use crate::recompute::{per_key, standing, window_starts};
use crate::registry::Registry;
use crate::schema::{TableDef, TableName};
use crate::status::{Difference, GenerationState};
use crate::time::{EventTime, WallTime};
use arrow::array::{AsArray, BooleanArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) struct Entry {
    pub(super) view: Arc<View>,
    pub(super) origin: Origin,
    pub(super) standing: GenerationState,
    /// How far its history is computed, until it is.
    pub(super) fill: Option<Fill>,
    /// How it differed from the generation before it when it had filled.
    pub(super) difference: Option<Difference>,
    /// Rows that its history took, read and written, when it had filled.
    pub(super) fill_rows: (u64, u64),
    /// Columns with the envelope.
    pub(super) schema: SchemaRef,
    pub(super) state: State,
    /// Final rows since the last cut.
    pub(super) out: Vec<RecordBatch>,
    /// Final rows of the last [`RECENT_MS`], oldest first.
    pub(super) recent: Vec<Recent>,
    /// Final rows since the step at work was chosen, where it computes or reads this view.
    pub(super) meanwhile: Option<Vec<RecordBatch>>,
    /// Final rows of the round at work.
    pub(super) fresh: Option<RecordBatch>,
    /// Rows that are not final.
    pub(super) provisional: RecordBatch,
    /// The rows of this tick differ from the last one's.
    pub(super) changed: bool,
    pub(super) error: Option<String>,
    /// Why final rows are missing, from then on.
    pub(super) lost: Option<String>,
    /// Its state is another one than when its rows were computed: the next tick computes them, though its input stands still.
    pub(super) restated: bool,
    pub(super) evaluated_at: WallTime,
}

/// Final rows that are still in memory for other views.
pub(super) struct Recent {
    /// Their newest window start, microseconds.
    pub(super) newest: i64,
    pub(super) rows: RecordBatch,
}

/// How far the history of a view is computed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Fill {
    /// What started before this was final when the view was defined: it is history.
    pub(crate) to: i64,
    /// Windows (rows, of a fold) that start before this are computed.
    pub(crate) done_until: Option<i64>,
    /// The windows over `to` have their older part.
    pub(crate) joined: bool,
    pub(crate) rows_read: u64,
    pub(crate) rows_written: u64,
    pub(crate) difference: Difference,
    /// Another generation was there to compare with.
    pub(crate) compared: bool,
    /// It started over: some of its rows are written already.
    #[serde(default)]
    pub(crate) again: bool,
    pub(crate) error: Option<String>,
    /// Not every partition has said from where on it gives states, so `to` is not known yet.
    #[serde(default)]
    pub(crate) waits: bool,
}

pub(super) enum State {
    Window(WindowState),
    Keyed {
        state: RecordBatch,
        pending: Vec<RecordBatch>,
        upserts: Upserts,
        /// Keys last seen before this were dropped, milliseconds.
        expired: Option<i64>,
    },
    Fold(Box<dyn Fold>),
    Snapshot {
        upserts: Upserts,
        at: Option<i64>,
    },
}

impl Entry {
    pub(super) fn new(view: Arc<View>, origin: Origin) -> Result<Self> {
        let schema = full_schema(&view.spec.schema);
        let upserts = || Upserts::new(&view.spec.schema, &view.spec.key);
        let state = match &view.program {
            Program::Window(_) => State::Window(WindowState::default()),
            Program::Keyed(keyed) => State::Keyed { state: keyed.query.merge(&[])?, pending: vec![], upserts: upserts()?, expired: None },
            Program::Fold(fold) => State::Fold((fold.make)()),
            Program::Snapshot(_) => State::Snapshot { upserts: upserts()?, at: None },
        };
        let provisional = RecordBatch::new_empty(schema.clone());
        Ok(Self {
            view,
            origin,
            standing: GenerationState::Serving,
            fill: None,
            difference: None,
            fill_rows: (0, 0),
            schema,
            state,
            out: vec![],
            recent: vec![],
            meanwhile: None,
            fresh: None,
            provisional,
            changed: false,
            error: None,
            lost: None,
            restated: false,
            evaluated_at: WallTime::default(),
        })
    }

    /// The view's table: days are of `window_start` where it is part of the key, else of the watermark. Of a retracted row only key and envelope stand.
    pub(super) fn table(&self) -> TableDef {
        let windowed = self.view.spec.key.iter().any(|column| column == "window_start");
        TableDef {
            name: self.view.spec.table(),
            schema: self.schema.clone(),
            date_from: if windowed { "window_start" } else { "watermark" },
            sort: self.view.spec.key.clone(),
            supersedes: Some(crate::schema::Supersedes::VIEW),
        }
    }

    /// Keeps or clears the view's error; one that had nothing to compute says nothing of it.
    pub(super) fn note(&mut self, computed: Result<bool>) {
        match computed {
            Ok(computed) => self.error = self.error.take().filter(|_| !computed),
            Err(error) => {
                if self.error.is_none() {
                    tracing::error!(view = %self.view.spec.name, %error, "a view could not be computed");
                }
                self.error = Some(error.to_string());
            }
        }
    }

    /// Notes that final rows could not be computed: they are missing, whatever comes later.
    pub(super) fn note_final(&mut self, done: Result<()>) {
        if let Err(error) = done {
            tracing::error!(view = %self.view.spec.name, %error, "rows of a view that became final could not be computed");
            self.lost.get_or_insert_with(|| format!("final rows are missing since they could not be computed; change the view: {error}"));
        }
    }

    /// What its user has to know.
    pub(super) fn told_error(&self) -> Option<String> {
        self.lost.clone().or_else(|| self.error.clone())
    }

    fn envelope(&self, watermark: Option<EventTime>) -> Envelope {
        Envelope { watermark, coverage: None, revision: 0, generation: self.view.spec.generation }
    }

    /// Takes the final rows of a round.
    pub(super) fn append_final(&mut self, rows: Revised, at: Instants) -> Result<()> {
        let mut fresh = vec![];
        for (rows, revision) in rows.into_iter().filter(|(r, _)| r.num_rows() > 0) {
            fresh.push(with_envelope(&self.schema, &rows, &Envelope { revision, ..self.envelope(at.watermark) }, None)?);
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let fresh = concat_batches(&self.schema, &fresh)?;
        let newest = newest_window(&fresh);
        self.recent.push(Recent { newest, rows: fresh.clone() });
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile.push(fresh.clone());
        }
        let newest = self.recent.iter().map(|r| r.newest).max().unwrap_or(newest);
        self.recent.retain(|r| r.newest >= newest.saturating_sub(RECENT_MS * 1000));
        self.out.push(fresh.clone());
        self.fresh = Some(fresh);
        self.changed = true;
        Ok(())
    }

    /// Takes rows that were computed again: they stand instead of those in memory with the same key, and are written with the next cut.
    pub(super) fn append_revised(&mut self, rows: RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let starts = window_starts(&rows);
        let table = self.table();
        for recent in &mut self.recent {
            if window_starts(&recent.rows).is_disjoint(&starts) {
                continue;
            }
            let newest = per_key(&table, &[recent.rows.clone(), rows.clone()])?;
            let own: BTreeSet<i64> = window_starts(&recent.rows);
            recent.rows = standing(&of_windows(&newest, &own)?)?;
        }
        self.remember_new(&rows)?;
        self.out.push(rows);
        self.changed = true;
        Ok(())
    }

    /// Windows that had no row until they were computed again are read by others like those that always had.
    fn remember_new(&mut self, rows: &RecordBatch) -> Result<()> {
        let known: BTreeSet<i64> = self.recent.iter().flat_map(|r| window_starts(&r.rows)).collect();
        let horizon = self.recent.iter().map(|r| r.newest).max().map_or(i64::MIN, |newest| newest.saturating_sub(RECENT_MS * 1000));
        let new: BTreeSet<i64> = window_starts(rows).into_iter().filter(|start| !known.contains(start) && start * 1000 >= horizon).collect();
        let rows = standing(&of_windows(rows, &new)?)?;
        if rows.num_rows() > 0 {
            self.recent.push(Recent { newest: newest_window(&rows), rows });
        }
        Ok(())
    }

    /// Computes what is not final anew; false where nothing had to be.
    pub(super) fn tick(&mut self, before: &[Entry], input: &mut PaneInput, work: &mut TickWork<'_>) -> Result<bool> {
        let at = work.at;
        if self.fill.is_some() && !matches!(self.state, State::Window(_)) {
            return Ok(false);
        }
        let envelope = self.envelope(at.watermark);
        let restated = std::mem::take(&mut self.restated);
        let recomputed = match (&self.view.program, &mut self.state) {
            (Program::Window(program), State::Window(state)) => {
                let changed = match &program.source {
                    WindowSource::Panes { metrics } => {
                        let rows = input.open_rows(work.dirty, metrics.as_ref(), work.panes, work.registry)?;
                        state.tick(program, rows, at.watermark)?
                    }
                    WindowSource::View(name) => match serving(before, name).filter(|e| e.changed || restated || state.is_stale()) {
                        Some(source) => state.tick_all(program, by_bucket(program, &source.provisional)?, at.watermark)?,
                        None => false,
                    },
                };
                if !changed && !work.finalized {
                    return Ok(false);
                }
                let rows = state.provisional().map(|(rows, revision)| with_envelope(&self.schema, rows, &Envelope { revision, ..envelope }, None));
                concat_batches(&self.schema, &rows.collect::<Result<Vec<_>>>()?)?
            }
            (Program::Fold(program), State::Fold(fold)) => {
                let Some(source) = serving(before, &program.input).filter(|e| e.changed || restated) else { return Ok(false) };
                let rows = fold.evaluate(std::slice::from_ref(&source.provisional))?;
                with_envelope(&self.schema, &rows, &envelope, None)?
            }
            (Program::Keyed(program), State::Keyed { state, pending, upserts, expired }) => {
                // A key that comes back after its time begins anew, so what is over goes first.
                let due = expiry(program, at.as_of, if pending.is_empty() { *expired } else { None });
                if pending.is_empty() && self.evaluated_at != WallTime::default() && due.is_none() {
                    return Ok(false);
                }
                if let Some(before) = due {
                    *state = program.query.expire(state, before)?;
                    *expired = Some(before.0);
                }
                absorb(program, state, pending)?;
                upserts.set(program.query.finish(std::slice::from_ref(state))?)?;
                upserts.live(&self.schema, &Envelope { watermark: at.as_of, ..envelope })?
            }
            (Program::Snapshot(program), State::Snapshot { upserts, at: last }) => {
                let Some(as_of) = at.as_of else { return Ok(false) };
                let fed = before.iter().any(|e| e.changed && e.serves() && program.inputs.contains(&e.view.spec.name));
                let aged = last.is_none_or(|last| as_of.0 - last >= SNAPSHOT_EVERY_MS);
                if !fed && !aged {
                    return Ok(false);
                }
                *last = Some(as_of.0);
                upserts.set(snapshot(program, before, as_of)?)?;
                upserts.live(&self.schema, &Envelope { watermark: at.as_of, ..envelope })?
            }
            _ => return Err(Error::internal("a view's state is not of its program's kind")),
        };
        self.provisional = recomputed;
        self.changed = true;
        self.evaluated_at = at.now;
        Ok(true)
    }

    /// Moves keyed rows that changed since the last cut to the rows to be written; the tick before took every event. While history is computed
    /// there are none: what comes meanwhile waits.
    pub(super) fn cut_upserts(&mut self, at: Instants) -> Result<()> {
        let envelope = Envelope { watermark: at.as_of, ..self.envelope(at.watermark) };
        if let State::Keyed { upserts, .. } | State::Snapshot { upserts, .. } = &mut self.state
            && self.fill.is_none()
        {
            self.out.push(upserts.cut(&self.schema, &envelope)?);
        }
        Ok(())
    }

    /// Readers and other views see it.
    pub(super) fn serves(&self) -> bool {
        self.standing == GenerationState::Serving
    }

    /// The view it reads, where it reads the rows of one.
    pub(super) fn input(&self) -> Option<&TableName> {
        match &self.view.program {
            Program::Window(window) => match &window.source {
                WindowSource::View(name) => Some(name),
                WindowSource::Panes { .. } => None,
            },
            Program::Fold(fold) => Some(&fold.input),
            Program::Keyed(_) | Program::Snapshot(_) => None,
        }
    }

    /// Rows as other views read them: recent final ones, then those that are not final.
    fn current(&self) -> Vec<RecordBatch> {
        self.recent.iter().map(|r| r.rows.clone()).chain(std::iter::once(self.provisional.clone())).collect()
    }
}

/// What a tick works on.
pub(super) struct TickWork<'a> {
    pub(super) dirty: &'a BTreeSet<i64>,
    pub(super) panes: &'a mut Panes,
    pub(super) registry: &'a Registry,
    pub(super) at: Instants,
    /// Panes became final since the last tick, so results that are not final became fewer.
    pub(super) finalized: bool,
}

/// What is to be dropped now of a view with a time-to-live, looked at every so often.
fn expiry(program: &KeyedProgram, as_of: Option<EventTime>, expired: Option<i64>) -> Option<EventTime> {
    let before = as_of?.plus_ms(-program.ttl_ms?);
    expired.is_none_or(|last| before.0 - last >= SNAPSHOT_EVERY_MS).then_some(before)
}

fn absorb(program: &KeyedProgram, state: &mut RecordBatch, pending: &mut Vec<RecordBatch>) -> Result<()> {
    let rows = std::mem::take(pending);
    if rows.is_empty() {
        return Ok(());
    }
    if state.num_rows() >= KEYS_MAX {
        let lost: usize = rows.iter().map(RecordBatch::num_rows).sum();
        metrics::counter!(Metric::EventsSkipped.name(), "reason" => "view_keys_max").increment(lost as u64);
        return Err(Error::unavailable(format!("the view holds its limit of {KEYS_MAX} keys; {lost} rows were not taken into it")));
    }
    *state = program.query.merge(&[state.clone(), program.query.partial(&rows)?])?;
    Ok(())
}

fn snapshot(program: &SnapshotProgram, before: &[Entry], as_of: EventTime) -> Result<RecordBatch> {
    let wanted = before.iter().filter(|e| e.serves() && program.inputs.contains(&e.view.spec.name));
    let rows = |e: &Entry| e.current().iter().map(standing).collect::<Result<Vec<_>>>();
    let inputs: BTreeMap<TableName, Vec<RecordBatch>> = wanted.map(|e| Ok((e.view.spec.name.clone(), rows(e)?))).collect::<Result<_>>()?;
    program.query.evaluate(&inputs, as_of)
}

/// The generation of a view that readers and other views see.
pub(super) fn serving<'a>(entries: &'a [Entry], name: &TableName) -> Option<&'a Entry> {
    entries.iter().find(|e| e.serves() && e.view.spec.name == *name)
}

/// Rows of these windows (milliseconds).
fn of_windows(rows: &RecordBatch, starts: &BTreeSet<i64>) -> Result<RecordBatch> {
    let times = super::window_start_column(rows)?;
    let mask: BooleanArray = times.iter().map(|t| Some(t.is_some_and(|t| starts.contains(&t.div_euclid(1000))))).collect();
    Ok(filter_record_batch(rows, &mask)?)
}

/// Newest `window_start` in microseconds; the least time where there is no such column.
pub(super) fn newest_window(rows: &RecordBatch) -> i64 {
    let column = rows.column_by_name("window_start");
    column.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>()).and_then(arrow::compute::max).unwrap_or(i64::MIN)
}
