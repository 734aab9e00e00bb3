//! Definitions that come, change and go while the engine runs. Each change of a view is a generation with a table of its own; which one readers see
//! changes in one step.

use super::entry::{Entry, State, serving};
use super::{Fill, Instants, Views, check};
use crate::control::{Define, Defined, Origin};
use crate::error::{Error, Result};
use crate::query::{Compiler, Program, View, ViewSpec, generation_table, is_generation_table};
use crate::schema::TableName;
use crate::status::{Difference, GenerationState, GenerationStatus, ViewStatus};
use crate::time::{EventTime, PANE_MS};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Generations of all views together.
const GENERATIONS_MAX: usize = 500;

/// Numbers of generations that went, by view.
pub(crate) type Gone = BTreeMap<TableName, BTreeSet<u64>>;

/// Their tables.
pub(crate) fn tables_of(gone: &Gone) -> BTreeSet<TableName> {
    gone.iter().flat_map(|(name, numbers)| numbers.iter().map(move |n| generation_table(name, *n))).collect()
}

/// A generation as a checkpoint keeps it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Kept {
    name: TableName,
    generation: u64,
    sql: String,
    origin: Origin,
    standing: GenerationState,
    fill: Option<Fill>,
    difference: Option<Difference>,
    #[serde(default)]
    fill_rows: (u64, u64),
}

impl Entry {
    /// Marks that history is to be computed, if this kind of view has any.
    fn begin_fill(&mut self, frontier: Option<EventTime>, by_parts: bool) {
        let frontier = frontier.map(|f| f.0);
        // Partitions may be further than all of them together: what they gave before they knew of the view is history.
        let by_parts = by_parts && self.view.over_panes().is_some();
        let frontier = if by_parts { frontier.or(Some(i64::MIN)) } else { frontier };
        self.fill = match (&self.view.program, &mut self.state, frontier) {
            (Program::Window(program), State::Window(state), Some(to)) => {
                state.done = Some(to);
                Some(Fill { to, joined: program.window_ms == PANE_MS, waits: by_parts, ..Fill::default() })
            }
            (Program::Fold(_), _, Some(to)) => Some(Fill { to, joined: true, ..Fill::default() }),
            (Program::Keyed(_), ..) => Some(Fill { to: frontier.unwrap_or_default(), joined: true, ..Fill::default() }),
            _ => None,
        };
        self.standing = if self.fill.is_some() { GenerationState::Filling } else { GenerationState::Serving };
    }

    fn reads(&self, name: &TableName) -> bool {
        match &self.view.program {
            Program::Snapshot(snapshot) => snapshot.inputs.contains(name),
            _ => self.input() == Some(name),
        }
    }
}

impl Views {
    /// Removes generations for good; their tables may go once a checkpoint says so.
    fn forget(&mut self, which: impl Fn(&Entry) -> bool) {
        for entry in self.entries.iter().filter(|e| which(e)) {
            let spec = &entry.view.spec;
            self.gone.entry(spec.name.clone()).or_default().insert(spec.generation);
        }
        self.entries.retain(|e| !which(e));
    }

    /// Generations that went, by view.
    pub(crate) fn gone(&self) -> &Gone {
        &self.gone
    }

    /// Puts back which generations went.
    pub(crate) fn restore_gone(&mut self, gone: Gone) {
        self.gone = gone;
    }

    /// Every generation, for a checkpoint.
    pub(crate) fn kept(&self) -> Vec<Kept> {
        let one = |e: &Entry| Kept {
            name: e.view.spec.name.clone(),
            generation: e.view.spec.generation,
            sql: e.view.spec.sql.clone(),
            origin: e.origin,
            standing: e.standing,
            fill: e.fill.clone(),
            difference: e.difference,
            fill_rows: e.fill_rows,
        };
        self.entries.iter().map(one).collect()
    }

