//! Rows that are replaced by key: which changed since they were last written, and with which revision.

use super::envelope::{Envelope, with_envelope};
use crate::error::{Error, Result};
use crate::recompute::retraction;
use arrow::array::{Array, AsArray, BinaryArray, BooleanArray, Int64Array, UInt32Array, UInt64Array, new_null_array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt64Type};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// See the module.
pub(super) struct Upserts {
    keys: RowConverter,
    values: RowConverter,
    key_columns: Vec<usize>,
    written: HashMap<Box<[u8]>, Written>,
    rows: RecordBatch,
    marks: Vec<Mark>,
    /// Keys that were written and have no row now, with the revision that says so.
    gone: Vec<(Box<[u8]>, i64)>,
}

#[derive(Debug, Clone, Copy)]
struct Written {
    hash: u64,
    revision: i64,
    /// The key has no row any more, and that was written.
    gone: bool,
}

struct Mark {
    key: Box<[u8]>,
    hash: u64,
    revision: i64,
    changed: bool,
}

impl Upserts {
    /// For rows of `schema` identified by `key`.
    pub(super) fn new(schema: &SchemaRef, key: &[String]) -> Result<Self> {
        let key_columns: Vec<usize> = key.iter().filter_map(|k| schema.index_of(k).ok()).collect();
        let sort = |i: &usize| SortField::new(schema.field(*i).data_type().clone());
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        Ok(Self {
            keys: RowConverter::new(key_columns.iter().map(sort).collect())?,
            values: RowConverter::new(all.iter().map(sort).collect())?,
            key_columns,
            written: HashMap::new(),
            rows: RecordBatch::new_empty(schema.clone()),
            marks: vec![],
            gone: vec![],
        })
    }

    /// Replaces the current rows.
    pub(super) fn set(&mut self, rows: RecordBatch) -> Result<()> {
        let key_columns: Vec<_> = self.key_columns.iter().map(|i| rows.column(*i).clone()).collect();
        let values = self.values.convert_columns(rows.columns())?;
        let keys = if key_columns.is_empty() { None } else { Some(self.keys.convert_columns(&key_columns)?) };
        self.marks = (0..rows.num_rows())
            .map(|i| {
                let key: Box<[u8]> = keys.as_ref().map(|k| k.row(i).as_ref().into()).unwrap_or_default();
                let hash = xxhash_rust::xxh3::xxh3_64(values.row(i).as_ref());
                let (revision, changed) = match self.written.get(&key) {
                    None => (0, true),
                    Some(w) if w.hash == hash && !w.gone => (w.revision, false),
                    Some(w) => (w.revision + 1, true),
                };
                Mark { key, hash, revision, changed }
            })
            .collect();
        let present: HashSet<&[u8]> = self.marks.iter().map(|m| m.key.as_ref()).collect();
        let absent = self.written.iter().filter(|(key, w)| !w.gone && !present.contains(key.as_ref()));
        self.gone = absent.map(|(key, w)| (key.clone(), w.revision + 1)).collect();
        self.gone.sort_unstable();
        self.rows = rows;
        Ok(())
    }

    /// Rows that say which keys are gone: the key, nulls, and the mark.
    fn retracted(&self, schema: &SchemaRef, envelope: &Envelope) -> Result<Option<RecordBatch>> {
        if self.gone.is_empty() {
            return Ok(None);
        }
        let parser = self.keys.parser();
        let keys = self.keys.convert_rows(self.gone.iter().map(|(key, _)| parser.parse(key)))?;
        let columns = self.rows.schema_ref().fields().iter().enumerate().map(|(i, field)| {
            let place = self.key_columns.iter().position(|k| *k == i);
            place.and_then(|p| keys.get(p).cloned()).unwrap_or_else(|| new_null_array(field.data_type(), self.gone.len()))
        });
        let rows = RecordBatch::try_new(self.rows.schema(), columns.collect())?;
        let revisions = self.gone.iter().map(|(_, revision)| *revision).collect();
        Ok(Some(retraction(&with_envelope(schema, &rows, envelope, Some(revisions))?)?))
    }

    /// The current rows without the envelope.
    #[cfg(test)]
    pub(super) fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// All current rows with the envelope.
    pub(super) fn live(&self, schema: &SchemaRef, envelope: &Envelope) -> Result<RecordBatch> {
        let rows = with_envelope(schema, &self.rows, envelope, Some(self.marks.iter().map(|m| m.revision).collect()))?;
        Ok(match self.retracted(schema, envelope)? {
            Some(gone) => concat_batches(schema, &[rows, gone])?,
            None => rows,
        })
    }

    /// Rows that changed since the last call, to be written; from now on they count as written.
    pub(super) fn cut(&mut self, schema: &SchemaRef, envelope: &Envelope) -> Result<RecordBatch> {
        let changed: Vec<u32> = self.marks.iter().enumerate().filter(|(_, m)| m.changed).map(|(i, _)| i as u32).collect();
        let revisions = changed.iter().filter_map(|i| self.marks.get(*i as usize)).map(|m| m.revision).collect();
        let rows = take_record_batch(&self.rows, &UInt32Array::from(changed))?;
        for mark in self.marks.iter_mut().filter(|m| m.changed) {
            mark.changed = false;
            self.written.insert(mark.key.clone(), Written { hash: mark.hash, revision: mark.revision, gone: false });
        }
        let rows = with_envelope(schema, &rows, envelope, Some(revisions))?;
        let gone = self.retracted(schema, envelope)?;
        for (key, revision) in self.gone.drain(..) {
            self.written.insert(key, Written { hash: 0, revision, gone: true });
        }
        Ok(match gone {
            Some(gone) => concat_batches(schema, &[rows, gone])?,
            None => rows,
        })
    }

    /// What was written, as columns.
    pub(super) fn save(&self) -> Result<RecordBatch> {
        let mut rows: Vec<_> = self.written.iter().collect();
        rows.sort_by(|a, b| a.0.cmp(b.0));
        let columns: Vec<Arc<dyn Array>> = vec![
            Arc::new(BinaryArray::from_iter_values(rows.iter().map(|(k, _)| k))),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|(_, w)| w.hash))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, w)| w.revision))),
            Arc::new(rows.iter().map(|(_, w)| Some(w.gone)).collect::<BooleanArray>()),
        ];
        Ok(RecordBatch::try_new(Self::saved_schema(), columns)?)
    }

    fn saved_schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("key", DataType::Binary, false),
            Field::new("hash", DataType::UInt64, false),
            Field::new("revision", DataType::Int64, false),
            Field::new("gone", DataType::Boolean, true),
        ]))
    }

    /// Puts back what [`Self::save`] gave.
    pub(super) fn load(&mut self, saved: &RecordBatch) -> Result<()> {
        // The first version of the state did not know of keys that go.
        let fields = Self::saved_schema().fields().clone();
        let known = saved.schema_ref().fields();
        if known.iter().zip(&fields).any(|(a, b)| a != b) || known.len() + 1 < fields.len() {
            return Err(Error::corrupt("the saved revisions of a view have other columns"));
        }
        let (keys, hashes) = (saved.column(0).as_binary::<i32>(), saved.column(1).as_primitive::<UInt64Type>());
        let revisions = saved.column(2).as_primitive::<Int64Type>();
        let gone = saved.column_by_name("gone").and_then(|c| c.as_boolean_opt());
        let written = |i: usize| Written { hash: hashes.value(i), revision: revisions.value(i), gone: gone.is_some_and(|g| g.value(i)) };
        self.written = (0..saved.num_rows()).map(|i| (keys.value(i).into(), written(i))).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
