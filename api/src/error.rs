//! Errors as HTTP answers: `{"error":{"kind","message","hint"}}` with the right status, in this one file.

use afferent_engine::error::{Error, ErrorKind};
use afferent_queries::error::Error as QueryError;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::json;
use std::error::Error as _;

/// Seconds after which a refused caller may try again.
const RETRY_AFTER_S: u64 = 1;

/// What a handler answers instead of a result.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The status line.
    pub status: StatusCode,
    /// What the caller should do.
    pub kind: ErrorKind,
    /// What is wrong and where.
    pub message: String,
    /// What would be right, where that is known.
    pub hint: Option<String>,
}

/// The result of every handler.
pub type ApiResult<T = Response<Body>> = Result<T, ApiError>;

impl ApiError {
    /// An error of a status; its kind follows from it.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let kind = match status {
            StatusCode::CONFLICT => ErrorKind::Conflict,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => ErrorKind::Unavailable,
            status if status.is_server_error() => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        };
        Self { status, kind, message: message.into(), hint: None }
    }

    /// 400.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 503 with Retry-After.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The body's value of the key `error`.
    pub fn to_json(&self) -> serde_json::Value {
        json!({ "kind": self.kind.as_str(), "message": self.message, "hint": self.hint })
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() && error.kind() != ErrorKind::Unavailable {
            tracing::error!(kind = %error.kind(), cause = error.source().map(tracing::field::display), "{error}");
        }
        Self { status, kind: error.kind(), message: error.to_string(), hint: None }
    }
}

/// The status of a limit is its own; everything else follows from the kind.
impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match &error {
            QueryError::Limit { limit, .. } => {
                let status = if *limit == "seconds_max" { StatusCode::REQUEST_TIMEOUT } else { StatusCode::PAYLOAD_TOO_LARGE };
                Self::new(status, error.to_string())
            }
            QueryError::Busy { .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, error.to_string()),
            QueryError::Statement(_) => Self::invalid(error.to_string()).hint("SHOW TABLES lists the relations, DESCRIBE name their columns"),
            _ => Error::from(error).into(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let mut response = json_response(self.status, &json!({ "error": self.to_json() }));
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        response
    }
}

/// A JSON answer.
pub fn json_response(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
