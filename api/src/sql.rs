//! `GET` and `POST /api/v1/sql`: takes a statement in any of its three forms and answers in the form asked for. Not the running of it (queries, views).

mod body;
mod cell;
mod encode;
pub mod format;

use crate::error::{ApiError, ApiResult};
use crate::http::{elsewhere, no_readers};
use crate::metrics::Metric;
use crate::nearest::nearest;
use crate::replica::{Missing, Reading};
use crate::state::AppState;
use crate::views;
use afferent_engine::error::ErrorKind;
use afferent_engine::status::Status;
use afferent_queries::error::Error;
use afferent_queries::session::Answer;
use afferent_queries::statement::view_statement;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, Uri};
use body::Rows;
use format::Format;
use futures::StreamExt as _;
use futures::future::ready;
use futures::stream;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of a request body: a statement and its JSON dress.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Bytes that are read of a body that is too large.
const DROPPED_BYTES_MAX: usize = 16 << 20;

/// How long a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// Event time up to which metrics are complete.
const WATERMARK: HeaderName = HeaderName::from_static("x-afferent-watermark");

/// The newest published epoch.
const EPOCH: HeaderName = HeaderName::from_static("x-afferent-epoch");

/// What an answer lacks, and why.
const PARTIAL: HeaderName = HeaderName::from_static("x-afferent-partial");

/// How long it takes at most until readers are shown what there is without the partitions of a process that went away, and how often that is waited for.
const PARTITION_GONE_WAIT: Duration = Duration::from_millis(500);
const PARTITION_GONE_TRIES: usize = 3;

/// Parameters of the path.
const PARAMETERS: [&str; 2] = ["query", "format"];

/// What a request asks.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    query: Option<String>,
    format: Option<String>,
}

/// Answers `?query=`.
///
/// # Errors
/// 400 for a wrong statement, 406 for an unknown form, 408, 413 and 429 for limits, 503 while the store is away.
pub async fn get(State(state): State<AppState>, request: Request) -> ApiResult {
    let started = Instant::now();
    let (head, _) = request.into_parts();
    let question = parameters(&head.uri)?;
    answer(&state, question, &head, started).await
}

/// Answers a statement in the body or in `?query=`.
///
/// # Errors
/// As [`get`], and 415 for an unknown content type.
pub async fn post(State(state): State<AppState>, request: Request) -> ApiResult {
    let started = Instant::now();
    let (head, body) = request.into_parts();
    let mut question = parameters(&head.uri)?;
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let text = read(body).await?;
    if !text.trim().is_empty() {
        let asked = in_body(&content_type, text)?;
        if question.query.is_some() && asked.query.is_some() {
            return Err(ApiError::invalid("two statements: one in the body and one in ?query="));
        }
        question = Question { query: asked.query.or(question.query), format: question.format.or(asked.format) };
    }
    answer(&state, question, &head, started).await
}

async fn read(body: Body) -> Result<String, ApiError> {
    let bytes = tokio::time::timeout(BODY_WAIT, gather(body)).await.map_err(|_| {
        let message = format!("the statement did not arrive within {} s", BODY_WAIT.as_secs());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, message)
    })??;
    String::from_utf8(bytes).map_err(|e| ApiError::invalid(format!("the statement is not UTF-8 at byte {}", e.utf8_error().valid_up_to())))
}

/// The body's bytes. What is too large is read on for a while and dropped, because a client that still writes would not see the answer.
async fn gather(body: Body) -> Result<Vec<u8>, ApiError> {
    let (mut bytes, mut seen) = (Vec::new(), 0);
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|e| ApiError::invalid(format!("the body broke off: {e}")))?;
        seen += part.len();
        if seen <= BODY_BYTES_MAX {
            bytes.extend_from_slice(&part);
        } else if seen > DROPPED_BYTES_MAX {
            break;
        }
    }
    if seen > BODY_BYTES_MAX {
        let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {BODY_BYTES_MAX} bytes"));
        return Err(error.hint("a statement this long is generated: read its values from a table instead"));
    }
    Ok(bytes)
}

fn parameters(uri: &Uri) -> Result<Question, ApiError> {
    let Query(pairs) =
        Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|e| ApiError::invalid(format!("the parameters cannot be read: {e}")))?;
    let mut question = Question::default();
    for (name, value) in pairs {
        let slot = match name.as_str() {
            "query" => &mut question.query,
            "format" => &mut question.format,
            _ => {
                let hint = nearest(&name, PARAMETERS).map_or("parameters: query, format".to_owned(), |near| format!("did you mean {near}?"));
                return Err(ApiError::invalid(format!("unknown parameter {name:?}")).hint(hint));
            }
        };
        if slot.replace(value).is_some() {
            return Err(ApiError::invalid(format!("the parameter {name} stands twice")));
        }
    }
    Ok(question)
}

fn in_body(content_type: &str, text: String) -> Result<Question, ApiError> {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "" | "text/plain" | "application/sql" => Ok(Question { query: Some(text), format: None }),
        "application/json" => serde_json::from_str(&text).map_err(|e| {
            ApiError::invalid(format!("the body is not {{\"query\": ...}}: {e}")).hint("send JSON as above, or the statement as text/plain")
        }),
        // What curl -d says of any text; a form has its statement in `query`.
        "application/x-www-form-urlencoded" if text.starts_with("query=") => {
            let form = text.replace(['\r', '\n'], "%0A");
            let uri =
                format!("/?{form}").parse().map_err(|_| ApiError::invalid("the form cannot be read").hint("send the statement as text/plain"))?;
            parameters(&uri)
        }
        "application/x-www-form-urlencoded" => Ok(Question { query: Some(text), format: None }),
        other => {
            let error = ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("a body of type {other:?} is not read here"));
            Err(error.hint("text/plain, application/json or application/x-www-form-urlencoded"))
        }
    }
}

