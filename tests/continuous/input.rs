//! A stream that reaches every shipped view: a failing service, a host, incidents of every path, alerts, LLM calls; with resets, gaps, NaN and staleness.

use afferent_engine::log::{Format, Record};
use afferent_engine::time::WallTime;
use afferent_tests::wire::{TimeSeries, body_v1, body_v2, series};
use serde_json::{Value, json};

/// 2026-03-01T00:00:00Z.
pub(super) const START_MS: i64 = 1_772_323_200_000;

const MINUTES: i64 = 40;
const SCRAPE_MS: i64 = 15_000;
const STALE: u64 = 0x7ff0_0000_0000_0002;

fn record(format: Format, source: &str, received_at: i64, body: Vec<u8>) -> Record {
    Record { format, source: source.into(), received_at: WallTime(received_at), body_hash: xxhash(&body), request_id: 0, body: body.into() }
}

/// Any 128 bits that differ for different bodies will do here.
fn xxhash(body: &[u8]) -> u128 {
    afferent_engine::series::SeriesKey::of(body).0
}

fn metrics(at: i64, scrape: i64) -> Vec<TimeSeries> {
    let n = scrape as f64;
    let mut out = vec![];
    for (code, count) in [("200", n * 20.0), ("500", if scrape > 60 { (n - 60.0) * 3.0 } else { 0.0 })] {
        // The process restarts once: its counters begin again.
        let count = if scrape > 100 { count - 20.0 * 100.0 * f64::from(u8::from(code == "200")) } else { count };
        out.push(series(&[("__name__", "http_requests_total"), ("code", code), ("instance", "s:80"), ("job", "shop")], &[(at, count.max(0.0))]));
    }
    for (le, share) in [("0.1", 0.5), ("0.25", 0.9), ("1", 0.99), ("+Inf", 1.0)] {
        let name = "http_request_duration_seconds_bucket";
        out.push(series(&[("__name__", name), ("instance", "s:80"), ("job", "shop"), ("le", le)], &[(at, (n * 20.0 * share).floor())]));
    }
    let up = if scrape % 50 > 45 { 0.0 } else { 1.0 };
    out.push(series(&[("__name__", "up"), ("instance", "s:80"), ("job", "shop")], &[(at, up)]));
    let host: [(&str, &str); 2] = [("instance", "a:9100"), ("job", "node")];
    for (mode, speed) in [("idle", 10.0), ("system", 1.0), ("user", 4.0)] {
        let labels = [("__name__", "node_cpu_seconds_total"), ("cpu", "0"), host[0], host[1], ("mode", mode)];
        out.push(series(&labels, &[(at, n * speed + (scrape % 7) as f64 * 0.1)]));
    }
    let available = if scrape == 33 { f64::NAN } else { 4.0e9 + (scrape % 11) as f64 * 1e7 };
    out.push(series(&[("__name__", "node_memory_MemAvailable_bytes"), host[0], host[1]], &[(at, available)]));
    out.push(series(&[("__name__", "node_memory_MemTotal_bytes"), host[0], host[1]], &[(at, 8.0e9)]));
    for (name, value) in [("node_filesystem_avail_bytes", 5.0e10 - n * 1e6), ("node_filesystem_size_bytes", 1.0e11)] {
        let labels = [("__name__", name), ("device", "/dev/a"), ("fstype", "ext4"), host[0], host[1], ("mountpoint", "/")];
        out.push(series(&labels, &[(at, value)]));
    }
    let load = if scrape == 80 { f64::from_bits(STALE) } else { 0.5 + (scrape % 3) as f64 };
    out.push(series(&[("__name__", "node_load1"), host[0], host[1]], &[(at, load)]));
    if (20..24).contains(&scrape) {
        out.clear();
    }
    out
}

fn incident(id: &str, n: i64, kind: &str, at: i64, actor: &str, more: Value) -> Value {
    let time = chrono_text(at);
    let mut event = json!({"event_id": format!("{id}-{n}"), "incident_id": id, "type": kind, "occurred_at": time,
        "actor": {"kind": actor, "id": "x"}, "severity": "high", "service": "shop", "source": "prometheus"});
    if let (Some(event), Some(more)) = (event.as_object_mut(), more.as_object()) {
        event.extend(more.clone());
    }
    event
}

