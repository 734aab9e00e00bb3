//! Views at run time: `CREATE`, `DROP`, `ROLLBACK`, `SHOW VIEWS` and `EXPLAIN` as statements, and a folder of files as definitions. What they mean is
//! decided elsewhere (queries reads them, the engine carries them out).

pub mod files;
pub mod follow;
mod show;

use crate::error::{ApiError, ApiResult};
use crate::rights;
use crate::state::AppState;
use afferent_engine::control::{Define, Origin};
use afferent_engine::error::Result as EngineResult;
use afferent_engine::live::{ReadView, ViewInfo};
use afferent_engine::query::ViewSpec;
use afferent_engine::schema::{TableName, view_envelope};
use afferent_engine::status::{GenerationState, Status};
use afferent_queries::definition::Definition;
use afferent_queries::statement::{Explainable, ViewStatement};
use arrow::array::{ArrayRef, StringArray, UInt64Array};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How long the engine may take to carry out a statement; it answers between two records, within milliseconds as a rule.
const ENGINE_WAIT: Duration = Duration::from_secs(30);

/// Carries out a statement about views; the answer is rows like any other.
///
/// # Errors
/// 403 without the right to define views, 405 for a change by GET, 400 with what to write instead, 503 where the engine does not answer.
pub(crate) async fn answer(state: &AppState, parts: &Parts, statement: ViewStatement) -> ApiResult<RecordBatch> {
    if !matches!(statement, ViewStatement::Show | ViewStatement::Explain(_)) {
        if parts.method != Method::POST {
            let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "a statement that changes views is not taken by GET");
            return Err(error.hint("POST it"));
        }
        rights::may_define(parts, state.config.server.view_token.as_ref())?;
    }
    match statement {
        ViewStatement::Show => show::views(state),
        ViewStatement::Explain(subject) => explain(state, *subject).await,
        ViewStatement::Create { definition, replace } => create(state, definition, replace).await,
        ViewStatement::Drop { name, if_exists } => drop_view(state, &name, if_exists).await,
        ViewStatement::RollBack { name } => {
            own(state, &name)?;
            let generation = engine(state.control.roll_back(TableName::new(&name))).await?;
            tracing::info!(view = name, generation, "a view was rolled back");
            outcome(&name, Some(generation), GenerationState::Serving.as_str())
        }
    }
}

async fn create(state: &AppState, definition: Definition, replace: bool) -> ApiResult<RecordBatch> {
    own(state, &definition.name)?;
    let name = TableName::new(&definition.name);
    let define = Define { name, sql: definition.sql, replace, origin: Origin::Statement };
    let defined = engine(state.control.define(define)).await?;
    tracing::info!(view = definition.name, generation = defined.generation, changed = defined.changed, "a view was defined");
    let status = state.live.view().status.clone();
    let known = status.views.get(&definition.name).and_then(|v| v.generations.iter().find(|g| g.generation == defined.generation));
    outcome(&definition.name, Some(defined.generation), known.map_or(GenerationState::Filling, |g| g.state).as_str())
}

async fn drop_view(state: &AppState, name: &str, if_exists: bool) -> ApiResult<RecordBatch> {
    own(state, name)?;
    if if_exists && !exists(&state.live.view(), name) {
        return outcome(name, None, "none");
    }
    engine(state.control.drop_view(TableName::new(name))).await?;
    tracing::info!(view = name, "a view was dropped");
    outcome(name, None, "dropped")
}

/// A dry run: compiles the definition against the views there are.
async fn explain(state: &AppState, subject: Explainable) -> ApiResult<RecordBatch> {
    let read = state.live.view();
    let definition = match subject {
        Explainable::Definition(definition) => definition,
        Explainable::View(name) => {
            let sql = read.views.get(&TableName::new(&name)).map(|view| view.sql.clone()).or_else(|| newest(&read.status, &name));
            let sql = sql.ok_or_else(|| ApiError::not_found(format!("there is no view {name:?}")).hint("SHOW VIEWS lists them"))?;
            Definition::parse(&name, &sql)?
        }
    };
    let known = read.views.iter().filter(|(known, _)| known.as_str() != definition.name).map(|(name, view)| spec(name, view));
    let (known, compiler) = (known.collect::<Vec<ViewSpec>>(), Arc::clone(&state.compiler));
    // Planning takes milliseconds, which the async threads do not have.
    let explained = tokio::task::spawn_blocking(move || compiler.explain(&definition, &known)).await;
    let steps = explained.map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "explaining the view failed; this is a bug of ours"))??.rows;
    let columns: [(&str, ArrayRef); 2] = [
        ("step", Arc::new(steps.iter().map(|(step, _)| Some(step.as_str())).collect::<StringArray>())),
        ("detail", Arc::new(steps.iter().map(|(_, detail)| Some(detail.as_str())).collect::<StringArray>())),
    ];
    rows(columns)
}

/// A view that serves, as definitions see it.
fn spec(name: &TableName, view: &ViewInfo) -> ViewSpec {
    let envelope = view_envelope();
    let own = view.schema.fields().iter().filter(|f| envelope.iter().all(|e| e.name() != f.name())).cloned().collect::<Vec<_>>();
    ViewSpec { name: name.clone(), sql: view.sql.clone(), schema: Arc::new(Schema::new(own)), key: view.key.clone(), generation: view.generation }
}

fn newest(status: &Status, name: &str) -> Option<String> {
    status.views.get(name)?.generations.last().map(|generation| generation.sql.clone())
}

fn exists(read: &ReadView, name: &str) -> bool {
    read.views.contains_key(&TableName::new(name)) || read.status.views.contains_key(name)
}

/// What a file defines is changed in the file: a statement would last until the file is read again.
fn own(state: &AppState, name: &str) -> Result<(), ApiError> {
    let Some(path) = state.view_files.path_of(name) else { return Ok(()) };
    Err(ApiError::invalid(format!("the view {name} is defined by the file {path}"))
        .hint("change or remove the file; it is read again within seconds"))
}

/// Asks the engine, but not for ever.
async fn engine<T>(asked: impl Future<Output = EngineResult<T>>) -> ApiResult<T> {
    match tokio::time::timeout(ENGINE_WAIT, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => {
            let message = format!("the engine did not answer within {} s; the statement may still be carried out", ENGINE_WAIT.as_secs());
            Err(ApiError::unavailable(message).hint("SHOW VIEWS tells what became of it"))
        }
    }
}

fn outcome(view: &str, generation: Option<u64>, state: &str) -> ApiResult<RecordBatch> {
    let columns: [(&str, ArrayRef); 3] = [
        ("view", Arc::new(StringArray::from(vec![view]))),
        ("generation", Arc::new(UInt64Array::from(vec![generation]))),
        ("state", Arc::new(StringArray::from(vec![state]))),
    ];
    rows(columns)
}

fn rows<const N: usize>(columns: [(&str, ArrayRef); N]) -> ApiResult<RecordBatch> {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
        .map_err(|e| afferent_engine::error::Error::from(e).into())
}

#[cfg(test)]
pub(crate) mod tests;
