//! Snapshots: any query over the current rows of views and dimensions, planned once.

use super::planner::Planner;
use super::scope::Scope;
use super::{Compiled, output, trace};
use crate::error::Result;
use crate::explain::Explained;
use crate::run::snapshot::Snapshot;
use afferent_engine::query::{Program, SnapshotProgram};
use afferent_engine::schema::TableName;
use datafusion::logical_expr::LogicalPlan;
use std::sync::{Arc, Mutex};

pub(super) fn compile(planner: &Planner, scope: &Scope<'_>, plan: &LogicalPlan) -> Result<Compiled> {
    let Some(key) = scope.definition.key.clone() else {
        let instead = "write CREATE MATERIALIZED VIEW ... WITH (key = 'a, b') with the columns that identify a row";
        return Err(scope.refused("no key", "which columns identify a row cannot be read off a snapshot's query", instead));
    };
    debug_assert!(scope.views.iter().all(|v| trace::reads(plan, v)));
    let (tabled, schema) = output::tabled(&planner.view, planner.optimized(plan)?)?;
    let inputs = scope.views.iter().map(|v| Ok((Arc::from(v.as_str()), TableName::new(v), planner.view_schema(v)?))).collect::<Result<_>>()?;
    let prepared = planner.prepared(&tabled)?.with_schema(Arc::clone(&schema));
    let mut explained = Explained::default();
    explained.plan("query", &prepared);
    explained.say("retention", "no state: computed from the current rows of what it reads whenever they change");
    let query = Snapshot { inputs, plan: prepared, instant: Mutex::new(planner.instant.clone()) };
    let program = SnapshotProgram { inputs: scope.views.iter().map(|v| TableName::new(v)).collect(), query: Arc::new(query) };
    Ok(Compiled { shape: scope.shape, explained, program: Program::Snapshot(program), schema, key })
}
