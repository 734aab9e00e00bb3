//! From a definition to a compiled view: reads the logical plan, decides the shape, refuses what cannot run continuously. Not the running.

mod aggregate;
mod fold;
mod frames;
mod output;
mod planner;
mod predicate;
mod probe;
mod rank;
mod refuse;
mod scope;
pub mod shipped;
mod snapshot;
mod trace;
mod ttl;
mod window;

pub(crate) use output::canonical;
pub(crate) use planner::{configure, plain_view};
pub use shipped::{shipped, shipped_definitions, shipped_plain};

use crate::definition::{Definition, Shape};
use crate::dimensions::Dimensions;
use crate::error::{Error, Result};
use crate::explain::Explained;
use afferent_engine::query::{Program, View, ViewSpec};
use afferent_engine::schema::TableName;
use datafusion::logical_expr::LogicalPlan;
use planner::Planner;
use scope::{Scope, Source};
use std::sync::Arc;
use window::Spans;

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
        Ok(view(definition, self.probed(definition)?))
    }

    /// The same for a shipped definition: that it does not fail whatever the data is for tests to find, not for every start.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    fn compile_shipped(&self, definition: &Definition) -> Result<View> {
        Ok(view(definition, self.planned(definition)?.2))
    }

    /// Says how a definition would be computed.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    pub fn explain(&self, definition: &Definition) -> Result<Explained> {
        let compiled = self.probed(definition)?;
        let mut explained = Explained::default();
        explained.say("shape", compiled.shape.to_string());
        for relation in &definition.reads {
            explained.say("reads", relation.clone());
        }
        explained.append(compiled.explained);
        explained.say("key", compiled.key.join(", "));
        explained.columns("columns", &compiled.schema);
        Ok(explained)
    }

    /// Compiled, and tried out.
    fn probed(&self, definition: &Definition) -> Result<Compiled> {
        let (planner, plan, compiled) = self.planned(definition)?;
        probe::constants(&planner, &plan)?;
        probe::few_rows(&planner, &compiled.program)?;
        Ok(compiled)
    }

    fn planned(&self, definition: &Definition) -> Result<(Planner, LogicalPlan, Compiled)> {
        if !definition.materialized {
            return Err(Error::definition(&definition.name, "a plain view has no rows of its own; write CREATE MATERIALIZED VIEW"));
        }
        let planner = Planner::new(&definition.name, self.dimensions, self.known, &self.plain)?;
        let plan = planner.logical(&definition.select).map_err(|cause| refuse::raw_rows(definition).unwrap_or(cause))?;
        output::names_distinct(&definition.name, &plan)?;
        let scope = Scope::of(&planner, definition, &plan)?;
        refuse::functions(&scope, &plan)?;
        refuse::ttl(&scope)?;
        let compiled = match &scope.source {
            Source::Stream(relation) => {
                let spans = if scope.views.contains(relation) { self.spans(relation)? } else { None };
                aggregate::compile(&planner, &scope, relation, spans, &plan)?
            }
            Source::Rows(view) => fold::compile(&planner, &scope, view, &plan)?,
            Source::Relations => snapshot::compile(&planner, &scope, &plan)?,
        };
        check_key(definition, &compiled)?;
        Ok((planner, plan, compiled))
    }

    /// The windows that a known view's rows stand for; `None` where they are current rows.
    fn spans(&self, view: &str) -> Result<Option<Spans>> {
        let Some(place) = self.known.iter().position(|k| k.name.as_str() == view) else { return Ok(None) };
        let (before, spec) = (self.known.get(..place).unwrap_or_default(), self.known.get(place));
        let Some(spec) = spec else { return Ok(None) };
        let compiler = Compiler { dimensions: self.dimensions, known: before, plain: self.plain.clone() };
        match compiler.planned(&Definition::parse(view, &spec.sql)?)?.2.program {
            Program::Window(program) => Ok(Some(Spans { window_ms: program.window_ms, every_ms: program.every_ms })),
            Program::Fold(program) => compiler.spans(program.input.as_str()),
            Program::Keyed(_) | Program::Snapshot(_) => Ok(None),
        }
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

    /// Says how a definition would be computed; `known` are the views it may read, in dependency order.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    pub fn explain(&self, definition: &Definition, known: &[ViewSpec]) -> Result<Explained> {
        Compiler::new(&self.dimensions, known).with_plain(self.plain.clone()).explain(definition)
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
    shape: Shape,
    explained: Explained,
    program: Program,
    schema: arrow::datatypes::SchemaRef,
    key: Vec<String>,
}

fn view(definition: &Definition, compiled: Compiled) -> View {
    let spec =
        ViewSpec { name: TableName::new(&definition.name), sql: definition.sql.clone(), schema: compiled.schema, key: compiled.key, generation: 1 };
    View { spec, program: compiled.program }
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
