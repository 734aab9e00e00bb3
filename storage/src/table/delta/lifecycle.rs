//! Making tables, giving them the columns of this version, dropping and purging them. Not their rows (`delta`, `maintain`).
//!
//! A dropped table has lost its rows and carries a mark. While the mark is young the log stays: an older checkpoint may name the table, and
//! publishing that again must find that it has it already. Made again, the table goes on with its log, under any columns. Purging
//! removes everything, beneath a second mark that goes last, so that half a folder is never taken for a table.

use super::log::tombstones_kept;
use super::{DeltaTables, Table, delta};
use crate::error::{StorageError, object_error};
use crate::layout;
use crate::object_store::Store;
use crate::table::columns;
use afferent_engine::schema::{TableDef, TableName};
use afferent_engine::table::TableFiles;
use deltalake_core::DeltaTable;
use deltalake_core::kernel::StructField;
use deltalake_core::protocol::SaveMode;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use std::sync::{Arc, PoisonError};
use tokio::time::Instant;

impl DeltaTables {
    /// Makes the table or gives the one that is there these columns.
    pub(super) async fn make(&self, def: &TableDef) -> Result<(), StorageError> {
        let fields = columns::delta_fields(def)?;
        self.store.check_owner()?;
        let _shape = self.shape.lock().await;
        if is_purging(&self.store, &def.name).await? {
            self.purge_files(&def.name).await?;
        }
        let dropped = is_there(&self.store, &layout::dropped_mark(&def.name)).await?;
        let table = match self.existing(&def.name).await? {
            Some(table) => table,
            None => self.create(def, fields.clone()).await?,
        };
        if dropped {
            self.empty(&table).await?;
        }
        let mut log = table.log.lock().await;
        let before = log.files().version;
        log.shape(&fields, dropped).await?;
        if log.files().version != before {
            table.set_published(log.files());
        }
        drop(log);
        if dropped {
            remove(&self.store, &layout::dropped_mark(&def.name)).await?;
        }
        table.set_def(Some(def.clone()));
        Ok(())
    }

    async fn create(&self, def: &TableDef, fields: Vec<StructField>) -> Result<Arc<Table>, StorageError> {
        let began = Instant::now();
        let created = DeltaTable::new(self.log_store(&def.name)?)
            .create()
            .with_save_mode(SaveMode::Ignore)
            .with_columns(fields)
            .with_partition_columns([layout::DATE_COLUMN])
            .with_table_name(def.name.as_str())
            .with_configuration(tombstones_kept().into_iter().map(|(key, value)| (key, Some(value))))
            .await;
        match created {
            Ok(opened) => self.remember(&def.name, &opened, began),
            // Another process may have made it just now.
            Err(source) => self.existing(&def.name).await?.ok_or_else(|| delta(&def.name, "create it", source)),
        }
    }

    /// Takes a table's rows away and marks it, so that it goes once nobody uses it; none is fine.
    ///
    /// # Errors
    /// `Unavailable`: to be tried again.
    pub(crate) async fn drop_table(&self, name: &TableName) -> Result<(), StorageError> {
        self.store.check_writer(&self.owner).await?;
        let _shape = self.shape.lock().await;
        let Some(table) = self.existing(name).await? else { return Ok(()) };
        let mark = layout::dropped_mark(name);
        self.store.objects().put(&mark, "dropped; its files go once nobody uses them".into()).await.map_err(object_error("write", &mark))?;
        table.set_def(None);
        self.empty(&table).await
    }

    async fn empty(&self, table: &Table) -> Result<(), StorageError> {
        let files: Arc<TableFiles> = table.log.lock().await.files();
        if !files.files.is_empty() {
            self.remove(&table.name, &files.files).await?;
        }
        Ok(())
    }

    /// Takes away again what an epoch published that was under way when the table was dropped.
    pub(crate) async fn keep_dropped(&self, name: &TableName) -> Result<(), StorageError> {
        let _shape = self.shape.lock().await;
        if !is_there(&self.store, &layout::dropped_mark(name)).await? || is_purging(&self.store, name).await? {
            return Ok(());
        }
        match self.existing(name).await? {
            Some(table) => self.empty(&table).await,
            None => Ok(()),
        }
    }

    /// Removes everything of a table that is dropped, unless it was made again meanwhile. Whoever calls it knows that nobody uses it.
    pub(crate) async fn purge(&self, name: &TableName) -> Result<bool, StorageError> {
        let _shape = self.shape.lock().await;
        if !is_there(&self.store, &layout::dropped_mark(name)).await? && !is_purging(&self.store, name).await? {
            return Ok(false);
        }
        self.store.check_writer(&self.owner).await?;
        self.purge_files(name).await?;
        Ok(true)
    }

    async fn purge_files(&self, name: &TableName) -> Result<(), StorageError> {
        let (root, mark) = (layout::table_root(name), layout::purging_mark(name));
        self.store.objects().put(&mark, "its files are being removed".into()).await.map_err(object_error("write", &mark))?;
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let listed: Vec<Path> =
            self.store.objects().list(Some(&root)).map_ok(|o| o.location).try_collect().await.map_err(object_error("list", &root))?;
        let doomed: Vec<_> = listed.into_iter().filter(|path| *path != mark).map(Ok).collect();
        let removed = self.store.objects().delete_stream(futures::stream::iter(doomed).boxed());
        removed.try_for_each(|_| std::future::ready(Ok(()))).await.map_err(object_error("remove", &root))?;
        remove(&self.store, &mark).await
    }
}

/// Whether a table's folder was being emptied when the process ended.
pub(super) async fn is_purging(store: &Store, name: &TableName) -> Result<bool, StorageError> {
    is_there(store, &layout::purging_mark(name)).await
}

async fn is_there(store: &Store, path: &Path) -> Result<bool, StorageError> {
    match store.objects().head(path).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(source) => Err(object_error("read", path)(source)),
    }
}

async fn remove(store: &Store, path: &Path) -> Result<(), StorageError> {
    match store.objects().delete(path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(source) => Err(object_error("remove", path)(source)),
    }
}
