//! Keys of folds as bytes: fast to compare while they are in memory, written as columns so that they outlive a version.

use crate::error::{Error, Result};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use std::sync::Arc;

/// One key.
pub(crate) type Key = Box<[u8]>;

/// Turns key columns into [`Key`]s and back.
#[derive(Debug)]
pub(crate) struct KeyCodec {
    converter: RowConverter,
    types: Vec<DataType>,
}

impl KeyCodec {
    pub(crate) fn new(what: &str, types: Vec<DataType>) -> Result<Self> {
        let fields = types.iter().cloned().map(SortField::new).collect();
        let converter = RowConverter::new(fields).map_err(|e| Error::plan(what, e.into()))?;
        Ok(Self { converter, types })
    }

    /// One key per row.
    pub(crate) fn keys(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<Key>, ArrowError> {
        if columns.is_empty() {
            return Ok(vec![Key::default(); rows]);
        }
        Ok(self.converter.convert_columns(columns)?.iter().map(|row| row.as_ref().into()).collect())
    }

    /// Keys as an Arrow stream.
    pub(crate) fn save(&self, keys: &[&Key]) -> Result<Vec<u8>, ArrowError> {
        if self.types.is_empty() {
            return Ok(Vec::new());
        }
        let parser = self.converter.parser();
        let columns = self.converter.convert_rows(keys.iter().map(|k| parser.parse(k)))?;
        let fields: Vec<Field> = columns.iter().enumerate().map(|(i, c)| Field::new(format!("k{i}"), c.data_type().clone(), true)).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
        writer.write(&batch)?;
        writer.into_inner()
    }

    /// The keys of [`KeyCodec::save`]; `None` where the bytes are not `count` keys of these types.
    pub(crate) fn load(&self, bytes: &[u8], count: usize) -> Option<Vec<Key>> {
        if self.types.is_empty() {
            return (bytes.is_empty() && count <= 1).then(|| vec![Key::default(); count]);
        }
        let mut keys = Vec::with_capacity(count.min(bytes.len()));
        for batch in StreamReader::try_new(bytes, None).ok()? {
            let batch = batch.ok()?;
            if batch.columns().iter().map(|c| c.data_type()).ne(&self.types) {
                return None;
            }
            keys.extend(self.keys(batch.columns(), batch.num_rows()).ok()?);
        }
        (keys.len() == count).then_some(keys)
    }
}
