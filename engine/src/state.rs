//! The stream's state as bytes and back. Columns where there are many rows, JSON for the few scalars; one version for all of it.

mod columns;
mod past;
mod series;

use crate::error::{Error, ErrorKind, Result};
use crate::log::{LogName, Position};
use crate::pipeline::{Pipeline, Side};
use crate::query::Compiler;
use crate::registry::Target;
use crate::status::SourceStatus;
use crate::time::{EventTime, WallTime};
use crate::views::tables_of;
use crate::watermark::SourceClock;
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, Int64Array, StringArray};
use arrow::datatypes::Int64Type;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::Arc;

pub use columns::{decode_batches, encode_batches};
use columns::{int_column, named};

/// Version of the state that is written; a reader takes it and every earlier one. Version 1 had no generations of views and no repairs.
pub const STATE_VERSION: u32 = 2;

/// Before the names of states that a partition keeps for the owner of the views.
const PARTS: &str = "parts-";

/// Names of metrics and labels beyond which those without live series are not kept over a restart.
const NAMES_MAX: usize = 100_000;

/// Names of metrics and of their labels.
const METRICS: &str = "metrics.json";

/// One part of the state.
#[derive(Debug, Clone)]
pub struct StatePart {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub content: PartContent,
}

/// How a part is kept.
#[derive(Debug, Clone)]
pub enum PartContent {
    /// Changes with every checkpoint: bundled with the others of its kind.
    Bytes(Bytes),
    /// Seldom changes: a file of its own, which later checkpoints may name again.
    File(Bytes),
    /// As in the last checkpoint.
    Unchanged,
}

/// The scalars.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Scalars {
    version: u32,
    positions: BTreeMap<String, Position>,
    sequence: i64,
    as_of: Option<EventTime>,
    watermark: Option<EventTime>,
    newest_received: WallTime,
    any_received: WallTime,
    frontier: Option<EventTime>,
    sources: BTreeMap<String, Source>,
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Source {
    clock: Option<EventTime>,
    last_received: WallTime,
    event_time_max: Option<EventTime>,
    accepted: u64,
    duplicates: u64,
    late: u64,
    rejected: u64,
}

impl Pipeline {
    /// The whole state.
    ///
    /// # Errors
    /// `Internal`.
    pub(crate) fn save(&mut self) -> Result<Vec<StatePart>> {
        let scalars = serde_json::to_vec(&self.scalars()).map_err(|e| Error::caused(ErrorKind::Internal, "state scalars", e))?;
        let mut parts = vec![StatePart { name: "scalars.json".into(), content: PartContent::Bytes(scalars.into()) }];
        let mut columns = |name: &str, batch: RecordBatch| -> Result<()> {
            parts.push(StatePart { name: format!("{name}.arrow"), content: PartContent::Bytes(encode_batches(&[batch])?) });
            Ok(())
        };
        columns("evicted", named(vec![("id", Arc::new(Int64Array::from_iter_values(self.registry.evicted())) as ArrayRef)])?)?;
        columns("targets", self.targets_batch()?)?;
        columns("bodies", self.bodies_batch()?)?;
        let events: Vec<[u8; 16]> = self.events.iter().map(u128::to_le_bytes).collect();
        columns("events", named(vec![("hash", fixed16(&events)?)])?)?;
        columns("series", series::save(self)?)?;
        let names = Some(self.registry.names_count());
        let content = if names == self.saved_names { PartContent::Unchanged } else { PartContent::File(self.metric_names()?) };
        parts.push(StatePart { name: METRICS.into(), content });
        self.saved_names = names;
        let mut kept = BTreeMap::new();
        for (start, cells) in self.panes.closed() {
            // Closed panes seldom change: their file of the last checkpoint serves again.
            let same = self.saved_panes.get(&start).is_some_and(|saved| Arc::ptr_eq(saved, cells));
            let content =
                if same { PartContent::Unchanged } else { PartContent::File(encode_batches(&[series::save_pane(cells, &self.registry)?])?) };
            parts.push(StatePart { name: format!("pane-{start}.arrow"), content });
            kept.insert(start, cells.clone());
        }
        self.saved_panes = kept;
        let (past, late) = past::save(self)?;
        parts.push(StatePart { name: "past.json".into(), content: PartContent::Bytes(past) });
        parts.push(StatePart { name: "late.arrow".into(), content: PartContent::Bytes(late) });
        let kept = serde_json::to_vec(&self.views.kept()).map_err(|e| Error::caused(ErrorKind::Internal, "state of definitions", e))?;
        parts.push(StatePart { name: "views.json".into(), content: PartContent::Bytes(kept.into()) });
        let gone = serde_json::to_vec(self.views.gone()).map_err(|e| Error::caused(ErrorKind::Internal, "state of definitions", e))?;
        parts.push(StatePart { name: "gone.json".into(), content: PartContent::Bytes(gone.into()) });
        match &self.side {
            Side::Whole => {}
            Side::Partition(emitter) => {
                let (kept, states) = emitter.save()?;
                parts.push(StatePart { name: "parts.json".into(), content: PartContent::Bytes(kept) });
                for (table, bytes) in states {
                    parts.push(StatePart { name: format!("{PARTS}{table}"), content: PartContent::Bytes(bytes) });
                }
            }
            Side::Views(inbox) => parts.push(StatePart { name: "inbox.json".into(), content: PartContent::Bytes(inbox.save()?) }),
        }
        for (name, bytes) in self.views.save()? {
            parts.push(StatePart { name: format!("view-{name}"), content: PartContent::Bytes(bytes) });
        }
        Ok(parts)
    }

