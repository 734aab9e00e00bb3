//! A plain HTTP client that hands back every status. Not a sender: it never tries again by itself.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::Duration;

/// Longest answer to wait for.
const ANSWER_WAIT: Duration = Duration::from_secs(120);

/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// Talks to one server.
#[derive(Debug, Clone)]
pub struct Door {
    base: String,
    agent: ureq::Agent,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header names in lower case with their values.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("{} is not JSON: {}", self.status, self.text()))
    }

    /// One header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

impl Door {
    /// A client of the server at `base` (`http://127.0.0.1:9600`).
    pub fn new(base: impl Into<String>) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(ANSWER_WAIT));
        Self { base: base.into(), agent: config.build().into() }
    }

    /// Where it goes.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// GET.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn get(&self, path: &str) -> Result<Answer> {
        let url = format!("{}{path}", self.base);
        read(self.agent.get(&url).call().with_context(|| format!("GET {url}"))?)
    }

    /// GET of JSON that must be answered 200.
    ///
    /// # Errors
    /// When it is not.
    pub fn json(&self, path: &str) -> Result<Value> {
        let answer = self.get(path)?;
        ensure!(answer.status == 200, "GET {path} was answered {}: {}", answer.status, answer.text());
        answer.json()
    }

    /// POST with headers.
    ///
    /// # Errors
    /// When nobody answers; whether the server took the body is then unknown.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.post(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send(body).with_context(|| format!("POST {url}"))?)
    }

    /// POST of JSON.
    ///
    /// # Errors
    /// As [`Door::post`].
    pub fn post_json(&self, path: &str, body: &Value) -> Result<Answer> {
        self.post(path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    /// POST of a remote write 1.0 body.
    ///
    /// # Errors
    /// As [`Door::post`].
    pub fn write_v1(&self, source: &str, body: &[u8]) -> Result<Answer> {
        let headers = [
            ("Content-Type", "application/x-protobuf"),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"),
            ("X-Afferent-Source", source),
        ];
        self.post("/api/v1/write", &headers, body)
    }

    /// POST of a remote write 2.0 body.
    ///
    /// # Errors
    /// As [`Door::post`].
    pub fn write_v2(&self, source: &str, body: &[u8]) -> Result<Answer> {
        let headers = [
            ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", "2.0.0"),
            ("X-Afferent-Source", source),
        ];
        self.post("/api/v1/write", &headers, body)
    }
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer> {
    let status = response.status().as_u16();
    let pair = |(n, v): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned());
    let headers = response.headers().iter().map(pair).collect();
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
    Ok(Answer { status, headers, body })
}
