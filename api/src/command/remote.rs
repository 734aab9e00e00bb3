//! A running server as the commands talk to it: blocking, with the caller's token, every status handed back. Not a retry policy.

use super::ServerArgs;
use anyhow::Context as _;
use serde_json::Value;
use std::time::Duration;

/// How long to wait for an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 32 << 20;

/// Servers that a request may be sent on to, one after the other: a process that waits for its turn names the one that works.
const SENT_ON_MAX: usize = 3;

type Response = ureq::http::Response<ureq::Body>;

/// Talks to one server.
#[derive(Debug, Clone)]
pub struct Remote {
    agent: ureq::Agent,
    base: String,
    authorization: Option<String>,
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    headers: ureq::http::HeaderMap,
    body: String,
}

impl Answer {
    /// True for 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// One header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The server's error in one or two lines.
    pub fn message(&self) -> String {
        explain(self.status, &self.body)
    }
}

impl Remote {
    /// The server that the flags name.
    pub fn new(args: &ServerArgs) -> Self {
        Self::waiting(args, ANSWER_WAIT)
    }

    /// The same with another patience.
    pub fn waiting(args: &ServerArgs, answer_wait: Duration) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).timeout_global(Some(answer_wait));
        let authorization = args.token.as_deref().filter(|token| !token.is_empty()).map(|token| format!("Bearer {token}"));
        Self { agent: config.build().into(), base: args.url.trim_end_matches('/').to_owned(), authorization }
    }

    /// GET.
    ///
    /// # Errors
    /// Where nobody answers.
    pub fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.read(self.sent_on(path, |url| self.authorized(self.agent.get(url)).call()))
    }

    /// DELETE.
    ///
    /// # Errors
    /// Where nobody answers.
    pub fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.read(self.sent_on(path, |url| self.authorized(self.agent.delete(url)).call()))
    }

    /// POST.
    ///
    /// # Errors
    /// Where nobody answers; whether the server took the body is then unknown.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> anyhow::Result<Answer> {
        self.read(self.post_raw(path, headers, body))
    }

    /// POST, the answer's body unread.
    pub(super) fn post_raw(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response, ureq::Error> {
        self.sent_on(path, |url| {
            let request = headers.iter().fold(self.agent.post(url), |request, (name, value)| request.header(*name, *value));
            self.authorized(request).send(body)
        })
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        }
    }

    /// Asks the server, and whom it names instead of itself.
    fn sent_on(&self, path: &str, ask: impl Fn(&str) -> Result<Response, ureq::Error>) -> Result<Response, ureq::Error> {
        let mut url = format!("{}{path}", self.base);
        let mut answer = ask(&url)?;
        for _ in 0..SENT_ON_MAX {
            let elsewhere = answer.headers().get("location").and_then(|value| value.to_str().ok());
            match elsewhere.filter(|_| answer.status().as_u16() == 307) {
                Some(location) => url = location.to_owned(),
                None => break,
            }
            answer = ask(&url)?;
        }
        Ok(answer)
    }

    /// What to say where nobody answers.
    pub(super) fn unreachable(&self) -> String {
        format!("cannot reach {}; is `afferent serve` running there?", self.base)
    }

    fn read(&self, answer: Result<Response, ureq::Error>) -> anyhow::Result<Answer> {
        let mut response = answer.with_context(|| self.unreachable())?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().with_context(|| self.unreachable())?;
        Ok(Answer { status, headers, body })
    }
}

/// The server's error in one or two lines.
pub(super) fn explain(status: u16, body: &str) -> String {
    let error = serde_json::from_str::<Value>(body).ok().and_then(|v| v.get("error").cloned());
    let Some(error) = error else {
        return format!("HTTP {status}: {}", body.trim());
    };
    let part = |key| error.get(key).and_then(Value::as_str);
    let mut text = format!("{}: {}", part("kind").unwrap_or("error"), part("message").unwrap_or(body));
    if let Some(hint) = part("hint") {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    text
}
