//! Aggregation in three steps: rows to state, states to state, states to rows. The state is DataFusion's own partial aggregate.

use super::source::{Inputs, align_all};
use super::{Prepared, one_batch};
use crate::error::{Error, Result};
use afferent_engine::error::Result as EngineResult;
use afferent_engine::query::WindowQuery;
use afferent_engine::time::EventTime;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// The name under which the plans of [`AggregateQuery::merge`] and [`AggregateQuery::finish`] read states.
pub(crate) const STATE: &str = "state";

/// Values that one group may keep for one aggregate: of COUNT(DISTINCT ...), median, percentile_cont, array_agg.
pub(crate) const VALUES_PER_GROUP_MAX: usize = 1_000_000;

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
    /// The column of the state that holds the time of a group's newest event, of views with a time-to-live; `finish` gives it last.
    pub(crate) newest: Option<usize>,
    /// Columns of the result.
    pub(crate) result: SchemaRef,
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

    /// Refuses a state in which a group keeps more values than it may.
    fn bounded(&self, state: RecordBatch) -> Result<RecordBatch> {
        let longest = |column: &ArrayRef| {
            let lists = column.as_list_opt::<i32>()?;
            (0..lists.len()).map(|row| lists.value_length(row)).max()
        };
        let kept = state.columns().iter().filter_map(longest).max().unwrap_or(0);
        if usize::try_from(kept).is_ok_and(|kept| kept > VALUES_PER_GROUP_MAX) {
            return Err(Error::ViewLimit {
                what: self.partial.what().to_owned(),
                limit: "values kept by one group",
                value: VALUES_PER_GROUP_MAX,
                hint: "write approx_distinct for COUNT(DISTINCT ...), approx_percentile_cont for median and percentile_cont, or group by more columns",
            });
        }
        Ok(state)
    }
}

impl WindowQuery for AggregateQuery {
    fn partial(&self, rows: &[RecordBatch]) -> EngineResult<RecordBatch> {
        let rows = align_all(self.partial.what(), rows, &self.rows)?;
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(self.partial.schema()));
        }
        Ok(self.bounded(self.partial.run(Inputs::one(&self.relation, rows))?)?)
    }

    fn merge(&self, states: &[RecordBatch]) -> EngineResult<RecordBatch> {
        let states = self.states(states)?;
        if states.len() < 2 {
            // A lone state has each group once already.
            return Ok(one_batch(&self.partial.schema(), states)?);
        }
        let merged = self.merge.run(Inputs::one(&self.state_name, states))?;
        Ok(self.bounded(merged.with_schema(self.partial.schema())?)?)
    }

    fn finish(&self, states: &[RecordBatch]) -> EngineResult<RecordBatch> {
        let states = self.states(states)?;
        if states.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.result)));
        }
        let rows = self.finish.run(Inputs::one(&self.state_name, states))?;
        let columns = rows.columns().get(..self.result.fields().len()).unwrap_or_default().to_vec();
        Ok(RecordBatch::try_new(Arc::clone(&self.result), columns)?)
    }

    fn expire(&self, state: &RecordBatch, before: EventTime) -> EngineResult<RecordBatch> {
        let Some(newest) = self.newest else { return Ok(state.clone()) };
        let Some(state) = self.states(std::slice::from_ref(state))?.pop() else {
            return Ok(RecordBatch::new_empty(self.partial.schema()));
        };
        let Some(times) = state.columns().get(newest).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>()) else {
            return Err(Error::Internal(format!("{}: no column of newest events", self.partial.what())).into());
        };
        let bound = before.micros();
        let kept: BooleanArray = times.iter().map(|time| Some(time.is_some_and(|t| t >= bound))).collect();
        Ok(filter_record_batch(&state, &kept)?)
    }
}

#[cfg(test)]
mod tests;
