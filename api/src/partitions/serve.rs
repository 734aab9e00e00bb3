//! What a process answers the owner of the views about a partition that it works: the order is taken, what the partition says goes back. Only processes
//! of the deployment are heard: an order makes panes final.

use super::PARTITIONS_PATH;
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;
use afferent_engine::parts::Question;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use axum::routing::post;
use std::time::Duration;

/// Bytes that are read of an order: the targets of all partitions stand in it.
const ORDER_BYTES_MAX: usize = 256 << 20;

/// How long it may take to arrive.
const ORDER_WAIT: Duration = Duration::from_secs(5);

/// The endpoint, with its full path.
pub(crate) fn router(state: AppState) -> Router {
    let path = format!("{PARTITIONS_PATH}/{{partition}}");
    Router::new().route(&path, post(ask)).with_state(state)
}

async fn ask(State(state): State<AppState>, Path(partition): Path<u32>, request: Request) -> ApiResult {
    // Before anything is read of it.
    if !state.replica.roster.knows(request.headers()) {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "only processes of the same deployment are heard here"));
    }
    let body = tokio::time::timeout(ORDER_WAIT, to_bytes(request.into_body(), ORDER_BYTES_MAX)).await;
    let body = body.map_err(|_| ApiError::invalid("the order did not arrive in time"))?;
    let body = body.map_err(|e| ApiError::invalid(format!("the order cannot be read: {e}")))?;
    let elsewhere = || ApiError::unavailable(format!("this process does not work partition {partition}, or not yet"));
    let host = state.partitions.get(partition).ok_or_else(elsewhere)?;
    let question = Question::decode(&body, host.orders.newest().as_ref())?;
    host.orders.put(question.order.clone());
    let view = host.live.view();
    let parts = view.parts.clone().filter(|_| view.status.recovered).ok_or_else(elsewhere)?;
    let encoded = tokio::task::spawn_blocking(move || parts.encode(&question)).await;
    let encoded = encoded.map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))??;
    let mut response = Response::new(Body::from(encoded));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}