    /// Puts back the generations that a checkpoint kept. A shipped view whose statement is another now goes on as a new generation.
    pub(crate) fn restore(&mut self, kept: Vec<Kept>, compiler: &dyn Compiler, frontier: Option<EventTime>) {
        let mut found: BTreeSet<TableName> = BTreeSet::new();
        let mut newest: BTreeMap<TableName, u64> = BTreeMap::new();
        for one in kept {
            let generation = newest.entry(one.name.clone()).or_default();
            *generation = one.generation.max(*generation);
            let same = |e: &Entry| e.view.spec.name == one.name && e.view.spec.sql == one.sql && !found.contains(&one.name);
            if let Some(entry) = self.entries.iter_mut().find(|e| same(e)) {
                if let Some(view) = Arc::get_mut(&mut entry.view) {
                    view.spec.generation = one.generation;
                }
                found.insert(one.name.clone());
                entry.take_kept(one);
                continue;
            }
            let name = one.name.clone();
            match self.revive(one, compiler) {
                Ok(entry) => {
                    // An earlier generation of a shipped view stands before the views that read it.
                    let place = self.entries.iter().position(|e| e.view.spec.name == name).unwrap_or(self.entries.len());
                    self.entries.insert(place, entry);
                }
                Err(error) => tracing::error!(view = %name, %error, "a view that was defined before cannot be compiled any more; define it anew"),
            }
        }
        for (name, generation) in newest.into_iter().filter(|(name, _)| !found.contains(name)) {
            let served = self.entries.iter().any(|e| e.serves() && e.origin != Origin::Shipped && e.view.spec.name == name);
            let shipped = self.entries.iter_mut().find(|e| e.view.spec.name == name && e.origin == Origin::Shipped && e.view.spec.generation == 1);
            let Some(entry) = shipped else { continue };
            if let Some(view) = Arc::get_mut(&mut entry.view) {
                view.spec.generation = generation + 1;
            }
            entry.begin_fill(frontier, self.by_parts);
            if !served {
                entry.standing = GenerationState::Serving;
            }
            tracing::info!(view = %name, generation = generation + 1, "the view's definition changed; its history is computed again");
        }
    }

    fn revive(&self, kept: Kept, compiler: &dyn Compiler) -> Result<Entry> {
        let view = compiler.compile(&kept.sql, kept.generation, &self.known())?;
        // A shipped statement of an earlier program is kept until its successor has filled; one without a successor is its user's to drop.
        let origin = if kept.origin == Origin::Shipped { Origin::Statement } else { kept.origin };
        let mut entry = Entry::new(Arc::new(view), origin)?;
        entry.take_kept(kept);
        Ok(entry)
    }

    /// The views that a definition may read, in order.
    fn known(&self) -> Vec<ViewSpec> {
        self.entries.iter().filter(|e| e.serves()).map(|e| e.view.spec.clone()).collect()
    }

    /// Takes a definition. See [`crate::control::Control::define`].
    pub(crate) fn define(&mut self, define: &Define, compiler: &dyn Compiler, frontier: Option<EventTime>) -> Result<Defined> {
        let name = &define.name;
        if is_generation_table(name) {
            return Err(Error::invalid(format!(
                "view {name}: names that end in __g and a number are the tables of generations; choose another name"
            )));
        }
        let newest = self.entries.iter().filter(|e| e.view.spec.name == *name && e.standing != GenerationState::Previous);
        if let Some(newest) = newest.max_by_key(|e| e.view.spec.generation) {
            if newest.view.spec.sql == define.sql {
                return Ok(Defined { generation: newest.view.spec.generation, changed: false });
            }
            self.may_change(name, define.origin)?;
            if !define.replace {
                return Err(Error::invalid(format!("view {name} exists; write CREATE OR REPLACE MATERIALIZED VIEW to change it")));
            }
            self.nobody_reads(name, "replaced")?;
        }
        if self.entries.len() >= GENERATIONS_MAX {
            return Err(Error::invalid(format!("there are {GENERATIONS_MAX} views and generations; drop some first")));
        }
        // A number is never given twice: the table of one that is gone may still have its rows.
        let taken = self.entries.iter().filter(|e| e.view.spec.name == *name).map(|e| e.view.spec.generation);
        let generation = taken.chain(self.gone.get(name).into_iter().flatten().copied()).max().unwrap_or(0) + 1;
        let view = self.compiled(define, compiler, generation)?;
        // A generation that never came to serve makes room for the newer one.
        self.forget(|e| e.view.spec.name == *name && e.standing == GenerationState::Filling);
        let mut entry = Entry::new(Arc::new(view), define.origin)?;
        entry.begin_fill(frontier, self.by_parts);
        let table = entry.view.spec.table();
        let filled = entry.fill.is_none();
        self.entries.push(entry);
        if filled {
            self.serve(&table);
        }
        Ok(Defined { generation, changed: true })
    }

