//! What readers see: the published files of each table and, after them, the rows still in memory, swapped together so that no row is seen twice.

use crate::error::Result;
use crate::parts::Parts;
use crate::schema::TableName;
use crate::status::Status;
use crate::table::TableFiles;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

/// What a reader wants of the rows in memory; both parts only spare work, readers filter again.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LiveFilter {
    /// Only this metric.
    pub metric: Option<String>,
    /// Only rows whose time column lies in this range, microseconds.
    pub micros: Option<Range<i64>>,
}

/// Rows in memory of one table.
pub trait LiveRows: Send + Sync {
    /// The rows, with the table's columns (without `date`). Blocks where they lie in another process.
    ///
    /// # Errors
    /// `Unavailable` where that one does not give them.
    fn scan(&self, filter: &LiveFilter) -> Result<Vec<RecordBatch>>;
}

impl LiveRows for Vec<RecordBatch> {
    fn scan(&self, _filter: &LiveFilter) -> Result<Vec<RecordBatch>> {
        Ok(self.clone())
    }
}

/// One consistent state of all tables.
#[derive(Clone, Default)]
pub struct ReadView {
    /// Published files; a table that is missing has none.
    pub files: BTreeMap<TableName, Arc<TableFiles>>,
    /// Rows after them; a table that is missing has none.
    pub live: BTreeMap<TableName, Arc<dyn LiveRows>>,
    /// Each view that serves, by its name.
    pub views: BTreeMap<TableName, ViewInfo>,
    /// Metrics seen, each with its label names, for the schemas `metrics` and `rollup`.
    pub metrics: Arc<BTreeMap<String, Arc<[String]>>>,
    /// Tables of views and generations that are gone for good: no checkpoint that a start would read has them.
    pub forgotten: Arc<BTreeSet<TableName>>,
    /// Watermarks, lags and counts.
    pub status: Arc<Status>,
    /// What this partition gives to the one that finishes the views; `None` where it finishes them itself.
    pub parts: Option<Arc<Parts>>,
}

/// Rows in memory of several partitions.
struct Several(Vec<Arc<dyn LiveRows>>);

impl LiveRows for Several {
    fn scan(&self, filter: &LiveFilter) -> Result<Vec<RecordBatch>> {
        let mut out = vec![];
        for rows in &self.0 {
            out.extend(rows.scan(filter)?);
        }
        Ok(out)
    }
}

impl ReadView {
    /// Everything of a stream whose panes lie in partitions: their tables, and the views and state of the one that finishes them.
    pub fn whole(owner: &Arc<ReadView>, partitions: &[Arc<ReadView>]) -> ReadView {
        let all: Vec<Arc<ReadView>> = std::iter::once(owner).chain(partitions).cloned().collect();
        let mut status = Status::clone(&owner.status);
        partitions.iter().for_each(|partition| status.take_partition(&partition.status));
        let (views, forgotten, status) = (owner.views.clone(), owner.forgotten.clone(), Arc::new(status));
        ReadView { views, forgotten, status, ..Self::of_partitions(&all) }
    }

    /// Several partitions of the same tables as one. Each shows its own files alone, together with its own rows in memory, so that none of them has to
    /// be of the same instant as another.
    pub fn of_partitions(views: &[Arc<ReadView>]) -> ReadView {
        let mut whole = ReadView::default();
        let mut files: BTreeMap<&TableName, Vec<&Arc<TableFiles>>> = BTreeMap::new();
        let mut rows: BTreeMap<TableName, Vec<Arc<dyn LiveRows>>> = BTreeMap::new();
        let mut metrics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for view in views {
            for (table, of_table) in &view.files {
                files.entry(table).or_default().push(of_table);
            }
            for (table, live) in &view.live {
                rows.entry(table.clone()).or_default().push(live.clone());
            }
            for (metric, labels) in view.metrics.iter() {
                metrics.entry(metric.clone()).or_default().extend(labels.iter().cloned());
            }
        }
        whole.files = files.into_iter().map(|(table, files)| (table.clone(), TableFiles::together(&files))).collect();
        whole.live = rows.into_iter().map(|(table, rows)| (table, Arc::new(Several(rows)) as Arc<dyn LiveRows>)).collect();
        whole.metrics = Arc::new(metrics.into_iter().map(|(metric, labels)| (metric, labels.into_iter().collect())).collect());
        whole
    }
}

/// A view as readers need it.
#[derive(Debug, Clone)]
pub struct ViewInfo {
    /// Columns, envelope included.
    pub schema: SchemaRef,
    /// Columns that identify a row.
    pub key: Vec<String>,
    /// The statement.
    pub sql: String,
    /// The generation that readers see.
    pub generation: u64,
    /// The table its rows lie in; each generation has its own.
    pub table: TableName,
}

/// The current [`ReadView`] and the lock under which it may change its files.
#[derive(Default)]
pub struct Live {
    current: RwLock<Arc<ReadView>>,
    /// Held while files are published or compacted *and* the view is swapped; readers never take it.
    pub commit: Arc<tokio::sync::Mutex<()>>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let view = self.view();
        f.debug_struct("Live").field("tables", &view.files.len()).field("views", &view.views.len()).finish_non_exhaustive()
    }
}

impl From<Arc<ReadView>> for Live {
    fn from(view: Arc<ReadView>) -> Self {
        Self { current: RwLock::new(view), commit: Arc::default() }
    }
}

impl Live {
    /// The state to read from; cheap.
    pub fn view(&self) -> Arc<ReadView> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the state in one step.
    pub fn update(&self, change: impl FnOnce(&mut ReadView)) {
        let mut slot = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = ReadView::clone(&slot);
        change(&mut next);
        *slot = Arc::new(next);
    }
}
