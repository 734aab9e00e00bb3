//! Tables and checkpoints in memory.

use crate::checkpoint::{Checkpoint, CheckpointStore, Epoch, GroupName, StateFile};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{TableDef, TableName};
use crate::table::{DataFile, History, Rows, Scanned, TableFiles, TableStore, Wanted};
use arrow::array::{Array, AsArray};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Tables whose files are batches in memory.
#[derive(Debug, Default)]
pub struct MemoryTables {
    inner: Arc<Mutex<Tables>>,
    /// Sees and writes files of this group alone, where several engines write the same tables.
    owner: Option<GroupName>,
}

#[derive(Debug, Default)]
struct Tables {
    files: HashMap<String, Vec<RecordBatch>>,
    published: BTreeMap<TableName, Arc<TableFiles>>,
    seen: HashMap<(GroupName, TableName), Epoch>,
    next: u64,
}

impl MemoryTables {
    fn with<T>(&self, work: impl FnOnce(&mut Tables) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same tables for one of several engines that write them.
    pub fn of(&self, group: &GroupName) -> Arc<Self> {
        Arc::new(Self { inner: self.inner.clone(), owner: Some(group.clone()) })
    }

    /// Where its files lie.
    fn folder(&self, table: &TableName) -> String {
        self.owner.as_ref().map_or_else(|| format!("{table}/"), |owner| format!("{table}/{owner}/"))
    }

    /// Rows of the given files.
    pub fn rows(&self, files: &TableFiles) -> Vec<RecordBatch> {
        self.with(|t| files.files.iter().filter_map(|f| t.files.get(&f.path)).flatten().cloned().collect())
    }
}

#[async_trait]
impl TableStore for MemoryTables {
    async fn ensure(&self, _table: &TableDef) -> Result<()> {
        Ok(())
    }

    async fn write(&self, table: &TableDef, epoch: Epoch, rows: Rows) -> Result<Vec<DataFile>> {
        let batches: Vec<RecordBatch> = rows.collect();
        if let Some(other) = batches.iter().find(|b| b.schema() != table.schema) {
            return Err(Error::internal(format!("rows of {} have other columns: {:?}", table.name, other.schema())));
        }
        let mut files = vec![];
        for (date, batches) in by_date(table, &batches)? {
            let row_count = batches.iter().map(|b| b.num_rows() as u64).sum();
            let path = self.with(|t| {
                t.next += 1;
                let path = format!("{}{epoch}-{}", self.folder(&table.name), t.next);
                t.files.insert(path.clone(), batches);
                path
            });
            files.push(DataFile { path, date, size_bytes: 0, row_count, stats: String::new() });
        }
        Ok(files)
    }

    async fn publish(&self, group: &GroupName, epoch: Epoch, files: &BTreeMap<TableName, Vec<DataFile>>) -> Result<()> {
        self.with(|t| {
            for (table, files) in files {
                let seen = t.seen.entry((group.clone(), table.clone())).or_default();
                if *seen >= epoch {
                    continue;
                }
                *seen = epoch;
                let published = Arc::make_mut(t.published.entry(table.clone()).or_default());
                published.version += 1;
                published.files.extend(files.iter().cloned());
            }
        });
        Ok(())
    }

    async fn files(&self, table: &TableName) -> Result<Arc<TableFiles>> {
        let published = self.with(|t| t.published.get(table).cloned().unwrap_or_default());
        let folder = self.folder(table);
        let own = published.files.iter().filter(|file| file.path.starts_with(&folder));
        Ok(if self.owner.is_none() { published } else { Arc::new(TableFiles { version: published.version, files: own.cloned().collect() }) })
    }
}

#[async_trait]
impl History for MemoryTables {
    async fn scan(&self, table: &TableDef, files: &TableFiles, wanted: &Wanted) -> Result<Scanned> {
        let batches = self.rows(files).into_iter().map(|batch| kept(table, &batch, wanted)).collect::<Vec<_>>();
        let (sender, receiver) = tokio::sync::mpsc::channel(batches.len().max(1));
        for batch in batches {
            // Nobody takes it away: the receiver is still here and there is room for every batch.
            drop(sender.try_send(batch));
        }
        Ok(receiver)
    }
}

/// Rows by UTC day, as the real store partitions them.
fn by_date(table: &TableDef, batches: &[RecordBatch]) -> Result<BTreeMap<String, Vec<RecordBatch>>> {
    let mut out: BTreeMap<String, Vec<RecordBatch>> = BTreeMap::new();
    for batch in batches {
        let column = batch.column_by_name(table.date_from).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        let times = column.ok_or_else(|| Error::internal(format!("rows of {} have no {}", table.name, table.date_from)))?;
        let date = |i: usize| chrono::DateTime::from_timestamp_micros(times.value(i)).map(|t| t.format("%Y-%m-%d").to_string()).unwrap_or_default();
        let dates: Vec<String> = (0..batch.num_rows()).map(date).collect();
        for day in dates.iter().collect::<std::collections::BTreeSet<_>>() {
            let mask: Vec<bool> = dates.iter().map(|d| d == day).collect();
            out.entry(day.clone()).or_default().push(filter_record_batch(batch, &mask.into())?);
        }
    }
    Ok(out)
}

/// The rows of a batch that were asked for.
fn kept(table: &TableDef, batch: &RecordBatch, wanted: &Wanted) -> Result<RecordBatch> {
    let mut mask = vec![true; batch.num_rows()];
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| Error::invalid(format!("{} has no column {name}", table.name)));
    if let Some(metrics) = &wanted.metrics {
        let words = cast(column("metric")?, &DataType::Utf8)?;
        let words = words.as_string::<i32>();
        mask.iter_mut().enumerate().for_each(|(i, m)| *m &= metrics.contains(words.value(i)));
    }
    if let Some(series) = &wanted.series {
        let ids: HashSet<i64> = series.iter().map(|s| s.0).collect();
        let column = column("series_id")?.as_primitive::<Int64Type>();
        mask.iter_mut().enumerate().for_each(|(i, m)| *m &= ids.contains(&column.value(i)));
    }
    if let Some(micros) = &wanted.micros {
        let times = column(table.date_from)?.as_primitive::<TimestampMicrosecondType>();
        mask.iter_mut().enumerate().for_each(|(i, m)| *m &= times.is_valid(i) && micros.contains(&times.value(i)));
    }
    Ok(filter_record_batch(batch, &mask.into())?)
}

