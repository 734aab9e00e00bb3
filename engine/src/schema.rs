//! Columns of every fixed table. One place: writers, readers and checks all ask here. View tables are described by their plans.

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use std::fmt;
use std::sync::Arc;

/// Name of a table of the lake: lower case, digits and underscores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(from = "String", into = "String")]
pub struct TableName(Arc<str>);

impl From<String> for TableName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl TableName {
    /// A name known to be well formed (a constant of ours or a checked view name).
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The raw samples.
pub const SAMPLES: &str = "samples";
/// One row per version of a series' description; the newest `last_seen` per series_id counts.
pub const SERIES: &str = "series";
/// One row per series and closed pane.
pub const ROLLUP_1M: &str = "rollup_1m";
/// Native histograms.
pub const HISTOGRAMS: &str = "histograms";
/// Exemplars.
pub const EXEMPLARS: &str = "exemplars";
/// Webhook events.
pub const EVENTS: &str = "events";
/// Samples that came after their pane was final.
pub const LATE_SAMPLES: &str = "late_samples";
/// What was refused, with the reason.
pub const DEAD_LETTERS: &str = "dead_letters";

/// Describes one table to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDef {
    /// Its name.
    pub name: TableName,
    /// Columns as rows are handed over, without the partition column `date`.
    pub schema: SchemaRef,
    /// The timestamp column whose UTC day becomes the partition column `date`.
    pub date_from: &'static str,
    /// Sort order of a file's rows, most significant first; rows are handed over in it.
    pub sort: Vec<String>,
    /// How rows of one key (the columns of `sort`) supersede each other; none: every row counts.
    pub supersedes: Option<Supersedes>,
}

/// Of the rows that are equal in all columns of a table's `sort`, those with the greatest values here count, the first column deciding before
/// the next; null is 0. The others may go whenever files are merged, and exact duplicates with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supersedes {
    /// Columns of integers or timestamps.
    pub by: &'static [&'static str],
}

impl Supersedes {
    /// Rows of views: the newest definition's newest correction counts.
    pub const VIEW: Self = Self { by: &["generation", REVISION] };
}

/// Timestamps in tables: microseconds, UTC (what Delta has).
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Words that recur (metric names, sources): dictionary-encoded text.
pub fn word() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// The `labels` column: a map from label name to value, `__name__` not among them.
pub fn labels() -> DataType {
    let entries = Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)]);
    DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entries), false)), false)
}

fn table(name: &str, fields: Vec<Field>, date_from: &'static str, sort: &[&str]) -> TableDef {
    let sort = sort.iter().map(|s| (*s).to_owned()).collect();
    TableDef { name: TableName::new(name), schema: Arc::new(Schema::new(fields)), date_from, sort, supersedes: None }
}

fn required(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, false)
}

fn optional(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, true)
}

/// Raw samples; `value` is null for a staleness marker, otherwise bit for bit what was sent.
pub fn samples() -> TableDef {
    table(
        SAMPLES,
        vec![required("metric", word()), required("series_id", DataType::Int64), required("time", timestamp()), optional("value", DataType::Float64)],
        "time",
        &["metric", "series_id", "time"],
    )
}

/// Descriptions of series; a series is written again when its description changes and, at most hourly, when it was seen again.
pub fn series() -> TableDef {
    let rows = table(
        SERIES,
        vec![
            required("series_id", DataType::Int64),
            required("metric", word()),
            required("labels", labels()),
            optional("service", word()),
            required("first_seen", timestamp()),
            required("last_seen", timestamp()),
            optional("type", word()),
            optional("unit", word()),
            optional("help", word()),
        ],
        "first_seen",
        &["metric", "series_id"],
    );
    TableDef { supersedes: Some(Supersedes { by: &["last_seen"] }), ..rows }
}

/// Pane rows. Null where a pane has no finite value: `min`, `max`, `first`, `last`; `sum` and `increase` are then 0. A pane that was repaired
/// stands again with a higher `revision` (null counts as 0), and the highest per (series_id, window_start) counts.
pub fn rollup_1m() -> TableDef {
    let rows = table(
        ROLLUP_1M,
        vec![
            required("metric", word()),
            required("series_id", DataType::Int64),
            required("window_start", timestamp()),
            required("count", DataType::Int64),
            required("sum", DataType::Float64),
            optional("min", DataType::Float64),
            optional("max", DataType::Float64),
            optional("first", DataType::Float64),
            optional("last", DataType::Float64),
            required("increase", DataType::Float64),
            required("resets", DataType::Int64),
            optional(REVISION, DataType::Int64),
        ],
        "window_start",
        &["metric", "series_id", "window_start"],
    );
    TableDef { supersedes: Some(Supersedes { by: &[REVISION] }), ..rows }
}

