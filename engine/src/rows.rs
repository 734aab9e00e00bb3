//! From the engine's own structures to table columns, one function per table. Knows columns, not when they are written.

use crate::cell::Cell;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::registry::{MetricInfo, SeriesInfo};
use crate::sample::{Exemplar, HistogramCounts, NativeHistogram};
use crate::schema::{self, TableDef};
use crate::series::METRIC_LABEL;
use arrow::array::{
    ArrayRef, Float64Array, Float64Builder, Int32Array, Int64Array, Int64Builder, ListBuilder, MapArray, MapBuilder, MapFieldNames, StringArray,
    StringBuilder, StringDictionaryBuilder, TimestampMicrosecondArray,
};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// One pane row before it becomes columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaneRow {
    /// Series index.
    pub series: u32,
    /// Its aggregate.
    pub cell: Cell,
    /// The counter started from 0 in this pane.
    pub born: bool,
    /// Corrections so far.
    pub revision: i64,
}

/// A late sample.
#[derive(Debug, Clone)]
pub struct LateRow {
    /// The series' metric name.
    pub metric: Arc<str>,
    /// The series.
    pub info: Arc<SeriesInfo>,
    /// Event time, milliseconds.
    pub time: i64,
    /// The value.
    pub value: f64,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a row came from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The sender.
    pub source: Arc<str>,
    /// Arrival, milliseconds.
    pub received_at: i64,
    /// The log (`metrics/0`).
    pub log: Arc<str>,
    /// The place in it.
    pub position: u64,
}

/// A refused item.
#[derive(Debug, Clone)]
pub struct DeadRow {
    /// A short word.
    pub reason: &'static str,
    /// What exactly.
    pub detail: String,
    /// Samples or events refused.
    pub count: u32,
    /// Where it came from.
    pub origin: Origin,
}

/// An accepted event.
#[derive(Debug, Clone)]
pub struct EventRow {
    /// The event, its service by the inventory.
    pub event: Event,
    /// Order in which the log took it.
    pub sequence: i64,
    /// Where it came from.
    pub origin: Origin,
}

/// Timestamps from milliseconds.
pub fn times(millis: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(millis.map(|t| t.saturating_mul(1000))).with_timezone("UTC"))
}

fn times_or_null(millis: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(millis.map(|t| t.map(|t| t.saturating_mul(1000))).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

/// Recurring words as a dictionary column.
pub fn words<'a>(items: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    items.for_each(|item| builder.append_option(item));
    Arc::new(builder.finish())
}

fn texts<'a>(items: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(items))
}

fn ints(items: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(items))
}

/// A `labels` column from pairs per row.
pub fn label_maps<'a, P: Iterator<Item = (&'a str, &'a str)>>(rows: impl Iterator<Item = P>) -> Result<MapArray> {
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for pairs in rows {
        for (name, value) in pairs {
            builder.keys().append_value(name);
            builder.values().append_value(value);
        }
        builder.append(true)?;
    }
    Ok(builder.finish())
}

/// Labels of a series without `__name__`.
pub fn shown_labels(info: &SeriesInfo) -> impl Iterator<Item = (&str, &str)> {
    info.labels.iter().filter(|(name, _)| *name != METRIC_LABEL)
}

/// The value columns shared by [`schema::rollup_1m`] and [`schema::panes`]: `window_start` to `resets`.
pub fn pane_values(rows: &[PaneRow]) -> Vec<ArrayRef> {
    let float = |get: fn(&Cell) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| get(&r.cell)))) };
    vec![
        times(rows.iter().map(|r| r.cell.start)),
        ints(rows.iter().map(|r| i64::from(r.cell.count))),
        float(|c| c.sum),
        float(|c| c.min),
        float(|c| c.max),
        float(|c| c.first),
        float(|c| c.last),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.cell.increase(r.born)))),
        ints(rows.iter().map(|r| r.cell.resets())),
    ]
}

/// Rows of [`schema::rollup_1m`] in the order given.
///
/// # Errors
/// `Internal` where a column does not fit its schema.
pub fn rollup(rows: &[PaneRow], directory: &[Option<Arc<SeriesInfo>>], metrics: &[MetricInfo]) -> Result<RecordBatch> {
    let infos = rows.iter().map(|r| directory.get(r.series as usize).and_then(Option::as_deref));
    let infos: Vec<&SeriesInfo> = infos.collect::<Option<_>>().ok_or_else(|| Error::internal("a pane row's series is not registered"))?;
    let mut columns = vec![words(infos.iter().map(|i| metrics.get(i.metric as usize).map(|m| m.name.as_ref()))), ints(infos.iter().map(|i| i.id.0))];
    columns.extend(pane_values(rows));
    columns.push(ints(rows.iter().map(|r| r.revision)));
    Ok(RecordBatch::try_new(schema::rollup_1m().schema, columns)?)
}

