//! `POST /api/v1/write`: remote write 1.0 and 2.0. The samples themselves are read by `remote_write`.

use super::intake::{body, count_rejects, count_request, decode, partial, refused};
use super::{IngestState, answer, negotiate, sender};
use crate::error::Result;
use crate::metrics::Metric;
use crate::snappy;
use crate::spread::{Share, Spread};
use afferent_engine::log::{DecodedBody, Format};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::HeaderValue;
use axum::http::{Response, StatusCode};
use std::sync::Arc;

const DOOR: &str = "write";

/// An inflated 1.0 body up to this (about 4,500 samples) takes less than about 500 microseconds and is decoded where it stands.
const INLINE_V1_BYTES_MAX: usize = 512 * 1024;
/// The same of 2.0 (about 3,200 samples), which says more in fewer bytes.
const INLINE_V2_BYTES_MAX: usize = 128 * 1024;

/// Regrouping a body takes so many times as long as decoding it.
const REGROUPING_FACTOR: usize = 4;

/// What of a request is durable.
#[derive(Default, Clone, Copy)]
struct Written {
    samples: usize,
    histograms: usize,
    exemplars: usize,
}

impl Written {
    fn of(shares: &[Share]) -> Self {
        shares.iter().fold(Self::default(), |sum, share| match &share.decoded.body {
            DecodedBody::Samples(batch) => Self {
                samples: sum.samples + batch.times.len(),
                histograms: sum.histograms + batch.histograms.len(),
                exemplars: sum.exemplars + batch.exemplars.len(),
            },
            DecodedBody::Events(_) => sum,
        })
    }

    fn total(self) -> usize {
        self.samples + self.histograms + self.exemplars
    }
}

/// The handler: 204, or an error; the three headers in either case.
pub(super) async fn write(State(state): State<IngestState>, request: Request) -> Response<Body> {
    let mut written = Written::default();
    let result = take(&state, request, &mut written).await;
    count_request(DOOR, &result);
    let mut response = match result {
        Ok(()) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Err(error) => answer::refusal(&error),
    };
    let headers = response.headers_mut();
    headers.insert("x-prometheus-remote-write-samples-written", HeaderValue::from(written.samples));
    headers.insert("x-prometheus-remote-write-histograms-written", HeaderValue::from(written.histograms));
    headers.insert("x-prometheus-remote-write-exemplars-written", HeaderValue::from(written.exemplars));
    response
}

/// Takes a request in; `written` is set once the good part is durable, also when the rest makes it an error.
async fn take(state: &IngestState, request: Request, written: &mut Written) -> Result<()> {
    let shared = &state.0;
    let (parts, stream) = request.into_parts();
    let user = sender::user(&parts, &shared.config.write_tokens)?;
    let source = sender::source(&parts, user)?;
    let format = negotiate::format(&parts.headers)?;
    let (bytes, mut hold) = body(shared, &parts.headers, stream, shared.config.body_bytes_max).await?;
    metrics::counter!(Metric::BodyBytesIn.name(), "door" => DOOR).increment(bytes.len() as u64);
    let inflated_bytes = snappy::declared_bytes(&bytes, shared.config.inflated_bytes_max)?;
    // The inflated body, and as much again for what is decoded from it; and once more both where it is regrouped.
    let regrouped = shared.appender.spread() != Spread::default();
    shared.in_flight.grow(&mut hold, inflated_bytes.saturating_mul(if regrouped { 4 } else { 2 }))?;
    let hold = Arc::new(hold);
    let record = shared.appender.record(format, source, shared.clock.now(), bytes);
    let inline_max = if format == Format::RemoteWriteV2 { INLINE_V2_BYTES_MAX } else { INLINE_V1_BYTES_MAX };
    let inline_max = if regrouped { inline_max / REGROUPING_FACTOR } else { inline_max };
    let shares = decode(state, record, inflated_bytes > inline_max, &hold).await?;
    let good = Written::of(&shares);
    let (rejects, refused) = refused(&shares);
    metrics::counter!(Metric::SamplesIn.name()).increment(good.total() as u64 + refused);
    if shares.iter().all(is_empty) {
        return Ok(());
    }
    shared.appender.submit(shares, hold).await?;
    *written = good;
    metrics::counter!(Metric::SamplesOut.name()).increment(good.samples as u64);
    metrics::counter!(Metric::HistogramsOut.name()).increment(good.histograms as u64);
    metrics::counter!(Metric::ExemplarsOut.name()).increment(good.exemplars as u64);
    count_rejects(Metric::SamplesRejected, &rejects);
    if rejects.is_empty() { Ok(()) } else { Err(partial(good.total(), &rejects, "items")) }
}

/// A request that says nothing needs no record.
fn is_empty(share: &Share) -> bool {
    let holds_nothing = match &share.decoded.body {
        DecodedBody::Samples(batch) => batch.series.is_empty() && batch.metadata.is_empty(),
        DecodedBody::Events(events) => events.is_empty(),
    };
    holds_nothing && share.decoded.rejects.is_empty()
}
