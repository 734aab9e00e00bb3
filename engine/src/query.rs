//! The port of view planning: what a compiled continuous view can do. Not how SQL becomes one (queries).
//!
//! Every implementation is synchronous and works on columns in memory; the engine decides when, and keeps what comes out.

use crate::error::Result;
use crate::event::{Event, EventKind};
use crate::schema::TableName;
use crate::series::Labels;
use crate::time::EventTime;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A compiled view.
pub struct View {
    /// What it is.
    pub spec: ViewSpec,
    /// What it does.
    pub program: Program,
}

impl View {
    /// Its program and the metrics it reads (`None` means all), where it is a windowed aggregation over panes.
    pub(crate) fn over_panes(&self) -> Option<(&WindowProgram, Option<&BTreeSet<String>>)> {
        match &self.program {
            Program::Window(program) => match &program.source {
                WindowSource::Panes { metrics } => Some((program, metrics.as_ref())),
                WindowSource::View(_) => None,
            },
            Program::Keyed(_) | Program::Fold(_) | Program::Snapshot(_) => None,
        }
    }
}

/// The engine-visible part of a definition.
#[derive(Debug, Clone)]
pub struct ViewSpec {
    /// The view's and its table's name.
    pub name: TableName,
    /// The statement as written.
    pub sql: String,
    /// Columns of its rows, without the envelope of [`crate::schema::view_envelope`].
    pub schema: SchemaRef,
    /// Columns that identify a row; for windowed views `window_start` is among them.
    pub key: Vec<String>,
    /// Number of the definition, from 1.
    pub generation: u64,
}

impl ViewSpec {
    /// The table its rows lie in: the view's name, and for later generations the number with it, so that two generations never mix.
    pub fn table(&self) -> TableName {
        generation_table(&self.name, self.generation)
    }
}

/// The table of a view's generation, see [`ViewSpec::table`].
pub(crate) fn generation_table(name: &TableName, generation: u64) -> TableName {
    if generation <= 1 { name.clone() } else { TableName::new(&format!("{name}{GENERATION_MARK}{generation}")) }
}

/// Stands between a view's name and the number in the tables of its later generations.
const GENERATION_MARK: &str = "__g";

/// True of names that [`generation_table`] gives to later generations of some view.
pub(crate) fn is_generation_table(name: &TableName) -> bool {
    let number = name.as_str().rsplit_once(GENERATION_MARK).map(|(_, number)| number);
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// How a view computes.
pub enum Program {
    /// Aggregation over panes, by window.
    Window(WindowProgram),
    /// Aggregation over events by key, without a window.
    Keyed(KeyedProgram),
    /// Rows of another view in time order, with state per key: frames and detectors.
    Fold(FoldProgram),
    /// A query over the current rows of other relations, computed anew when they change.
    Snapshot(SnapshotProgram),
}

/// A windowed aggregation over rows that carry `window_start`.
///
/// Its groups hold the window's start, so one partial state may speak of many windows. Windows that overlap (`every_ms < window_ms`) are rows of
/// their own in the partial state: each input row counts in every window that it belongs to.
pub struct WindowProgram {
    /// What it reads.
    pub source: WindowSource,
    /// Window length, a whole number of panes.
    pub window_ms: i64,
    /// Distance between the starts of windows, which are multiples of it; divides `window_ms`, and equals it where windows do not overlap.
    pub every_ms: i64,
    /// The computation.
    pub query: Arc<dyn WindowQuery>,
}

/// Where a windowed aggregation's rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WindowSource {
    /// Rows of relation [`crate::schema::panes`].
    Panes {
        /// Metrics whose panes it reads; `None` means all.
        metrics: Option<BTreeSet<String>>,
    },
    /// Rows of another windowed view, envelope included.
    View(TableName),
}

/// Partial aggregation. State is columns, so it is checkpointed and merged like data.
///
/// For any split of rows: `finish(merge(partial(a), partial(b))) = finish(partial(a and b))`.
pub trait WindowQuery: Send + Sync {
    /// Aggregates rows of relation [`crate::schema::panes`] (or, in a keyed program, [`crate::schema::events`]) into one state.
    ///
    /// # Errors
    /// `Internal`: the plan was checked when it was made.
    fn partial(&self, rows: &[RecordBatch]) -> Result<RecordBatch>;

    /// Merges states into one; the result of no states is an empty state.
    ///
    /// # Errors
    /// As above.
    fn merge(&self, states: &[RecordBatch]) -> Result<RecordBatch>;

