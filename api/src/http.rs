//! The HTTP server: which path goes where, and what every request has in common (id, metrics, limits, the shape of errors). Not the answers themselves.

mod listener;

use crate::config::{Roles, ServerConfig};
use crate::error::ApiError;
use crate::metrics::Metric;
use crate::nearest::ranked;
use crate::replica::{Missing, Reading, serve as replicas};
use crate::state::AppState;
use crate::{backfill, cards, openapi, ops, partitions, sql, stages, stats, status};
use afferent_engine::live::ReadView;
use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{any, get};
use axum::serve::ListenerExt as _;
use futures::FutureExt as _;
use listener::LimitedListener;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Names a request in answers and logs; a sender's own value is kept.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is taken over.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// Every path of the server. `ingest` brings the receivers' paths.
pub fn router(state: AppState, ingest: Router) -> Router {
    let request_max = state.config.server.request_max;
    let operations = Router::new()
        .route("/", get(ops::landing))
        .route("/healthz", get(ops::healthz))
        .route("/readyz", get(ops::readyz))
        .route("/metrics", get(ops::metrics))
        .route("/openapi.json", get(openapi::document))
        .with_state(state.clone())
        .merge(ingest)
        .merge(replicas::router(state.clone()))
        .merge(partitions::serve::router(state.clone()));
    // Freshness is told while the log is replayed, too.
    let fresh = Router::new().route("/api/v1/freshness", get(status::freshness)).with_state(state.clone());
    let fresh = fresh.layer(from_fn_with_state(state.clone(), told_elsewhere));
    let shown = shown(state.clone()).layer(from_fn_with_state(state.clone(), whole)).layer(from_fn_with_state(state.clone(), recovered));
    let shown = shown.layer(from_fn_with_state(state.clone(), shown_elsewhere)).layer(from_fn_with_state(state.config.server.roles, shows));
    let answers = backfill::router(state.clone()).layer(from_fn_with_state(state.clone(), recovered));
    let answers = answers.layer(from_fn_with_state(state.clone(), works)).merge(fresh).merge(shown);
    // Statements have a time limit of their own, which may be longer.
    let statements = Router::new().route("/api/v1/sql", get(sql::get).post(sql::post)).with_state(state.clone());
    let statements = statements.layer(from_fn_with_state(state.clone(), recovered_or_waits)).merge(stages::router(state));
    let timed = operations.merge(answers).layer(from_fn_with_state(request_max, within_time));
    timed.merge(statements).fallback(not_found).layer(from_fn(every_request))
}

/// In place of the receivers, where a process takes nothing in: senders keep what they have and find another door.
pub fn no_receivers() -> Router {
    async fn refused() -> ApiError {
        let error = ApiError::unavailable("this process takes no records in: server.roles is without intake");
        error.hint("send to a process whose server.roles has intake; nothing is lost meanwhile")
    }
    Router::new().route("/api/v1/write", any(refused)).route("/api/v1/webhooks/{name}", any(refused))
}

/// What is shown of one state of all tables: cards and statistics.
fn shown(state: AppState) -> Router {
    cards::router(state.clone()).merge(stats::router(state))
}

/// Serves until `stop` is cancelled, then finishes what is in flight for up to `stop_wait`.
///
/// # Errors
/// Where the socket fails.
pub async fn serve(listener: TcpListener, router: Router, config: &ServerConfig, stop: CancellationToken) -> io::Result<()> {
    // `tap_io` changes nothing here, but it is the adapter through which handlers learn the peer's address.
    let listener = LimitedListener::new(listener, config.connections_max, config.connection_idle).tap_io(|_| ());
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    let patience = async {
        stop.cancelled().await;
        tokio::time::sleep(config.stop_wait).await;
    };
    tokio::select! {
        served = server.into_future() => served,
        () = patience => {
            tracing::warn!(wait_s = config.stop_wait.as_secs(), "requests still in flight are given up");
            Ok(())
        }
    }
}

async fn within_time(State(limit): State<Duration>, request: Request, next: Next) -> Response<Body> {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::unavailable(format!("the request took longer than server.request_s_max = {} s", limit.as_secs())).into_response(),
    }
}

/// Before the replay has caught up, an answer would silently miss rows: there is none.
async fn recovered(State(state): State<AppState>, request: Request, next: Next) -> Response<Body> {
    if state.live.view().status.recovered {
        return next.run(request).await;
    }
    let error = ApiError::unavailable("recovering: replaying what the last checkpoint does not hold");
    error.hint("GET /readyz says when it is done; writes are taken meanwhile").into_response()
}

/// Cards and statistics are of all partitions or not there: nobody could tell how much a part is off. Where only the last seconds may be missing, they
/// are there, and say so.
async fn whole(State(state): State<AppState>, request: Request, next: Next) -> Response<Body> {
    let status = state.live.view().status.clone();
    if let Some(missing) = status.missing.first() {
        return lacks(missing.clone()).into_response();
    }
    let unread = status.unread(Instant::now());
    let mut answer = next.run(request).await;
    if let Some(unread) = unread.filter(|_| answer.status().is_success()) {
        sql::mark_partial(&mut answer, &unread);
    }
    answer
}

fn lacks(missing: String) -> ApiError {
    ApiError::unavailable(missing).hint("SQL answers from what there is, and says so")
}

/// Who waits for the log has its rows from elsewhere.
async fn recovered_or_waits(State(state): State<AppState>, request: Request, next: Next) -> Response<Body> {
    if state.standby.waits() { next.run(request).await } else { recovered(State(state), request, next).await }
}

/// Who answers no readers says so.
async fn shows(State(roles): State<Roles>, request: Request, next: Next) -> Response<Body> {
    if roles.query { next.run(request).await } else { no_readers().into_response() }
}

