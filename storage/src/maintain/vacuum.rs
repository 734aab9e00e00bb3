//! Removing data files that nothing names any more, and tables that were dropped. Not Delta's log (`table::delta`), nor checkpoints (they are
//! pruned by their owner).
//!
//! What this process uses is known exactly: every version of a table that is still held, and every read that may still open a file. The grace
//! period is for readers in other programs, and for files that an epoch has written but not named yet.

use super::watch::Watch;
use crate::checkpoint;
use crate::error::{StorageError, object_error};
use crate::layout;
use crate::metrics::Metric;
use crate::object_store::Store;
use crate::steps::Step;
use crate::table::delta::DeltaTables;
use afferent_engine::checkpoint::Checkpoint;
use afferent_engine::live::Live;
use afferent_engine::schema::TableName;
use afferent_engine::table::TableStore;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Since when, on the worker's watch, this process has seen each file that nothing names and each dropped table that nobody uses.
#[derive(Debug, Default)]
pub(super) struct Unreferenced {
    files: BTreeMap<Path, Duration>,
    tables: BTreeMap<TableName, Duration>,
}

/// What a vacuum works on.
pub(super) struct Place<'a> {
    pub(super) store: &'a Store,
    pub(super) tables: &'a Arc<DeltaTables>,
    pub(super) live: &'a Arc<Live>,
    pub(super) watch: &'a Watch,
    pub(super) grace: Duration,
}

/// What one listing found of a table.
#[derive(Debug, Default)]
struct Folder {
    files: Vec<Listed>,
    /// When it was dropped.
    dropped_ms: Option<i64>,
    purging: bool,
}

#[derive(Debug)]
struct Listed {
    path: Path,
    written_ms: i64,
}

/// Looks at every table once and removes what was unreferenced for the grace period; gives the number of data files.
pub(super) async fn run(place: &Place<'_>, seen: &mut Unreferenced) -> Result<usize, StorageError> {
    place.store.check_writer(place.tables.owner()).await?;
    // The listing comes first: what is named after it is younger than the grace period.
    let folders = list(place).await?;
    let checkpoints = checkpoint::all(place.store).await?;
    let named = named(place, &folders, &checkpoints).await?;
    let now = place.watch.elapsed();
    let mut unreferenced = BTreeMap::new();
    let mut doomed = Vec::new();
    for file in folders.values().flat_map(|folder| &folder.files).filter(|f| !named.contains(&f.path)) {
        let since = seen.files.get(&file.path).copied().unwrap_or(now);
        if place.is_over(since, file.written_ms) {
            doomed.push(file.path.clone());
        } else {
            unreferenced.insert(file.path.clone(), since);
        }
    }
    seen.files = unreferenced;
    let count = doomed.len();
    place.store.reached(Step::VacuumBegun);
    let doomed = futures::stream::iter(doomed.into_iter().map(Ok)).boxed();
    let removed = place.store.objects().delete_stream(doomed);
    removed.try_for_each(|_| std::future::ready(Ok(()))).await.map_err(object_error("remove", &layout::tables_root()))?;
    place.store.reached(Step::Vacuumed);
    if count > 0 {
        metrics::counter!(Metric::VacuumFilesOut.name()).increment(count as u64);
        tracing::info!(count, "removed data files that nothing names");
    }
    if place.tables.owner().drops_tables() {
        purge_dropped(place, &folders, &checkpoints, seen).await?;
    }
    Ok(count)
}

impl Place<'_> {
    /// Whether the grace period is over by both hands: seen for that long, and that old.
    fn is_over(&self, since: Duration, written_ms: i64) -> bool {
        let age = Duration::from_millis(u64::try_from(self.watch.now().0.saturating_sub(written_ms)).unwrap_or_default());
        self.watch.elapsed().saturating_sub(since) >= self.grace && age >= self.grace
    }
}

