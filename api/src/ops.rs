//! What operators and their machines ask: `/healthz`, `/readyz`, `/metrics` and the landing text at `/`. Not freshness of data (`status.rs`).

use crate::error::{ApiError, ApiResult, json_response};
use crate::state::AppState;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::json;
use std::fmt::Write as _;

/// Kernel clock ticks per second in `/proc`: the kernel's user-space interface fixes it at 100.
const TICKS_PER_SECOND: f64 = 100.0;

/// Answers 200 as long as requests are answered at all.
///
/// # Errors
/// None.
pub async fn healthz(State(state): State<AppState>) -> ApiResult {
    let up_s = (state.clock.now().0 - state.started_at.0) as f64 / 1000.0;
    Ok(json_response(StatusCode::OK, &json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION"), "up_s": up_s })))
}

/// Answers 200 once the replay after the start has caught up, and while another process of the group works the log.
///
/// # Errors
/// 503 before that.
pub async fn readyz(State(state): State<AppState>) -> ApiResult {
    let status = state.live.view().status.clone();
    if status.recovered && !state.standby.waits() {
        return Ok(json_response(StatusCode::OK, &json!({ "status": "ready", "epoch": status.epoch })));
    }
    if let Some(works_at) = state.standby.works_at() {
        // It takes records in, and sends readers to the one that works.
        return Ok(json_response(StatusCode::OK, &json!({ "status": "standby", "works_at": works_at })));
    }
    let error = ApiError::unavailable("recovering: replaying what the last checkpoint does not hold");
    Err(error.hint("writes are taken already; answers are complete when this endpoint says ready"))
}

/// Metrics in the Prometheus text format.
///
/// # Errors
/// None.
pub async fn metrics(State(state): State<AppState>) -> ApiResult {
    let wrong_files = state.view_files.errors().len();
    crate::metrics::observe(&state.live.view().status, state.standby.waits(), state.clock.now(), wrong_files);
    let mut text = state.metrics.render();
    text.push_str(&process(state.started_at.0 as f64 / 1000.0));
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    Ok(response)
}

/// The process' own figures under the names every Prometheus client library uses; a figure the system does not tell is left out.
fn process(started_s: f64) -> String {
    let mut out = String::new();
    let figures = [
        ("process_cpu_seconds_total", "counter", "Seconds of processor time, user and system.", cpu_seconds()),
        ("process_resident_memory_bytes", "gauge", "Resident memory.", status_bytes("VmRSS:")),
        ("process_resident_memory_max_bytes", "gauge", "Largest resident memory so far.", status_bytes("VmHWM:")),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory.", status_bytes("VmSize:")),
        ("process_open_fds", "gauge", "Open file descriptors.", open_files()),
        ("process_start_time_seconds", "gauge", "Start of the process, seconds since the Unix epoch.", Some(started_s)),
    ];
    for (name, kind, help, value) in figures {
        if let Some(value) = value {
            write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n").unwrap_or_default();
        }
    }
    out
}

/// User and system time from `/proc/self/stat`: the 12th and 13th field after the name in brackets, which may itself hold spaces.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// A line of `/proc/self/status`, which counts in kB of 1024 bytes.
fn status_bytes(key: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024.0)
}

fn open_files() -> Option<f64> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?;
    Some(entries.count() as f64)
}

/// The landing text: what there is and where.
///
/// # Errors
/// None.
pub async fn landing() -> ApiResult {
    let mut response = Response::new(Body::from(crate::openapi::landing_text()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}

#[cfg(test)]
mod tests;
