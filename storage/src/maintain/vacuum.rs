//! Removing data files that nothing names any more. Not Delta's log (`table::delta`), nor checkpoints (they are pruned by their owner).

use crate::checkpoint;
use crate::error::{StorageError, object_error};
use crate::layout;
use crate::metrics::Metric;
use crate::object_store::Store;
use crate::table::delta::DeltaTables;
use afferent_engine::clock::{Clock, SystemClock};
use afferent_engine::live::Live;
use afferent_engine::schema::TableName;
use afferent_engine::table::TableStore;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Since when this process has seen each file that nothing names: readers that took an older view before that may still use it.
#[derive(Debug, Default)]
pub(super) struct Unreferenced(BTreeMap<Path, Instant>);

/// Looks at every table once and removes what was unreferenced for `grace`.
pub(super) async fn run(
    store: &Store,
    tables: &Arc<DeltaTables>,
    live: &Arc<Live>,
    seen: &mut Unreferenced,
    grace: Duration,
) -> Result<usize, StorageError> {
    let (now, wall_ms) = (Instant::now(), SystemClock.now().0);
    // The listing comes first: what is named after it is younger than the grace period.
    let listed = list(store).await?;
    let named = named(store, tables, live, &listed).await?;
    let mut unreferenced = BTreeMap::new();
    let mut doomed = Vec::new();
    for file in listed.into_values().flatten().filter(|f| !named.contains(&f.path)) {
        let since = seen.0.get(&file.path).copied().unwrap_or(now);
        let age = Duration::from_millis(u64::try_from(wall_ms.saturating_sub(file.written_ms)).unwrap_or_default());
        if now.duration_since(since) >= grace && age >= grace {
            doomed.push(file.path);
        } else {
            unreferenced.insert(file.path, since);
        }
    }
    seen.0 = unreferenced;
    let count = doomed.len();
    let doomed = futures::stream::iter(doomed.into_iter().map(Ok)).boxed();
    let removed = store.objects().delete_stream(doomed);
    removed.try_for_each(|_| std::future::ready(Ok(()))).await.map_err(object_error("remove", &layout::tables_root()))?;
    if count > 0 {
        metrics::counter!(Metric::VacuumFilesOut.name()).increment(count as u64);
        tracing::info!(count, "removed data files that nothing names");
    }
    Ok(count)
}

struct Listed {
    path: Path,
    written_ms: i64,
}

/// Data files per table folder.
async fn list(store: &Store) -> Result<BTreeMap<TableName, Vec<Listed>>, StorageError> {
    let root = layout::tables_root();
    let mut listing = store.objects().list(Some(&root));
    let mut found: BTreeMap<TableName, Vec<Listed>> = BTreeMap::new();
    while let Some(object) = listing.try_next().await.map_err(object_error("list", &root))? {
        let relative = object.location.as_ref().strip_prefix(root.as_ref()).and_then(|r| r.strip_prefix('/'));
        let Some((table, file)) = relative.and_then(|r| r.split_once('/')) else { continue };
        if layout::is_data_file(file) {
            let written_ms = object.last_modified.timestamp_millis();
            found.entry(TableName::new(table)).or_default().push(Listed { path: object.location, written_ms });
        }
    }
    Ok(found)
}

/// Every file that a table, a reader or a checkpoint names.
async fn named(
    store: &Store,
    tables: &Arc<DeltaTables>,
    live: &Arc<Live>,
    listed: &BTreeMap<TableName, Vec<Listed>>,
) -> Result<BTreeSet<Path>, StorageError> {
    let mut named = BTreeSet::new();
    for (table, files) in listed {
        let published = tables.files(table).await.map_err(|e| StorageError::Task { reason: e.to_string() })?;
        if published.version < 0 {
            // A folder without a Delta log is none of ours.
            named.extend(files.iter().map(|f| f.path.clone()));
        }
        named.extend(published.files.iter().map(|f| layout::data_file(table, &f.path)));
    }
    for (table, files) in &live.view().files {
        named.extend(files.files.iter().map(|f| layout::data_file(table, &f.path)));
    }
    for checkpoint in checkpoint::all(store).await? {
        for (table, files) in &checkpoint.tables {
            named.extend(files.iter().map(|f| layout::data_file(table, &f.path)));
        }
    }
    Ok(named)
}
