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

/// A windowed aggregation over pane rows.
pub struct WindowProgram {
    /// Metrics whose panes it reads; `None` means all.
    pub metrics: Option<BTreeSet<String>>,
    /// Window length, a whole number of panes; windows start at multiples of it.
    pub window_ms: i64,
    /// The computation.
    pub query: Arc<dyn WindowQuery>,
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
}

/// A keyed aggregation over events; the engine merges each new partial state into the kept one.
pub struct KeyedProgram {
    /// Kinds of events it reads; `None` means all.
    pub kinds: Option<BTreeSet<EventKind>>,
    /// The computation over rows of [`crate::schema::events`].
    pub query: Arc<dyn WindowQuery>,
}

/// State per key over the rows of another view, in the order of their `window_start`.
pub struct FoldProgram {
    /// The view whose rows it reads.
    pub input: TableName,
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
