//! What is to be computed again of each view, and what becomes of the results: after repairs of panes, after changes of the view it reads, for a range
//! somebody asked for, and for the history of a new generation.

use super::entry::{Entry, State, serving};
use super::window::windows_of;
use super::{Instants, Views};
use crate::error::{Error, Result};
use crate::parts::Touched;
use crate::query::{Program, WindowProgram};
use crate::recompute::{DAY_MS, Folded, From, Stamp, Step, Wanted, Windows, Work, compare, per_key, sum, window_starts};
use crate::schema::{TableDef, TableName};
use crate::time::PANE_MS;
use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Rows of input that one step of a fill or backfill aims to read.
const STEP_ROWS: i64 = 4_000_000;

/// Windows of one step.
const STEP_WINDOWS_MAX: i64 = 1440;

/// Latest time a range may name, milliseconds; microseconds of it still fit.
const FAR: i64 = i64::MAX / 2000;

/// A step, with what must be known to take its outcome.
pub(crate) struct Chosen {
    /// Whose.
    pub(crate) table: TableName,
    pub(crate) step: Step,
    pub(crate) why: Why,
    /// Panes before this were final when it was chosen.
    pub(crate) frontier: i64,
}

/// What a step is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// Panes or rows that the view reads were corrected.
    Correction,
    /// The windows over the instant of definition get their older part.
    Join,
    /// History, up to here.
    Fill { until: i64, last: bool },
    /// Somebody asked for it; done up to here.
    Backfill { until: i64 },
}

/// How much there is to read of a table: earliest start and rows per day.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) earliest: i64,
    pub(crate) rows_per_day: i64,
}

/// What became of an outcome.
#[derive(Default)]
pub(crate) struct Applied {
    /// Windows whose rows are others now, for the views that read this one.
    pub(crate) changed: BTreeSet<i64>,
    /// The stream went on meanwhile: what was touched has to be looked at again.
    pub(crate) again: bool,
    pub(crate) rows_read: u64,
    pub(crate) rows_written: u64,
}

impl Views {
    fn entry(&self, table: &TableName) -> Option<&Entry> {
        self.entries.iter().find(|e| e.view.spec.table() == *table)
    }