async fn answer(state: &AppState, question: Question, head: &Parts, started: Instant) -> ApiResult {
    let accept = head.headers.get(ACCEPT).and_then(|v| v.to_str().ok());
    let format = Format::choose(question.format.as_deref(), accept)?;
    let statement = question.query.filter(|q| !q.trim().is_empty()).ok_or_else(|| {
        ApiError::invalid("no statement").hint("POST it as text/plain, as JSON {\"query\": \"SELECT ...\"}, or as ?query=SELECT%20...")
    })?;
    let view_statement = view_statement(&statement)?;
    if view_statement.is_none() && !state.config.server.roles.query {
        return Err(no_readers());
    }
    if state.standby.waits() {
        return match view_statement {
            Some(_) => Ok(elsewhere(state, &head.uri)),
            None => answer_waiting(state, &statement, head, format, started).await,
        };
    }
    match view_statement {
        Some(statement) => {
            let rows = views::answer(state, head, statement).await?;
            let status = Status::clone(&state.live.view().status);
            let rows = Rows { schema: rows.schema(), batches: stream::once(ready(Ok(rows))).boxed(), stats: stats(&status), started };
            respond(rows, &status, format).await
        }
        None => respond_with(asked(state, &statement).await?, None, format, started).await,
    }
}

/// Runs a statement. Where rows lie in the memory of another process that goes away meanwhile, again without them.
async fn asked(state: &AppState, statement: &str) -> Result<Answer, ApiError> {
    let has_partitions = !state.live.view().status.partitions.is_empty();
    for _ in 0..PARTITION_GONE_TRIES {
        match state.sql.query(statement).await {
            Err(error @ Error::Execution(_)) if error.kind() == ErrorKind::Unavailable && has_partitions => {
                tracing::debug!(%error, "rows of a partition could not be had; the statement is run again");
                tokio::time::sleep(PARTITION_GONE_WAIT).await;
            }
            answer => return Ok(answer?),
        }
    }
    Ok(state.sql.query(statement).await?)
}

/// Answers from the files of the store and from what the process that works has in memory; without that one, in part.
async fn answer_waiting(state: &AppState, statement: &str, head: &Parts, format: Format, started: Instant) -> ApiResult {
    let works_at = state.standby.works_at();
    for last in [false, true] {
        match state.replica.read(works_at.as_deref()).await {
            None => break,
            Some(Reading::Part(view, missing)) => {
                let answer = state.over(view).sql.query(statement).await?;
                return respond_with(answer, Some(missing), format, started).await;
            }
            Some(Reading::Whole(whole)) => match state.over(Arc::clone(&whole.view)).sql.query(statement).await {
                Ok(answer) => return respond_with(answer, None, format, started).await,
                Err(_) if whole.is_too_large() => break,
                // It went away meanwhile, or did not keep the state: once more from the start.
                Err(_) if whole.has_failed() && !last => {}
                Err(error) => return Err(error.into()),
            },
        }
    }
    Ok(elsewhere(state, &head.uri))
}

async fn respond_with(answer: Answer, missing: Option<Missing>, format: Format, started: Instant) -> ApiResult {
    let (schema, status) = (answer.schema(), answer.status().clone());
    let missing: Vec<String> = missing.iter().map(Missing::to_string).chain(status.lacks(started)).collect();
    let missing = Some(missing.join("; ")).filter(|missing| !missing.is_empty());
    let mut stats = stats(&status);
    if answer.processes() > 1 {
        stats.insert("processes".to_owned(), json!(answer.processes()));
    }
    if let Some(missing) = &missing {
        stats.insert("partial".to_owned(), json!(missing));
    }
    let batches = answer.map(|batch| batch.map_err(ApiError::from)).boxed();
    let mut response = respond(Rows { schema, batches, stats, started }, &status, format).await?;
    if let Some(missing) = missing {
        mark_partial(&mut response, &missing);
    }
    Ok(response)
}

/// Says in an answer's header what it lacks, or may lack.
pub(crate) fn mark_partial(response: &mut Response<Body>, missing: &str) {
    metrics::counter!(Metric::PartialAnswers.name()).increment(1);
    if let Ok(missing) = HeaderValue::try_from(missing) {
        response.headers_mut().insert(PARTIAL, missing);
    }
}

async fn respond(rows: Rows, status: &Status, format: Format) -> ApiResult {
    let mut response = body::respond(rows, format).await?;
    if let Some(watermark) = status.watermark.and_then(|w| HeaderValue::from_str(&w.to_string()).ok()) {
        response.headers_mut().insert(WATERMARK, watermark);
    }
    response.headers_mut().insert(EPOCH, HeaderValue::from(status.epoch));
    Ok(response)
}

/// What the answer stands on.
fn stats(status: &Status) -> serde_json::Map<String, serde_json::Value> {
    let time = |at: Option<afferent_engine::time::EventTime>| at.map(|at| at.to_string());
    let entries = [("watermark", json!(time(status.watermark))), ("as_of", json!(time(status.as_of))), ("epoch", json!(status.epoch))];
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests;
