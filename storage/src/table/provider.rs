//! A table as queries see it: published files and, after them, the rows in memory. Not the relations made of it (queries, api).

use super::columns;
use super::scan::{self, Grouping, Scan};
use crate::object_store::Store;
use afferent_engine::live::{LiveFilter, LiveRows};
use afferent_engine::schema::{REVISION, TableDef};
use afferent_engine::table::TableFiles;
use arrow::array::{Array, ArrayRef, AsArray, Date32Array};
use arrow::compute::{cast, max};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Between, BinaryExpr, Cast, Expr, Operator, TableProviderFilterPushDown, TableType, TryCast};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use std::ops::Range;
use std::sync::Arc;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// One table of one read view.
///
/// # Shape
/// `date` (Date32, the UTC day of the table's `date_from` column), then the table's own columns as its definition has them; words are
/// dictionaries both from files and from memory.
pub struct LakeTable {
    store: Store,
    def: TableDef,
    schema: SchemaRef,
    files: Arc<TableFiles>,
    live: Option<Arc<dyn LiveRows>>,
    /// What was last taken from memory: a query that asks for rows and for their revisions takes them once.
    taken: tokio::sync::Mutex<Option<Taken>>,
}

/// Rows in memory and what they were asked by.
type Taken = (LiveFilter, Arc<Vec<RecordBatch>>);

impl std::fmt::Debug for LakeTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LakeTable({}, version {}, {} files)", self.def.name, self.files.version, self.files.files.len())
    }
}

impl LakeTable {
    /// The table `def` as these files and, after them, these rows in memory make it up.
    pub fn new(store: Store, def: TableDef, files: Arc<TableFiles>, live: Option<Arc<dyn LiveRows>>) -> Self {
        let schema = columns::read_schema(&def.schema);
        Self { store, def, schema, files, live, taken: tokio::sync::Mutex::default() }
    }

    /// The filters as one expression over the columns of a scan.
    fn predicate(&self, state: &dyn Session, filters: &[Expr]) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let columns = DFSchema::try_from(scan::scan_schema(&self.def.schema))?;
        let Some(all) = conjunction(filters.iter().cloned().map(unqualified).collect::<Result<Vec<_>>>()?) else { return Ok(None) };
        state.create_physical_expr(all, &columns).map(Some)
    }

    /// The rows in memory, collected once per filter.
    async fn taken(&self, live: Arc<dyn LiveRows>, filter: LiveFilter) -> Result<Arc<Vec<RecordBatch>>> {
        // Held while rows are collected: the two sides of a join are planned at once.
        let mut taken = self.taken.lock().await;
        if let Some((_, rows)) = taken.as_ref().filter(|(asked, _)| *asked == filter) {
            return Ok(rows.clone());
        }
        // Collecting the rows may take milliseconds, which the async threads do not have.
        let asked = filter.clone();
        let rows = tokio::task::spawn_blocking(move || live.scan(&asked)).await.map_err(|e| DataFusionError::External(Box::new(e)))?;
        let rows = Arc::new(rows.map_err(|e| DataFusionError::External(Box::new(e)))?);
        *taken = Some((filter, rows.clone()));
        Ok(rows)
    }

    async fn live_plan(&self, state: &dyn Session, projection: Option<&Vec<usize>>, filters: &[Expr]) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(live) = self.live.clone() else { return Ok(None) };
        let batches = self.taken(live, live_filter(&self.def, filters)).await?;
        let revision = revised_beyond(&self.def, filters);
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&all);
        let schema = Arc::new(self.schema.project(projection)?);
        let rows = batches.iter().filter(|b| b.num_rows() > 0 && revision.is_none_or(|r| is_revised(b, r)));
        let rows = rows.map(|b| live_batch(&self.def, b, projection, &schema)).collect::<Result<Vec<_>>>()?;
        if rows.is_empty() {
            return Ok(None);
        }
        let partitions = state.config().target_partitions().clamp(1, rows.len());
        let spread: Vec<Vec<RecordBatch>> = rows.chunks(rows.len().div_ceil(partitions)).map(<[RecordBatch]>::to_vec).collect();
        Ok(Some(MemorySourceConfig::try_new_exec(&spread, schema, None)?))
    }

    fn file_plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let predicate = self.predicate(state, filters)?;
        let files = scan::prune(&self.def.schema, &self.files.files, predicate.as_ref());
        if files.is_empty() {
            return Ok(None);
        }
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&all).iter().map(|i| scan::scan_index(&self.def.schema, *i)).collect();
        let plan = Scan {
            store: &self.store,
            table: &self.def.name,
            schema: &self.def.schema,
            files,
            projection: Some(projection),
            // The planner pushes the same filters, and those it learns while running, into the plan.
            predicate: None,
            limit,
            grouping: Grouping::Spread(state.config().target_partitions()),
            runtime: state.runtime_env(),
        };
        Ok(Some(plan.plan()?))
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let live = self.live_plan(state, projection, filters).await?;
        let files = self.file_plan(state, projection, filters, limit)?;
        match (files, live) {
            (Some(files), Some(live)) => UnionExec::try_new(vec![files, live]),
            (Some(plan), None) | (None, Some(plan)) => Ok(plan),
            (None, None) => {
                let schema = match projection {
                    Some(projection) => Arc::new(self.schema.project(projection)?),
                    None => self.schema.clone(),
                };
                Ok(MemorySourceConfig::try_new_exec(&[vec![]], schema, None)?)
            }
        }
    }
}

