//! What a process that works tells those that wait: which files and views there are, and rows in its memory. A state that is being read is kept for it.

use super::report::{Asked, Told};
use super::rows::{ROWS_BYTES_MAX, RowsAsked};
use super::{ROWS_PATH, VIEW_PATH};
use crate::error::{ApiError, ApiResult, json_response};
use crate::state::AppState;
use afferent_engine::live::ReadView;
use afferent_engine::state::encode_batches;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::routing::post;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// States kept at once; the oldest makes room.
const READS_MAX: usize = 256;

/// How long a state is kept for a reader who never says that it is over, beyond the longest statement.
const KEPT_BEYOND: Duration = Duration::from_secs(5);

/// The endpoints, with their full paths.
pub fn router(state: AppState) -> Router {
    Router::new().route(VIEW_PATH, post(view)).route(ROWS_PATH, post(rows)).with_state(state)
}

/// States that others read.
#[derive(Default)]
pub struct Reads {
    kept: Mutex<Kept>,
    hasher: RandomState,
}

#[derive(Default)]
struct Kept {
    count: u64,
    reads: VecDeque<(u64, Instant, Arc<ReadView>)>,
}

impl Reads {
    /// Keeps a state for a statement of at most `limit`; forgets those that are over or were forgotten by their readers.
    pub(super) fn keep(&self, view: Arc<ReadView>, over: &[u64], now: Instant, limit: Duration) -> u64 {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.reads.retain(|(read, since, _)| !over.contains(read) && now.duration_since(*since) <= limit + KEPT_BEYOND);
        if kept.reads.len() >= READS_MAX {
            kept.reads.pop_front();
        }
        kept.count += 1;
        // No other life of this process gave the same number.
        let read = self.hasher.hash_one(kept.count);
        kept.reads.push_back((read, now, view));
        read
    }

    pub(super) fn find(&self, read: u64) -> Option<Arc<ReadView>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.reads.iter().find(|(number, ..)| *number == read).map(|(_, _, view)| Arc::clone(view))
    }

    /// Changes when the views or the metrics do, and in every life of this process.
    fn catalog_mark(&self, view: &ReadView) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for (name, info) in &view.views {
            hasher.write(name.as_str().as_bytes());
            hasher.write_u64(info.generation);
            hasher.write(info.table.as_str().as_bytes());
        }
        hasher.write_usize(view.metrics.len());
        hasher.write_usize(view.metrics.values().map(|labels| labels.len()).sum());
        hasher.finish()
    }
}

fn answers(state: &AppState) -> Result<Arc<ReadView>, ApiError> {
    let view = state.live.view();
    if state.standby.waits() || !view.status.recovered {
        return Err(ApiError::unavailable("this process does not work the log, or not yet"));
    }
    Ok(view)
}

/// What the engine of a partition shows.
fn of_partition(state: &AppState, partition: u32) -> Result<Arc<ReadView>, ApiError> {
    let view = state.partitions.get(partition).map(|host| host.live.view()).filter(|view| view.status.recovered);
    view.ok_or_else(|| ApiError::unavailable(format!("this process does not work partition {partition}, or not yet")))
}

async fn view(State(state): State<AppState>, headers: HeaderMap, body: Bytes) -> ApiResult {
    let asked: Asked = read(&body)?;
    let view = match asked.partition {
        None => answers(&state)?,
        Some(partition) => of_partition(&state, partition)?,
    };
    let limit = Duration::from_secs(state.config.sql.seconds_max);
    let mark = state.reads.catalog_mark(&view);
    let read = state.reads.keep(Arc::clone(&view), &asked.over, Instant::now(), limit);
    let (roster, now) = (&state.replica.roster, Instant::now());
    let known = roster.knows(&headers);
    if let Some(place) = asked.from.clone().filter(|_| known) {
        roster.hear(place, now);
    }
    let mut told = Told::of(&view, read, mark, &asked)?;
    if known && state.config.server.roles.query {
        told.places = roster.told(now);
    }
    let told = serde_json::to_value(told).map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    Ok(json_response(StatusCode::OK, &told))
}

/// A question of another process.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|e| ApiError::invalid(format!("the body is no question of another afferent: {e}")))
}

async fn rows(State(state): State<AppState>, body: Bytes) -> ApiResult {
    let asked: RowsAsked = read(&body)?;
    let Some(view) = state.reads.find(asked.read) else {
        answers(&state)?;
        return Err(ApiError::not_found("this state is not kept any more"));
    };
    let Some(live) = view.live.get(&asked.table).cloned() else { return Ok(empty()) };
    let encoded = tokio::task::spawn_blocking(move || -> Result<Option<Bytes>, ApiError> {
        let batches = live.scan(&asked.filter)?;
        if batches.iter().map(|batch| batch.get_array_memory_size()).sum::<usize>() > ROWS_BYTES_MAX {
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("more than {ROWS_BYTES_MAX} bytes of {} are in memory", asked.table)));
        }
        Ok(if batches.is_empty() { None } else { Some(encode_batches(&batches)?) })
    });
    let encoded = encoded.await.map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))??;
    let Some(bytes) = encoded else { return Ok(empty()) };
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/vnd.apache.arrow.stream"));
    Ok(response)
}

fn empty() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
