//! `/api/v1/backfill`: asks the engine to compute a range of a view again, says how far that is, and stops it. Not the computing.

use crate::error::{ApiError, ApiResult, json_response};
use crate::nearest::nearest;
use crate::state::AppState;
use crate::{instant, rights};
use afferent_engine::control::{BackfillId, BackfillRange};
use afferent_engine::schema::TableName;
use afferent_engine::status::{BackfillState, BackfillStatus, Status};
use afferent_engine::time::{EventTime, WallTime};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// How long a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// The paths of this file.
pub fn router(state: AppState) -> Router {
    Router::new().route("/api/v1/backfill", get(list).post(start)).route("/api/v1/backfill/{id}", get(one).delete(cancel)).with_state(state)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    view: String,
    from: String,
    to: String,
}

/// Starts a backfill: 202 with its number.
async fn start(State(state): State<AppState>, request: Request) -> ApiResult {
    let (parts, body) = request.into_parts();
    rights::may_define(&parts, state.config.server.view_token.as_ref())?;
    let range = range(&state, asked(body).await?)?;
    let id = state.control.backfill(range.clone()).await?;
    tracing::info!(id = id.0, view = %range.view, from = %range.from, to = %range.to, "a backfill begins");
    let place = format!("/api/v1/backfill/{}", id.0);
    let body = json!({ "id": id.0, "view": range.view.as_str(), "from": range.from.to_string(), "to": range.to.to_string(), "status": place });
    let mut response = json_response(StatusCode::ACCEPTED, &body);
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

async fn asked(body: Body) -> Result<Asked, ApiError> {
    let late = |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, format!("the body did not arrive within {} s", BODY_WAIT.as_secs()));
    let bytes = tokio::time::timeout(BODY_WAIT, axum::body::to_bytes(body, BODY_BYTES_MAX)).await.map_err(late)?;
    let bytes = bytes.map_err(|e| ApiError::invalid(format!("the body cannot be read: {e}")))?;
    serde_json::from_slice(&bytes).map_err(|e| {
        let error = ApiError::invalid(format!("the body is not a backfill: {e}"));
        error.hint(r#"{"view": "slo_slices", "from": "2026-11-22T00:00:00Z", "to": "now"}; instants also as -24h"#)
    })
}

fn range(state: &AppState, asked: Asked) -> Result<BackfillRange, ApiError> {
    let now = state.clock.now();
    let instant = |key: &str, text: &str| instant::parse(text, now).map_err(|e| ApiError::invalid(format!("{key}: {e}")));
    let (from, to) = (instant("from", &asked.from)?, instant("to", &asked.to)?);
    if from >= to {
        return Err(ApiError::invalid(format!("the range is empty: it begins at {from} and ends before {to}")).hint("from must lie before to"));
    }
    let view = TableName::new(&asked.view);
    let read = state.live.view();
    let known = || read.views.keys().map(TableName::as_str).chain(read.status.views.keys().map(String::as_str));
    if known().all(|name| name != asked.view) {
        let error = ApiError::not_found(format!("there is no view {:?}", asked.view));
        let near = nearest(&asked.view, known());
        return Err(error.hint(near.map_or("SHOW VIEWS lists them".to_owned(), |near| format!("did you mean {near}?"))));
    }
    Ok(BackfillRange { view, from, to })
}

/// Every backfill that is known, the newest first.
async fn list(State(state): State<AppState>) -> ApiResult {
    let status = state.live.view().status.clone();
    Ok(json_response(StatusCode::OK, &json!({ "backfills": reports(&status, state.clock.now()) })))
}

/// One backfill.
async fn one(State(state): State<AppState>, Path(id): Path<String>) -> ApiResult {
    let id = number(&id)?;
    let status = state.live.view().status.clone();
    let found = status.backfills.get(&id).ok_or_else(|| unknown(id))?;
    Ok(json_response(StatusCode::OK, &report(id, found, state.clock.now())))
}

/// Stops a backfill.
async fn cancel(State(state): State<AppState>, Path(id): Path<String>, parts: Parts) -> ApiResult {
    rights::may_define(&parts, state.config.server.view_token.as_ref())?;
    let id = number(&id)?;
    if !state.live.view().status.backfills.contains_key(&id) {
        return Err(unknown(id));
    }
    state.control.cancel_backfill(id).await?;
    tracing::info!(id = id.0, "a backfill was cancelled");
    Ok(json_response(StatusCode::OK, &json!({ "id": id.0, "state": BackfillState::Cancelled.as_str() })))
}

fn number(text: &str) -> Result<BackfillId, ApiError> {
    text.parse()
        .map(BackfillId)
        .map_err(|_| ApiError::not_found(format!("{text:?} is no number of a backfill")).hint("GET /api/v1/backfill lists them"))
}

fn unknown(id: BackfillId) -> ApiError {
    ApiError::not_found(format!("there is no backfill {}", id.0)).hint("GET /api/v1/backfill lists those that are remembered")
}

/// Every backfill as JSON, the newest first.
pub(crate) fn reports(status: &Status, now: WallTime) -> Vec<Value> {
    status.backfills.iter().rev().map(|(id, backfill)| report(*id, backfill, now)).collect()
}

/// One backfill as JSON. Rate and time left are those of a running one.
fn report(id: BackfillId, backfill: &BackfillStatus, now: WallTime) -> Value {
    let share = share(backfill);
    let running = backfill.state == BackfillState::Running;
    let elapsed_s = (now.0.saturating_sub(backfill.started_at.0)).max(0) as f64 / 1000.0;
    let rate = (running && elapsed_s > 0.0).then(|| backfill.rows_read as f64 / elapsed_s);
    let left = (running && share > 0.0).then(|| elapsed_s * (1.0 - share) / share);
    json!({
        "id": id.0,
        "view": backfill.range.view.as_str(),
        "from": backfill.range.from.to_string(),
        "to": backfill.range.to.to_string(),
        "state": backfill.state.as_str(),
        "percent": share * 100.0,
        "done_until": backfill.done_until.to_string(),
        "rows_read": backfill.rows_read,
        "rows_written": backfill.rows_written,
        "rows_per_s": rate,
        "left_s": left,
        "started_at": EventTime(backfill.started_at.0).to_string(),
        "error": backfill.error,
    })
}

/// How much of the range is done, 0 to 1.
fn share(backfill: &BackfillStatus) -> f64 {
    if backfill.state == BackfillState::Done {
        return 1.0;
    }
    let BackfillRange { from, to, .. } = backfill.range;
    let whole = to.0.saturating_sub(from.0).max(1) as f64;
    (backfill.done_until.0.saturating_sub(from.0) as f64 / whole).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests;
