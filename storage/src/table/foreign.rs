//! Scans of published files that another process planned: taken over with this process's own way of reading the store. Not how they are planned (`scan`).

use super::pins::PinnedReaders;
use crate::layout;
use crate::object_store::Store;
use datafusion::catalog::memory::DataSourceExec;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, ParquetSource};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlan;
use object_store::path::Path;
use std::sync::Arc;

/// The store as scans of other processes may read it.
pub struct ForeignScans(Store);

impl ForeignScans {
    /// Of this store.
    pub fn new(store: Store) -> Self {
        Self(store)
    }

    /// Makes the store known to an engine, so that scans of it can be read from their bytes.
    pub fn register(&self, runtime: &RuntimeEnv) {
        runtime.register_object_store(self.0.url(), self.0.objects().clone());
    }

    /// The same scan with readers of this process. Its files stay because the process that planned it holds them.
    ///
    /// # Errors
    /// Where it reads anything but data files of tables of this store.
    pub fn adopt(&self, scan: &Arc<dyn ExecutionPlan>, runtime: &RuntimeEnv) -> Result<Arc<dyn ExecutionPlan>> {
        let refused = |what: &str| DataFusionError::Plan(format!("a scan of another process reads {what}"));
        let config = scan.downcast_ref::<DataSourceExec>().and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
        let config = config.ok_or_else(|| refused("no files"))?;
        if config.object_store_url != ObjectStoreUrl::parse(self.0.url())? {
            return Err(refused("another store"));
        }
        let source = config.file_source().downcast_ref::<ParquetSource>().ok_or_else(|| refused("files that are no Parquet"))?;
        let files: Vec<Path> = config.file_groups.iter().flat_map(|group| group.iter()).map(|file| file.object_meta.location.clone()).collect();
        if let Some(other) = files.iter().find(|file| !layout::is_table_data(file)) {
            return Err(refused(&format!("{other}, which is no data file of a table")));
        }
        let readers = CachedParquetFileReaderFactory::new(self.0.objects().clone(), runtime.cache_manager.get_file_metadata_cache());
        let pinned = self.0.pins().pin(files);
        let source = source.clone().with_parquet_file_reader_factory(Arc::new(PinnedReaders { readers: Arc::new(readers), pinned }));
        let config = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source)).build();
        Ok(DataSourceExec::from_data_source(config))
    }
}