/// The relation continuous views read: [`rollup_1m`] without its revision, plus `service` and `labels` of the series.
pub fn panes() -> SchemaRef {
    let stored = rollup_1m();
    let mut fields: Vec<Field> = stored.schema.fields().iter().filter(|f| f.name() != REVISION).map(|f| f.as_ref().clone()).collect();
    fields.push(optional("service", word()));
    fields.push(required("labels", labels()));
    Arc::new(Schema::new(fields))
}

fn list(kind: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", kind, true)))
}

/// Native histograms, nothing dropped; spans as alternating offset and length; integer counts in the `_int` columns, float counts in the others.
pub fn histograms() -> TableDef {
    table(
        HISTOGRAMS,
        vec![
            required("metric", word()),
            required("series_id", DataType::Int64),
            required("time", timestamp()),
            optional("count", DataType::Float64),
            optional("sum", DataType::Float64),
            required("schema", DataType::Int32),
            required("zero_threshold", DataType::Float64),
            optional("zero_count", DataType::Float64),
            optional("count_int", DataType::Int64),
            optional("zero_count_int", DataType::Int64),
            required("negative_spans", list(DataType::Int64)),
            optional("negative_counts_int", list(DataType::Int64)),
            optional("negative_counts", list(DataType::Float64)),
            required("positive_spans", list(DataType::Int64)),
            optional("positive_counts_int", list(DataType::Int64)),
            optional("positive_counts", list(DataType::Float64)),
            required("reset_hint", DataType::Int32),
            required("custom_values", list(DataType::Float64)),
            optional("start_time", timestamp()),
        ],
        "time",
        &["metric", "series_id", "time"],
    )
}

/// Exemplars.
pub fn exemplars() -> TableDef {
    table(
        EXEMPLARS,
        vec![
            required("metric", word()),
            required("series_id", DataType::Int64),
            required("time", timestamp()),
            required("value", DataType::Float64),
            required("labels", labels()),
        ],
        "time",
        &["metric", "series_id", "time"],
    )
}

/// Events. `sequence` is the order in which the log took them: it breaks ties of `time`.
pub fn events() -> TableDef {
    table(
        EVENTS,
        vec![
            required("event_id", DataType::Utf8),
            required("time", timestamp()),
            required("received_at", timestamp()),
            required("sequence", DataType::Int64),
            required("source", word()),
            required("kind", word()),
            optional("severity", word()),
            optional("service", word()),
            optional("fingerprint", DataType::Utf8),
            optional("status", word()),
            required("title", DataType::Utf8),
            required("attributes", DataType::Utf8),
        ],
        "time",
        &["kind", "time", "sequence"],
    )
}

/// Samples that came after their pane was final, with where they stand in the log.
pub fn late_samples() -> TableDef {
    table(
        LATE_SAMPLES,
        vec![
            required("metric", word()),
            required("series_id", DataType::Int64),
            required("time", timestamp()),
            optional("value", DataType::Float64),
            required("source", word()),
            required("received_at", timestamp()),
            required("reason", word()),
            required("log", word()),
            required("position", DataType::Int64),
        ],
        "received_at",
        &["metric", "series_id", "time"],
    )
}

/// What was refused.
pub fn dead_letters() -> TableDef {
    table(
        DEAD_LETTERS,
        vec![
            required("received_at", timestamp()),
            required("source", word()),
            required("reason", word()),
            required("detail", DataType::Utf8),
            required("count", DataType::Int64),
            required("log", word()),
            required("position", DataType::Int64),
        ],
        "received_at",
        &["received_at"],
    )
}

/// Every fixed table.
pub fn fixed_tables() -> Vec<TableDef> {
    vec![samples(), series(), rollup_1m(), histograms(), exemplars(), events(), late_samples(), dead_letters()]
}

/// Tables whose rows come from samples: where a stream has an engine for each partition, each writes its own.
pub fn partition_tables() -> Vec<TableDef> {
    fixed_tables().into_iter().filter(|table| table.name.as_str() != EVENTS).collect()
}

/// True of [`partition_tables`].
pub(crate) fn of_partitions(table: &TableName) -> bool {
    partition_tables().iter().any(|t| t.name == *table)
}

/// The column that counts corrections of a row; the highest per key counts.
pub const REVISION: &str = "revision";
/// The column that says that a row is gone: its key stands, its other columns are null.
pub const RETRACTED: &str = "retracted";

/// Columns that every view's rows carry after its own: what they stand on.
///
/// `watermark` is the event time up to which the row is complete, `coverage` the share of expected panes seen (0..1, null where it has no
/// meaning), `revision` counts corrections from 0, `generation` counts definitions of the view from 1, `retracted` (null: false) says that
/// the key has no row any more; readers leave such rows out.
pub fn view_envelope() -> Vec<Field> {
    vec![
        optional("watermark", timestamp()),
        optional("coverage", DataType::Float64),
        required(REVISION, DataType::Int64),
        required("generation", DataType::Int64),
        optional(RETRACTED, DataType::Boolean),
    ]
}
