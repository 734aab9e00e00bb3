//! DataFusion's planner as compiled views use it: one partition, nothing spilled, nothing that remembers an earlier run.

use super::trace::spelled;
use super::{EVENTS, PANES};
use crate::definition::Definition;
use crate::dimensions::Dimensions;
use crate::error::{Error, Result};
use crate::functions;
use crate::run::instant::Instant;
use crate::run::source::SourceTable;
use crate::run::{Prepared, Runner, block_on};
use afferent_engine::query::ViewSpec;
use afferent_engine::schema::{self, view_envelope};
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::view::ViewTable;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::prelude::{SessionConfig, SessionContext};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Plans the statements of one definition.
pub(super) struct Planner {
    pub(super) view: String,
    pub(super) context: SessionContext,
    pub(super) runner: Arc<Runner>,
    /// What `as_of()` reads in the plans made here.
    pub(super) instant: Instant,
    views: BTreeMap<String, SchemaRef>,
    keys: BTreeMap<String, Vec<String>>,
}

/// Settings that every session of this crate has, for streams and for people.
pub(crate) fn configure(mut config: SessionConfig) -> SessionConfig {
    let options = config.options_mut();
    // Text is Utf8 everywhere: tables are described by plans, so two spellings of one type would be two schemas.
    options.sql_parser.map_string_types_to_utf8view = false;
    // What a recursion holds is not counted against the memory of a query.
    options.execution.enable_recursive_ctes = false;
    config
}

/// The settings of compiled plans.
fn settings() -> SessionConfig {
    let mut config = configure(SessionConfig::new().with_target_partitions(1).with_information_schema(false));
    let options = config.options_mut();
    options.optimizer.repartition_aggregations = false;
    options.optimizer.repartition_joins = false;
    options.optimizer.repartition_sorts = false;
    options.optimizer.repartition_windows = false;
    options.optimizer.enable_round_robin_repartition = false;
    // Larger sorts would be merged by tasks, which a synchronous run has not.
    options.execution.sort_in_place_threshold_bytes = usize::MAX;
    // Filters that operators send each other while they run would outlive the run.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    // A partial state has every group once, however many there are.
    options.execution.skip_partial_aggregation_probe_rows_threshold = usize::MAX;
    config
}

/// A plain view as a relation.
pub(crate) fn plain_view(context: &SessionContext, definition: &Definition) -> Result<ViewTable> {
    let plan = block_on(context.state().create_logical_plan(&definition.select)).map_err(Error::statement)?;
    Ok(ViewTable::new(plan, Some(definition.sql.clone())))
}

impl Planner {
    pub(super) fn new(view: &str, dimensions: &Dimensions, known: &[ViewSpec], plain: &[Definition]) -> Result<Self> {
        let config = settings();
        let runner = Runner::new(config.clone())?;
        let mut state = SessionStateBuilder::new_with_default_features().with_config(config).build();
        functions::register(&mut state).map_err(Error::statement)?;
        let context = SessionContext::new_with_state(state);
        // This rule puts a second aggregation under COUNT(DISTINCT ...), which could not be merged in one step.
        context.remove_optimizer_rule("single_distinct_aggregation_to_group_by");
        let instant = Instant::default();
        context.register_udf(instant.function());
        let register = |name: &str, table: Arc<dyn datafusion::catalog::TableProvider>| {
            context.register_table(spelled(name), table).map(|_| ()).map_err(Error::statement)
        };
        for (name, rows) in dimensions.relations() {
            let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(Error::statement)?;
            register(&name, Arc::new(table))?;
        }
        register(PANES, Arc::new(SourceTable::new(PANES, schema::panes())))?;
        register(EVENTS, Arc::new(SourceTable::new(EVENTS, schema::events().schema)))?;
        let (mut views, mut keys) = (BTreeMap::new(), BTreeMap::new());
        for spec in known {
            let schema = with_envelope(&spec.schema);
            register(spec.name.as_str(), Arc::new(SourceTable::new(spec.name.as_str(), Arc::clone(&schema))))?;
            views.insert(spec.name.as_str().to_owned(), schema);
            keys.insert(spec.name.as_str().to_owned(), spec.key.clone());
        }
        for definition in plain {
            register(&definition.name, Arc::new(plain_view(&context, definition)?))?;
        }
        Ok(Self { view: view.to_owned(), context, runner, instant, views, keys })
    }

    pub(super) fn is_view(&self, relation: &str) -> bool {
        self.views.contains_key(relation)
    }

    /// Columns of a view's relation, envelope included.
    pub(super) fn view_schema(&self, relation: &str) -> Result<SchemaRef> {
        self.views.get(relation).cloned().ok_or_else(|| Error::Internal(format!("view {relation} is not known")))
    }

    /// Key columns of a view.
    pub(super) fn view_key(&self, relation: &str) -> &[String] {
        self.keys.get(relation).map(Vec::as_slice).unwrap_or_default()
    }

    /// The plan as written: names and types resolved, nothing moved.
    pub(super) fn logical(&self, select: &str) -> Result<LogicalPlan> {
        block_on(self.context.state().create_logical_plan(select)).map_err(Error::statement)
    }

    pub(super) fn optimized(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        self.context.state().optimize(plan).map_err(Error::statement)
    }

    pub(super) fn physical(&self, plan: &LogicalPlan) -> Result<Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
        block_on(self.context.state().create_physical_plan(plan)).map_err(Error::statement)
    }

    pub(super) fn prepared(&self, plan: &LogicalPlan) -> Result<Prepared> {
        Prepared::new(&format!("view {}", self.view), self.physical(plan)?, Arc::clone(&self.runner))
    }

    /// The distinct texts an expression has over a plan that reads dimensions only.
    pub(super) fn texts(&self, plan: &LogicalPlan, expr: &Expr) -> Result<BTreeSet<String>> {
        let plan = LogicalPlanBuilder::from(plan.clone())
            .project(vec![cast(expr.clone(), DataType::Utf8).alias("text")])
            .and_then(|p| p.distinct())
            .and_then(LogicalPlanBuilder::build)
            .map_err(Error::statement)?;
        let rows = self.prepared(&plan)?.run(Default::default())?;
        Ok(rows.column(0).as_string::<i32>().iter().flatten().map(str::to_owned).collect())
    }
}

/// A view's columns as its table has them.
pub(super) fn with_envelope(columns: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = columns.fields().iter().cloned().collect();
    fields.extend(view_envelope().into_iter().map(Arc::new));
    Arc::new(Schema::new(fields))
}
