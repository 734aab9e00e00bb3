//! Sends an answer while it is computed. Dropping the body drops the stream of rows, which cancels the query.
//!
//! The first part is held back until it is [`HEAD_BYTES`] long or complete, so that a statement that fails soon is answered with its own status. What
//! fails later breaks the connection off, after a last `"error"` in JSON.

use super::encode::Encoder;
use super::format::Format;
use crate::error::{ApiError, ApiResult};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::time::{Duration, Instant};

/// Bytes held back before the status line is sent.
const HEAD_BYTES: usize = 256 * 1024;

/// Values encoded on the async thread; more go to a blocking thread.
const INLINE_VALUES_MAX: usize = 4096;

/// How long an answer that breaks off waits for its last words to leave.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Rows still to come, and what is known about the answer already.
pub(crate) struct Rows {
    /// Columns.
    pub(crate) schema: SchemaRef,
    /// The rows.
    pub(crate) batches: BoxStream<'static, Result<RecordBatch, ApiError>>,
    /// What stands in `stats` beside `rows` and `elapsed_ms`.
    pub(crate) stats: serde_json::Map<String, serde_json::Value>,
    /// When the statement came in.
    pub(crate) started: Instant,
}

/// Answers with the rows.
///
/// # Errors
/// Whatever fails before the first part is complete.
pub(crate) async fn respond(rows: Rows, format: Format) -> ApiResult {
    let Rows { schema, batches, stats, started } = rows;
    let encoder = Encoder::new(format, schema)?;
    let mut pump = Pump { encoder: Some(encoder), batches, stats, started, row_count: 0 };
    let mut head = Vec::new();
    while head.len() < HEAD_BYTES && !pump.is_done() {
        head.extend(pump.step().await?);
    }
    let body = if pump.is_done() { Body::from(head) } else { Body::from_stream(follow(Bytes::from(head), pump)) };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    Ok(response)
}

/// The head, then part after part until the end or the first error.
fn follow(head: Bytes, pump: Pump) -> impl futures::Stream<Item = Result<Bytes, ApiError>> {
    enum Next {
        Pump(Box<Pump>),
        Fail(ApiError),
        End,
    }
    let rest = stream::unfold(Next::Pump(Box::new(pump)), |next| async move {
        match next {
            Next::Pump(pump) if pump.is_done() => None,
            Next::Pump(mut pump) => match pump.step().await {
                Ok(bytes) => Some((Ok(Bytes::from(bytes)), Next::Pump(pump))),
                Err(error) => Some((Ok(Bytes::from(pump.broken(&error))), Next::Fail(error))),
            },
            Next::Fail(error) => {
                // A broken connection drops what was not sent yet: the last words go out first.
                tokio::time::sleep(LAST_WORDS).await;
                Some((Err(error), Next::End))
            }
            Next::End => None,
        }
    });
    let parts = rest.filter(|part| std::future::ready(!matches!(part, Ok(bytes) if bytes.is_empty())));
    stream::once(std::future::ready(Ok(head))).chain(parts)
}

struct Pump {
    encoder: Option<Encoder>,
    batches: BoxStream<'static, Result<RecordBatch, ApiError>>,
    stats: serde_json::Map<String, serde_json::Value>,
    started: Instant,
    row_count: u64,
}

impl Pump {
    fn is_done(&self) -> bool {
        self.encoder.is_none()
    }

    /// Takes one batch, or finishes.
    async fn step(&mut self) -> Result<Vec<u8>, ApiError> {
        let Some(batch) = self.batches.next().await.transpose()? else {
            let stats = self.stats();
            let Some(encoder) = self.encoder.take() else { return Ok(Vec::new()) };
            return Ok(encoder.finish(&stats)?);
        };
        self.row_count += batch.num_rows() as u64;
        let Some(mut encoder) = self.encoder.take() else { return Ok(Vec::new()) };
        let values = batch.num_rows().saturating_mul(batch.num_columns());
        let (encoder, bytes) = if values <= INLINE_VALUES_MAX {
            let bytes = encoder.batch(&batch);
            (encoder, bytes)
        } else {
            let job = tokio::task::spawn_blocking(move || {
                let bytes = encoder.batch(&batch);
                (encoder, bytes)
            });
            job.await.map_err(|_| ApiError::from(afferent_engine::error::Error::internal("encoding the answer failed")))?
        };
        self.encoder = Some(encoder);
        Ok(bytes?)
    }

    fn stats(&self) -> serde_json::Value {
        let mut stats = self.stats.clone();
        stats.insert("rows".into(), self.row_count.into());
        let elapsed = self.started.elapsed().as_micros() as f64 / 1000.0;
        stats.insert("elapsed_ms".into(), elapsed.into());
        stats.into()
    }

    fn broken(&self, error: &ApiError) -> Vec<u8> {
        self.encoder.as_ref().map(|encoder| encoder.broken(&error.to_json())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