/// Rows of [`schema::series`] with their last seen times (milliseconds).
///
/// # Errors
/// As [`rollup`].
pub fn series(rows: &[(Arc<SeriesInfo>, i64)], metrics: &[MetricInfo]) -> Result<RecordBatch> {
    let metric = |info: &SeriesInfo| metrics.get(info.metric as usize);
    let described = |get: fn(&crate::sample::Metadata) -> &str| {
        words(rows.iter().map(|(i, _)| metric(i).and_then(|m| m.metadata.as_deref()).map(get).filter(|s| !s.is_empty())))
    };
    let columns: Vec<ArrayRef> = vec![
        ints(rows.iter().map(|(i, _)| i.id.0)),
        words(rows.iter().map(|(i, _)| metric(i).map(|m| m.name.as_ref()))),
        Arc::new(label_maps(rows.iter().map(|(i, _)| shown_labels(i)))?),
        words(rows.iter().map(|(i, _)| i.service.as_deref())),
        times(rows.iter().map(|(i, _)| i.first_seen)),
        times(rows.iter().map(|(_, last)| *last)),
        described(|m| m.kind),
        described(|m| &m.unit),
        described(|m| &m.help),
    ];
    Ok(RecordBatch::try_new(schema::series().schema, columns)?)
}

/// Rows of [`schema::late_samples`].
///
/// # Errors
/// As [`rollup`].
pub fn late(rows: &[LateRow]) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        words(rows.iter().map(|r| Some(r.metric.as_ref()))),
        ints(rows.iter().map(|r| r.info.id.0)),
        times(rows.iter().map(|r| r.time)),
        Arc::new(rows.iter().map(|r| (!crate::sample::is_stale(r.value)).then_some(r.value)).collect::<Float64Array>()),
        words(rows.iter().map(|r| Some(r.origin.source.as_ref()))),
        times(rows.iter().map(|r| r.origin.received_at)),
        words(rows.iter().map(|_| Some("late"))),
        words(rows.iter().map(|r| Some(r.origin.log.as_ref()))),
        ints(rows.iter().map(|r| r.origin.position as i64)),
    ];
    Ok(RecordBatch::try_new(schema::late_samples().schema, columns)?)
}

/// Rows of [`schema::dead_letters`].
///
/// # Errors
/// As [`rollup`].
pub fn dead(rows: &[DeadRow]) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        times(rows.iter().map(|r| r.origin.received_at)),
        words(rows.iter().map(|r| Some(r.origin.source.as_ref()))),
        words(rows.iter().map(|r| Some(r.reason))),
        texts(rows.iter().map(|r| r.detail.as_str())),
        ints(rows.iter().map(|r| i64::from(r.count))),
        words(rows.iter().map(|r| Some(r.origin.log.as_ref()))),
        ints(rows.iter().map(|r| r.origin.position as i64)),
    ];
    Ok(RecordBatch::try_new(schema::dead_letters().schema, columns)?)
}

/// Rows of [`schema::events`].
///
/// # Errors
/// As [`rollup`].
pub fn events(rows: &[EventRow]) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        texts(rows.iter().map(|r| r.event.event_id.as_str())),
        times(rows.iter().map(|r| r.event.time.0)),
        times(rows.iter().map(|r| r.origin.received_at)),
        ints(rows.iter().map(|r| r.sequence)),
        words(rows.iter().map(|r| Some(r.origin.source.as_ref()))),
        words(rows.iter().map(|r| Some(r.event.kind.as_str()))),
        words(rows.iter().map(|r| r.event.severity.as_deref())),
        words(rows.iter().map(|r| r.event.service.as_deref())),
        Arc::new(rows.iter().map(|r| r.event.fingerprint.as_deref()).collect::<StringArray>()),
        words(rows.iter().map(|r| r.event.status.as_deref())),
        texts(rows.iter().map(|r| r.event.title.as_str())),
        texts(rows.iter().map(|r| r.event.attributes.as_str())),
    ];
    Ok(RecordBatch::try_new(schema::events().schema, columns)?)
}

/// Rows of [`schema::exemplars`].
///
/// # Errors
/// As [`rollup`].
pub fn exemplars(rows: &[(Arc<str>, Arc<SeriesInfo>, Exemplar)]) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        words(rows.iter().map(|(m, _, _)| Some(m.as_ref()))),
        ints(rows.iter().map(|(_, i, _)| i.id.0)),
        times(rows.iter().map(|(_, _, e)| e.time)),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|(_, _, e)| e.value))),
        Arc::new(label_maps(rows.iter().map(|(_, _, e)| e.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()))))?),
    ];
    Ok(RecordBatch::try_new(schema::exemplars().schema, columns)?)
}

