//! Which remote write a request speaks, from its headers. A request that names neither type nor encoding speaks 1.0, as the oldest senders do.

use crate::error::{Error, Result};
use afferent_engine::log::Format;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};

/// What is read here, for messages.
const TYPES: &str = "remote write is application/x-protobuf (1.0) or application/x-protobuf;proto=io.prometheus.write.v2.Request (2.0)";
const ENCODINGS: &str = "remote write is compressed with snappy";

/// The format of a remote write request.
pub(super) fn format(headers: &HeaderMap) -> Result<Format> {
    let format = match headers.get(CONTENT_TYPE) {
        None => Format::RemoteWriteV1,
        Some(value) => value
            .to_str()
            .ok()
            .and_then(of_type)
            .ok_or_else(|| Error::ContentType { found: String::from_utf8_lossy(value.as_bytes()).into_owned(), known: TYPES })?,
    };
    match headers.get(CONTENT_ENCODING) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"snappy") => {
            Err(Error::ContentEncoding { found: String::from_utf8_lossy(value.as_bytes()).into_owned(), known: ENCODINGS })
        }
        _ => Ok(format),
    }
}

/// Refuses a webhook whose body is not plain.
///
/// # Errors
/// `ContentEncoding`.
pub(super) fn plain(headers: &HeaderMap) -> Result<()> {
    match headers.get(CONTENT_ENCODING) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(Error::ContentEncoding { found: String::from_utf8_lossy(value.as_bytes()).into_owned(), known: "webhooks are not compressed" })
        }
        _ => Ok(()),
    }
}

/// Reads a media type with its parameters; those other than `proto` do not matter.
fn of_type(value: &str) -> Option<Format> {
    let mut parts = value.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("application/x-protobuf") {
        return None;
    }
    let mut format = Format::RemoteWriteV1;
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        if name.trim().eq_ignore_ascii_case("proto") {
            format = match value.trim().trim_matches('"') {
                "prometheus.WriteRequest" => Format::RemoteWriteV1,
                "io.prometheus.write.v2.Request" => Format::RemoteWriteV2,
                _ => return None,
            };
        }
    }
    Some(format)
}
