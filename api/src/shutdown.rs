//! Ctrl-C and SIGTERM: the first asks for a graceful stop, the second for an end at once. Both are safe (invariant I9).

use std::io;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the signals ask for.
#[derive(Debug, Clone)]
pub struct StopSignals {
    /// Cancelled by the first signal: stop accepting, flush, checkpoint.
    pub graceful: CancellationToken,
    /// Cancelled by the second: leave everything as it is.
    pub at_once: CancellationToken,
}

/// Listens for signals until the process ends.
///
/// # Errors
/// Where the system refuses signal handlers.
pub fn listen(runtime: &Handle) -> io::Result<StopSignals> {
    let _entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let signals = StopSignals { graceful: CancellationToken::new(), at_once: CancellationToken::new() };
    let told = signals.clone();
    runtime.spawn(async move {
        let name = next(&mut interrupt, &mut terminate).await;
        tracing::info!(signal = name, "stopping: no new requests, then a last checkpoint; a second signal stops at once");
        told.graceful.cancel();
        let name = next(&mut interrupt, &mut terminate).await;
        tracing::warn!(signal = name, "stopping at once; the next start replays what the last checkpoint does not hold");
        told.at_once.cancel();
    });
    Ok(signals)
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
