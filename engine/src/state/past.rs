//! What of the past waits to be computed again, as bytes and back.

use super::columns::{bytes_column, decode_batches, encode_batches, float_column, int_column, named};
use crate::control::BackfillId;
use crate::error::{Error, ErrorKind, Result};
use crate::parts::{Words, touched, words};
use crate::pipeline::{Backfill, Changed, Pipeline, SlowSample};
use crate::rows::Origin;
use crate::schema::TableName;
use arrow::array::{ArrayRef, BinaryArray, Float64Array, Int64Array};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Everything but the late samples themselves.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct Past {
    /// Series id and pane.
    recheck: Vec<(i64, i64)>,
    touched: Words,
    changed: BTreeMap<TableName, Changed>,
    backfills: BTreeMap<BackfillId, Backfill>,
    rounds: i64,
    repaired: u64,
}

/// Saves it as (JSON, columns of late samples).
pub(super) fn save(pipeline: &Pipeline) -> Result<(Bytes, Bytes)> {
    let id = |series: u32| pipeline.registry.info(series).map(|i| i.id.0);
    let background = &pipeline.background;
    let past = Past {
        recheck: pipeline.late.rechecks().filter_map(|(series, pane)| Some((id(*series)?, *pane))).collect(),
        touched: words(&background.unknown()),
        changed: background.changed.clone(),
        backfills: background.backfills.clone(),
        rounds: pipeline.late.rounds,
        repaired: pipeline.late.repaired,
    };
    let json = serde_json::to_vec(&past).map_err(|e| Error::caused(ErrorKind::Internal, "state of repairs", e))?;
    let late: Vec<(i64, &SlowSample)> = pipeline.late.samples().filter_map(|s| Some((id(s.series)?, s))).collect();
    let int = |get: fn(&(i64, &SlowSample)) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(late.iter().map(get))) };
    let text = |get: for<'a> fn(&'a SlowSample) -> &'a str| -> ArrayRef { Arc::new(BinaryArray::from_iter_values(late.iter().map(|(_, s)| get(s)))) };
    let columns = named(vec![
        ("id", int(|(id, _)| *id)),
        ("time", int(|(_, s)| s.time)),
        ("value", Arc::new(Float64Array::from_iter_values(late.iter().map(|(_, s)| s.value)))),
        ("start_time", int(|(_, s)| s.start_time)),
        ("received_at", int(|(_, s)| s.origin.received_at)),
        ("position", int(|(_, s)| s.origin.position as i64)),
        ("source", text(|s| &s.origin.source)),
        ("log", text(|s| &s.origin.log)),
    ])?;
    Ok((json.into(), encode_batches(&[columns])?))
}

/// Puts it back; the series are registered already.
pub(super) fn load(pipeline: &mut Pipeline, json: &[u8], late: &[u8]) -> Result<()> {
    let past: Past = serde_json::from_slice(json).map_err(|e| Error::caused(ErrorKind::Corrupt, "the state of repairs cannot be read", e))?;
    let directory = pipeline.registry.directory();
    let index: HashMap<i64, u32> = directory.iter().enumerate().filter_map(|(i, s)| Some((s.as_ref()?.id.0, i as u32))).collect();
    pipeline.late.recheck = past.recheck.iter().filter_map(|(id, pane)| Some((*index.get(id)?, *pane))).collect();
    pipeline.background.touched = touched(past.touched);
    (pipeline.background.changed, pipeline.background.backfills) = (past.changed, past.backfills);
    (pipeline.late.rounds, pipeline.late.repaired) = (past.rounds, past.repaired);
    for batch in decode_batches(late)? {
        load_late(pipeline, &batch, &index)?;
    }
    Ok(())
}

fn load_late(pipeline: &mut Pipeline, batch: &RecordBatch, index: &HashMap<i64, u32>) -> Result<()> {
    let int = |name: &str| int_column(batch, name);
    let (id, time, start, received, position) = (int("id")?, int("time")?, int("start_time")?, int("received_at")?, int("position")?);
    let (value, source, log) = (float_column(batch, "value")?, bytes_column(batch, "source")?, bytes_column(batch, "log")?);
    let text = |bytes: &[u8]| -> Result<Arc<str>> {
        std::str::from_utf8(bytes).map(Arc::from).map_err(|e| Error::caused(ErrorKind::Corrupt, "a late sample's source is not text", e))
    };
    for i in 0..batch.num_rows() {
        let series = *index.get(&id.value(i)).ok_or_else(|| Error::corrupt(format!("a late sample's series {} is not in the state", id.value(i))))?;
        let origin =
            Origin { source: text(source.value(i))?, received_at: received.value(i), log: text(log.value(i))?, position: position.value(i) as u64 };
        pipeline.late.waiting.push(SlowSample { series, time: time.value(i), value: value.value(i), start_time: start.value(i), origin });
    }
    Ok(())
}
