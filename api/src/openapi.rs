//! `/openapi.json`: the description of every endpoint, kept by hand in `openapi.json`, and the lists that follow from it.

use crate::error::ApiResult;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response};
use serde_json::Value;
use std::fmt::Write as _;
use std::sync::LazyLock;

const TEXT: &str = include_str!("openapi.json");

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document: Value = serde_json::from_str(TEXT).unwrap_or_default();
    if let Some(version) = document.pointer_mut("/info/version") {
        *version = env!("CARGO_PKG_VERSION").into();
    }
    document
});

/// Answers with the description.
///
/// # Errors
/// None.
pub async fn document() -> ApiResult {
    let mut response = Response::new(Body::from(DOCUMENT.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = DOCUMENT.get("paths").and_then(Value::as_object).into_iter().flatten();
    paths.flat_map(|(path, methods)| {
        methods.as_object().into_iter().flatten().map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

/// Every path, as templates.
pub fn paths() -> Vec<String> {
    let mut paths: Vec<String> = operations().map(|(path, _, _)| path.to_owned()).collect();
    paths.dedup();
    paths
}

/// The methods of a path, in capitals.
pub fn methods(path: &str) -> Vec<String> {
    operations().filter(|(known, _, _)| *known == path).map(|(_, method, _)| method.to_uppercase()).collect()
}

/// A page of plain text for whoever opens the address in a browser.
pub fn landing_text() -> String {
    let mut out = format!("afferent {}\n\n", env!("CARGO_PKG_VERSION"));
    for (path, method, operation) in operations() {
        let summary = operation.get("summary").and_then(Value::as_str).unwrap_or_default();
        writeln!(out, "{:<5}{path:<38}{summary}", method.to_uppercase()).unwrap_or_default();
    }
    out.push_str(
        "\nTry: curl --data-binary 'SELECT metric, count(*) FROM samples GROUP BY metric' -H 'Content-Type: text/plain' ADDRESS/api/v1/sql\n",
    );
    out
}

#[cfg(test)]
mod tests;