    fn entry_mut(&mut self, table: &TableName) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|e| e.view.spec.table() == *table)
    }

    fn chosen(&self, entry: &Entry, at: Instants, why: Why, step: impl FnOnce(Work) -> Step) -> Chosen {
        let input = entry.input().and_then(|name| serving(&self.entries, name));
        let work = Work { view: entry.view.clone(), table: entry.table(), input: input.map(Entry::table), watermark: at.watermark };
        Chosen { table: entry.view.spec.table(), step: step(work), why, frontier: at.frontier.map_or(i64::MIN, |f| f.0) }
    }

    /// A step of this view is at work from now on: what it and its input give out meanwhile is remembered.
    pub(crate) fn begin_step(&mut self, table: &TableName) {
        let input = self.entry(table).and_then(Entry::input).cloned();
        self.end_step();
        for entry in &mut self.entries {
            if entry.view.spec.table() == *table || (entry.serves() && Some(&entry.view.spec.name) == input.as_ref()) {
                entry.meanwhile = Some(vec![]);
            }
        }
    }

    /// No step is at work any more.
    pub(crate) fn end_step(&mut self) {
        self.entries.iter_mut().for_each(|e| e.meanwhile = None);
    }

    /// True where the history of a generation is to be computed.
    pub(crate) fn fills(&self) -> bool {
        self.entries.iter().any(|e| e.fill.as_ref().is_some_and(|f| f.error.is_none()))
    }

    /// The view whose serving generation has this table.
    pub(crate) fn serving_name(&self, table: &TableName) -> Option<TableName> {
        self.entry(table).filter(|e| e.serves()).map(|e| e.view.spec.name.clone())
    }

    /// Final rows in memory that no cut has taken, by table.
    pub(crate) fn final_rows(&self) -> impl Iterator<Item = (TableName, Vec<RecordBatch>)> {
        self.entries.iter().filter(|e| !e.out.is_empty()).map(|e| (e.view.spec.table(), e.out.clone()))
    }

    /// Earliest window start among them, milliseconds.
    pub(crate) fn earliest(&self, table: &TableName) -> Option<i64> {
        self.entry(table)?.out.iter().filter_map(|rows| window_starts(rows).first().copied()).min()
    }

    /// Windowed views over panes, by table.
    pub(crate) fn over_panes(&self) -> impl Iterator<Item = TableName> {
        self.entries.iter().filter(|e| e.view.over_panes().is_some()).map(|e| e.view.spec.table())
    }

    /// What corrected panes mean for a view over panes; `None` where nothing.
    pub(crate) fn correct(&self, table: &TableName, touched: &Touched, at: Instants) -> Option<Chosen> {
        let entry = self.entry(table)?;
        let (program, metrics) = entry.view.over_panes()?;
        let read = |names: &BTreeSet<Arc<str>>| metrics.is_none_or(|wanted| names.iter().any(|n| wanted.contains(n.as_ref())));
        let panes = touched.iter().filter(|(_, names)| read(names)).map(|(pane, _)| *pane);
        let mut wanted = entry.wanted(program, panes, at.frontier?.0);
        // A window that reaches into what is not kept any more stands as it was.
        wanted.starts.retain(|start| *start >= at.kept_from.0);
        wanted.buckets.retain(|bucket| *bucket >= at.kept_from.0);
        if wanted.starts.is_empty() && wanted.buckets.is_empty() {
            return None;
        }
        Some(self.chosen(entry, at, Why::Correction, |work| Step::Windows { work, wanted, fresh: false, against: None }))
    }

    /// Views that read the rows of `name`, by table, in order.
    pub(crate) fn readers(&self, name: &TableName) -> impl Iterator<Item = TableName> {
        self.entries.iter().filter(move |e| e.input() == Some(name)).map(|e| e.view.spec.table())
    }

    /// What changed rows of its input mean for a view; `None` where nothing.
    pub(crate) fn follow(&self, table: &TableName, changed: &BTreeSet<i64>, at: Instants) -> Option<Chosen> {
        let entry = self.entry(table)?;
        let first = *changed.first()?;
        match &entry.view.program {
            Program::Window(program) => {
                let wanted = entry.wanted(program, changed.iter().copied(), at.frontier?.0);
                if wanted.starts.is_empty() && wanted.buckets.is_empty() {
                    return None;
                }
                Some(self.chosen(entry, at, Why::Correction, |work| Step::Windows { work, wanted, fresh: false, against: None }))
            }
            // While it fills it has not read what changed, or starts again.
            Program::Fold(_) if entry.fill.is_some() => None,
            Program::Fold(program) => {
                let since = program.memory_ms.map_or(-FAR, |memory| first.saturating_sub(memory));
                let from = From { state: None, read: since..FAR, wanted: first };
                Some(self.chosen(entry, at, Why::Correction, |work| Step::Fold { work, from, fresh: false, against: None }))
            }
            Program::Keyed(_) | Program::Snapshot(_) => None,
        }
    }

    /// The next step of a generation whose history is not computed; `None` where there is none, or it waits for the view it reads.
    pub(crate) fn fill(&self, at: Instants, extent: impl Fn(&TableDef) -> Option<Extent>) -> Option<Chosen> {
        let filling = |e: &&Entry| e.fill.as_ref().is_some_and(|f| f.error.is_none());
        self.entries.iter().filter(filling).find_map(|entry| self.fill_one(entry, at, &extent))
    }

    /// The step that gives a generation the older part of the windows over the instant of its definition; `None` where none is due.
    pub(crate) fn join(&self, at: Instants) -> Option<Chosen> {
        let apart = |e: &&Entry| e.fill.as_ref().is_some_and(|f| f.error.is_none() && !f.joined);
        self.entries.iter().filter(apart).find_map(|entry| self.fill_one(entry, at, &|_| None)).filter(|chosen| chosen.why == Why::Join)
    }

    fn fill_one(&self, entry: &Entry, at: Instants, extent: &impl Fn(&TableDef) -> Option<Extent>) -> Option<Chosen> {
        let fill = entry.fill.as_ref().filter(|f| !f.waits && at.frontier.is_none_or(|frontier| frontier.0 >= f.to))?;
        let input = match entry.input() {
            Some(name) => Some(serving(&self.entries, name).filter(|e| e.fill.is_none())?),
            None => None,
        };
        let other =
            self.entries.iter().find(|e| e.view.spec.name == entry.view.spec.name && e.serves() && e.view.spec.table() != entry.view.spec.table());
        let against = other.filter(|o| o.view.spec.key == entry.view.spec.key && comparable(o, entry)).map(Entry::table);
        let read = input.map_or_else(crate::schema::rollup_1m, Entry::table);
        match &entry.view.program {
            Program::Keyed(_) => Some(self.chosen(entry, at, Why::Fill { until: fill.to, last: true }, |work| Step::Keyed { work })),
            Program::Snapshot(_) => None,
            Program::Window(program) if !fill.joined => {
                // Rows of another view that were not final at the definition come with the stream, though they may start before it.
                let until = input.map_or(fill.to, |e| fill.to - self.window_ms(e) + 1);
                let wanted = Wanted { starts: BTreeSet::new(), buckets: joined_buckets(program, fill.to), until };
                Some(self.chosen(entry, at, Why::Join, |work| Step::Windows { work, wanted, fresh: true, against: None }))
            }
            Program::Window(program) => {
                let (starts, until, last) = stretch(program, fill.done_until, fill.to, extent(&read));
                let wanted = Wanted { starts, buckets: BTreeSet::new(), until: fill.to };
                Some(self.chosen(entry, at, Why::Fill { until, last }, |work| Step::Windows { work, wanted, fresh: !fill.again, against }))
            }
            Program::Fold(_) => {
                let start = fill.done_until.or_else(|| extent(&read).map(|e| e.earliest)).unwrap_or(fill.to);
                let days = extent(&read).map_or(1, |e| (STEP_ROWS / e.rows_per_day.max(1)).clamp(1, 365));
                let next = start - start.rem_euclid(DAY_MS) + days * DAY_MS;
                // The last stretch reads everything that is final; what becomes final meanwhile follows from memory.
                let last = next >= at.frontier.map_or(i64::MAX, |f| f.0);
                let until = if last { FAR } else { next };
                let State::Fold(fold) = &entry.state else { return None };
                let state = if fill.done_until.is_some() { fold.save().ok() } else { None };
                let from = From { state, read: start..until, wanted: start };
                Some(self.chosen(entry, at, Why::Fill { until, last }, |work| Step::Fold { work, from, fresh: !fill.again, against }))
            }
        }
    }

    /// Length of the windows whose rows a view has, milliseconds.
    fn window_ms(&self, entry: &Entry) -> i64 {
        match (&entry.view.program, entry.input().and_then(|name| serving(&self.entries, name))) {
            (Program::Window(program), _) => program.window_ms,
            (Program::Fold(_), Some(input)) => self.window_ms(input),
            _ => PANE_MS,
        }
    }

    /// Rows that a fold may have read while it fills changed: it starts again, and compares with what it wrote so far.
    pub(crate) fn restart_fills(&mut self, name: &TableName) {
        for entry in self.entries.iter_mut().filter(|e| e.input() == Some(name)) {
            let view = entry.view.clone();
            if let (Program::Fold(program), State::Fold(fold), Some(fill)) = (&view.program, &mut entry.state, &mut entry.fill) {
                *fold = (program.make)();
                (fill.done_until, fill.again) = (None, true);
            }
        }
    }

    /// Checks that a range of a view can be computed again, and gives it as window starts.
    ///
    /// # Errors
    /// `Invalid`.
    pub(crate) fn backfillable(&self, name: &TableName, range: &Range<i64>) -> Result<TableName> {
        let entry = serving(&self.entries, name).ok_or_else(|| Error::invalid(format!("view {name} is not defined")))?;
        match &entry.view.program {
            Program::Window(_) | Program::Fold(_) if range.is_empty() => Err(Error::invalid("the range is empty: from must be before to")),
            Program::Window(_) | Program::Fold(_) if entry.fill.is_some() => {
                Err(Error::invalid(format!("the history of view {name} is being computed; wait until it serves")))
            }
            Program::Window(_) | Program::Fold(_) => Ok(entry.view.spec.table()),
            Program::Keyed(_) => {
                Err(Error::invalid(format!("view {name} is kept by key and holds every event already; there is no range to compute")))
            }
            Program::Snapshot(_) => Err(Error::invalid(format!("view {name} is computed from current rows; backfill the views that it reads"))),
        }
    }

    /// The next step of a backfill from `done` on; `None` where nothing is left of it.
    pub(crate) fn backfill(
        &self,
        table: &TableName,
        done: i64,
        to: i64,
        at: Instants,
        extent: impl Fn(&TableDef) -> Option<Extent>,
    ) -> Option<Chosen> {
        let entry = self.entry(table)?;
        let input = entry.input().and_then(|name| serving(&self.entries, name));
        let read = input.map_or_else(crate::schema::rollup_1m, Entry::table);
        let extent = extent(&read)?;
        let done = done.max(extent.earliest);
        match &entry.view.program {
            Program::Window(program) => {
                let to = to.min(at.frontier?.0);
                let (starts, until, _) = stretch(program, Some(done), to + program.window_ms - program.every_ms, Some(extent));
                let given = entry.given_out(program, at.frontier?.0);
                let starts: BTreeSet<i64> = starts.into_iter().filter(|s| *s < to && s + program.window_ms <= given).collect();
                if starts.is_empty() {
                    return None;
                }
                let wanted = Wanted { starts, buckets: BTreeSet::new(), until: to };
                Some(self.chosen(entry, at, Why::Backfill { until }, |work| Step::Windows { work, wanted, fresh: false, against: None }))
            }
            Program::Fold(program) if done < to => {
                let since = program.memory_ms.map_or(-FAR, |memory| done.saturating_sub(memory));
                let from = From { state: None, read: since..FAR, wanted: done };
                Some(self.chosen(entry, at, Why::Backfill { until: to }, |work| Step::Fold { work, from, fresh: false, against: None }))
            }
            _ => None,
        }
    }

    /// Takes computed windows.
    ///
    /// # Errors
    /// `Internal`.
    pub(crate) fn take_windows(&mut self, chosen: &Chosen, done: Windows, at: Instants) -> Result<Applied> {
        let moved = at.frontier.map_or(i64::MIN, |f| f.0) != chosen.frontier;
        let Some(entry) = self.entry_mut(&chosen.table) else { return Ok(Applied::default()) };
        let view = entry.view.clone();
        let (Program::Window(program), State::Window(state)) = (&view.program, &mut entry.state) else { return Ok(Applied::default()) };
        let mut applied =
            Applied { changed: done.compared.changed, rows_read: done.rows_read, rows_written: done.compared.rows.num_rows() as u64, again: false };
        for (bucket, fresh) in done.states {
            match (&chosen.why, state.finals.remove(&bucket)) {
                (Why::Join, Some(newer)) => state.correct(program, bucket, program.query.merge(&[fresh, newer])?),
                // Panes became final since: their part is in the state that stands, and only in that.
                (Why::Correction | Why::Backfill { .. }, kept) if moved => {
                    applied.again = true;
                    if let Some(kept) = kept {
                        state.finals.insert(bucket, kept);
                    }
                }
                _ => state.correct(program, bucket, fresh),
            }
        }
        entry.append_revised(done.compared.rows)?;
        self.filled(chosen, &applied, done.against);
        Ok(applied)
    }

    /// Takes a fold that was run again.
    ///
    /// # Errors
    /// `Internal`, `Corrupt`.
    pub(crate) fn take_fold(&mut self, chosen: &Chosen, done: Folded, at: Instants) -> Result<Applied> {
        let Some(entry) = self.entry(&chosen.table) else { return Ok(Applied::default()) };
        let input = entry.input().and_then(|name| serving(&self.entries, name));
        // Rows that became final while the step ran.
        let missed: Vec<RecordBatch> = input.and_then(|e| e.meanwhile.clone()).unwrap_or_default();
        let last = !matches!(chosen.why, Why::Fill { last: false, .. });
        let Some(entry) = self.entry_mut(&chosen.table) else { return Ok(Applied::default()) };
        let (table, schema) = (entry.table(), entry.view.spec.schema.clone());
        let given = entry.meanwhile.take().unwrap_or_default();
        let generation = entry.view.spec.generation;
        entry.restated = true;
        let State::Fold(fold) = &mut entry.state else { return Ok(Applied::default()) };
        fold.load(&done.state)?;
        let mut rows = vec![done.compared.rows];
        let mut changed = done.compared.changed;
        if last && !missed.is_empty() {
            let mut results = vec![RecordBatch::new_empty(schema.clone())];
            for batch in missed {
                let batch = [batch];
                results.push(fold.evaluate(&batch)?);
                fold.advance(&batch)?;
            }
            let stamp = Stamp { table: &table, watermark: at.watermark, generation };
            let compared = compare(&stamp, &per_key(&table, &given)?, &concat_batches(&schema, &results)?)?;
            rows.push(compared.rows);
            changed.extend(compared.changed);
        }
        let rows = concat_batches(&table.schema, &rows)?;
        let applied = Applied { changed, rows_read: done.rows_read, rows_written: rows.num_rows() as u64, again: false };
        entry.append_revised(rows)?;
        self.filled(chosen, &applied, done.against);
        Ok(applied)
    }

    /// Takes the state of a keyed view; events that came meanwhile wait for the next tick.
    pub(crate) fn take_keyed(&mut self, chosen: &Chosen, fresh: RecordBatch, rows_read: u64) -> Applied {
        let applied = Applied { rows_read, ..Applied::default() };
        if let Some(entry) = self.entry_mut(&chosen.table)
            && let State::Keyed { state, .. } = &mut entry.state
        {
            *state = fresh;
            // The next tick computes its rows though no event comes.
            entry.evaluated_at = crate::time::WallTime::default();
        }
        self.filled(chosen, &applied, None);
        applied
    }

    /// Events taken so far are part of what a step reads; only later ones are still to come.
    pub(crate) fn forget_pending(&mut self, table: &TableName) {
        if let Some(entry) = self.entry_mut(table)
            && let State::Keyed { pending, .. } = &mut entry.state
        {
            pending.clear();
        }
    }

    fn filled(&mut self, chosen: &Chosen, applied: &Applied, difference: Option<crate::status::Difference>) {
        let Some(fill) = self.entry_mut(&chosen.table).and_then(|e| e.fill.as_mut()) else { return };
        fill.rows_read += applied.rows_read;
        fill.rows_written += applied.rows_written;
        if let Some(difference) = difference {
            sum(&mut fill.difference, &difference);
            fill.compared = true;
        }
        match chosen.why {
            Why::Join => fill.joined = true,
            Why::Fill { until, last } => {
                fill.done_until = Some(until);
                if last {
                    self.serve(&chosen.table);
                }
            }
            Why::Correction | Why::Backfill { .. } => {}
        }
    }

    /// Stops a fill that cannot go on, and says why.
    pub(crate) fn fill_failed(&mut self, table: &TableName, error: &Error) {
        if let Some(fill) = self.entry_mut(table).and_then(|e| e.fill.as_mut()) {
            fill.error = Some(error.to_string());
        }
    }
}

