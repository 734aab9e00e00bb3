//! Columns of the state as bytes (Arrow IPC stream, zstd) and typed access to them.

use super::{CompressionType, Cursor, IpcWriteOptions, StreamReader, StreamWriter, lacks};
use crate::error::{Error, ErrorKind, Result};
use arrow::array::{ArrayRef, AsArray, BinaryArray, Float64Array, Int64Array};
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

/// Batches of one schema as bytes; at least one.
///
/// # Errors
/// `Internal` where there is no batch or they differ in schema.
pub fn encode_batches(batches: &[RecordBatch]) -> Result<Bytes> {
    let schema = batches.first().ok_or_else(|| Error::internal("no batch to encode"))?.schema();
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options)?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(writer.into_inner()?.into())
}

/// What [`encode_batches`] gave.
///
/// # Errors
/// `Corrupt`.
pub fn decode_batches(bytes: &[u8]) -> Result<Vec<RecordBatch>> {
    let corrupt = |e| Error::caused(ErrorKind::Corrupt, "state columns cannot be read", e);
    StreamReader::try_new(Cursor::new(bytes), None).map_err(corrupt)?.collect::<Result<_, _>>().map_err(corrupt)
}

/// A batch of named columns, none of them null.
pub(super) fn named(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, false)))?)
}

pub(super) fn int_column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a Int64Array> {
    batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>()).ok_or_else(|| lacks(name))
}

pub(super) fn float_column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a Float64Array> {
    batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<Float64Type>()).ok_or_else(|| lacks(name))
}

pub(super) fn bytes_column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a BinaryArray> {
    batch.column_by_name(name).and_then(|c| c.as_binary_opt::<i32>()).ok_or_else(|| lacks(name))
}
