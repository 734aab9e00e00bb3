//! Sends bodies to a server, one after the other: patient with a busy one, plain about refusals. Not a queue: what was not acknowledged is sent again.

use super::bodies::Body;
use crate::command::remote::Remote;
use anyhow::{Context as _, bail};
use std::time::{Duration, Instant};

/// First wait after a refusal; each further one is twice as long.
const WAIT_FIRST: Duration = Duration::from_millis(100);

/// Longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How long a body is tried before the import gives up.
const PATIENCE: Duration = Duration::from_secs(600);

/// What became of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// Every sample is durable.
    Whole,
    /// The good samples are durable; the server refused the others, with its words.
    Partly {
        /// Samples it refused.
        refused: u64,
        /// Why.
        message: String,
    },
}

/// Sends a body until the server took it.
///
/// # Errors
/// Where it refuses the whole of it (wrong token, too large), or is busy or away for longer than [`PATIENCE`].
pub fn send(remote: &Remote, source: &str, body: &Body) -> anyhow::Result<Sent> {
    let headers = [
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", "0.1.0"),
        ("X-Afferent-Source", source),
    ];
    let began = Instant::now();
    let mut wait = WAIT_FIRST;
    loop {
        let last = match remote.post("/api/v1/write", &headers, &body.bytes) {
            Ok(answer) => match answer.status {
                200..=299 => return Ok(Sent::Whole),
                // The good part of a body with bad samples is kept, and the answer says how many those are.
                400 if answer.header("x-prometheus-remote-write-samples-written").is_some() => {
                    let written = answer.header("x-prometheus-remote-write-samples-written").and_then(|n| n.parse().ok()).unwrap_or(0);
                    return Ok(Sent::Partly { refused: body.sample_count.saturating_sub(written), message: answer.message() });
                }
                408 | 429 | 500 | 502 | 503 | 504 => format!("HTTP {}: {}", answer.status, answer.message()),
                status => bail!("the server refuses the samples, HTTP {status}: {}", answer.message()),
            },
            Err(error) => format!("{error:#}"),
        };
        if began.elapsed() >= PATIENCE {
            return Err(anyhow::anyhow!(last)).with_context(|| format!("the server took nothing for {} s", PATIENCE.as_secs()));
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(WAIT_MAX);
    }
}
