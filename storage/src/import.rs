//! Reads a Parquet file of somebody else's, batch by batch. Not a table of ours: its columns are what they are.

use afferent_engine::error::{Error, ErrorKind, Result};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use std::fs::File;
use std::path::Path;

/// Rows of one batch.
const BATCH_ROWS: usize = 8_192;

/// A file that is open for reading.
pub struct ParquetFile {
    /// Its columns.
    pub schema: SchemaRef,
    /// Rows it says it has.
    pub row_count: u64,
    path: String,
    batches: ParquetRecordBatchReader,
}

/// Opens a file.
///
/// # Errors
/// `Invalid` where there is none, or it is no Parquet.
pub fn open(path: &Path) -> Result<ParquetFile> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|e| Error::caused(ErrorKind::Invalid, format!("{shown}: {e}"), e))?;
    let wrong = |e: parquet::errors::ParquetError| Error::caused(ErrorKind::Invalid, format!("{shown}: it cannot be read as Parquet: {e}"), e);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(wrong)?;
    let row_count = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or_default();
    let schema = builder.schema().clone();
    let batches = builder.with_batch_size(BATCH_ROWS).build().map_err(wrong)?;
    Ok(ParquetFile { schema, row_count, path: shown, batches })
}

impl Iterator for ParquetFile {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let wrong = |e: arrow::error::ArrowError| Error::caused(ErrorKind::Invalid, format!("{}: {e}", self.path), e);
        self.batches.next().map(|batch| batch.map_err(wrong))
    }
}

#[cfg(test)]
mod tests;
