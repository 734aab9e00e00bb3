//! A table of samples or panes with what its series' descriptions add: `service` and `labels`. Joins only where a query asks for them.

use super::latest;
use afferent_engine::schema;
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableType, ident};
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// The table, the descriptions, and the columns of both.
#[derive(Debug)]
pub(super) struct Described {
    rows: Arc<dyn TableProvider>,
    series: Arc<dyn TableProvider>,
    schema: SchemaRef,
    /// How many columns are the table's own.
    own: usize,
}

/// The newest description per series; `filters` are conditions on `metric` and `series_id`.
pub(super) fn descriptions(series: &Arc<dyn TableProvider>, filters: Vec<Expr>) -> Result<LogicalPlan> {
    let mut scan = LogicalPlanBuilder::scan("series", provider_as_source(Arc::clone(series)), None)?;
    if let Some(all) = conjunction(filters) {
        scan = scan.filter(all)?;
    }
    let columns: Vec<Expr> = schema::series().schema.fields().iter().map(|f| ident(f.name())).collect();
    let plan = scan.project(columns)?.build()?;
    // A series has one metric; with it in the key, conditions on the metric reach the files.
    let key = ["metric".to_owned(), "series_id".to_owned()];
    latest::first_per_key(plan, &key, vec![ident("last_seen").sort(false, false)])
}

impl Described {
    /// `columns` are the table's own; `added` are columns of the descriptions.
    pub(super) fn new(rows: Arc<dyn TableProvider>, series: Arc<dyn TableProvider>, columns: &SchemaRef, added: &[&str]) -> Result<Self> {
        let described = schema::series().schema;
        let mut fields: Vec<Field> = columns.fields().iter().map(|f| f.as_ref().clone()).collect();
        for name in added {
            fields.push(described.field_with_name(name)?.clone().with_nullable(true));
        }
        Ok(Self { rows, series, schema: Arc::new(Schema::new(fields)), own: columns.fields().len() })
    }

    fn is_own(&self, filter: &Expr) -> bool {
        filter.column_refs().iter().all(|c| self.schema.index_of(&c.name).is_ok_and(|i| i < self.own))
    }

    /// Conditions that hold for the description as well, since they speak of the series' identity only.
    fn shared(filters: &[Expr]) -> Vec<Expr> {
        let identity = |e: &&Expr| {
            let columns = e.column_refs();
            !columns.is_empty() && columns.iter().all(|c| matches!(c.name.as_str(), "metric" | "series_id"))
        };
        filters.iter().filter(identity).map(|e| requalified(e, "series")).collect()
    }

    fn joined(&self, wanted: &[usize], filters: &[Expr]) -> Result<LogicalPlan> {
        let mut rows = LogicalPlanBuilder::scan("t", provider_as_source(Arc::clone(&self.rows)), None)?;
        if let Some(all) = conjunction(filters.iter().filter(|f| self.is_own(f)).map(|f| requalified(f, "t"))) {
            rows = rows.filter(all)?;
        }
        let series = LogicalPlanBuilder::from(descriptions(&self.series, Self::shared(filters))?).alias("d")?;
        let id = |relation: &str| Column::new(Some(TableReference::bare(relation)), "series_id");
        // The descriptions stand on the left, where the join keeps them in memory.
        let joined = series.join(rows.build()?, JoinType::Right, (vec![id("d")], vec![id("t")]), None)?;
        let column = |index: &usize| {
            let name = self.schema.field(*index).name();
            let relation = if *index < self.own { "t" } else { "d" };
            Expr::Column(Column::new(Some(TableReference::bare(relation)), name)).alias(name)
        };
        joined.project(wanted.iter().map(column).collect::<Vec<_>>())?.build()
    }
}

/// The expression with every column taken from `relation`.
pub(super) fn requalified(expr: &Expr, relation: &str) -> Expr {
    let changed = expr.clone().transform(|e| {
        Ok(match e {
            Expr::Column(c) => {
                datafusion::common::tree_node::Transformed::yes(Expr::Column(Column::new(Some(TableReference::bare(relation)), c.name)))
            }
            other => datafusion::common::tree_node::Transformed::no(other),
        })
    });
    changed.map(|t| t.data).unwrap_or_else(|_| expr.clone())
}

/// True where an expression is not a plain computation over a row's columns.
pub(super) fn has_subquery(expr: &Expr) -> bool {
    let mut found = false;
    let walked = expr.apply(|e| {
        found |= matches!(e, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_));
        Ok(TreeNodeRecursion::Continue)
    });
    found || walked.is_err()
}

#[async_trait]
impl TableProvider for Described {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let one = |filter: &&Expr| {
            if !self.is_own(filter) || has_subquery(filter) {
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
        if wanted.iter().all(|i| *i < self.own) {
            let stored = self.rows.schema();
            let columns = wanted.iter().map(|i| stored.index_of(self.schema.field(*i).name())).collect::<Result<Vec<_>, _>>()?;
            return self.rows.scan(state, Some(&columns), filters, limit).await;
        }
        planned(state, &self.joined(&wanted, filters)?).await
    }
}

/// Plans a part of a statement by itself. Its joins get no filters that fill while they run: the planner of the whole statement, which may still
/// turn a join round, refuses those that have one.
pub(super) async fn planned(state: &dyn Session, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(state) = state.as_any().downcast_ref::<SessionState>() else { return state.create_physical_plan(plan).await };
    let mut state = state.clone();
    state.config_mut().options_mut().set("datafusion.optimizer.enable_dynamic_filter_pushdown", "false")?;
    state.create_physical_plan(plan).await
}