/// Column names without their relation: the scan knows only its own columns.
fn unqualified(filter: Expr) -> Result<Expr> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    Ok(filter
        .transform(|e| match e {
            Expr::Column(mut column) if column.relation.is_some() => {
                column.relation = None;
                Ok(Transformed::yes(Expr::Column(column)))
            }
            other => Ok(Transformed::no(other)),
        })?
        .data)
}

/// The columns asked for of one batch in memory, in the reader's types.
fn live_batch(def: &TableDef, batch: &RecordBatch, projection: &[usize], schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = projection
        .iter()
        .zip(schema.fields())
        .map(|(index, field)| {
            let column = match index.checked_sub(1) {
                None => dates(def, batch)?,
                Some(own) => {
                    let name = def.schema.field(own).name();
                    batch
                        .column_by_name(name)
                        .cloned()
                        .ok_or_else(|| DataFusionError::Internal(format!("rows in memory of {} have no column {name}", def.name)))?
                }
            };
            if column.data_type() == field.data_type() { Ok(column) } else { Ok(cast(&column, field.data_type())?) }
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

fn dates(def: &TableDef, batch: &RecordBatch) -> Result<ArrayRef> {
    let times = batch
        .column_by_name(def.date_from)
        .and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>())
        .ok_or_else(|| DataFusionError::Internal(format!("rows in memory of {} have no timestamps in {}", def.name, def.date_from)))?;
    let days: Date32Array = times.unary(|t| i32::try_from(t.div_euclid(MICROS_PER_DAY)).unwrap_or_default());
    Ok(Arc::new(days))
}

/// What the filters say about metric and time, as far as they say it plainly; readers filter again.
fn live_filter(def: &TableDef, filters: &[Expr]) -> LiveFilter {
    let mut wanted = LiveFilter::default();
    let mut range = i64::MIN..i64::MAX;
    for filter in filters.iter().flat_map(split_conjunction) {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (column, op, value) = match (column_of(left), literal_of(right)) {
                    (Some(column), Some(value)) => (column, *op, value),
                    _ => match (column_of(right), literal_of(left), op.swap()) {
                        (Some(column), Some(value), Some(swapped)) => (column, swapped, value),
                        _ => continue,
                    },
                };
                if column == "metric" && op == Operator::Eq && is_word(&def.schema, column) {
                    wanted.metric = value.try_as_str().flatten().map(str::to_owned);
                } else if column == def.date_from {
                    narrow(&mut range, op, value);
                }
            }
            Expr::Between(Between { expr, negated: false, low, high }) if column_of(expr) == Some(def.date_from) => {
                if let (Some(low), Some(high)) = (literal_of(low), literal_of(high)) {
                    narrow(&mut range, Operator::GtEq, low);
                    narrow(&mut range, Operator::LtEq, high);
                }
            }
            _ => {}
        }
    }
    if range != (i64::MIN..i64::MAX) {
        wanted.micros = Some(range);
    }
    wanted
}

/// The revision that every row asked for lies above, where the filters say so plainly.
fn revised_beyond(def: &TableDef, filters: &[Expr]) -> Option<i64> {
    let is_count = def.schema.field_with_name(REVISION).is_ok_and(|f| *f.data_type() == DataType::Int64);
    let above = |filter: &Expr| match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Gt, right }) if column_of(left) == Some(REVISION) => match literal_of(right) {
            Some(ScalarValue::Int64(Some(value))) => Some(*value),
            _ => None,
        },
        _ => None,
    };
    filters.iter().flat_map(split_conjunction).filter_map(above).max().filter(|_| is_count)
}

/// Whether a batch may hold a row of a higher revision.
fn is_revised(batch: &RecordBatch, revision: i64) -> bool {
    let Some(revisions) = batch.column_by_name(REVISION).and_then(|c| c.as_primitive_opt::<Int64Type>()) else { return true };
    max(revisions).is_some_and(|greatest| greatest > revision)
}

fn is_word(schema: &Schema, column: &str) -> bool {
    schema.field_with_name(column).is_ok_and(|f| matches!(f.data_type(), DataType::Dictionary(_, _) | DataType::Utf8))
}

fn column_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        // A word compared with text is cast to text first; a cast of a time may round, so it is not looked through.
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field })
            if matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8) =>
        {
            column_of(expr)
        }
        _ => None,
    }
}

fn literal_of(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

fn narrow(range: &mut Range<i64>, op: Operator, value: &ScalarValue) {
    let to_micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    // Only values that are timestamps already: other types would need the planner's rules of comparison.
    if !matches!(value.data_type(), DataType::Timestamp(_, _)) {
        return;
    }
    // A cast from nanoseconds cuts off, so the range is widened by one microsecond on each side it might touch.
    let Ok(ScalarValue::TimestampMicrosecond(Some(micros), _)) = value.cast_to(&to_micros) else { return };
    match op {
        Operator::Eq => {
            range.start = range.start.max(micros);
            range.end = range.end.min(micros.saturating_add(1));
        }
        Operator::Gt | Operator::GtEq => range.start = range.start.max(micros),
        Operator::Lt | Operator::LtEq => range.end = range.end.min(micros.saturating_add(1)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