    fn compiled(&self, define: &Define, compiler: &dyn Compiler, generation: u64) -> Result<View> {
        let view = compiler.compile(&define.sql, generation, &self.known()).map_err(|error| self.or_wait(define, error))?;
        if view.spec.name != define.name {
            return Err(Error::invalid(format!("the statement defines {}, not {}", view.spec.name, define.name)));
        }
        check(&self.entries, &view)?;
        Ok(view)
    }

    /// A view that nobody can read yet is the likeliest reason why a statement that names it does not compile.
    fn or_wait(&self, define: &Define, error: Error) -> Error {
        let named = |name: &str| define.sql.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word.eq_ignore_ascii_case(name));
        let unread = self.entries.iter().filter(|e| e.fill.is_some() && serving(&self.entries, &e.view.spec.name).is_none());
        match unread.map(|e| &e.view.spec.name).find(|name| **name != define.name && named(name.as_str())) {
            Some(name) => Error::unavailable(format!("view {name} is computing its history; define what reads it when it serves (SHOW VIEWS tells)")),
            None => error,
        }
    }

    fn may_change(&self, name: &TableName, origin: Origin) -> Result<()> {
        let owner = self.entries.iter().filter(|e| e.view.spec.name == *name).map(|e| e.origin).max_by_key(|o| *o == Origin::Shipped);
        match owner {
            Some(Origin::Shipped) => Err(Error::invalid(format!("view {name} comes with the program; choose another name"))),
            Some(Origin::File) if origin != Origin::File => {
                Err(Error::invalid(format!("view {name} is defined by a file of the views folder; change the file")))
            }
            _ => Ok(()),
        }
    }

    fn nobody_reads(&self, name: &TableName, what: &str) -> Result<()> {
        let readers: BTreeSet<&str> = self.entries.iter().filter(|e| e.reads(name)).map(|e| e.view.spec.name.as_str()).collect();
        if readers.is_empty() {
            return Ok(());
        }
        let readers: Vec<&str> = readers.into_iter().collect();
        Err(Error::invalid(format!("view {name} is read by {} and cannot be {what}; drop those first", readers.join(", "))))
    }

    /// Lets readers see a generation, in one step; the one before is kept up to date, and the one before that is forgotten.
    pub(super) fn serve(&mut self, table: &TableName) {
        let Some(entry) = self.entries.iter_mut().find(|e| e.view.spec.table() == *table) else { return };
        let name = entry.view.spec.name.clone();
        entry.difference = entry.fill.as_ref().filter(|f| f.compared).map(|f| f.difference).or(entry.difference);
        entry.fill_rows = entry.fill.as_ref().map_or(entry.fill_rows, |f| (f.rows_read, f.rows_written));
        entry.fill = None;
        entry.changed = true;
        entry.restated = true;
        let shipped = entry.origin == Origin::Shipped;
        self.forget(|e| e.view.spec.name == name && e.standing == GenerationState::Previous && e.view.spec.table() != *table);
        for entry in self.entries.iter_mut().filter(|e| e.view.spec.name == name) {
            let chosen = entry.view.spec.table() == *table;
            if !chosen && entry.standing == GenerationState::Serving {
                entry.standing = GenerationState::Previous;
            } else if chosen {
                entry.standing = GenerationState::Serving;
            }
        }
        if shipped {
            // Nobody takes an earlier program's statement back.
            self.forget(|e| e.view.spec.name == name && e.standing == GenerationState::Previous);
        }
    }

    /// See [`crate::control::Control::roll_back`].
    pub(crate) fn roll_back(&mut self, name: &TableName) -> Result<u64> {
        let previous = self.entries.iter().find(|e| e.view.spec.name == *name && e.standing == GenerationState::Previous);
        let Some(previous) = previous else {
            let known = self.entries.iter().any(|e| e.view.spec.name == *name);
            let why = if known { "has no earlier generation to go back to" } else { "is not defined" };
            return Err(Error::invalid(format!("view {name} {why}")));
        };
        self.nobody_reads(name, "rolled back")?;
        let generation = previous.view.spec.generation;
        for entry in self.entries.iter_mut().filter(|e| e.view.spec.name == *name) {
            entry.standing = match entry.standing {
                GenerationState::Previous => GenerationState::Serving,
                GenerationState::Serving => GenerationState::Previous,
                GenerationState::Filling => GenerationState::Filling,
            };
        }
        // What was being filled would take the place again by itself.
        self.forget(|e| e.view.spec.name == *name && e.standing == GenerationState::Filling);
        Ok(generation)
    }

    /// See [`crate::control::Control::drop_view`].
    pub(crate) fn drop_view(&mut self, name: &TableName) -> Result<()> {
        if !self.entries.iter().any(|e| e.view.spec.name == *name) {
            return Err(Error::invalid(format!("view {name} is not defined")));
        }
        if self.entries.iter().any(|e| e.view.spec.name == *name && e.origin == Origin::Shipped) {
            return Err(Error::invalid(format!("view {name} comes with the program and stays")));
        }
        self.nobody_reads(name, "dropped")?;
        self.forget(|e| e.view.spec.name == *name);
        Ok(())
    }

    /// How each view stands.
    pub(crate) fn status(&self, at: Instants) -> BTreeMap<String, ViewStatus> {
        let mut out = BTreeMap::new();
        for entry in &self.entries {
            let name = &entry.view.spec.name;
            let generations = self.entries.iter().filter(|e| e.view.spec.name == *name).map(Entry::generation_status).collect();
            let shown = serving(&self.entries, name).unwrap_or(entry);
            let status = ViewStatus {
                watermark: match shown.state {
                    State::Window(_) | State::Fold(_) => at.watermark,
                    State::Keyed { .. } | State::Snapshot { .. } => at.as_of,
                },
                evaluated_at: shown.evaluated_at,
                provisional_rows: shown.provisional.num_rows(),
                generation: shown.view.spec.generation,
                error: shown.told_error(),
                generations,
            };
            out.insert(name.as_str().to_owned(), status);
        }
        out
    }
}

impl Entry {
    fn take_kept(&mut self, kept: Kept) {
        if let (State::Window(state), Some(fill)) = (&mut self.state, &kept.fill) {
            state.done = Some(fill.to);
        }
        (self.standing, self.fill, self.difference, self.fill_rows) = (kept.standing, kept.fill, kept.difference, kept.fill_rows);
    }

    fn generation_status(&self) -> GenerationStatus {
        let fill = self.fill.as_ref();
        GenerationStatus {
            generation: self.view.spec.generation,
            state: self.standing,
            origin: self.origin,
            sql: self.view.spec.sql.clone(),
            filled: fill.map(|f| (f.done_until.map(EventTime), EventTime(f.to))),
            rows_read: fill.map_or(self.fill_rows.0, |f| f.rows_read),
            rows_written: fill.map_or(self.fill_rows.1, |f| f.rows_written),
            difference: self.difference.or_else(|| fill.filter(|f| f.compared).map(|f| f.difference)),
            error: self.told_error().or_else(|| fill.and_then(|f| f.error.clone())),
        }
    }
}
