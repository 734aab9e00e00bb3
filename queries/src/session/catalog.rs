//! The relations a statement can name, made when it names them: stored tables, views, metrics, dimensions.

use super::described::{Described, descriptions};
use super::newest::Newest;
use super::{TableSource, latest};
use crate::definition::Definition;
use crate::error::{Error, Result};
use crate::functions::label;
use crate::plan::{PANES, WINDOW_START};
use afferent_engine::live::{ReadView, ViewInfo};
use afferent_engine::schema::{self, EXEMPLARS, HISTOGRAMS, LATE_SAMPLES, REVISION, ROLLUP_1M, SAMPLES, SERIES, TableDef, TableName};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, SchemaProvider, TableProvider};
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, TableType, ident, lit};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// The one catalog.
pub(super) const CATALOG: &str = "afferent";
/// Its schema of tables and views.
pub(super) const PUBLIC: &str = "public";
/// Its schema with one relation of samples per metric.
const METRICS: &str = "metrics";
/// Its schema with one relation of pane rows per metric.
const ROLLUP: &str = "rollup";
/// Names offered where a name is unknown.
const NEAR_MAX: usize = 3;

/// Relations that do not change while the program runs.
pub(super) struct Fixed {
    pub(super) constant: BTreeMap<String, Arc<dyn TableProvider>>,
    pub(super) plain: Vec<Definition>,
}

/// All relations as one query sees them: one state of all tables.
pub(super) struct Relations {
    view: Arc<ReadView>,
    tables: TableSource,
    fixed: Arc<Fixed>,
    /// Plans the queries of plain views; knows no relations itself.
    state: SessionState,
    defs: BTreeMap<String, TableDef>,
}

/// The catalogs over these relations.
pub(super) fn list(relations: &Arc<Relations>) -> Result<Arc<dyn CatalogProviderList>> {
    let catalog = MemoryCatalogProvider::new();
    for (name, kind) in [(PUBLIC, Kind::Public), (METRICS, Kind::Samples), (ROLLUP, Kind::Panes)] {
        let schema = Arc::new(Names { kind, relations: Arc::clone(relations) });
        catalog.register_schema(name, schema).map_err(Error::statement)?;
    }
    let list = MemoryCatalogProviderList::new();
    list.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    Ok(Arc::new(list))
}

impl Relations {
    pub(super) fn new(view: Arc<ReadView>, tables: TableSource, fixed: Arc<Fixed>, state: SessionState) -> Self {
        let defs = schema::fixed_tables().into_iter().map(|d| (d.name.as_str().to_owned(), d)).collect();
        Self { view, tables, fixed, state, defs }
    }

    fn stored(&self, name: &str) -> Option<(&TableDef, Arc<dyn TableProvider>)> {
        let def = self.defs.get(name)?;
        Some((def, (self.tables)(def, &self.view)))
    }

    fn described(&self, table: &str, columns: &SchemaRef, added: &[&str]) -> PlanResult<Arc<dyn TableProvider>> {
        let missing = || DataFusionError::Internal(format!("table {table} is not described"));
        let (def, rows) = self.stored(table).ok_or_else(missing)?;
        let (_, series) = self.stored(SERIES).ok_or_else(missing)?;
        let rows: Arc<dyn TableProvider> = if table == ROLLUP_1M {
            // A series has one metric, so conditions on the metric hold for every revision of a pane.
            let key = ["series_id", WINDOW_START].map(str::to_owned);
            Arc::new(Newest::new(rows, &def.schema, &key, &["metric"]))
        } else {
            rows
        };
        Ok(Arc::new(Described::new(rows, series, columns, added)?))
    }

    /// A table with everything it stores.
    fn whole(&self, table: &str, added: &[&str]) -> PlanResult<Arc<dyn TableProvider>> {
        let columns = self.defs.get(table).map_or_else(|| Arc::new(Schema::empty()), |def| Arc::clone(&def.schema));
        self.described(table, &columns, added)
    }

