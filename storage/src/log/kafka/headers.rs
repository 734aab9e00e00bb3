//! A record as a Kafka message and back. Not the sending and fetching of messages.
//!
//! # Stability contract
//! Messages outlive versions of this program. The value is the body exactly as it was sent; the headers are text, so that any tool shows them:
//!
//! | header | holds |
//! |---|---|
//! | `afferent-version` | `1`; what follows is that of this version |
//! | `afferent-format` | [`Format::code`], decimal |
//! | `afferent-source` | the sender, UTF-8, may be empty |
//! | `afferent-received-at` | milliseconds since 1970, decimal, may be negative |
//! | `afferent-body-hash` | XXH3-128 of the body, 32 hexadecimal digits |
//! | `afferent-request-id` | decimal |
//!
//! Each stands once, in any order; headers of other names (tracing, proxies) are allowed and lost. The key is empty. `tests.rs` pins vectors.

use afferent_engine::log::{Format, Record};
use afferent_engine::time::WallTime;
use bytes::Bytes;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

/// The version this program writes, and the only one it reads.
const VERSION: &str = "1";

const NAME_VERSION: &str = "afferent-version";
const NAME_FORMAT: &str = "afferent-format";
const NAME_SOURCE: &str = "afferent-source";
const NAME_RECEIVED_AT: &str = "afferent-received-at";
const NAME_BODY_HASH: &str = "afferent-body-hash";
const NAME_REQUEST_ID: &str = "afferent-request-id";

/// Everything of a record but its body.
pub(super) fn encode(record: &Record) -> OwnedHeaders {
    let text = |value: &dyn Display| value.to_string();
    let headers = [
        (NAME_VERSION, VERSION.to_owned()),
        (NAME_FORMAT, text(&record.format.code())),
        (NAME_SOURCE, text(&record.source)),
        (NAME_RECEIVED_AT, text(&record.received_at.0)),
        (NAME_BODY_HASH, format!("{:032x}", record.body_hash)),
        (NAME_REQUEST_ID, text(&record.request_id)),
    ];
    let empty = OwnedHeaders::new_with_capacity(headers.len());
    headers.iter().fold(empty, |all, (key, value)| all.insert(Header { key, value: Some(value) }))
}

/// The record of a message; where it is none of ours, what is wrong with it.
pub(super) fn decode<H: Headers>(headers: Option<&H>, body: &[u8]) -> Result<Record, String> {
    let headers = headers.ok_or("it has no headers")?;
    let version = text(headers, NAME_VERSION)?;
    if version != VERSION {
        return Err(format!("its version is {version:?}, this program reads {VERSION:?}"));
    }
    let code = number::<u8, _>(headers, NAME_FORMAT)?;
    let hash = text(headers, NAME_BODY_HASH)?;
    let hash = (hash.len() == 32).then(|| u128::from_str_radix(hash, 16).ok()).flatten();
    Ok(Record {
        format: Format::from_code(code).ok_or_else(|| format!("its format {code} is unknown"))?,
        source: Arc::from(text(headers, NAME_SOURCE)?),
        received_at: WallTime(number(headers, NAME_RECEIVED_AT)?),
        body_hash: hash.ok_or_else(|| format!("its header {NAME_BODY_HASH} is not 32 hexadecimal digits"))?,
        request_id: number(headers, NAME_REQUEST_ID)?,
        body: Bytes::copy_from_slice(body),
    })
}

/// The text of the one header of that name.
fn text<'a, H: Headers>(headers: &'a H, name: &str) -> Result<&'a str, String> {
    let mut named = headers.iter().filter(|header| header.key == name);
    let value = match (named.next(), named.next()) {
        (None, _) => return Err(format!("it has no header {name}")),
        (Some(_), Some(_)) => return Err(format!("it has several headers {name}")),
        (Some(header), None) => header.value.unwrap_or_default(),
    };
    std::str::from_utf8(value).map_err(|_| format!("its header {name} is not UTF-8"))
}

fn number<T: FromStr, H: Headers>(headers: &H, name: &str) -> Result<T, String> {
    let value = text(headers, name)?;
    value.parse().map_err(|_| format!("its header {name} is no number in range: {value:?}"))
}

#[cfg(test)]
mod tests;
