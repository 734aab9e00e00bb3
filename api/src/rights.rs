//! Who may define views and start backfills: whoever has the token or, where none is configured, whoever asks from this machine. Not who reads or writes.

use crate::error::ApiError;
use afferent_ingest::config::Secret;
use axum::extract::ConnectInfo;
use axum::http::header::{AUTHORIZATION, FORWARDED, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use std::net::SocketAddr;

/// What proxies add to a request that they pass on.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Lets the request through, or not.
///
/// # Errors
/// 403 with a sentence that says what is missing.
pub fn may_define(parts: &Parts, token: Option<&Secret>) -> Result<(), ApiError> {
    match token {
        Some(token) => with_token(parts, token),
        None => from_this_machine(parts),
    }
}

fn refused(message: &str, hint: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, message).hint(hint)
}

fn with_token(parts: &Parts, token: &Secret) -> Result<(), ApiError> {
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = header.and_then(|h| h.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match given {
        Some((_, given)) if token.matches(given.trim()) => Ok(()),
        Some(_) => Err(refused("the bearer token is not server.view_token", "views are defined with the token that stands in the configuration")),
        None => Err(refused(
            "views are defined, and backfills started, with a bearer token; the request carries none",
            "send the header `Authorization: Bearer TOKEN` with server.view_token, or use `afferent sql --token TOKEN`",
        )),
    }
}

/// A proxy on this machine, and a web page in its browser, speak for somebody else.
fn from_this_machine(parts: &Parts) -> Result<(), ApiError> {
    const HINT: &str = "set server.view_token in the configuration and send it as a bearer token";
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
    if !peer.is_some_and(|ip| ip.is_loopback()) {
        return Err(refused("without server.view_token only requests from the server's own machine may define views or start backfills", HINT));
    }
    if [FORWARDED, FORWARDED_FOR].iter().any(|name| parts.headers.contains_key(name)) {
        return Err(refused("a request that a proxy passed on may not define views or start backfills without a token", HINT));
    }
    if parts.headers.contains_key(ORIGIN) {
        return Err(refused("a web page may not define views or start backfills without a token", HINT));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
