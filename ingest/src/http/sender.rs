//! Who sent a request: its user where tokens are configured, and the name under which its data are kept.

use crate::config::Secret;
use crate::error::{Error, Result};
use axum::extract::{ConnectInfo, Query};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// The header by which a sender names itself.
const SOURCE_HEADER: &str = "x-afferent-source";
/// Bytes of a source's name.
const SOURCE_BYTES_MAX: usize = 200;
/// The name of a sender of whom not even the address is known.
const UNKNOWN: &str = "unknown";

#[derive(serde::Deserialize)]
struct SourceParameter {
    source: Option<String>,
}

/// The user a bearer token belongs to; none where no tokens are configured.
pub(super) fn user<'c>(parts: &Parts, tokens: &'c BTreeMap<String, Secret>) -> Result<Option<&'c str>> {
    if tokens.is_empty() {
        return Ok(None);
    }
    let Some(header) = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
        return Err(Error::Unauthorized("the header Authorization with a bearer token is missing"));
    };
    let token = match header.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => return Err(Error::Unauthorized("the header Authorization carries no bearer token")),
    };
    // Every token is compared, so that the duration does not tell which one came close.
    let mut found = None;
    for (user, secret) in tokens {
        if secret.matches(token) {
            found = Some(user.as_str());
        }
    }
    found.map(Some).ok_or(Error::Unauthorized("the bearer token is not known"))
}

/// The source: the user, else what the sender calls itself, else its address.
pub(super) fn source(parts: &Parts, user: Option<&str>) -> Result<Arc<str>> {
    if let Some(user) = user {
        return Ok(user.into());
    }
    if let Some(value) = parts.headers.get(SOURCE_HEADER) {
        let rule = "must be a text of visible ASCII characters";
        return checked("header X-Afferent-Source", value.to_str().map_err(|_| Error::Parameter { what: "header X-Afferent-Source", rule })?);
    }
    if let Some(source) = Query::<SourceParameter>::try_from_uri(&parts.uri).ok().and_then(|Query(parameter)| parameter.source) {
        return checked("parameter source", &source);
    }
    Ok(parts.extensions.get::<ConnectInfo<SocketAddr>>().map_or(UNKNOWN.into(), |info| info.0.ip().to_canonical().to_string().into()))
}

fn checked(what: &'static str, source: &str) -> Result<Arc<str>> {
    let source = source.trim();
    if source.is_empty() || source.len() > SOURCE_BYTES_MAX || source.chars().any(char::is_control) {
        return Err(Error::Parameter { what, rule: "must have 1 to 200 bytes and no control characters" });
    }
    Ok(source.into())
}