/// Checkpoints in memory.
#[derive(Debug, Default)]
pub struct MemoryCheckpoints {
    inner: Mutex<Checkpoints>,
}

#[derive(Debug, Default)]
struct Checkpoints {
    chain: BTreeMap<(GroupName, Epoch), Checkpoint>,
    /// By path, with the epoch they were written for.
    states: HashMap<String, (Epoch, Bytes)>,
    next: u64,
}

impl MemoryCheckpoints {
    fn with<T>(&self, work: impl FnOnce(&mut Checkpoints) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// See [`CheckpointStore::commit`].
    ///
    /// # Errors
    /// `Conflict` where it exists.
    pub fn create(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.with(|c| {
            // A later one too: the name of a checkpoint that was pruned is free, and not to be taken.
            if c.chain.keys().any(|(group, epoch)| *group == checkpoint.group && *epoch >= checkpoint.epoch) {
                return Err(Error::new(ErrorKind::Conflict, format!("{}: epoch {} or a later one exists", checkpoint.group, checkpoint.epoch)));
            }
            c.chain.insert((checkpoint.group.clone(), checkpoint.epoch), checkpoint.clone());
            Ok(())
        })
    }
}

#[async_trait]
impl CheckpointStore for MemoryCheckpoints {
    async fn latest(&self, group: &GroupName) -> Result<Option<Checkpoint>> {
        Ok(self.with(|c| c.chain.iter().filter(|((g, _), _)| g == group).max_by_key(|((_, e), _)| *e).map(|(_, c)| c.clone())))
    }

    async fn write_state(&self, group: &GroupName, epoch: Epoch, name: &str, bytes: Bytes) -> Result<StateFile> {
        Ok(self.with(|c| {
            // Two attempts at one epoch never write over each other.
            c.next += 1;
            let path = format!("{group}/{epoch}-{name}-{}", c.next);
            let file = StateFile { name: name.into(), path: path.clone(), size_bytes: bytes.len() as u64, crc32c: 0 };
            c.states.insert(path, (epoch, bytes));
            file
        }))
    }

    async fn read_state(&self, file: &StateFile) -> Result<Bytes> {
        let found = self.with(|c| c.states.get(&file.path).map(|(_, bytes)| bytes.clone()));
        found.ok_or_else(|| Error::corrupt(format!("state file {} is missing", file.path)))
    }

    async fn commit(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.create(checkpoint)
    }

    async fn prune(&self, group: &GroupName, keep: usize) -> Result<()> {
        self.with(|c| {
            let epochs: Vec<Epoch> = c.chain.keys().filter(|(g, _)| g == group).map(|(_, e)| *e).collect();
            let (old, recent) = epochs.split_at(epochs.len().saturating_sub(keep.max(1)));
            let Some(oldest) = recent.first().copied() else { return };
            for epoch in old {
                c.chain.remove(&(group.clone(), *epoch));
            }
            let named: HashSet<String> = c.chain.values().flat_map(|c| &c.states).map(|s| s.path.clone()).collect();
            // A state of the oldest kept epoch or later may belong to a checkpoint that is just being made.
            let folder = format!("{group}/");
            c.states.retain(|path, (epoch, _)| !path.starts_with(&folder) || *epoch >= oldest || named.contains(path));
        });
        Ok(())
    }
}
