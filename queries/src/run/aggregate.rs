//! Aggregation in three steps: rows to state, states to state, states to rows. The state is DataFusion's own partial aggregate.

use super::source::{Inputs, align_all};
use super::{Prepared, one_batch};
use crate::error::{Error, Result};
use afferent_engine::error::Result as EngineResult;
use afferent_engine::query::WindowQuery;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// The name under which the plans of [`AggregateQuery::merge`] and [`AggregateQuery::finish`] read states.
pub(crate) const STATE: &str = "state";

/// The three plans of one aggregation.
#[derive(Debug)]
pub(crate) struct AggregateQuery {
    /// The relation that `partial` reads, with its columns.
    pub(crate) relation: Arc<str>,
    pub(crate) rows: SchemaRef,
    pub(crate) state_name: Arc<str>,
    pub(crate) partial: Prepared,
    pub(crate) merge: Prepared,
    pub(crate) finish: Prepared,
}

impl AggregateQuery {
    /// Checks that states are states of this aggregation; names are not part of the contract, positions and types are.
    fn states(&self, states: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
        let schema = self.partial.schema();
        let fit = |state: &RecordBatch| {
            let have = state.schema_ref().fields();
            if have.len() != schema.fields().len() || have.iter().zip(schema.fields()).any(|(a, b)| a.data_type() != b.data_type()) {
                return Err(Error::State {
                    what: self.partial.what().to_owned(),
                    problem: format!("columns {have:?} where {:?} belong", schema.fields()),
                });
            }
            RecordBatch::try_new(Arc::clone(&schema), state.columns().to_vec()).map_err(|e| Error::plan(self.partial.what(), e.into()))
        };
        states.iter().filter(|s| s.num_rows() > 0).map(fit).collect()
    }
}

impl WindowQuery for AggregateQuery {
    fn partial(&self, rows: &[RecordBatch]) -> EngineResult<RecordBatch> {
        let rows = align_all(self.partial.what(), rows, &self.rows)?;
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(self.partial.schema()));
        }
        Ok(self.partial.run(Inputs::one(&self.relation, rows))?)
    }

    fn merge(&self, states: &[RecordBatch]) -> EngineResult<RecordBatch> {
        let states = self.states(states)?;
        if states.len() < 2 {
            // A lone state has each group once already.
            return Ok(one_batch(&self.partial.schema(), states)?);
        }
        let merged = self.merge.run(Inputs::one(&self.state_name, states))?;
        Ok(merged.with_schema(self.partial.schema())?)
    }

    fn finish(&self, states: &[RecordBatch]) -> EngineResult<RecordBatch> {
        let states = self.states(states)?;
        if states.is_empty() {
            return Ok(RecordBatch::new_empty(self.finish.schema()));
        }
        Ok(self.finish.run(Inputs::one(&self.state_name, states))?)
    }
}

#[cfg(test)]
mod tests;
