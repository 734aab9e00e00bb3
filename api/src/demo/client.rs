//! The demo's HTTP client: blocking, patient with a busy server, loud about refusals. Not a retry policy for anybody else.

use anyhow::{Context, bail};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// How often a refused request is sent again before the demo gives up.
const ATTEMPTS_MAX: u32 = 200;

/// Longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// How long one answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Talks to one server.
#[derive(Debug, Clone)]
pub(super) struct Client {
    agent: ureq::Agent,
    base: String,
}

impl Client {
    /// A client of the server at this address.
    pub(super) fn new(address: SocketAddr) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(ANSWER_WAIT)).build();
        Self { agent: config.into(), base: format!("http://{address}") }
    }

    /// The server's address as a URL.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Sends a remote-write body for a sender of this name.
    pub(super) fn write(&self, sender: &str, body: &[u8]) -> anyhow::Result<()> {
        let headers = [
            ("Content-Type", "application/x-protobuf"),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"),
            ("X-Afferent-Source", sender),
        ];
        self.post("/api/v1/write", &headers, body)
    }

    /// Sends a webhook call.
    pub(super) fn call(&self, door: &str, body: &Value) -> anyhow::Result<()> {
        let headers = [("Content-Type", "application/json"), ("X-Afferent-Source", "demo")];
        self.post(&format!("/api/v1/webhooks/{door}"), &headers, body.to_string().as_bytes())
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> anyhow::Result<()> {
        for attempt in 1..=ATTEMPTS_MAX {
            let mut request = self.agent.post(format!("{}{path}", self.base));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let mut response = request.send(body).with_context(|| format!("POST {path}"))?;
            match response.status().as_u16() {
                200..=299 => return Ok(()),
                // Busy: the same bytes again; the server counts them once.
                429 | 503 => std::thread::sleep(WAIT_MAX.min(Duration::from_millis(20 * u64::from(attempt)))),
                status => {
                    let text = response.body_mut().read_to_string().unwrap_or_default();
                    bail!("POST {path} was answered {status}: {text}");
                }
            }
        }
        bail!("POST {path} was refused as busy {ATTEMPTS_MAX} times")
    }

    /// Reads a JSON answer.
    pub(super) fn get(&self, path: &str, language: &str) -> anyhow::Result<Value> {
        let request = self.agent.get(format!("{}{path}", self.base)).header("Accept-Language", language);
        let mut response = request.call().with_context(|| format!("GET {path}"))?;
        let status = response.status();
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().with_context(|| format!("GET {path}"))?;
        if !status.is_success() {
            bail!("GET {path} was answered {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("GET {path}: the answer is not JSON"))
    }
}