    /// Turns states into result rows with the columns of [`ViewSpec::schema`].
    ///
    /// # Errors
    /// As above.
    fn finish(&self, states: &[RecordBatch]) -> Result<RecordBatch>;

    /// The state without the keys that were last seen before `before`; only of keyed programs with a time-to-live.
    ///
    /// # Errors
    /// As above.
    fn expire(&self, state: &RecordBatch, before: EventTime) -> Result<RecordBatch> {
        let _ = before;
        Ok(state.clone())
    }
}

/// A keyed aggregation over events; the engine merges each new partial state into the kept one.
pub struct KeyedProgram {
    /// Kinds of events it reads; `None` means all.
    pub kinds: Option<BTreeSet<EventKind>>,
    /// A key whose newest event is older than this at the instant of the answer leaves the view; `None` keeps every key.
    pub ttl_ms: Option<i64>,
    /// The computation over rows of [`crate::schema::events`].
    pub query: Arc<dyn WindowQuery>,
}

/// State per key over the rows of another view, in the order of their `window_start`.
pub struct FoldProgram {
    /// The view whose rows it reads.
    pub input: TableName,
    /// How far back a row may still matter to a later one; `None` where the whole past does (detectors).
    pub memory_ms: Option<i64>,
    /// Makes an empty fold.
    pub make: Arc<dyn Fn() -> Box<dyn Fold> + Send + Sync>,
}

/// A fold: committed state, plus results for rows that may still change.
pub trait Fold: Send + Sync {
    /// Takes final rows into the state, in order of `window_start`.
    ///
    /// # Errors
    /// `Internal`.
    fn advance(&mut self, rows: &[RecordBatch]) -> Result<()>;

    /// Results for the rows that follow the state, which stays as it is; one result row per input row unless the query filters.
    ///
    /// # Errors
    /// `Internal`.
    fn evaluate(&self, rows: &[RecordBatch]) -> Result<RecordBatch>;

    /// The state as bytes (versioned by the implementation).
    ///
    /// # Errors
    /// `Internal`.
    fn save(&self) -> Result<Vec<u8>>;

    /// Replaces the state.
    ///
    /// # Errors
    /// `Corrupt` where the bytes are not a state of this fold.
    fn load(&mut self, bytes: &[u8]) -> Result<()>;
}

/// A query over whole relations that are small.
pub struct SnapshotProgram {
    /// Views it reads.
    pub inputs: Vec<TableName>,
    /// The computation.
    pub query: Arc<dyn SnapshotQuery>,
}

/// Computes a relation from others.
pub trait SnapshotQuery: Send + Sync {
    /// `inputs` holds each named view's current rows with their envelope columns; `as_of` is the instant the answer is for.
    ///
    /// # Errors
    /// `Internal`.
    fn evaluate(&self, inputs: &BTreeMap<TableName, Vec<RecordBatch>>, as_of: EventTime) -> Result<RecordBatch>;
}

/// Stack of every thread that parses or compiles statements, bytes: their expressions nest. Only what is used takes memory.
pub const STACK_BYTES: usize = 32 << 20;

/// Makes a view of a definition. The engine asks it when a view is defined while it runs, and again for each of those after a restart.
pub trait Compiler: Send + Sync + 'static {
    /// Compiles `sql` as the given generation; `known` are the views it may read, in dependency order.
    ///
    /// # Errors
    /// `Invalid`, naming the clause, why, and what to write instead.
    fn compile(&self, sql: &str, generation: u64, known: &[ViewSpec]) -> Result<View>;
}

/// Says which service a series or an event belongs to.
pub trait Inventory: Send + Sync + 'static {
    /// The service of a series, by its labels.
    fn service_of_series(&self, labels: &Labels) -> Option<Arc<str>>;

    /// The service of an event.
    fn service_of_event(&self, event: &Event) -> Option<Arc<str>>;
}

/// An inventory that takes the label or attribute `service` as it is, and else `job`.
#[derive(Debug, Default)]
pub struct LabelInventory;

impl Inventory for LabelInventory {
    fn service_of_series(&self, labels: &Labels) -> Option<Arc<str>> {
        labels.get("service").or_else(|| labels.get("job")).map(Arc::from)
    }

    fn service_of_event(&self, event: &Event) -> Option<Arc<str>> {
        event.service.as_deref().map(Arc::from)
    }
}
