//! Rows to Parquet files: encodings, and writing in parts so that memory stays bounded. Not who may see the files (`delta`).

use super::stats;
use crate::error::{StorageError, object_error};
use crate::layout;
use crate::metrics::Metric;
use crate::object_store::Store;
use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::schema::types::ColumnPath;
use afferent_engine::schema::TableDef;
use afferent_engine::table::DataFile;
use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt};
use std::collections::BTreeMap;
use tokio::runtime::Handle;

/// How much work goes into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// An epoch's file, soon to be merged: cheap to write.
    Fresh,
    /// A merged file: small, and read often.
    Compacted,
}

/// Rows of a row group; the unit that a scan can skip by its bounds without reading pages.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// Rows of a page of a fresh file.
const FRESH_PAGE_ROWS: usize = 20_000;

/// Rows of a page of a merged file: the longer the page, the more of the neighbouring hosts' rows the compressor sees.
const COMPACTED_PAGE_ROWS: usize = 131_072;

/// Bytes of a page before compression; the row limits above come first for columns of plain numbers.
const PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Encoded bytes that are gathered before they are handed to the store.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// Bytes that all open files of one write may hold in memory; beyond it the biggest one's row group is ended early.
const OPEN_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Dates that one write may touch at once; a backfill of more is split by its caller.
const OPEN_DATES_MAX: usize = 400;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Encodings, chosen by measurement (the crate's README has the figures).
fn properties(table: &TableDef, effort: Effort) -> WriterProperties {
    let (level, page_rows) = match effort {
        Effort::Fresh => (1, FRESH_PAGE_ROWS),
        Effort::Compacted => (6, COMPACTED_PAGE_ROWS),
    };
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("afferent ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(level).unwrap_or_default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(page_rows)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_statistics_enabled(EnabledStatistics::Page)
        // Lists and maps get the names that the Parquet specification gives their inner fields, which every reader knows.
        .set_coerce_types(true);
    for field in table.schema.fields() {
        let column = || ColumnPath::from(field.name().as_str());
        if !stats::has_bounds(field.data_type()) {
            properties = properties.set_column_statistics_enabled(column(), EnabledStatistics::None);
        }
        properties = match field.data_type() {
            DataType::Float64 | DataType::Float32 => properties.set_column_dictionary_enabled(column(), false),
            DataType::Timestamp(_, _) => {
                properties.set_column_dictionary_enabled(column(), false).set_column_encoding(column(), Encoding::DELTA_BINARY_PACKED)
            }
            // Mostly hashes in runs, where a dictionary costs more than it saves.
            DataType::Int64 => properties.set_column_dictionary_enabled(column(), false),
            _ => properties,
        };
    }
    properties.build()
}

/// How files of one write are named: by date and a number of their own.
pub(crate) type Naming<'a> = &'a dyn Fn(&str, u64) -> String;

/// Writes rows as one file per date; blocking, to be called off the async threads. Every file is durable on return.
pub(crate) fn write_files(
    store: &Store,
    handle: &Handle,
    table: &TableDef,
    effort: Effort,
    name: Naming<'_>,
    rows: impl Iterator<Item = Result<RecordBatch, StorageError>>,
) -> Result<Vec<DataFile>, StorageError> {
    let mut files = DatedFiles { store, handle, table, effort, name, open: BTreeMap::new() };
    let written = files.write_all(rows);
    if written.is_err() {
        files.abort();
    }
    written
}

/// The open files of one write, by day.
struct DatedFiles<'a> {
    store: &'a Store,
    handle: &'a Handle,
    table: &'a TableDef,
    effort: Effort,
    name: Naming<'a>,
    open: BTreeMap<i64, OpenFile>,
}

impl DatedFiles<'_> {
    fn write_all(&mut self, rows: impl Iterator<Item = Result<RecordBatch, StorageError>>) -> Result<Vec<DataFile>, StorageError> {
        for batch in rows {
            self.write(&batch?)?;
        }
        self.finish()
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), StorageError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let handle = self.handle;
        for (day, rows) in split_by_day(self.table, batch)? {
            self.file_of(day)?.write(handle, &rows)?;
        }
        let held: usize = self.open.values().map(OpenFile::held_bytes).sum();
        if held > OPEN_BYTES_MAX
            && let Some(biggest) = self.open.values_mut().max_by_key(|f| f.writer.memory_size())
        {
            biggest.end_row_group(self.handle)?;
        }
        Ok(())
    }

    fn file_of(&mut self, day: i64) -> Result<&mut OpenFile, StorageError> {
        if self.open.len() >= OPEN_DATES_MAX && !self.open.contains_key(&day) {
            return Err(bad_rows(self.table, format!("one write touches more than {OPEN_DATES_MAX} dates")));
        }
        match self.open.entry(day) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let date = date_text(day).ok_or_else(|| bad_rows(self.table, format!("{} lies outside the calendar", self.table.date_from)))?;
                let relative = (self.name)(&date, layout::fresh_token());
                Ok(entry.insert(OpenFile::start(self.store, self.table, self.effort, relative, date)?))
            }
        }
    }

    fn finish(&mut self) -> Result<Vec<DataFile>, StorageError> {
        let mut done = Vec::with_capacity(self.open.len());
        for file in self.open.values_mut() {
            done.push(file.finish(self.handle, self.table)?);
        }
        Ok(done)
    }

    /// Takes back what was uploaded in parts; a service keeps, and bills, parts of uploads that nobody ends.
    fn abort(&mut self) {
        for file in self.open.values_mut() {
            if let Some(mut upload) = file.upload.take()
                && let Err(error) = self.handle.block_on(upload.abort())
            {
                tracing::debug!(path = %file.path, %error, "parts of a file could not be taken back");
            }
        }
    }
}

