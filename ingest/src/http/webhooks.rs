//! `POST /api/v1/webhooks/...`: the doors for events. The payloads themselves are read by `webhook`.

use super::intake::{body, count_rejects, count_request, decode, partial, refused};
use super::{IngestState, answer, negotiate, sender};
use crate::error::Result;
use crate::metrics::Metric;
use crate::spread::Share;
use crate::webhook::WEBHOOK_BODY_BYTES_MAX;
use crate::webhook::signature::{self, SIGNATURE_HEADER};
use afferent_engine::log::{DecodedBody, Format};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use std::sync::Arc;

/// A body up to this takes less than about 500 microseconds and is decoded where it stands.
const INLINE_BODY_BYTES_MAX: usize = 16 * 1024;
/// Room a parsed body takes, as a multiple of its text.
const PARSED_FACTOR: usize = 16;

/// One webhook.
#[derive(Clone, Copy)]
pub(super) struct Webhook {
    /// The last part of its path, and its key among the secrets.
    pub(super) name: &'static str,
    format: Format,
    /// What it answers when everything was taken.
    success: StatusCode,
}

/// Every webhook.
pub(super) const ALL: [Webhook; 4] = [
    Webhook { name: "alertmanager", format: Format::Alertmanager, success: StatusCode::OK },
    Webhook { name: "incidents", format: Format::Incidents, success: StatusCode::ACCEPTED },
    Webhook { name: "approvals", format: Format::Approvals, success: StatusCode::ACCEPTED },
    Webhook { name: "llm-usage", format: Format::LlmUsage, success: StatusCode::ACCEPTED },
];

/// The handler: what was accepted, or an error.
pub(super) async fn receive(webhook: Webhook, State(state): State<IngestState>, request: Request) -> Response<Body> {
    let result = take(webhook, &state, request).await;
    count_request(webhook.name, &result);
    match result {
        Ok(accepted) => answer::json(webhook.success, &serde_json::json!({ "accepted": accepted, "rejected": 0 })),
        Err(error) => answer::refusal(&error),
    }
}

/// Takes a body in and says how many events it held.
async fn take(webhook: Webhook, state: &IngestState, request: Request) -> Result<usize> {
    let shared = &state.0;
    let (parts, stream) = request.into_parts();
    let secret = shared.config.webhook_secrets.get(webhook.name);
    let user = match secret {
        // The signature stands for a token; a token that comes along still names the user.
        Some(_) => sender::user(&parts, &shared.config.write_tokens).unwrap_or(None),
        None => sender::user(&parts, &shared.config.write_tokens)?,
    };
    let source = sender::source(&parts, user)?;
    negotiate::plain(&parts.headers)?;
    let bytes_max = shared.config.body_bytes_max.min(WEBHOOK_BODY_BYTES_MAX).min(shared.appender.spread().body_bytes_max);
    let (bytes, mut hold) = body(shared, &parts.headers, stream, bytes_max).await?;
    metrics::counter!(Metric::BodyBytesIn.name(), "door" => webhook.name).increment(bytes.len() as u64);
    if let Some(secret) = secret {
        let header = parts.headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok());
        signature::verify(secret, header, &bytes)?;
    }
    shared.in_flight.grow(&mut hold, bytes.len() * PARSED_FACTOR)?;
    let hold = Arc::new(hold);
    let takes_long = bytes.len() > INLINE_BODY_BYTES_MAX;
    let record = shared.appender.record(webhook.format, source, shared.clock.now(), bytes);
    let shares = decode(state, record, takes_long, &hold).await?;
    let events = |share: &Share| match &share.decoded.body {
        DecodedBody::Events(events) => events.len(),
        DecodedBody::Samples(_) => 0,
    };
    let accepted: usize = shares.iter().map(events).sum();
    let (rejects, refused) = refused(&shares);
    metrics::counter!(Metric::EventsIn.name(), "door" => webhook.name).increment(accepted as u64 + refused);
    if accepted == 0 && rejects.is_empty() {
        return Ok(0);
    }
    shared.appender.submit(shares, hold).await?;
    metrics::counter!(Metric::EventsOut.name(), "door" => webhook.name).increment(accepted as u64);
    count_rejects(Metric::EventsRejected, &rejects);
    if rejects.is_empty() { Ok(accepted) } else { Err(partial(accepted, &rejects, "events")) }
}
