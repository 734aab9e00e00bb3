//! Live series and their cells as columns.

use super::columns::{bytes_column, float_column, int_column, named};
use crate::cell::Cell;
use crate::error::{Error, ErrorKind, Result};
use crate::panes::Hot;
use crate::pipeline::Pipeline;
use crate::registry::Registry;
use crate::series::SeriesKey;
use arrow::array::{ArrayRef, BinaryArray, Float64Array, Int64Array};
use arrow::record_batch::RecordBatch;
use std::collections::HashMap;
use std::sync::Arc;

type Column = (&'static str, ArrayRef);

fn ints(name: &'static str, items: impl Iterator<Item = i64>) -> Column {
    (name, Arc::new(Int64Array::from_iter_values(items)))
}

fn floats(name: &'static str, items: impl Iterator<Item = f64>) -> Column {
    (name, Arc::new(Float64Array::from_iter_values(items)))
}

fn cell_columns<'a>(cells: impl Iterator<Item = &'a Cell> + Clone) -> Vec<Column> {
    let int = |name, get: fn(&Cell) -> i64| ints(name, cells.clone().map(get));
    let float = |name, get: fn(&Cell) -> f64| floats(name, cells.clone().map(get));
    vec![
        int("start", |c| c.start),
        int("count", |c| i64::from(c.count)),
        int("inner_resets", |c| i64::from(c.inner_resets)),
        float("sum", |c| c.sum),
        float("min", |c| c.min),
        float("max", |c| c.max),
        float("first", |c| c.first),
        float("last", |c| c.last),
        int("first_time", |c| c.first_time),
        int("last_time", |c| c.last_time),
        float("inner_increase", |c| c.inner_increase),
        float("anchor", |c| c.anchor),
        int("anchor_time", |c| c.anchor_time),
        int("start_time", |c| c.start_time),
    ]
}

fn cells(batch: &RecordBatch) -> Result<Vec<Cell>> {
    let int = |name| int_column(batch, name);
    let float = |name| float_column(batch, name);
    let (start, count, inner_resets) = (int("start")?, int("count")?, int("inner_resets")?);
    let (sum, min, max, first, last) = (float("sum")?, float("min")?, float("max")?, float("first")?, float("last")?);
    let (first_time, last_time, anchor_time, start_time) = (int("first_time")?, int("last_time")?, int("anchor_time")?, int("start_time")?);
    let (inner_increase, anchor) = (float("inner_increase")?, float("anchor")?);
    let cell = |i| Cell {
        start: start.value(i),
        count: count.value(i) as u32,
        inner_resets: inner_resets.value(i) as u32,
        sum: sum.value(i),
        min: min.value(i),
        max: max.value(i),
        first: first.value(i),
        last: last.value(i),
        first_time: first_time.value(i),
        last_time: last_time.value(i),
        inner_increase: inner_increase.value(i),
        anchor: anchor.value(i),
        anchor_time: anchor_time.value(i),
        start_time: start_time.value(i),
    };
    Ok((0..batch.num_rows()).map(cell).collect())
}

/// Every live series: labels, streaming state, and what its tables were told.
pub(super) fn save(pipeline: &Pipeline) -> Result<RecordBatch> {
    let directory = pipeline.registry.directory();
    let live = || directory.iter().enumerate().filter_map(|(i, info)| Some((i as u32, info.as_ref()?, pipeline.panes.hot().get(i)?)));
    let seen = |series: u32| pipeline.histograms_seen.get(&series).copied().unwrap_or((i64::MIN, 0));
    let mut columns: Vec<Column> = vec![
        ("labels", Arc::new(BinaryArray::from_iter_values(live().map(|(_, info, _)| info.labels.canonical())))),
        ints("first_seen", live().map(|(_, info, _)| info.first_seen)),
        ints("seen_time", live().map(|(_, _, h)| h.seen_time)),
        ints("seen_bits", live().map(|(_, _, h)| h.seen_bits as i64)),
        ints("birth", live().map(|(_, _, h)| h.birth)),
        ints("described_at", live().map(|(i, _, _)| pipeline.described_at.get(&i).copied().unwrap_or(i64::MIN))),
        ints("histogram_time", live().map(|(i, _, _)| seen(i).0)),
        ints("histogram_hash", live().map(|(i, _, _)| seen(i).1 as i64)),
    ];
    columns.extend(cell_columns(live().map(|(_, _, h)| &h.cell)));
    named(columns)
}

/// Registers every saved series again and puts its state back.
pub(super) fn load(pipeline: &mut Pipeline, batch: &RecordBatch) -> Result<()> {
    let labels = bytes_column(batch, "labels")?;
    let (first_seen, seen_time, seen_bits) = (int_column(batch, "first_seen")?, int_column(batch, "seen_time")?, int_column(batch, "seen_bits")?);
    let (birth, described_at) = (int_column(batch, "birth")?, int_column(batch, "described_at")?);
    let (histogram_time, histogram_hash) = (int_column(batch, "histogram_time")?, int_column(batch, "histogram_hash")?);
    for (i, cell) in cells(batch)?.into_iter().enumerate() {
        let canonical = labels.value(i);
        let registered = pipeline.registry.register(SeriesKey::of(canonical), canonical, first_seen.value(i));
        let series = registered.map_err(|e| Error::caused(ErrorKind::Corrupt, "a saved series cannot be registered", e))?;
        let target = pipeline.registry.info(series).map_or(0, |info| info.target);
        let hot = Hot { cell, seen_time: seen_time.value(i), seen_bits: seen_bits.value(i) as u64, birth: birth.value(i), target };
        pipeline.panes.restore_hot(series, hot);
        if described_at.value(i) != i64::MIN {
            pipeline.described_at.insert(series, described_at.value(i));
        }
        if histogram_time.value(i) != i64::MIN {
            pipeline.histograms_seen.insert(series, (histogram_time.value(i), histogram_hash.value(i) as u64));
        }
    }
    Ok(())
}

/// A closed pane's cells by series id.
pub(super) fn save_pane(pane: &[(u32, Cell)], registry: &Registry) -> Result<RecordBatch> {
    let ids = pane.iter().map(|(series, _)| registry.info(*series).map(|i| i.id.0));
    let ids: Option<Vec<i64>> = ids.collect();
    let ids = ids.ok_or_else(|| Error::internal("a closed pane holds a series that is not registered"))?;
    let mut columns = vec![ints("series_id", ids.into_iter())];
    columns.extend(cell_columns(pane.iter().map(|(_, cell)| cell)));
    named(columns)
}

/// What [`save_pane`] gave.
pub(super) fn load_pane(batch: &RecordBatch, start: i64, registry: &Registry) -> Result<Vec<(u32, Cell)>> {
    let directory = registry.directory();
    let by_id: HashMap<i64, u32> = directory.iter().enumerate().filter_map(|(i, info)| Some((info.as_ref()?.id.0, i as u32))).collect();
    let ids = int_column(batch, "series_id")?;
    let unknown = |id: i64| Error::corrupt(format!("the saved pane {start} holds series {id}, which the state does not"));
    cells(batch)?.into_iter().enumerate().map(|(i, cell)| by_id.get(&ids.value(i)).map(|s| (*s, cell)).ok_or_else(|| unknown(ids.value(i)))).collect()
}