/// RFC 3339 without a date library: the day of [`START_MS`], plus the time within it.
fn chrono_text(at: i64) -> String {
    let ms = at - START_MS;
    format!("2026-03-01T{:02}:{:02}:{:02}.{:03}Z", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

fn incidents(i: i64, at: i64) -> Vec<Value> {
    let id = format!("inc-{i}");
    let action = |outcome: &str| json!({"action": {"type": "restart", "plan_id": "p", "outcome": outcome}});
    let opened = incident(&id, 0, "opened", at, "system", json!({}));
    match i % 4 {
        0 => vec![
            opened,
            incident(&id, 1, "mitigated", at + 20_000, "ai", action("succeeded")),
            incident(&id, 2, "resolved", at + 30_000, "ai", action("succeeded")),
        ],
        1 => vec![
            opened,
            incident(&id, 1, "acknowledged", at + 10_000, "human", json!({})),
            incident(&id, 2, "resolved", at + 50_000, "human", json!({})),
        ],
        2 => vec![opened, incident(&id, 1, "resolved", at + 40_000, "system", json!({}))],
        _ => vec![opened],
    }
}

fn alert(at: i64, firing: bool) -> Value {
    let ends = if firing { "0001-01-01T00:00:00Z".to_owned() } else { chrono_text(at + 60_000) };
    json!({"version": "4", "groupKey": "g", "truncatedAlerts": 0, "status": if firing { "firing" } else { "resolved" }, "receiver": "afferent",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager.example",
        "alerts": [{"status": if firing { "firing" } else { "resolved" }, "labels": {"alertname": "HighErrors", "severity": "critical", "job": "shop", "service": "shop"},
            "annotations": {"summary": "errors"}, "startsAt": chrono_text(at), "endsAt": ends, "generatorURL": "http://prometheus.example", "fingerprint": "f1"}]})
}

fn usage(i: i64, at: i64) -> Value {
    let (provider, model) = [("ollama", "llama3"), ("anthropic", "claude-sonnet-4-5"), ("nobody", "unheard-of")][i as usize % 3];
    json!({"id": format!("u{i}"), "ts": chrono_text(at), "provider": provider, "model": model, "operation": "chat", "input_tokens": 1000 + i,
        "cache_read_tokens": 100, "cache_write_tokens": 0, "output_tokens": 200, "reasoning_tokens": 0, "duration_ms": 900, "status": "ok",
        "service": "shop", "trace_id": "t"})
}

/// Every record with the time it is about.
fn timed() -> Vec<(i64, Record)> {
    let mut out = vec![];
    for scrape in 0..MINUTES * 60_000 / SCRAPE_MS {
        let at = START_MS + scrape * SCRAPE_MS;
        let timeseries = metrics(at, scrape);
        let (shop, host): (Vec<_>, Vec<_>) = timeseries.into_iter().partition(|s| s.labels.iter().any(|l| l.value == "shop"));
        if !shop.is_empty() {
            out.push((at, record(Format::RemoteWriteV1, "one", at + 100, body_v1(shop))));
            out.push((at, record(Format::RemoteWriteV2, "two", at + 150, body_v2(&host))));
        }
        if scrape % 10 == 3 {
            for (k, event) in incidents(scrape / 10, at).into_iter().enumerate() {
                out.push((at, record(Format::Incidents, "platform", at + 200 + k as i64, event.to_string().into_bytes())));
            }
            out.push((at, record(Format::LlmUsage, "gateway", at + 300, usage(scrape / 10, at).to_string().into_bytes())));
        }
        if scrape == 70 || scrape == 90 {
            out.push((
                at,
                record(Format::Alertmanager, "alertmanager", at + 400, alert(START_MS + 70 * SCRAPE_MS, scrape == 70).to_string().into_bytes()),
            ));
        }
        if scrape == 50 {
            let approval = json!({"approval_id": "a1", "incident_id": "inc-1", "type": "approved", "risk_level": "high", "action_type": "restart",
                "actor": {"kind": "human", "id": "y"}, "occurred_at": chrono_text(at), "comment": "yes", "plan_hash": "h"});
            out.push((at, record(Format::Approvals, "platform", at + 500, approval.to_string().into_bytes())));
        }
    }
    out
}

/// The stream in order.
pub(crate) fn records() -> Vec<Record> {
    timed().into_iter().map(|(_, r)| r).collect()
}

/// The same records out of order, none of them late: metrics move by less than lateness, events of one topic keep their order of arrival times.
pub(super) fn shuffled(seed: u64) -> Vec<Record> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as i64 % 120_000
    };
    let mut timed: Vec<(i64, Record)> = timed();
    for (at, _) in &mut timed {
        *at += next();
    }
    timed.sort_by_key(|(at, _)| *at);
    timed.into_iter().map(|(_, r)| r).collect()
}