    /// Loads what [`Self::save`] gave into an empty pipeline.
    ///
    /// # Errors
    /// `Corrupt` where a part is missing or does not fit; `Invalid` where the version is another.
    pub(crate) fn load(&mut self, parts: &BTreeMap<String, Bytes>, compiler: &dyn Compiler) -> Result<()> {
        let part = |name: &str| parts.get(name).ok_or_else(|| Error::corrupt(format!("the checkpoint's state lacks {name}")));
        let scalars: Scalars =
            serde_json::from_slice(part("scalars.json")?).map_err(|e| Error::caused(ErrorKind::Corrupt, "state scalars cannot be read", e))?;
        if scalars.version > STATE_VERSION {
            return Err(Error::invalid(format!(
                "the state has version {}, this program reads up to {STATE_VERSION}: use a newer one",
                scalars.version
            )));
        }
        if let Some(kept) = parts.get("views.json") {
            let kept = serde_json::from_slice(kept).map_err(|e| Error::caused(ErrorKind::Corrupt, "the state's definitions cannot be read", e))?;
            self.views.restore(kept, compiler, scalars.frontier);
        }
        if let Some(gone) = parts.get("gone.json") {
            let gone = serde_json::from_slice(gone).map_err(|e| Error::caused(ErrorKind::Corrupt, "the state's definitions cannot be read", e))?;
            self.views.restore_gone(gone);
            self.forgotten = Arc::new(tables_of(self.views.gone()));
        }
        for batch in decode_batches(part("evicted.arrow")?)? {
            int_column(&batch, "id")?.values().iter().for_each(|id| self.registry.restore_evicted(*id));
        }
        for batch in decode_batches(part("series.arrow")?)? {
            series::load(self, &batch)?;
        }
        // Checkpoints of before have none: then only those of the live series are known.
        if let Some(names) = parts.get(METRICS) {
            let names: BTreeMap<String, BTreeSet<String>> =
                serde_json::from_slice(names).map_err(|e| Error::caused(ErrorKind::Corrupt, "the state's metrics cannot be read", e))?;
            names.into_iter().for_each(|(name, labels)| self.registry.restore_metric(&name, labels));
        }
        for batch in decode_batches(part("targets.arrow")?)? {
            self.load_targets(&batch)?;
        }
        for batch in decode_batches(part("bodies.arrow")?)? {
            self.load_bodies(&batch)?;
        }
        for batch in decode_batches(part("events.arrow")?)? {
            for hash in hashes(&batch, "hash")? {
                self.events.remember(hash);
            }
        }
        for (name, bytes) in parts {
            if let Some(start) = name.strip_prefix("pane-").and_then(|n| n.strip_suffix(".arrow")) {
                let start = start.parse().map_err(|e| Error::caused(ErrorKind::Corrupt, format!("state part {name}"), e))?;
                for batch in decode_batches(bytes)? {
                    let cells = series::load_pane(&batch, start, &self.registry)?;
                    self.panes.restore_closed(start, cells);
                }
            } else if let Some(view) = name.strip_prefix("view-") {
                self.views.load(view, bytes)?;
            }
        }
        if let (Some(past), Some(late)) = (parts.get("past.json"), parts.get("late.arrow")) {
            past::load(self, past, late)?;
        }
        let frontier = scalars.frontier;
        match &mut self.side {
            Side::Whole => {}
            Side::Partition(emitter) => {
                let state = |(name, bytes): (&String, &Bytes)| Some((name.strip_prefix(PARTS)?.to_owned(), bytes.clone()));
                let states = parts.iter().filter_map(state).collect();
                if let Some(kept) = parts.get("parts.json") {
                    emitter.load(kept, &states, compiler)?;
                }
            }
            Side::Views(inbox) => {
                if let Some(kept) = parts.get("inbox.json") {
                    inbox.load(kept, frontier)?;
                }
            }
        }
        self.restore_scalars(scalars)
    }

    /// Every metric there ever was with its label names, those included that have no live series any more, unless there are too many.
    fn metric_names(&self) -> Result<Bytes> {
        let (metrics, labels) = self.registry.names_count();
        let is_many = metrics + labels > NAMES_MAX;
        let kept = self.registry.metrics().iter().filter(|m| !is_many || !m.series.is_empty());
        let names: BTreeMap<&str, &BTreeSet<String>> = kept.map(|m| (m.name.as_ref(), &m.label_names)).collect();
        Ok(serde_json::to_vec(&names).map_err(|e| Error::caused(ErrorKind::Internal, "state of metrics", e))?.into())
    }