/// A file that is being written: Parquet encodes into a buffer, full parts of which go to the store. One without a full part goes in one put.
struct OpenFile {
    store: Store,
    relative: String,
    path: Path,
    date: String,
    writer: ArrowWriter<Vec<u8>>,
    upload: Option<Box<dyn MultipartUpload>>,
}

impl OpenFile {
    fn start(store: &Store, table: &TableDef, effort: Effort, relative: String, date: String) -> Result<Self, StorageError> {
        let path = layout::data_file(&table.name, &relative);
        let writer = ArrowWriter::try_new(Vec::new(), table.schema.clone(), Some(properties(table, effort)))
            .map_err(|source| StorageError::Parquet { path: path.to_string(), source })?;
        Ok(Self { store: store.clone(), relative, path, date, writer, upload: None })
    }

    fn held_bytes(&self) -> usize {
        self.writer.memory_size() + self.writer.inner().len()
    }

    fn write(&mut self, handle: &Handle, rows: &RecordBatch) -> Result<(), StorageError> {
        self.writer.write(rows).map_err(|source| StorageError::Parquet { path: self.path.to_string(), source })?;
        self.hand_over(handle, PART_BYTES)
    }

    fn end_row_group(&mut self, handle: &Handle) -> Result<(), StorageError> {
        self.writer.flush().map_err(|source| StorageError::Parquet { path: self.path.to_string(), source })?;
        self.hand_over(handle, self.store.part_bytes_min())
    }

    /// Gives what is encoded to the store, once it is at least `least` bytes.
    fn hand_over(&mut self, handle: &Handle, least: usize) -> Result<(), StorageError> {
        if self.writer.inner().len() < least {
            return Ok(());
        }
        let part = std::mem::take(self.writer.inner_mut());
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(handle.block_on(self.store.objects().put_multipart(&self.path)).map_err(object_error("write", &self.path))?),
        };
        handle.block_on(upload.put_part(part.into())).map_err(object_error("write", &self.path))
    }

    fn finish(&mut self, handle: &Handle, table: &TableDef) -> Result<DataFile, StorageError> {
        let metadata = self.writer.finish().map_err(|source| StorageError::Parquet { path: self.path.to_string(), source })?;
        if self.upload.is_some() {
            self.hand_over(handle, 1)?;
        }
        let written = match &mut self.upload {
            Some(upload) => handle.block_on(upload.complete()),
            None => handle.block_on(self.store.objects().put(&self.path, std::mem::take(self.writer.inner_mut()).into())),
        };
        written.map_err(object_error("write", &self.path))?;
        // Nothing is left to take back.
        self.upload = None;
        let size_bytes = self.writer.bytes_written() as u64;
        let row_count = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or_default();
        let label = table.name.to_string();
        metrics::counter!(Metric::TableRowsIn.name(), "table" => label.clone()).increment(row_count);
        metrics::counter!(Metric::TableBytesOut.name(), "table" => label).increment(size_bytes);
        Ok(DataFile { path: self.relative.clone(), date: self.date.clone(), size_bytes, row_count, stats: stats::of_file(&table.schema, &metadata) })
    }
}

/// The rows of a batch per UTC day. A batch within one day, as nearly all are, is passed on as it is.
fn split_by_day(table: &TableDef, batch: &RecordBatch) -> Result<Vec<(i64, RecordBatch)>, StorageError> {
    let column = batch.column_by_name(table.date_from).ok_or_else(|| bad_rows(table, format!("a batch has no column {}", table.date_from)))?;
    let times = column
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| bad_rows(table, format!("column {} is {}, not a timestamp in microseconds", table.date_from, column.data_type())))?;
    if times.null_count() > 0 {
        return Err(bad_rows(table, format!("column {} has {} nulls: a row without it has no date", table.date_from, times.null_count())));
    }
    let days: Vec<i64> = times.values().iter().map(|t| t.div_euclid(MICROS_PER_DAY)).collect();
    let first = days.first().copied().unwrap_or_default();
    if days.iter().all(|d| *d == first) {
        return Ok(vec![(first, batch.clone())]);
    }
    let mut distinct = days.clone();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
        .into_iter()
        .map(|day| {
            let chosen: BooleanArray = days.iter().map(|d| Some(*d == day)).collect();
            let rows = filter_record_batch(batch, &chosen).map_err(|e| bad_rows(table, e.to_string()))?;
            Ok((day, rows))
        })
        .collect()
}

fn date_text(day: i64) -> Option<String> {
    let date = chrono::DateTime::from_timestamp(day.checked_mul(86_400)?, 0)?.date_naive();
    Some(date.format("%Y-%m-%d").to_string())
}

fn bad_rows(table: &TableDef, reason: String) -> StorageError {
    StorageError::BadRows { table: table.name.to_string(), reason }
}

#[cfg(test)]
mod tests;
