//! Rows of the low-rate tables between the record that brought them and the table that will keep them.

use crate::error::Result;
use crate::registry::SeriesInfo;
use crate::rows::{self, DeadRow, LateRow};
use crate::sample::{Exemplar, NativeHistogram};
use crate::schema::{self, TableDef, TableName};
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A row that belongs to a series: the metric's name, the series, and the thing.
type OfSeries<T> = (Arc<str>, Arc<SeriesInfo>, T);

/// See the module.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) dead: Vec<DeadRow>,
    pub(super) late: Vec<LateRow>,
    pub(super) histograms: Vec<OfSeries<NativeHistogram>>,
    pub(super) exemplars: Vec<OfSeries<Exemplar>>,
    sealed: BTreeMap<TableName, (TableDef, Vec<RecordBatch>)>,
}

impl Outbox {
    /// Takes rows that are columns already.
    pub(super) fn push(&mut self, table: TableDef, batch: RecordBatch) {
        self.sealed.entry(table.name.clone()).or_insert_with(|| (table, vec![])).1.push(batch);
    }

    /// Makes columns of what came since the last time.
    pub(super) fn seal(&mut self) {
        let dead = std::mem::take(&mut self.dead);
        let late = std::mem::take(&mut self.late);
        let histograms = std::mem::take(&mut self.histograms);
        let exemplars = std::mem::take(&mut self.exemplars);
        self.seal_one(schema::dead_letters(), &dead, rows::dead);
        self.seal_one(schema::late_samples(), &late, rows::late);
        self.seal_one(schema::histograms(), &histograms, rows::histograms);
        self.seal_one(schema::exemplars(), &exemplars, rows::exemplars);
    }

    fn seal_one<T>(&mut self, table: TableDef, items: &[T], make: fn(&[T]) -> Result<RecordBatch>) {
        if items.is_empty() {
            return;
        }
        match make(items) {
            Ok(batch) => self.push(table, batch),
            Err(error) => tracing::error!(table = %table.name, %error, rows = items.len(), "rows could not become columns"),
        }
    }

    /// Sealed rows per table.
    pub(super) fn sealed(&self) -> impl Iterator<Item = (&TableName, &Vec<RecordBatch>)> {
        self.sealed.iter().map(|(name, (_, batches))| (name, batches))
    }

    /// Takes everything sealed out.
    pub(super) fn take(&mut self) -> Vec<(TableDef, Vec<RecordBatch>)> {
        std::mem::take(&mut self.sealed).into_values().collect()
    }

    /// True where nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.dead.is_empty() && self.late.is_empty() && self.histograms.is_empty() && self.exemplars.is_empty() && self.sealed.is_empty()
    }
}
