//! A query over the current rows of other views, planned once.

use super::Prepared;
use super::instant::Instant;
use super::source::{Inputs, align_all};
use afferent_engine::error::Result;
use afferent_engine::query::SnapshotQuery;
use afferent_engine::schema::TableName;
use afferent_engine::time::EventTime;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One plan, its inputs' columns, and the place of `as_of()`.
pub(crate) struct Snapshot {
    pub(crate) inputs: Vec<(Arc<str>, TableName, SchemaRef)>,
    pub(crate) plan: Prepared,
    /// Held during a run: the plan's `as_of()` reads one place.
    pub(crate) instant: Mutex<Instant>,
}

impl SnapshotQuery for Snapshot {
    fn evaluate(&self, inputs: &BTreeMap<TableName, Vec<RecordBatch>>, as_of: EventTime) -> Result<RecordBatch> {
        let mut rows = Inputs::default();
        for (relation, name, schema) in &self.inputs {
            let given = inputs.get(name).map(Vec::as_slice).unwrap_or_default();
            rows.push(relation, align_all(self.plan.what(), given, schema)?);
        }
        let instant = self.instant.lock().unwrap_or_else(PoisonError::into_inner);
        instant.set(as_of.micros());
        Ok(self.plan.run(rows)?)
    }
}

#[cfg(test)]
mod tests;
