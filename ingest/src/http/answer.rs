//! How an error is said over HTTP: the one place that maps errors to status codes.

use crate::error::Error;
use afferent_engine::error::ErrorKind;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};

/// When a sender that was told to come back should do so.
const RETRY_AFTER_S: &str = "5";

/// The status of an error. Senders of remote write retry 5xx and drop on 4xx, so only what may be retried whole is 5xx.
pub(super) fn status(error: &Error) -> StatusCode {
    match error {
        Error::ContentType { .. } | Error::ContentEncoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Error::Unauthorized(_) => StatusCode::UNAUTHORIZED,
        other => match other.kind() {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            // Another writer owns the log: the sender's next try finds that one.
            ErrorKind::Unavailable | ErrorKind::Conflict => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

/// `{"error":{"kind","message","hint"}}` with its status.
pub(super) fn refusal(error: &Error) -> Response<Body> {
    let status = status(error);
    let body = serde_json::json!({
        "error": { "kind": error.kind().as_str(), "message": error.to_string(), "hint": error.hint() },
    });
    let mut response = json(status, &body);
    match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        StatusCode::UNAUTHORIZED => {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    if matches!(status, StatusCode::INTERNAL_SERVER_ERROR) {
        tracing::error!(error = %error, "a request failed for a reason of ours");
    }
    response
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
