//! Batches of rows as bytes of an answer, batch by batch. Not the running of statements.

use super::cell::{Cell, cell, text, type_name};
use super::format::Format;
use afferent_engine::error::{Error, ErrorKind, Result};
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::properties::WriterProperties;

/// Rows of one row group of a Parquet answer: what is held in memory before it is sent.
const ROW_GROUP_ROWS_MAX: usize = 131_072;

/// An answer being written. Boxed where it is large, because it moves between threads.
pub(crate) enum Encoder {
    Json { schema: SchemaRef, rows: u64 },
    Csv { schema: SchemaRef, headed: bool },
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<ArrowWriter<Vec<u8>>>),
}

impl Encoder {
    /// An encoder for rows of `schema`.
    ///
    /// # Errors
    /// `Invalid` for columns the format cannot hold.
    pub(crate) fn new(format: Format, schema: SchemaRef) -> Result<Self> {
        Ok(match format {
            Format::Json => Self::Json { schema, rows: 0 },
            Format::Csv => Self::Csv { schema, headed: false },
            Format::Arrow => Self::Arrow(Box::new(StreamWriter::try_new(Vec::new(), &schema)?)),
            Format::Parquet => {
                let properties =
                    WriterProperties::builder().set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX)).set_compression(Compression::SNAPPY).build();
                Self::Parquet(Box::new(ArrowWriter::try_new(Vec::new(), schema, Some(properties)).map_err(parquet)?))
            }
        })
    }

    /// The bytes that become ready with this batch; may be none.
    ///
    /// # Errors
    /// `Invalid` for columns the format cannot hold.
    pub(crate) fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        if batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        match self {
            Self::Json { schema, rows } => {
                let mut out = Vec::with_capacity(64 * batch.num_rows());
                if *rows == 0 {
                    json_head(schema, &mut out);
                }
                json_rows(batch, *rows == 0, &mut out)?;
                *rows += batch.num_rows() as u64;
                Ok(out)
            }
            Self::Csv { schema, headed } => {
                let mut out = Vec::with_capacity(64 * batch.num_rows());
                if !std::mem::replace(headed, true) {
                    csv_head(schema, &mut out);
                }
                csv_rows(batch, &mut out)?;
                Ok(out)
            }
            Self::Arrow(writer) => {
                writer.write(batch)?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Self::Parquet(writer) => {
                writer.write(batch).map_err(parquet)?;
                Ok(std::mem::take(writer.inner_mut()))
            }
        }
    }

    /// The last bytes. `stats` stands at the end of a JSON answer.
    ///
    /// # Errors
    /// `Internal`.
    pub(crate) fn finish(self, stats: &serde_json::Value) -> Result<Vec<u8>> {
        match self {
            Self::Json { schema, rows } => {
                let mut out = Vec::new();
                if rows == 0 {
                    json_head(&schema, &mut out);
                }
                out.extend_from_slice(format!("],\"stats\":{stats}}}\n").as_bytes());
                Ok(out)
            }
            Self::Csv { schema, headed } => {
                let mut out = Vec::new();
                if !headed {
                    csv_head(&schema, &mut out);
                }
                Ok(out)
            }
            Self::Arrow(mut writer) => {
                writer.finish()?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Self::Parquet(writer) => writer.into_inner().map_err(parquet),
        }
    }

    /// What an answer that broke off still says: a JSON reader is told why, the others see a cut connection.
    pub(crate) fn broken(&self, error: &serde_json::Value) -> Vec<u8> {
        match self {
            Self::Json { rows, .. } if *rows > 0 => format!("],\"error\":{error}}}\n").into_bytes(),
            _ => Vec::new(),
        }
    }
}

fn parquet(cause: ParquetError) -> Error {
    Error::caused(ErrorKind::Invalid, format!("these columns cannot be written as Parquet: {cause}"), cause)
}

fn json_head(schema: &SchemaRef, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"columns\":[");
    for (i, field) in schema.fields().iter().enumerate() {
        out.extend_from_slice(if i > 0 { b",{\"name\":" } else { b"{\"name\":" });
        text(field.name(), out);
        out.extend_from_slice(b",\"type\":");
        text(&type_name(field.data_type()), out);
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"rows\":[");
}

fn cells(batch: &RecordBatch) -> Result<Vec<Cell>> {
    let named = batch.columns().iter().zip(batch.schema_ref().fields());
    named.map(|(column, field)| cell(column).map_err(|e| Error::caused(e.kind(), format!("column {:?}: {e}", field.name()), e))).collect()
}

fn json_rows(batch: &RecordBatch, first: bool, out: &mut Vec<u8>) -> Result<()> {
    let cells = cells(batch)?;
    for row in 0..batch.num_rows() {
        out.extend_from_slice(if first && row == 0 { b"\n[" } else { b",\n[" });
        for (i, cell) in cells.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            cell(row, out);
        }
        out.push(b']');
    }
    Ok(())
}

fn csv_head(schema: &SchemaRef, out: &mut Vec<u8>) {
    for (i, field) in schema.fields().iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        csv_field(field.name(), out);
    }
    out.extend_from_slice(b"\r\n");
}

fn csv_rows(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
    let cells = cells(batch)?;
    let mut scratch = Vec::new();
    for row in 0..batch.num_rows() {
        for (i, cell) in cells.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            scratch.clear();
            cell(row, &mut scratch);
            csv_value(&scratch, out);
        }
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

/// A JSON value as a CSV field: strings without their JSON quotes, null as nothing, lists and objects as quoted JSON.
fn csv_value(json: &[u8], out: &mut Vec<u8>) {
    match json.first() {
        Some(b'n') => {}
        Some(b'"') => csv_field(&serde_json::from_slice::<String>(json).unwrap_or_default(), out),
        Some(b'[' | b'{') => csv_field(&String::from_utf8_lossy(json), out),
        _ => out.extend_from_slice(json),
    }
}

fn csv_field(text: &str, out: &mut Vec<u8>) {
    let plain = !text.is_empty() && !text.contains([',', '"', '\r', '\n']) && text.trim() == text;
    if plain {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests;