fn int_lists<'a>(rows: impl Iterator<Item = Option<Vec<i64>>> + 'a) -> ArrayRef {
    let mut builder = ListBuilder::new(Int64Builder::new());
    rows.for_each(|row| match row {
        Some(items) => builder.append_value(items.into_iter().map(Some)),
        None => builder.append_null(),
    });
    Arc::new(builder.finish())
}

fn float_lists<'a>(rows: impl Iterator<Item = Option<&'a [f64]>>) -> ArrayRef {
    let mut builder = ListBuilder::new(Float64Builder::new());
    rows.for_each(|row| match row {
        Some(items) => builder.append_value(items.iter().copied().map(Some)),
        None => builder.append_null(),
    });
    Arc::new(builder.finish())
}

/// Rows of [`schema::histograms`].
///
/// # Errors
/// As [`rollup`].
pub fn histograms(rows: &[(Arc<str>, Arc<SeriesInfo>, NativeHistogram)]) -> Result<RecordBatch> {
    let of = |get: fn(&NativeHistogram) -> Option<f64>| -> ArrayRef { Arc::new(rows.iter().map(|(_, _, h)| get(h)).collect::<Float64Array>()) };
    let int =
        |get: fn(&HistogramCounts) -> Option<i64>| -> ArrayRef { Arc::new(rows.iter().map(|(_, _, h)| get(&h.counts)).collect::<Int64Array>()) };
    let spans = |get: fn(&NativeHistogram) -> &[(i32, u32)]| {
        int_lists(rows.iter().map(move |(_, _, h)| Some(get(h).iter().flat_map(|(o, n)| [i64::from(*o), i64::from(*n)]).collect())))
    };
    let ints_of = |get: fn(&HistogramCounts) -> Option<&Vec<i64>>| int_lists(rows.iter().map(move |(_, _, h)| get(&h.counts).cloned()));
    let floats_of = |get: fn(&HistogramCounts) -> Option<&Vec<f64>>| float_lists(rows.iter().map(move |(_, _, h)| get(&h.counts).map(Vec::as_slice)));
    let columns: Vec<ArrayRef> = vec![
        words(rows.iter().map(|(m, _, _)| Some(m.as_ref()))),
        ints(rows.iter().map(|(_, i, _)| i.id.0)),
        times(rows.iter().map(|(_, _, h)| h.time)),
        of(|h| if let HistogramCounts::Float { count, .. } = h.counts { Some(count) } else { None }),
        of(|h| (!crate::sample::is_stale(h.sum)).then_some(h.sum)),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|(_, _, h)| h.schema))),
        of(|h| Some(h.zero_threshold)),
        of(|h| if let HistogramCounts::Float { zero, .. } = h.counts { Some(zero) } else { None }),
        int(|c| if let HistogramCounts::Integer { count, .. } = c { Some(*count as i64) } else { None }),
        int(|c| if let HistogramCounts::Integer { zero, .. } = c { Some(*zero as i64) } else { None }),
        spans(|h| &h.negative_spans),
        ints_of(|c| if let HistogramCounts::Integer { negative, .. } = c { Some(negative) } else { None }),
        floats_of(|c| if let HistogramCounts::Float { negative, .. } = c { Some(negative) } else { None }),
        spans(|h| &h.positive_spans),
        ints_of(|c| if let HistogramCounts::Integer { positive, .. } = c { Some(positive) } else { None }),
        floats_of(|c| if let HistogramCounts::Float { positive, .. } = c { Some(positive) } else { None }),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|(_, _, h)| h.reset_hint))),
        float_lists(rows.iter().map(|(_, _, h)| Some(h.custom_values.as_slice()))),
        times_or_null(rows.iter().map(|(_, _, h)| (h.start_time > 0).then_some(h.start_time))),
    ];
    Ok(RecordBatch::try_new(schema::histograms().schema, columns)?)
}

/// One batch of all rows in the table's sort order.
///
/// # Errors
/// `Internal` where a sort column is missing.
pub fn sorted(table: &TableDef, batches: &[RecordBatch]) -> Result<RecordBatch> {
    let all = concat_batches(&table.schema, batches)?;
    let columns = table.sort.iter().filter_map(|name| all.column_by_name(name)).map(|c| SortColumn { values: c.clone(), options: None });
    let columns: Vec<SortColumn> = columns.collect();
    if columns.is_empty() || all.num_rows() < 2 {
        return Ok(all);
    }
    Ok(take_record_batch(&all, &lexsort_to_indices(&columns, None)?)?)
}