/// The answer of a process that has no readers.
pub(crate) fn no_readers() -> ApiError {
    let error = ApiError::unavailable("this process answers no readers: server.roles is without query");
    error.hint("ask a process whose server.roles has query")
}

/// Who waits for the log shows what the process that works has, files from the store and the rest from its memory. Never without what is in
/// its memory: nobody could tell how much a card is off.
async fn shown_elsewhere(State(state): State<AppState>, request: Request, next: Next) -> Response<Body> {
    if !state.standby.waits() {
        return next.run(request).await;
    }
    let (works_at, uri) = (state.standby.works_at(), request.uri().clone());
    if let Some(Reading::Whole(whole)) = state.replica.read(works_at.as_deref()).await {
        let over = state.over(Arc::clone(&whole.view));
        let shown = shown(over.clone()).layer(from_fn_with_state(over, self::whole));
        let Ok(answer) = shown.oneshot(request).await;
        if !whole.has_failed() && !whole.is_too_large() && whole.view.status.missing.is_empty() {
            return answer;
        }
    }
    elsewhere(&state, &uri)
}

/// Who waits for the log sends readers on to the process that works it.
async fn works(State(state): State<AppState>, request: Request, next: Next) -> Response<Body> {
    if state.standby.waits() { elsewhere(&state, request.uri()) } else { next.run(request).await }
}

/// The same; while that one does not answer, what was last told of it is told here.
async fn told_elsewhere(State(state): State<AppState>, request: Request, next: Next) -> Response<Body> {
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    match silent(&state).filter(|_| is_read) {
        Some((view, missing)) => status::told_last(&state, &view.status, &missing),
        None => works(State(state), request, next).await,
    }
}

/// What was told last by the process that works, where this one waits and that one does not answer.
fn silent(state: &AppState) -> Option<(Arc<ReadView>, Missing)> {
    state.standby.works_at().and_then(|works_at| state.replica.silent(&works_at))
}

/// Sends a reader, method and body included, to the process that works; not to one that is known not to answer.
pub(crate) fn elsewhere(state: &AppState, uri: &Uri) -> Response<Body> {
    if let Some((_, missing)) = silent(state) {
        return lacks(missing.to_string()).into_response();
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let works_at = state.standby.works_at();
    let location = works_at.and_then(|address| HeaderValue::try_from(format!("{}{path}", address.trim_end_matches('/'))).ok());
    let Some(location) = location else {
        let error = ApiError::unavailable("this process waits for its turn, and the one that works is not known");
        return error.hint("try again in some seconds; server.advertise names a process to the others").into_response();
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    response
}

async fn not_found(method: Method, uri: Uri) -> ApiError {
    let paths = openapi::paths();
    let near = ranked(uri.path(), paths.iter().map(String::as_str));
    let error = ApiError::not_found(format!("there is nothing at {method} {}", uri.path()));
    error.hint(if near.is_empty() { "GET /openapi.json lists every path".to_owned() } else { format!("did you mean {}?", near.join(" or ")) })
}

/// Gives the request an id, counts it, turns a panic into a 500, and gives bare errors of the router the common shape.
async fn every_request(request: Request, next: Next) -> Response<Body> {
    let started = Instant::now();
    let id = request_id(&request);
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    metrics::counter!(Metric::RequestsIn.name()).increment(1);
    let in_flight = InFlight::begin();
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    drop(in_flight);
    let mut response = match answered {
        Ok(response) => common_shape(&method, &path, response),
        Err(_) => {
            tracing::error!(request_id = ?id, %method, path, "a handler panicked");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the handler failed; this is a bug of ours").into_response()
        }
    };
    response.headers_mut().entry(REQUEST_ID).or_insert(id);
    count(&path, &method, response.status(), started.elapsed());
    tracing::debug!(%method, path, status = response.status().as_u16(), elapsed_ms = started.elapsed().as_millis() as u64, "request");
    response
}

fn count(path: &str, method: &Method, status: StatusCode, elapsed: Duration) {
    let (path, status_text) = (path.to_owned(), status.as_str().to_owned());
    // Methods are an open set that senders choose from; only the usual ones become labels.
    let known = [Method::GET, Method::POST, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE];
    let method = if known.contains(method) { method.to_string() } else { "other".to_owned() };
    if status.is_client_error() || status.is_server_error() {
        metrics::counter!(Metric::RequestsRejected.name(), "path" => path.clone(), "reason" => status_text.clone()).increment(1);
    }
    metrics::histogram!(Metric::RequestSeconds.name(), "path" => path.clone()).record(elapsed.as_secs_f64());
    metrics::counter!(Metric::RequestsOut.name(), "path" => path, "method" => method, "status" => status_text).increment(1);
}

/// Counts a request as in flight until it is dropped, also when the client goes away.
struct InFlight;

impl InFlight {
    fn begin() -> Self {
        metrics::gauge!(Metric::RequestsInFlight.name()).increment(1.0);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::gauge!(Metric::RequestsInFlight.name()).decrement(1.0);
    }
}

/// The router answers 405 with an empty body; here it gets one. (The header Allow is added further out.)
fn common_shape(method: &Method, path: &str, response: Response<Body>) -> Response<Body> {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED || response.headers().contains_key(CONTENT_TYPE) {
        return response;
    }
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not possible at {path}"));
    error.hint(format!("possible here: {}", openapi::methods(path).join(", "))).into_response()
}

fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID).filter(|id| {
        let bytes = id.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(|| {
        static FIRST: LazyLock<u64> = LazyLock::new(|| std::hash::RandomState::new().build_hasher().finish());
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = FIRST.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        HeaderValue::from_str(&format!("{id:016x}")).unwrap_or(HeaderValue::from_static("0"))
    })
}

#[cfg(test)]
pub(crate) mod tests;
