//! Runs the continuous views: feeds each its input as it becomes final or changes, keeps state, and hands out rows. Knows ports, not SQL.

mod entry;
mod envelope;
mod generations;
mod input;
mod parts;
mod past;
mod saved;
mod upserts;
mod window;

use crate::control::Origin;
use crate::error::{Error, Result};
use crate::event::EventKind;
use crate::panes::Panes;
use crate::query::{Fold, Program, View, ViewSpec, WindowSource};
use crate::registry::Registry;
use crate::rows::PaneRow;
use crate::schema::{TableDef, TableName};
use crate::time::{EventTime, WallTime};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use entry::Fill;
use entry::{Entry, Recent, State, TickWork, newest_window, serving};
pub use envelope::{Envelope, with_envelope};
pub(crate) use generations::{Gone, tables_of};
pub(crate) use input::{PaneInput, RowsByPane};
pub(crate) use past::{Applied, Chosen, Extent, Why};
pub(crate) use window::window_starts as window_start_column;

/// How long final rows of windowed views stay in memory for snapshot views to read, in event time.
pub const RECENT_MS: i64 = 3_600_000;

/// Groups a keyed view may hold; more are refused and counted.
pub const KEYS_MAX: usize = 200_000;

/// Final panes a caller hands over: start and rows, oldest first.
pub type FinalPanes = Vec<(i64, Arc<Vec<PaneRow>>)>;

/// All views. See the module.
pub struct Views {
    entries: Vec<Entry>,
    input: PaneInput,
    /// Partitions give the states of views over panes.
    by_parts: bool,
    finalized: bool,
    gone: Gone,
}

/// Instants a tick works with.
#[derive(Debug, Clone, Copy)]
pub struct Instants {
    /// Everything before it is complete.
    pub watermark: Option<EventTime>,
    /// Everything before it is final.
    pub frontier: Option<EventTime>,
    /// What answers are for.
    pub as_of: Option<EventTime>,
    /// Wall time.
    pub now: WallTime,
    /// Panes before it may be past their retention.
    pub kept_from: EventTime,
}

/// How often snapshot views are computed anew though only time has passed.
const SNAPSHOT_EVERY_MS: i64 = 10_000;

impl Views {
    /// Takes compiled views in dependency order.
    ///
    /// # Errors
    /// `Invalid` where a view reads one that does not stand before it, or keys a column it does not have.
    pub fn new(views: Vec<View>) -> Result<Self> {
        let mut entries: Vec<Entry> = Vec::with_capacity(views.len());
        for view in views {
            check(&entries, &view)?;
            entries.push(Entry::new(Arc::new(view), Origin::Shipped)?);
        }
        Ok(Self { entries, input: PaneInput::default(), by_parts: false, finalized: false, gone: Gone::new() })
    }

    /// Definitions and full schemas of the views that readers see, in order.
    pub fn specs(&self) -> impl Iterator<Item = (&ViewSpec, &SchemaRef)> {
        self.entries.iter().filter(|e| e.serves()).map(|e| (&e.view.spec, &e.schema))
    }

    /// Tables to be written, one per generation of a view.
    pub fn tables(&self) -> Vec<TableDef> {
        self.entries.iter().map(Entry::table).collect()
    }

    /// Takes new rows of `events` of one kind.
    pub fn push_events(&mut self, kind: EventKind, rows: &RecordBatch) {
        for entry in &mut self.entries {
            if let (Program::Keyed(keyed), State::Keyed { pending, .. }) = (&entry.view.program, &mut entry.state)
                && keyed.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
            {
                pending.push(rows.clone());
            }
        }
    }

