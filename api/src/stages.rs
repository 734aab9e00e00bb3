//! Stages of statements between processes, over HTTP: the two endpoints, and the connections to those of others. Not what is said (queries), nor who
//! the others are (roster).

use crate::error::{ApiError, ApiResult};
use crate::roster::{KEY, Key, Roster};
use crate::state::AppState;
use afferent_queries::session::stages::{Neighbours, PLAN_PATH, Parts, QUESTION_BYTES_MAX, RUN_PATH, Scans, Wire};
use afferent_storage::object_store::Store;
use afferent_storage::table::foreign::ForeignScans;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use axum::routing::post;
use datafusion::error::Result as PlanResult;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use url::Url;

/// How long a connection may take to be made.
const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// How often it is made sure that the other end is alive, and how long it may take to say so.
const ALIVE_EVERY: Duration = Duration::from_secs(2);
const ALIVE_WAIT: Duration = Duration::from_secs(3);

/// Bytes of one answer that may lie unread.
const UNREAD_BYTES_MAX: u32 = 1 << 20;

/// Of all answers of one connection: so many that none of them ever waits for another to be read, which could wait for it.
const CONNECTION_UNREAD_BYTES_MAX: u32 = 1 << 30;

/// How long a question may take to arrive.
const QUESTION_WAIT: Duration = Duration::from_secs(30);

/// The endpoints, with their full paths.
pub fn router(state: AppState) -> Router {
    Router::new().route(PLAN_PATH, post(plan)).route(RUN_PATH, post(run)).with_state(state)
}

async fn plan(State(state): State<AppState>, request: Request) -> ApiResult {
    may_ask(&state, &request)?;
    answer(state.sql.take_stage(read(request).await?).await)
}

async fn run(State(state): State<AppState>, request: Request) -> ApiResult {
    may_ask(&state, &request)?;
    answer(state.sql.run_stage(read(request).await?).await)
}

/// Processes of the same deployment.
fn may_ask(state: &AppState, request: &Request) -> Result<(), ApiError> {
    if state.replica.roster.knows(request.headers()) {
        return Ok(());
    }
    Err(ApiError::new(StatusCode::FORBIDDEN, "stages are run for processes of the same deployment only"))
}

async fn read(request: Request) -> Result<Bytes, ApiError> {
    let read = tokio::time::timeout(QUESTION_WAIT, to_bytes(request.into_body(), QUESTION_BYTES_MAX)).await;
    let read = read.map_err(|_| ApiError::invalid("the question did not arrive in time"))?;
    read.map_err(|e| ApiError::invalid(format!("the question cannot be read: {e}")))
}

fn answer(parts: Option<Parts>) -> ApiResult {
    let parts = parts.ok_or_else(|| ApiError::unavailable("this process runs no stages for others"))?;
    let mut response = Response::new(Body::from_stream(parts.map(Ok::<_, Infallible>)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

/// The other processes, as the engine of stages sees them.
pub fn neighbours(own: Url, key: Key, roster: Arc<Roster>, store: Store) -> Neighbours {
    Neighbours {
        own,
        others: Arc::new(move || roster.others(Instant::now())),
        wire: Arc::new(move || Arc::new(Connections::new(key.header()))),
        scans: Arc::new(StoreScans(ForeignScans::new(store))),
    }
}

struct StoreScans(ForeignScans);

impl Scans for StoreScans {
    fn register(&self, runtime: &RuntimeEnv) {
        self.0.register(runtime);
    }

    fn adopt(&self, scan: &Arc<dyn ExecutionPlan>, runtime: &RuntimeEnv) -> PlanResult<Arc<dyn ExecutionPlan>> {
        self.0.adopt(scan, runtime)
    }
}

/// Connections of one statement, one to each process.
struct Connections {
    client: Client<HttpConnector, Full<Bytes>>,
    key: HeaderValue,
}

impl Connections {
    fn new(key: HeaderValue) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_WAIT));
        let client = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(Some(ALIVE_EVERY))
            .http2_keep_alive_timeout(ALIVE_WAIT)
            .http2_initial_stream_window_size(UNREAD_BYTES_MAX)
            .http2_initial_connection_window_size(CONNECTION_UNREAD_BYTES_MAX)
            .build(connector);
        Self { client, key }
    }
}

impl Wire for Connections {
    fn post(&self, to: &Url, path: &'static str, body: Bytes) -> BoxFuture<'static, io::Result<BoxStream<'static, io::Result<Bytes>>>> {
        let mut to = to.clone();
        to.set_path(path);
        let request = axum::http::Request::post(to.as_str()).header(CONTENT_TYPE, "application/octet-stream");
        let request = request.header(KEY, self.key.clone()).body(Full::new(body));
        let client = self.client.clone();
        let answered = async move {
            let response = client.request(request.map_err(io::Error::other)?).await.map_err(io::Error::other)?;
            if !response.status().is_success() {
                return Err(io::Error::other(response.status().to_string()));
            }
            Ok(response.into_body().into_data_stream().map_err(io::Error::other).boxed())
        };
        answered.boxed()
    }
}