    fn scalars(&self) -> Scalars {
        let clocks: BTreeMap<&Arc<str>, &SourceClock> = self.watermark.sources().collect();
        let source = |(name, s): (&Arc<str>, &SourceStatus)| {
            let saved = Source {
                clock: clocks.get(name).map(|c| c.event_time_max),
                last_received: s.last_received,
                event_time_max: s.event_time_max,
                accepted: s.accepted,
                duplicates: s.duplicates,
                late: s.late,
                rejected: s.rejected,
            };
            (name.as_ref().to_owned(), saved)
        };
        Scalars {
            version: STATE_VERSION,
            positions: self.next.iter().map(|(log, at)| (log.to_string(), *at)).collect(),
            sequence: self.sequence,
            as_of: self.as_of,
            watermark: self.watermark.current(),
            newest_received: self.watermark.newest_received(),
            any_received: self.newest_received,
            frontier: self.panes.frontier(),
            sources: self.sources.iter().map(source).collect(),
        }
    }

    fn restore_scalars(&mut self, scalars: Scalars) -> Result<()> {
        for (log, at) in &scalars.positions {
            let log = LogName::parse(log).ok_or_else(|| Error::corrupt(format!("the state names a log {log:?} that cannot be")))?;
            self.next.insert(log, *at);
        }
        (self.sequence, self.as_of, self.newest_received) = (scalars.sequence, scalars.as_of, scalars.any_received);
        self.panes.restore_frontier(scalars.frontier);
        let mut clocks = BTreeMap::new();
        for (name, s) in scalars.sources {
            let name: Arc<str> = name.into();
            if let Some(event_time_max) = s.clock {
                clocks.insert(name.clone(), SourceClock { event_time_max, last_received: s.last_received });
            }
            let status = SourceStatus {
                event_time_max: s.event_time_max,
                last_received: s.last_received,
                active: false,
                accepted: s.accepted,
                duplicates: s.duplicates,
                late: s.late,
                rejected: s.rejected,
            };
            self.sources.insert(name, status);
        }
        self.watermark.restore(scalars.watermark, scalars.newest_received, clocks);
        Ok(())
    }

    fn targets_batch(&self) -> Result<RecordBatch> {
        let mut rows: Vec<(&(String, String), Target)> =
            self.registry.target_names().filter_map(|(name, i)| self.registry.targets().get(i as usize).map(|t| (name, *t))).collect();
        rows.sort_by_key(|(name, _)| *name);
        named(vec![
            ("job", Arc::new(StringArray::from_iter_values(rows.iter().map(|(n, _)| &n.0))) as ArrayRef),
            ("instance", Arc::new(StringArray::from_iter_values(rows.iter().map(|(n, _)| &n.1)))),
            ("first", Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, t)| t.first)))),
            ("second", Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, t)| t.second)))),
        ])
    }

    fn load_targets(&mut self, batch: &RecordBatch) -> Result<()> {
        let text = |name: &str| batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>()).ok_or_else(|| lacks(name));
        let (job, instance) = (text("job")?, text("instance")?);
        let (first, second) = (int_column(batch, "first")?, int_column(batch, "second")?);
        for i in 0..batch.num_rows() {
            self.registry.restore_target(job.value(i), instance.value(i), Target { first: first.value(i), second: second.value(i) });
        }
        Ok(())
    }

    fn bodies_batch(&self) -> Result<RecordBatch> {
        let rows: Vec<(&Arc<str>, i64, u128)> = self.bodies.iter().collect();
        let hashes: Vec<[u8; 16]> = rows.iter().map(|(_, _, h)| h.to_le_bytes()).collect();
        named(vec![
            ("source", Arc::new(StringArray::from_iter_values(rows.iter().map(|(s, _, _)| s.as_ref()))) as ArrayRef),
            ("received_at", Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, at, _)| *at)))),
            ("hash", fixed16(&hashes)?),
        ])
    }

    fn load_bodies(&mut self, batch: &RecordBatch) -> Result<()> {
        let source = batch.column_by_name("source").and_then(|c| c.as_string_opt::<i32>()).ok_or_else(|| lacks("source"))?;
        let received_at = batch.column_by_name("received_at").and_then(|c| c.as_primitive_opt::<Int64Type>()).ok_or_else(|| lacks("received_at"))?;
        for (i, hash) in hashes(batch, "hash")?.into_iter().enumerate() {
            self.bodies.is_retry(&Arc::from(source.value(i)), received_at.value(i), hash);
        }
        Ok(())
    }
}

fn lacks(column: &str) -> Error {
    Error::corrupt(format!("a state part lacks its column {column}"))
}

fn fixed16(items: &[[u8; 16]]) -> Result<ArrayRef> {
    Ok(Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(items.iter().map(|h| Some(h.as_slice())), 16)?))
}

fn hashes(batch: &RecordBatch, name: &str) -> Result<Vec<u128>> {
    let column = batch.column_by_name(name).and_then(|c| c.as_fixed_size_binary_opt()).ok_or_else(|| lacks(name))?;
    (0..column.len()).map(|i| column.value(i).try_into().map(u128::from_le_bytes).map_err(|_| lacks(name))).collect()
}
