//! What a process answers the owner of the views about a partition that it works: the order is taken, what the partition says goes back. Only processes
//! of the deployment are heard: an order makes panes final.

use super::PARTITIONS_PATH;
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;
use afferent_engine::parts::Question;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::routing::post;

/// Bytes that are read of an order: the targets of all partitions stand in it.
const ORDER_BYTES_MAX: usize = 256 << 20;

/// The endpoint, with its full path.
pub(crate) fn router(state: AppState) -> Router {
    let path = format!("{PARTITIONS_PATH}/{{partition}}");
    Router::new().route(&path, post(ask)).layer(DefaultBodyLimit::max(ORDER_BYTES_MAX)).with_state(state)
}

async fn ask(State(state): State<AppState>, Path(partition): Path<u32>, headers: HeaderMap, body: Bytes) -> ApiResult {
    if !state.replica.roster.knows(&headers) {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "only processes of the same deployment are heard here"));
    }
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