/// Tables that were dropped lose what came in meanwhile, and go once nobody uses them.
async fn purge_dropped(
    place: &Place<'_>,
    folders: &BTreeMap<TableName, Folder>,
    checkpoints: &[Checkpoint],
    seen: &mut Unreferenced,
) -> Result<(), StorageError> {
    let mut unused = BTreeMap::new();
    for (name, folder) in folders {
        let Some(dropped_ms) = folder.dropped_ms.or(folder.purging.then_some(0)) else { continue };
        if !folder.purging {
            place.tables.keep_dropped(name).await?;
            if is_used(place, name, checkpoints) {
                continue;
            }
        }
        let since = seen.tables.get(name).copied().unwrap_or_else(|| place.watch.elapsed());
        if !folder.purging && !place.is_over(since, dropped_ms) {
            unused.insert(name.clone(), since);
        } else if place.tables.purge(name).await? {
            metrics::counter!(Metric::TablesPurged.name()).increment(1);
            tracing::info!(table = %name, "removed a table that was dropped");
        }
    }
    seen.tables = unused;
    Ok(())
}

fn is_used(place: &Place<'_>, name: &TableName, checkpoints: &[Checkpoint]) -> bool {
    let root = layout::table_root(name);
    let held = place.tables.held().into_iter().any(|(table, files)| table == *name && !files.files.is_empty());
    let shown = place.live.view().files.get(name).is_some_and(|files| !files.files.is_empty());
    let read = place.store.pins().paths().iter().any(|path| path.prefix_matches(&root));
    held || shown || read || checkpoints.iter().any(|c| c.tables.contains_key(name))
}

/// The tables, with those data files that the owner wrote: what others write is theirs to remove.
async fn list(place: &Place<'_>) -> Result<BTreeMap<TableName, Folder>, StorageError> {
    let (root, owner) = (layout::tables_root(), place.tables.owner());
    let mut listing = place.store.objects().list(Some(&root));
    let mut found: BTreeMap<TableName, Folder> = BTreeMap::new();
    while let Some(object) = listing.try_next().await.map_err(object_error("list", &root))? {
        let relative = object.location.as_ref().strip_prefix(root.as_ref()).and_then(|r| r.strip_prefix('/'));
        let Some((table, file)) = relative.and_then(|r| r.split_once('/')) else { continue };
        let written_ms = object.last_modified.timestamp_millis();
        let table = TableName::new(table);
        if layout::is_data_file(file) {
            if !owner.has(file) {
                continue;
            }
            found.entry(table).or_default().files.push(Listed { path: object.location, written_ms });
        } else if !owner.drops_tables() {
            continue;
        } else if object.location == layout::dropped_mark(&table) {
            found.entry(table).or_default().dropped_ms = Some(written_ms);
        } else if object.location == layout::purging_mark(&table) {
            found.entry(table).or_default().purging = true;
        }
    }
    Ok(found)
}

/// Every file that a table, a reader or a checkpoint names.
async fn named(place: &Place<'_>, folders: &BTreeMap<TableName, Folder>, checkpoints: &[Checkpoint]) -> Result<BTreeSet<Path>, StorageError> {
    let mut named = BTreeSet::new();
    for (table, folder) in folders.iter().filter(|(_, folder)| !folder.purging) {
        place.tables.catch_up(table).await?;
        let published = place.tables.files(table).await.map_err(|e| StorageError::Task { reason: e.to_string() })?;
        if published.version < 0 {
            // A folder without a Delta log is none of ours.
            named.extend(folder.files.iter().map(|f| f.path.clone()));
        }
        named.extend(published.files.iter().map(|f| layout::data_file(table, &f.path)));
    }
    for (table, files) in &place.live.view().files {
        named.extend(files.files.iter().map(|f| layout::data_file(table, &f.path)));
    }
    for checkpoint in checkpoints {
        for (table, files) in &checkpoint.tables {
            named.extend(files.iter().map(|f| layout::data_file(table, &f.path)));
        }
    }
    // A read takes its pin while it holds a version, so versions are asked for first.
    for (table, files) in place.tables.held() {
        named.extend(files.files.iter().map(|f| layout::data_file(&table, &f.path)));
    }
    named.extend(place.store.pins().paths());
    Ok(named)
}