/// True where rows of one can be compared with rows of the other: the later has every column of the earlier with the same type.
fn comparable(old: &Entry, new: &Entry) -> bool {
    new.view.spec.schema.fields().iter().all(|f| old.view.spec.schema.field_with_name(f.name()).is_ok_and(|o| o.data_type() == f.data_type()))
}

/// Buckets before `to` that windows over it need.
fn joined_buckets(program: &WindowProgram, to: i64) -> BTreeSet<i64> {
    let newest = to - PANE_MS;
    windows_of(program, newest)
        .filter(|start| start + program.window_ms > to)
        .flat_map(|start| (start..to).step_by(program.every_ms as usize))
        .collect()
}

/// The next windows of a history up to `to`: their starts, where the following stretch begins, and whether that was all.
fn stretch(program: &WindowProgram, done: Option<i64>, to: i64, extent: Option<Extent>) -> (BTreeSet<i64>, i64, bool) {
    let Some(extent) = extent else { return (BTreeSet::new(), to, true) };
    let (window, every) = (program.window_ms, program.every_ms);
    let first = done.unwrap_or_else(|| windows_of(program, extent.earliest).next().unwrap_or(extent.earliest));
    let first = first + (every - first.rem_euclid(every)) % every;
    let rows_per_start = (extent.rows_per_day.saturating_mul(every) / DAY_MS).max(1);
    let count = (STEP_ROWS / rows_per_start).clamp(1, STEP_WINDOWS_MAX);
    let starts: BTreeSet<i64> = (0..count).map(|k| first + k * every).take_while(|start| start + window <= to).collect();
    let until = starts.last().map_or(to, |last| last + every);
    (starts, until, until + window > to)
}

