//! Files that running reads of this process use: the vacuum leaves them. Readers elsewhere are not known; for them there is the grace period.

use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::future::BoxFuture;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Reads that were planned and may still run.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<Vec<Weak<Pinned>>>);

/// The files of one read; held by its plan and by every reader that the plan opened.
#[derive(Debug)]
pub(crate) struct Pinned(Vec<Path>);

impl Pins {
    /// Keeps these files until nobody holds what is returned.
    pub(crate) fn pin(&self, files: Vec<Path>) -> Arc<Pinned> {
        let pinned = Arc::new(Pinned(files));
        let mut reads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Tidied when the list would grow, so that it is never more than twice as long as there are reads.
        if reads.len() == reads.capacity() {
            reads.retain(|read| read.strong_count() > 0);
        }
        reads.push(Arc::downgrade(&pinned));
        pinned
    }

    /// Every file that some read may still open.
    pub(crate) fn paths(&self) -> BTreeSet<Path> {
        let mut reads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reads.retain(|read| read.strong_count() > 0);
        reads.iter().filter_map(Weak::upgrade).flat_map(|read| read.0.clone()).collect()
    }
}

/// Opens files for a read and holds its pin meanwhile.
#[derive(Debug)]
pub(crate) struct PinnedReaders {
    pub(crate) readers: Arc<dyn ParquetFileReaderFactory>,
    pub(crate) pinned: Arc<Pinned>,
}

impl ParquetFileReaderFactory for PinnedReaders {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let reader = self.readers.create_reader(partition, file, metadata_size_hint, metrics)?;
        Ok(Box::new(PinnedReader { reader, _pinned: self.pinned.clone() }))
    }
}

struct PinnedReader {
    reader: Box<dyn AsyncFileReader + Send>,
    _pinned: Arc<Pinned>,
}

impl AsyncFileReader for PinnedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<bytes::Bytes>> {
        self.reader.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<bytes::Bytes>>> {
        self.reader.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(&'a mut self, options: Option<&'a ArrowReaderOptions>) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let read = self.reader.get_metadata(options);
        Box::pin(async move { read.await.map_err(unhidden) })
    }
}

/// Of a footer that could not be fetched DataFusion keeps the text alone, and calls it Parquet's fault. One that is not there stays damage.
fn unhidden(error: ParquetError) -> ParquetError {
    let text = error.to_string();
    if !matches!(error, ParquetError::General(_)) || !text.contains(STORE_FAILED) || text.contains(" not found: ") {
        return error;
    }
    ParquetError::External(Box::new(object_store::Error::Generic { store: "store", source: text.into() }))
}

/// How DataFusion begins its account of a failed call of the store.
const STORE_FAILED: &str = "Object Store error: ";