    /// Takes panes that became final, oldest first, and writes the windows that are complete with them. A view that fails is marked and goes
    /// on with the next panes.
    pub fn finalize(&mut self, panes: &FinalPanes, registry: &Registry, at: Instants) {
        let Some(frontier) = at.frontier else { return };
        self.input.begin_final(panes, registry);
        self.finalized = true;
        for i in 0..self.entries.len() {
            let (before, rest) = self.entries.split_at_mut(i);
            let Some(entry) = rest.first_mut() else { continue };
            let rows = match (&entry.view.program, &mut entry.state) {
                (Program::Window(program), State::Window(state)) if self.by_parts && matches!(program.source, WindowSource::Panes { .. }) => {
                    match &entry.fill {
                        Some(fill) if !fill.joined || fill.waits => state.absorb_parts(program, frontier).map(|()| vec![]),
                        _ => state.finalize_parts(program, frontier),
                    }
                }
                (Program::Window(program), State::Window(state)) => {
                    let rows = match &program.source {
                        WindowSource::Panes { metrics } => self.input.final_rows(metrics.as_ref(), registry),
                        WindowSource::View(name) => {
                            fresh_of(before, name).map_or_else(|| Ok(BTreeMap::new()), |rows| window::by_bucket(program, rows))
                        }
                    };
                    match &entry.fill {
                        Some(fill) if !fill.joined => rows.and_then(|rows| state.absorb(program, rows)).map(|()| vec![]),
                        _ => rows.and_then(|rows| state.finalize(program, rows, frontier)),
                    }
                }
                // While its history is computed a fold gives nothing out: the step that ends it takes what became final meanwhile.
                (Program::Fold(program), State::Fold(fold)) if entry.fill.is_none() => match fresh_of(before, &program.input) {
                    Some(fresh) => advance(fold.as_mut(), fresh.clone()).map(|rows| vec![(rows, 0)]),
                    None => continue,
                },
                _ => continue,
            };
            let done = rows.and_then(|rows| entry.append_final(rows, at));
            entry.note_final(done);
        }
        self.entries.iter_mut().for_each(|e| e.fresh = None);
    }

    /// Computes what is not final anew: the panes in `dirty`, keyed views with new events, and what reads them.
    pub fn tick(&mut self, dirty: &BTreeSet<i64>, panes: &mut Panes, registry: &Registry, at: Instants) {
        self.input.begin_tick();
        let finalized = std::mem::take(&mut self.finalized);
        let mut work = TickWork { dirty, panes, registry, at, finalized };
        for i in 0..self.entries.len() {
            let (before, rest) = self.entries.split_at_mut(i);
            let Some(entry) = rest.first_mut() else { continue };
            let done = entry.tick(before, &mut self.input, &mut work);
            entry.note(done);
        }
        self.entries.iter_mut().for_each(|e| e.changed = false);
    }

    /// Rows a reader sees after the published ones, per view: final ones not yet published and those that are not final.
    pub fn live_rows(&self) -> Vec<(TableName, Vec<RecordBatch>)> {
        let rows = |e: &Entry| e.out.iter().chain(std::iter::once(&e.provisional)).filter(|b| b.num_rows() > 0).cloned().collect();
        self.entries.iter().map(|e| (e.view.spec.table(), rows(e))).collect()
    }

    /// Takes the rows to be written: final ones since the last cut, and keyed rows that changed since then.
    pub fn cut(&mut self, at: Instants) -> Vec<(TableDef, Vec<RecordBatch>)> {
        let mut out = vec![];
        for entry in &mut self.entries {
            let done = entry.cut_upserts(at);
            entry.note(done.map(|()| false));
            let rows: Vec<RecordBatch> = std::mem::take(&mut entry.out).into_iter().filter(|b| b.num_rows() > 0).collect();
            if !rows.is_empty() {
                out.push((entry.table(), rows));
            }
        }
        out
    }
}

/// What a view reads and its key must be there.
fn check(entries: &[Entry], view: &View) -> Result<()> {
    let inputs: Vec<&TableName> = match &view.program {
        Program::Fold(fold) => vec![&fold.input],
        Program::Snapshot(snapshot) => snapshot.inputs.iter().collect(),
        Program::Window(window) => match &window.source {
            WindowSource::View(name) => vec![name],
            WindowSource::Panes { .. } => vec![],
        },
        Program::Keyed(_) => vec![],
    };
    if let Some(missing) = inputs.into_iter().find(|i| !entries.iter().any(|e| e.view.spec.name == **i)) {
        return Err(Error::invalid(format!("view {} reads {missing}, which is not defined before it", view.spec.name)));
    }
    if let Some(missing) = view.spec.key.iter().find(|k| view.spec.schema.column_with_name(k).is_none()) {
        return Err(Error::invalid(format!("view {}: key column {missing} is not among its columns", view.spec.name)));
    }
    Ok(())
}

/// Final rows of the round at work of one of these views.
fn fresh_of<'a>(entries: &'a [Entry], name: &TableName) -> Option<&'a RecordBatch> {
    serving(entries, name).and_then(|e| e.fresh.as_ref())
}

/// Results of final rows, and the rows taken into the fold's state.
fn advance(fold: &mut dyn Fold, rows: RecordBatch) -> Result<RecordBatch> {
    let rows = [rows];
    let out = fold.evaluate(&rows)?;
    fold.advance(&rows)?;
    Ok(out)
}

#[cfg(test)]
mod tests;
