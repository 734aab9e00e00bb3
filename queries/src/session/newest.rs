//! A stored table of which only the highest revision of each row counts. Costs nothing where nothing was ever revised: the files' statistics say so.

use super::described::{has_subquery, planned, requalified};
use afferent_engine::schema::{RETRACTED, REVISION};
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Column, JoinType, NullEquality, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableType, ident, lit};
use datafusion::physical_plan::{ExecutionPlan, StatisticsArgs, StatisticsContext};
use std::sync::Arc;

/// The rows of a table, each key with its highest revision; keys whose highest revision is retracted are left out.
#[derive(Debug)]
pub(super) struct Newest {
    rows: Arc<dyn TableProvider>,
    schema: SchemaRef,
    /// Columns that identify a row.
    key: Vec<String>,
    /// Columns that are the same in every revision of a row: the key, and what follows from it.
    constant: Vec<String>,
    retracts: bool,
    definition: Option<String>,
}

impl Newest {
    /// `columns` are the table's own; `constant` are those that follow from the key.
    pub(super) fn new(rows: Arc<dyn TableProvider>, columns: &SchemaRef, key: &[String], constant: &[&str]) -> Self {
        let shown: Vec<Arc<Field>> = columns.fields().iter().filter(|f| f.name() != RETRACTED).cloned().collect();
        Self {
            rows,
            schema: Arc::new(Schema::new(shown)),
            key: key.to_vec(),
            constant: key.iter().cloned().chain(constant.iter().map(|c| (*c).to_owned())).collect(),
            retracts: columns.column_with_name(RETRACTED).is_some(),
            definition: None,
        }
    }

    /// The same as the rows of a view.
    pub(super) fn defined(mut self, sql: &str) -> Self {
        self.definition = Some(sql.to_owned());
        self
    }

    /// Conditions that hold for every revision of a row or for none.
    fn shared(&self, filters: &[Expr]) -> Vec<Expr> {
        let constant = |e: &&Expr| {
            let columns = e.column_refs();
            !columns.is_empty() && columns.iter().all(|c| self.constant.contains(&c.name))
        };
        filters.iter().filter(constant).cloned().collect()
    }

    /// Whether a row in question may have been revised: only the files that may hold a second writing are looked at, by their statistics.
    async fn may_be_revised(&self, state: &dyn Session, filters: &[Expr]) -> Result<bool> {
        let stored = self.rows.schema();
        let columns = self.key.iter().map(String::as_str).chain([REVISION]).map(|c| stored.index_of(c)).collect::<Result<Vec<_>, _>>()?;
        let mut wanted = self.shared(filters);
        wanted.push(written_again());
        let found = self.rows.scan(state, Some(&columns), &wanted, None).await?;
        let statistics = StatisticsContext::new().compute(found.as_ref(), &StatisticsArgs::new())?;
        Ok(statistics.num_rows != Precision::Exact(0))
    }

    /// Leaves out what has a newer row among the few that are a second writing, instead of sorting all.
    fn superseded_left_out(&self, wanted: &[usize], filters: &[Expr]) -> Result<LogicalPlan> {
        let of = |relation: &str, column: &str| Column::new(Some(TableReference::bare(relation)), column);
        let cell = |relation: &str, column: &str| Expr::Column(of(relation, column));
        let scan = |relation: &str, conditions: Vec<Expr>| {
            let plan = LogicalPlanBuilder::scan(relation, provider_as_source(Arc::clone(&self.rows)), None)?;
            match conjunction(conditions.iter().map(|f| requalified(f, relation))) {
                Some(all) => plan.filter(all),
                None => Ok(plan),
            }
        };
        let mut again = self.shared(filters);
        again.push(written_again());
        let newer = scan("newer", again)?.project(self.key.iter().map(String::as_str).chain([REVISION]).map(|c| cell("newer", c)))?;
        let later = cell("newer", REVISION).gt(cell("v", REVISION)).or(cell("v", REVISION).is_null());
        let keys = (self.key.iter().map(|k| of("newer", k)).collect::<Vec<_>>(), self.key.iter().map(|k| of("v", k)).collect::<Vec<_>>());
        let rows = scan("v", filters.to_vec())?.build()?;
        // The few stand on the left, where the join keeps them in memory.
        let mut left = newer.join_detailed(rows, JoinType::RightAnti, keys, Some(later), NullEquality::NullEqualsNull)?;
        if self.retracts {
            left = left.filter(cell("v", RETRACTED).is_not_true())?;
        }
        let shown = wanted.iter().map(|i| self.schema.field(*i).name()).map(|name| cell("v", name).alias(name));
        left.project(shown.collect::<Vec<_>>())?.build()
    }
}

/// First writings have revision 0, or none.
fn written_again() -> Expr {
    ident(REVISION).gt(lit(0_i64))
}

#[async_trait]
impl TableProvider for Newest {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        if self.definition.is_some() { TableType::View } else { TableType::Base }
    }

    fn get_table_definition(&self) -> Option<&str> {
        self.definition.as_deref()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let one = |filter: &&Expr| {
            if has_subquery(filter) {
                return Ok(TableProviderFilterPushDown::Unsupported);
            }
            let answer = self.rows.supports_filters_pushdown(&[filter])?;
            Ok(answer.into_iter().next().unwrap_or(TableProviderFilterPushDown::Unsupported))
        };
        filters.iter().map(one).collect()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        if self.may_be_revised(state, filters).await? {
            return planned(state, &self.superseded_left_out(&wanted, filters)?).await;
        }
        let stored = self.rows.schema();
        let columns = wanted.iter().map(|i| stored.index_of(self.schema.field(*i).name())).collect::<Result<Vec<_>, _>>()?;
        self.rows.scan(state, Some(&columns), filters, limit).await
    }
}
