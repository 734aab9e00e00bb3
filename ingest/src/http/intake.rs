//! What every door does: read the body within limits, decode it where it disturbs nobody, append it, count. Not what a door answers.

use super::{IngestState, Shared};
use crate::error::{Error, Result};
use crate::in_flight::Hold;
use crate::metrics::Metric;
use crate::spread::Share;
use afferent_engine::log::{Record, Reject};
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError};
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Refused items named in an answer.
const NAMED_IN_ANSWER_MAX: usize = 5;

/// Bytes of a refused body that are read and dropped.
const DRAINED_BYTES_MAX: usize = 64 << 20;

/// How long that may take.
const DRAIN_WAIT: Duration = Duration::from_secs(5);

/// Reads a body of at most `bytes_max`; room for it is taken before its first byte.
pub(super) async fn body(shared: &Shared, headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<(Bytes, Hold)> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    let too_large = |size| Error::TooLarge { what: "the request body", size, max: bytes_max as u64, unit: "bytes" };
    if let Some(size) = declared.filter(|size| *size > bytes_max as u64) {
        drain(body).await;
        return Err(too_large(size));
    }
    let hold = shared.in_flight.enter(declared.map_or(bytes_max, |size| size as usize))?;
    let wait_ms = shared.config.body_wait_ms_max;
    match tokio::time::timeout(Duration::from_millis(wait_ms), axum::body::to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => Ok((bytes, hold)),
        Ok(Err(cause)) if is_too_long(&cause) => Err(too_large(bytes_max as u64 + 1)),
        Ok(Err(cause)) => Err(Error::Body { detail: cause.to_string() }),
        Err(_) => Err(Error::Slow { wait_ms }),
    }
}

/// Drops a body that is refused by its declared size: a sender that is still writing would not come to read the answer.
async fn drain(mut body: Body) {
    let read = async {
        let mut left = DRAINED_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Whoever sends more, or slower, finds the connection closed.
    drop(tokio::time::timeout(DRAIN_WAIT, read).await);
}

fn is_too_long(cause: &axum::Error) -> bool {
    let mut next: Option<&(dyn StdError + 'static)> = Some(cause);
    while let Some(error) = next {
        if error.is::<LengthLimitError>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// Decodes a body and makes its records; one that takes long leaves the async threads.
pub(super) async fn decode(state: &IngestState, record: Record, takes_long: bool, hold: &Arc<Hold>) -> Result<Vec<Share>> {
    let shared = &state.0;
    let spread = shared.appender.spread();
    let began = Instant::now();
    let decoded = if takes_long {
        let _turn = shared.long_decodes.acquire().await;
        let (decoders, hold) = (Arc::clone(&shared.decoders), Arc::clone(hold));
        let work = move || {
            let decoded = decoders.read_spread(record, spread);
            drop(hold);
            decoded
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|cause| {
            let kind = afferent_engine::error::ErrorKind::Internal;
            Err(afferent_engine::error::Error::caused(kind, "the decoder did not end", cause).into())
        })
    } else {
        shared.decoders.read_spread(record, spread)
    };
    metrics::histogram!(Metric::DecodeSeconds.name()).record(began.elapsed().as_secs_f64());
    decoded
}

/// The answer to a body with bad parts, after the good ones are durable.
pub(super) fn partial(good: usize, rejects: &[Reject], unit: &'static str) -> Error {
    let refused: u64 = rejects.iter().map(|reject| u64::from(reject.count)).sum();
    let mut named = String::new();
    for (n, reject) in rejects.iter().take(NAMED_IN_ANSWER_MAX).enumerate() {
        let separator = if n > 0 { "; " } else { "" };
        named.push_str(&format!("{separator}{} ({})", reject.detail, reject.reason));
    }
    if rejects.len() > NAMED_IN_ANSWER_MAX {
        named.push_str(&format!("; and {} more", rejects.len() - NAMED_IN_ANSWER_MAX));
    }
    Error::Partial { refused, total: good as u64 + refused, unit, named }
}

/// What was refused of a request.
pub(super) fn refused(shares: &[Share]) -> (Vec<Reject>, u64) {
    let rejects: Vec<Reject> = shares.iter().flat_map(|share| share.decoded.rejects.iter().cloned()).collect();
    let count = rejects.iter().map(|reject| u64::from(reject.count)).sum();
    (rejects, count)
}

/// Counts what was refused, by reason.
pub(super) fn count_rejects(metric: Metric, rejects: &[Reject]) {
    for reject in rejects {
        metrics::counter!(metric.name(), "reason" => reject.reason).increment(u64::from(reject.count));
    }
}

/// Counts a request and what became of it.
pub(super) fn count_request<T>(door: &'static str, result: &Result<T>) {
    metrics::counter!(Metric::RequestsIn.name(), "door" => door).increment(1);
    if let Err(error) = result {
        metrics::counter!(Metric::RequestsRejected.name(), "door" => door, "reason" => error.reason()).increment(1);
        tracing::warn!(door, reason = error.reason(), error = %error, "a request was refused");
    }
}
