//! The leaf of compiled plans: a relation whose rows come with each run, not with the plan.

use crate::error::{Error, Result};
use arrow::array::new_null_array;
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, internal_err};
use datafusion::error::Result as PlanResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions};
use std::fmt;
use std::sync::Arc;

/// Rows a stream is taken to have when joins are planned, so that dimensions become the side that is held in memory.
const STREAM_ROWS_ASSUMED: usize = 1_000_000_000;

/// The rows of one run, by relation.
#[derive(Debug, Default)]
pub(crate) struct Inputs(Vec<(Arc<str>, Vec<RecordBatch>)>);

impl Inputs {
    /// One relation's rows, already with the relation's schema.
    pub(crate) fn one(name: &Arc<str>, batches: Vec<RecordBatch>) -> Self {
        Self(vec![(Arc::clone(name), batches)])
    }

    pub(crate) fn push(&mut self, name: &Arc<str>, batches: Vec<RecordBatch>) {
        self.0.push((Arc::clone(name), batches));
    }

    fn get(&self, name: &str) -> Option<&Vec<RecordBatch>> {
        self.0.iter().find(|(n, _)| n.as_ref() == name).map(|(_, batches)| batches)
    }
}

/// Gives `batch` exactly `schema`: by position where the types agree, else by name with casts; a column that is missing becomes null.
pub(crate) fn align(what: &str, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let have = batch.schema_ref();
    let same = have.fields().len() == schema.fields().len()
        && have.fields().iter().zip(schema.fields()).all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
    let columns = if same {
        batch.columns().to_vec()
    } else {
        let pick = |field: &Arc<arrow::datatypes::Field>| match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => cast(column, field.data_type()),
            None if field.is_nullable() => Ok(new_null_array(field.data_type(), batch.num_rows())),
            None => Err(arrow::error::ArrowError::SchemaError(format!("rows have no column {}", field.name()))),
        };
        schema.fields().iter().map(pick).collect::<Result<_, _>>().map_err(|e| Error::plan(what, e.into()))?
    };
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|e| Error::plan(what, e.into()))
}

/// Aligns several batches.
pub(crate) fn align_all(what: &str, batches: &[RecordBatch], schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    batches.iter().filter(|b| b.num_rows() > 0).map(|b| align(what, b, schema)).collect()
}

/// A relation known by name and columns only.
#[derive(Debug)]
pub(crate) struct SourceTable {
    name: Arc<str>,
    schema: SchemaRef,
}

impl SourceTable {
    pub(crate) fn new(name: &str, schema: SchemaRef) -> Self {
        Self { name: name.into(), schema }
    }
}

#[async_trait]
impl TableProvider for SourceTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(&self, _: &dyn Session, projection: Option<&Vec<usize>>, _: &[Expr], _: Option<usize>) -> PlanResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(SourceExec::new(Arc::clone(&self.name), &self.schema, projection.cloned())?))
    }
}

/// Reads the rows that the task carries for its relation.
#[derive(Debug, Clone)]
pub(crate) struct SourceExec {
    name: Arc<str>,
    projection: Option<Vec<usize>>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl SourceExec {
    pub(crate) fn new(name: Arc<str>, schema: &SchemaRef, projection: Option<Vec<usize>>) -> PlanResult<Self> {
        let schema = match &projection {
            Some(columns) => Arc::new(schema.project(columns)?),
            None => Arc::clone(schema),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { name, projection, schema, properties: Arc::new(properties) })
    }

    /// The relation it reads.
    pub(crate) fn relation(&self) -> &str {
        &self.name
    }
}

impl DisplayAs for SourceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceExec: {}", self.name)
    }
}

impl ExecutionPlan for SourceExec {
    fn name(&self) -> &'static str {
        "SourceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(&self, _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> PlanResult<TreeNodeRecursion>) -> PlanResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>, _: ReplaceChildrenOptions) -> PlanResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> PlanResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> PlanResult<SendableRecordBatchStream> {
        let Some(inputs) = context.session_config().get_extension::<Inputs>() else {
            return internal_err!("a compiled plan was run without its rows");
        };
        let batches = inputs.get(&self.name).cloned().unwrap_or_default();
        Ok(Box::pin(MemoryStream::try_new(batches, Arc::clone(&self.schema), self.projection.clone())?))
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], _: &StatisticsArgs) -> PlanResult<Arc<Statistics>> {
        let rows = Precision::Inexact(STREAM_ROWS_ASSUMED);
        Ok(Arc::new(Statistics { num_rows: rows, total_byte_size: rows, ..Statistics::new_unknown(&self.schema) }))
    }
}