    fn public(&self, name: &str) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        Ok(Some(match name {
            SAMPLES | ROLLUP_1M | HISTOGRAMS | LATE_SAMPLES => self.whole(name, &["service"])?,
            EXEMPLARS => self.whole(name, &["service"])?,
            PANES => self.described(ROLLUP_1M, &without_revision(&schema::rollup_1m().schema), &["service", "labels"])?,
            SERIES => {
                let Some((_, series)) = self.stored(SERIES) else { return Ok(None) };
                Arc::new(ViewTable::new(descriptions(&series, Vec::new())?, None))
            }
            _ => return self.other(name),
        }))
    }

    fn other(&self, name: &str) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        if let Some((_, table)) = self.stored(name) {
            return Ok(Some(table));
        }
        if let Some(info) = self.view.views.get(&TableName::new(name)) {
            return Ok(Some(self.view_rows(info)?));
        }
        Ok(self.fixed.constant.get(name).cloned())
    }

    /// A view's newest revisions, from the table of the generation that serves.
    fn view_rows(&self, info: &ViewInfo) -> PlanResult<Arc<dyn TableProvider>> {
        // A snapshot may show a window's start without being keyed by it: its rows are written again and again, as those of keyed views.
        let windowed = info.key.iter().any(|column| column == WINDOW_START);
        let date_from = if windowed { WINDOW_START } else { "watermark" };
        let def = TableDef { name: info.table.clone(), schema: Arc::clone(&info.schema), date_from, sort: info.key.clone(), supersedes: None };
        let table = (self.tables)(&def, &self.view);
        if windowed {
            // Rows of windows are written once, seldom twice.
            return Ok(Arc::new(Newest::new(table, &info.schema, &info.key, &[]).defined(&info.sql)));
        }
        // Rows of keyed views are written again and again: most rows are old.
        let columns: Vec<Expr> = info.schema.fields().iter().map(|f| ident(f.name())).collect();
        let rows = LogicalPlanBuilder::scan("rows", provider_as_source(table), None)?.project(columns)?.alias("v")?.build()?;
        Ok(Arc::new(ViewTable::new(latest::newest_revisions(rows, &info.schema, &info.key)?, Some(info.sql.clone()))))
    }

    /// One metric's rows with one column per label.
    fn metric(&self, table: &str, metric: &str, first: &[&str]) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        let Some(labels) = self.view.metrics.get(metric) else { return Ok(None) };
        let rows = self.whole(table, &["service", "labels"])?;
        let scan = LogicalPlanBuilder::scan(table, provider_as_source(rows), None)?.filter(ident("metric").eq(lit(metric)))?;
        let mut taken: BTreeSet<String> = first.iter().map(|c| (*c).to_owned()).collect();
        let mut columns: Vec<Expr> = first.iter().map(|c| ident(*c)).collect();
        let label = label::label();
        for name in labels.iter() {
            // A label that is called like a column of ours keeps its name behind a prefix.
            let mut column = name.clone();
            while !taken.insert(column.clone()) {
                column = format!("label_{column}");
            }
            columns.push(label.call(vec![ident("labels"), lit(name.as_str())]).alias(column));
        }
        Ok(Some(Arc::new(ViewTable::new(scan.project(columns)?.build()?, None))))
    }

    fn names(&self, kind: Kind) -> Vec<String> {
        match kind {
            Kind::Samples | Kind::Panes => self.view.metrics.keys().cloned().collect(),
            Kind::Public => {
                let views = self.view.views.keys().map(|v| v.as_str().to_owned());
                let plain = self.fixed.plain.iter().map(|d| d.name.clone());
                self.defs.keys().cloned().chain([PANES.to_owned()]).chain(self.fixed.constant.keys().cloned()).chain(views).chain(plain).collect()
            }
        }
    }

    /// The planner's error, with the nearest names where a relation is unknown.
    pub(super) fn explain(&self, cause: DataFusionError) -> Error {
        let text = cause.strip_backtrace();
        let unknown = text.split_once("table '").and_then(|(_, rest)| rest.split_once("' not found")).map(|(name, _)| name.to_owned());
        let Some(unknown) = unknown else { return Error::statement(cause) };
        let mut parts = unknown.splitn(3, '.').skip(1);
        let (schema, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let kind = match schema {
            METRICS => Kind::Samples,
            ROLLUP => Kind::Panes,
            _ => Kind::Public,
        };
        if kind == Kind::Public && self.view.status.views.contains_key(name) {
            let wait = format!("view {name} is computing its history, and nobody reads it before; SHOW VIEWS tells how far it is");
            return Error::statement(DataFusionError::Plan(wait));
        }
        let near = nearest(name, self.names(kind));
        if near.is_empty() {
            return Error::statement(cause);
        }
        let hint = format!("there is no relation {schema}.\"{name}\"; near it: {}", near.join(", "));
        Error::statement(DataFusionError::Plan(hint))
    }
}

