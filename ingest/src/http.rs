//! The doors: remote write and webhooks over HTTP. What an error looks like is in `answer`, who a sender is in `sender`.

mod answer;
mod intake;
mod negotiate;
mod sender;
mod webhooks;
mod write;

use crate::appender::Appender;
use crate::config::IngestConfig;
use crate::decoder::Decoders;
use crate::in_flight::InFlight;
use afferent_engine::clock::Clock;
use axum::Router;
use axum::routing::post;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Bodies decoded at once outside of the async threads.
const LONG_DECODES_MAX: usize = 4;

/// What the doors share.
#[derive(Clone)]
pub struct IngestState(Arc<Shared>);

struct Shared {
    config: IngestConfig,
    appender: Appender,
    decoders: Arc<Decoders>,
    clock: Arc<dyn Clock>,
    in_flight: InFlight,
    long_decodes: Semaphore,
}

impl IngestState {
    /// State over a validated configuration. `clock` says when a record came in.
    pub fn new(config: IngestConfig, appender: Appender, decoders: Arc<Decoders>, clock: Arc<dyn Clock>) -> Self {
        let in_flight = InFlight::new(config.in_flight_bytes_max);
        let long_decodes = Semaphore::new(LONG_DECODES_MAX);
        Self(Arc::new(Shared { config, appender, decoders, clock, in_flight, long_decodes }))
    }
}

/// `POST /api/v1/write` and `POST /api/v1/webhooks/{alertmanager,incidents,approvals,llm-usage}`.
///
/// Serve it with connection info (`into_make_service_with_connect_info::<SocketAddr>`), so that senders without a name are told apart by address.
pub fn router(state: IngestState) -> Router {
    let mut router = Router::new().route("/api/v1/write", post(write::write));
    for webhook in webhooks::ALL {
        let path = format!("/api/v1/webhooks/{}", webhook.name);
        router = router.route(&path, post(move |state, request| webhooks::receive(webhook, state, request)));
    }
    router.with_state(state)
}

#[cfg(test)]
mod tests;
