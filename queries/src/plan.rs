//! From a definition to a compiled view: reads the logical plan, decides the shape, refuses what cannot run continuously. Not the running.

mod aggregate;
mod fold;
mod output;
mod planner;
mod predicate;
mod refuse;
pub mod shipped;
mod snapshot;
mod trace;

pub(crate) use output::canonical;
pub(crate) use planner::{configure, plain_view};
pub use shipped::{shipped, shipped_definitions, shipped_plain};

use crate::definition::{Definition, Shape};
use crate::dimensions::Dimensions;
use crate::error::{Error, Result};
use afferent_engine::query::{Program, View, ViewSpec};
use afferent_engine::schema::TableName;
use datafusion::logical_expr::LogicalPlan;
use planner::Planner;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The relation of pane rows.
pub const PANES: &str = "panes";
/// The relation of events.
pub const EVENTS: &str = "events";
/// The column that orders a windowed view's rows.
pub const WINDOW_START: &str = "window_start";

/// Compiles definitions against the relations that exist.
pub struct Compiler<'a> {
    dimensions: &'a Dimensions,
    known: &'a [ViewSpec],
    plain: Vec<Definition>,
}

impl<'a> Compiler<'a> {
    /// A compiler that knows the dimensions, these views, and the shipped plain views.
    pub fn new(dimensions: &'a Dimensions, known: &'a [ViewSpec]) -> Self {
        Self { dimensions, known, plain: Vec::new() }
    }

    /// The same with plain views, which stand for their queries.
    #[must_use]
    pub fn with_plain(mut self, plain: Vec<Definition>) -> Self {
        self.plain = plain;
        self
    }

    /// Compiles one definition as its first generation.
    ///
    /// # Errors
    /// `Invalid`: the statement is wrong, or cannot run continuously; the message names the clause and what to write.
    pub fn compile(&self, definition: &Definition) -> Result<View> {
        if !definition.materialized {
            return Err(Error::definition(&definition.name, "a plain view has no rows of its own; write CREATE MATERIALIZED VIEW"));
        }
        let planner = Planner::new(&definition.name, self.dimensions, self.known, &self.plain)?;
        let plan = planner.logical(&definition.select)?;
        output::names_distinct(&definition.name, &plan)?;
        let scope = Scope::of(&planner, definition, &plan)?;
        refuse::functions(&scope, &plan)?;
        let compiled = match &scope.source {
            Source::Stream(relation) => aggregate::compile(&planner, &scope, relation, &plan)?,
            Source::Rows(view) => fold::compile(&planner, &scope, view, &plan)?,
            Source::Relations => snapshot::compile(&planner, &scope, &plan)?,
        };
        check_key(definition, &compiled)?;
        let spec = ViewSpec {
            name: TableName::new(&definition.name),
            sql: definition.sql.clone(),
            schema: compiled.schema,
            key: compiled.key,
            generation: 1,
        };
        Ok(View { spec, program: compiled.program })
    }
}

/// The compiler as a running engine asks for it: statements come one by one, over the shipped plain views and the dimensions of this start.
#[derive(Debug)]
pub struct Statements {
    dimensions: Arc<Dimensions>,
    plain: Vec<Definition>,
}

impl Statements {
    /// A compiler of statements.
    ///
    /// # Errors
    /// `Invalid` where a shipped plain view is wrong; a bug.
    pub fn new(dimensions: Arc<Dimensions>) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { dimensions, plain: shipped_plain()? }))
    }
}

impl afferent_engine::query::Compiler for Statements {
    fn compile(&self, sql: &str, generation: u64, known: &[ViewSpec]) -> afferent_engine::error::Result<View> {
        let definition = Definition::parse("statement", sql)?;
        let mut view = Compiler::new(&self.dimensions, known).with_plain(self.plain.clone()).compile(&definition)?;
        view.spec.generation = generation;
        Ok(view)
    }
}

/// What compiling gives, whatever the shape.
struct Compiled {
    program: Program,
    schema: arrow::datatypes::SchemaRef,
    key: Vec<String>,
}

/// What a definition reads, and as which shape it is compiled.
struct Scope<'a> {
    definition: &'a Definition,
    shape: Shape,
    source: Source,
    /// Views it reads.
    views: BTreeSet<String>,
}

/// Where rows come from.
enum Source {
    /// Panes or events.
    Stream(&'static str),
    /// The rows of one view, in order.
    Rows(String),
    /// Current rows of views.
    Relations,
}

impl<'a> Scope<'a> {
    fn of(planner: &Planner, definition: &'a Definition, plan: &LogicalPlan) -> Result<Self> {
        let scans = trace::scans(plan);
        let count = |name: &str| scans.iter().filter(|s| *s == name).count();
        let views: BTreeSet<String> = scans.iter().filter(|s| planner.is_view(s)).cloned().collect();
        let (panes, events) = (count(PANES), count(EVENTS));
        let refused = |clause: &str, why: &str, instead: &str| Err(refuse::refused(&definition.name, clause, why, instead));
        if panes + events > 1 || (panes + events == 1 && !views.is_empty()) {
            return refused(
                "more than one of panes, events and views in FROM",
                "streams cannot be joined with each other",
                "aggregate each in a view of its own and join those views in a third one WITH (shape = 'snapshot', key = '...')",
            );
        }
        if panes + events + views.len() == 0 {
            return refused("FROM", "it reads no stream and no view, so nothing would ever change", "read panes, events or a view");
        }
        let rows = views.first().filter(|v| views.len() == 1 && count(v) == 1 && trace::folds_over(plan, v));
        // Ranking and as_of() say that current rows are meant, if there is a key to tell them apart by.
        let rows = rows.filter(|_| definition.shape == Some(Shape::Fold) || definition.key.is_none() || !trace::ranks_or_dates(plan));
        let (shape, source) = match (panes, events, rows, definition.shape) {
            (1, ..) => (Shape::Window, Source::Stream(PANES)),
            (_, 1, ..) => (Shape::Keyed, Source::Stream(EVENTS)),
            (_, _, Some(view), None | Some(Shape::Fold)) => (Shape::Fold, Source::Rows(view.clone())),
            _ => (Shape::Snapshot, Source::Relations),
        };
        match definition.shape {
            Some(asked) if asked != shape => refused(
                &format!("WITH (shape = '{asked}')"),
                &format!("the query has the shape {shape}"),
                "leave the option out, or rewrite the query: window reads panes, keyed reads events, fold has window functions over the rows of one view",
            ),
            _ => Ok(Self { definition, shape, source, views }),
        }
    }

    /// An error about this view.
    fn refused(&self, clause: impl Into<String>, why: impl Into<String>, instead: impl Into<String>) -> Error {
        refuse::refused(&self.definition.name, clause, why, instead)
    }
}

fn check_key(definition: &Definition, compiled: &Compiled) -> Result<()> {
    let windowed = matches!(compiled.program, Program::Window(_) | Program::Fold(_));
    if let Some(missing) = compiled.key.iter().find(|k| compiled.schema.column_with_name(k).is_none()) {
        let columns: Vec<&str> = compiled.schema.fields().iter().map(|f| f.name().as_str()).collect();
        return Err(refuse::refused(
            &definition.name,
            format!("key column {missing}"),
            "the SELECT has no such column",
            format!("choose among {}", columns.join(", ")),
        ));
    }
    if windowed && !compiled.key.iter().any(|k| k == WINDOW_START) {
        return Err(refuse::refused(&definition.name, "key", "a windowed view has one row per window", "add window_start to the key"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