fn without_revision(schema: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().filter(|f| f.name() != REVISION).cloned().collect::<Vec<_>>()))
}

/// The few names that differ least from `name`.
fn nearest(name: &str, names: Vec<String>) -> Vec<String> {
    let mut ranked: Vec<(usize, String)> = names.into_iter().map(|n| (distance(name, &n), n)).filter(|(d, n)| *d <= 2 + n.len() / 4).collect();
    ranked.sort();
    ranked.into_iter().take(NEAR_MAX).map(|(_, n)| n).collect()
}

/// Letters to insert, delete or change.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = i;
        let mut last = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let change = before + usize::from(x != *y);
            before = *cell;
            last = change.min(before + 1).min(last + 1);
            *cell = last;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Which relations a schema names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Public,
    Samples,
    Panes,
}

/// One schema of the catalog.
struct Names {
    kind: Kind,
    relations: Arc<Relations>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl Names {
    /// A plain view: its query, planned over the same relations.
    async fn plain(&self, name: &str) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        let Some(definition) = self.relations.fixed.plain.iter().find(|d| d.name == name && self.kind == Kind::Public) else { return Ok(None) };
        let mut state = self.relations.state.clone();
        let catalogs = list(&self.relations).map_err(|e| DataFusionError::External(Box::new(e)))?;
        state.register_catalog_list(catalogs);
        let plan = state.create_logical_plan(&definition.select).await?;
        Ok(Some(Arc::new(ViewTable::new(plan, Some(definition.sql.clone())))))
    }
}

#[async_trait]
impl SchemaProvider for Names {
    fn table_names(&self) -> Vec<String> {
        self.relations.names(self.kind)
    }

    async fn table(&self, name: &str) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        if let Some(view) = self.plain(name).await? {
            return Ok(Some(view));
        }
        match self.kind {
            Kind::Public => self.relations.public(name),
            Kind::Samples => self.relations.metric(SAMPLES, name, &["time", "value", "series_id", "service"]),
            Kind::Panes => {
                let first = ["window_start", "count", "sum", "min", "max", "first", "last", "increase", "resets", "series_id", "service"];
                self.relations.metric(ROLLUP_1M, name, &first)
            }
        }
    }

    async fn table_type(&self, name: &str) -> PlanResult<Option<TableType>> {
        // Listing names must not plan a relation per metric.
        Ok(self.table_exist(name).then_some(match self.kind {
            Kind::Public if self.relations.view.views.contains_key(&TableName::new(name)) => TableType::View,
            Kind::Public => TableType::Base,
            Kind::Samples | Kind::Panes => TableType::View,
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        match self.kind {
            Kind::Public => self.relations.names(Kind::Public).iter().any(|n| n == name),
            Kind::Samples | Kind::Panes => self.relations.view.metrics.contains_key(name),
        }
    }
}