impl Entry {
    /// Windows that end at or before this have given out their rows, or are history: a correction of later ones goes into their state.
    fn given_out(&self, program: &WindowProgram, frontier: i64) -> i64 {
        match &self.state {
            State::Window(state) if program.window_ms > PANE_MS => state.done.unwrap_or(i64::MIN),
            _ => frontier,
        }
    }

    /// Windows that rows of these times belong to: complete ones, and the buckets of those that are not.
    fn wanted(&self, program: &WindowProgram, times: impl Iterator<Item = i64>, frontier: i64) -> Wanted {
        let mut wanted = Wanted { until: frontier, ..Wanted::default() };
        if self.fill.as_ref().is_some_and(|f| f.waits) {
            // How far its history goes is not known; all that is final by then is part of it.
            return wanted;
        }
        let filled = self.fill.as_ref().map(|f| f.done_until.unwrap_or(i64::MIN));
        let joined = self.fill.as_ref().is_none_or(|f| f.joined);
        let to = self.fill.as_ref().map_or(i64::MIN, |f| f.to);
        let given = self.given_out(program, frontier);
        for time in times {
            for start in windows_of(program, time) {
                if start + program.window_ms > given {
                    if joined && program.window_ms > PANE_MS {
                        wanted.buckets.insert(time - time.rem_euclid(program.every_ms));
                    }
                } else if start + program.window_ms > to || filled.is_none_or(|done| start < done) {
                    wanted.starts.insert(start);
                }
            }
        }
        wanted
    }
}
