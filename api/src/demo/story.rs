//! What happens on the platform: model calls, incidents on every path, approvals, alerts. Bodies as the webhooks take them; not their sending.

use super::seed;
use crate::cards::seal::rfc3339;
use serde_json::{Value, json};

/// One webhook call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    /// When it happens.
    pub(super) at_ms: i64,
    /// Last part of the webhook's path.
    pub(super) door: &'static str,
    /// The body.
    pub(super) body: Value,
}

const MINUTE_MS: i64 = 60_000;

/// How an incident goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// The AI acts and it helps.
    Auto,
    /// The AI plans, the commander approves, the plan is carried out.
    Assisted,
    /// A person does it.
    Manual,
    /// Nobody does anything.
    SelfCleared,
    /// The AI's repair does not last: reopened after an hour, then a person.
    Reopened,
    /// A duplicate of another.
    Merged,
    /// A false alarm.
    Cancelled,
    /// Waits for the commander.
    Pending,
}

/// One incident of the script.
#[derive(Debug, Clone, Copy)]
struct Incident {
    minutes_ago: i64,
    service: &'static str,
    severity: &'static str,
    source: &'static str,
    path: Path,
    lasts_min: i64,
}

const fn incident(minutes_ago: i64, service: &'static str, severity: &'static str, source: &'static str, path: Path, lasts_min: i64) -> Incident {
    Incident { minutes_ago, service, severity, source, path, lasts_min }
}

/// The script, oldest first. The last 24 hours hold 7 auto, 2 assisted and 1 reopened (so manual), the day before 7, 3 and 2.
const SCRIPT: [Incident; 36] = [
    incident(9900, "redis", "medium", "prometheus", Path::Auto, 6),
    incident(9100, "harbor", "low", "prometheus", Path::Manual, 95),
    incident(8300, "awoooi-worker", "high", "sentry", Path::Auto, 9),
    incident(7400, "postgresql", "high", "prometheus", Path::Assisted, 31),
    incident(6200, "ollama", "medium", "prometheus", Path::Auto, 4),
    incident(5300, "langfuse", "low", "sentry", Path::SelfCleared, 12),
    incident(4600, "minio", "medium", "prometheus", Path::Auto, 7),
    incident(3900, "awoooi-web", "high", "sentry", Path::Manual, 58),
    incident(2790, "redis", "medium", "prometheus", Path::Auto, 5),
    incident(2700, "ollama", "medium", "prometheus", Path::Auto, 8),
    incident(2610, "awoooi-api", "high", "sentry", Path::Assisted, 26),
    incident(2520, "postgresql", "medium", "prometheus", Path::Auto, 7),
    incident(2430, "harbor", "low", "prometheus", Path::Manual, 74),
    incident(2340, "minio", "medium", "prometheus", Path::Auto, 6),
    incident(2250, "awoooi-worker", "medium", "sentry", Path::Auto, 11),
    incident(2160, "llm-gateway", "high", "prometheus", Path::Assisted, 38),
    incident(2070, "redis", "medium", "prometheus", Path::Auto, 5),
    incident(1980, "openclaw", "high", "prometheus", Path::Assisted, 29),
    incident(1800, "sentry", "low", "prometheus", Path::Manual, 66),
    incident(1650, "ollama", "medium", "prometheus", Path::Auto, 9),
    incident(1560, "langfuse", "low", "sentry", Path::SelfCleared, 15),
    incident(1390, "redis", "medium", "prometheus", Path::Auto, 5),
    incident(1260, "ollama", "medium", "prometheus", Path::Auto, 7),
    incident(1120, "postgresql", "high", "prometheus", Path::Assisted, 33),
    incident(980, "minio", "medium", "prometheus", Path::Auto, 6),
    incident(870, "web-vitals", "low", "sentry", Path::SelfCleared, 18),
    incident(760, "harbor", "medium", "prometheus", Path::Reopened, 150),
    incident(610, "awoooi-worker", "medium", "sentry", Path::Auto, 8),
    incident(480, "awoooi-worker", "low", "sentry", Path::Merged, 3),
    incident(390, "openclaw", "high", "prometheus", Path::Assisted, 24),
    incident(300, "grafana", "low", "prometheus", Path::Cancelled, 5),
    incident(210, "redis", "medium", "prometheus", Path::Auto, 4),
    incident(140, "signoz", "low", "prometheus", Path::SelfCleared, 9),
    incident(95, "llm-gateway", "medium", "prometheus", Path::Auto, 6),
    incident(59, "awoooi-api", "critical", "prometheus", Path::Auto, 16),
    incident(11, "kali-scanner", "medium", "prometheus", Path::Pending, 0),
];

/// Everything that happens before `now_ms`, from `history_min` minutes ago on, in order of time.
pub(super) fn history(now_ms: i64, history_min: i64, busy_min: i64) -> Vec<Call> {
    let mut calls = Vec::new();
    for (number, script) in SCRIPT.iter().enumerate() {
        script.tell(&format!("INC-{:04}", number + 1), now_ms, &mut calls);
    }
    for minute in -history_min..0 {
        // A call every quarter of an hour long ago, one a minute lately.
        if minute >= -busy_min || minute % 15 == 0 {
            calls.push(model_call(minute, now_ms + minute * MINUTE_MS + 20_000));
        }
    }
    calls.extend(alerts(now_ms));
    calls.retain(|call| call.at_ms < now_ms && call.at_ms >= now_ms - history_min * MINUTE_MS);
    calls.sort_by_key(|call| call.at_ms);
    calls
}

/// What happens in second `second` of live play, which is `at_ms`: a model call every 20 seconds, an incident the AI settles every 3 minutes.
pub(super) fn live(second: i64, previous_second: i64, at_ms: i64) -> Vec<Call> {
    let mut calls = Vec::new();
    for tick in previous_second + 1..=second {
        if tick % 20 == 0 {
            calls.push(model_call(tick, at_ms));
        }
        if tick % 180 == 60 {
            // Two minutes long, ending now: its beginning is told with its end, as a sender that was away would.
            let script = incident(2, "redis", "medium", "prometheus", Path::Auto, 2);
            let mut told = Vec::new();
            script.tell(&format!("INC-LIVE-{tick:06}"), at_ms, &mut told);
            calls.extend(told);
        }
    }
    calls
}

impl Incident {
    /// Appends the incident's events.
    fn tell(&self, id: &str, now_ms: i64, calls: &mut Vec<Call>) {
        let start = now_ms - self.minutes_ago * MINUTE_MS;
        let end = start + self.lasts_min * MINUTE_MS;
        let approval = format!("APR-{id}");
        let mut teller = Teller { incident: self, id, number: 0, calls };
        teller.event(start, "opened", ("system", "alertmanager"), json!({}));
        match self.path {
            Path::Auto => {
                teller.event(start + 15_000, "acknowledged", AI, json!({}));
                teller.event(end - 30_000, "mitigated", AI, json!({ "action": action(id, "succeeded") }));
                teller.event(end, "resolved", AI, json!({ "action": action(id, "succeeded") }));
            }
            Path::Assisted => {
                teller.event(start + 20_000, "acknowledged", AI, json!({}));
                teller.approval(start + 90_000, &approval, "requested", AI);
                teller.approval(end - 240_000, &approval, "approved", COMMANDER);
                teller.approval(end - 60_000, &approval, "executed", AI);
                let done = json!({ "action": action(id, "succeeded"), "approval_id": approval });
                teller.event(end, "resolved", AI, done);
            }
            Path::Manual => {
                teller.event(start + 420_000, "acknowledged", PERSON, json!({}));
                teller.event(start + 480_000, "assigned", PERSON, json!({}));
                teller.event(end, "resolved", PERSON, json!({ "reason": "fixed by hand" }));
            }
            Path::SelfCleared => teller.event(end, "resolved", ("system", "alertmanager"), json!({ "reason": "condition cleared" })),
            Path::Reopened => {
                teller.event(start + 15_000, "acknowledged", AI, json!({}));
                teller.event(start + 360_000, "resolved", AI, json!({ "action": action(id, "succeeded") }));
                teller.event(start + 3_960_000, "reopened", ("system", "alertmanager"), json!({ "reason": "came back" }));
                teller.event(start + 4_200_000, "escalated", AI, json!({}));
                teller.event(end - 300_000, "mitigated", PERSON, json!({ "action": action(id, "succeeded") }));
                teller.event(end, "resolved", PERSON, json!({ "reason": "fixed by hand" }));
            }
            Path::Merged => teller.event(end, "merged", AI, json!({ "reason": "duplicate" })),
            Path::Cancelled => teller.event(end, "cancelled", PERSON, json!({ "reason": "false alarm" })),
            Path::Pending => {
                teller.event(start + 20_000, "acknowledged", AI, json!({}));
                teller.approval(start + 120_000, &approval, "requested", AI);
            }
        }
    }
}

const AI: (&str, &str) = ("ai", "investigator");
const PERSON: (&str, &str) = ("human", "on-call");
const COMMANDER: (&str, &str) = ("human", "commander");

fn action(incident: &str, outcome: &str) -> Value {
    json!({ "type": "restart", "plan_id": format!("PLAN-{incident}"), "outcome": outcome })
}

struct Teller<'a> {
    incident: &'a Incident,
    id: &'a str,
    number: u32,
    calls: &'a mut Vec<Call>,
}

impl Teller<'_> {
    fn event(&mut self, at_ms: i64, kind: &str, (actor, who): (&str, &str), more: Value) {
        self.number += 1;
        let mut body = json!({
            "event_id": format!("{}-{}", self.id, self.number),
            "incident_id": self.id,
            "type": kind,
            "occurred_at": rfc3339(at_ms),
            "actor": { "kind": actor, "id": who },
            "severity": self.incident.severity,
            "service": self.incident.service,
            "source": self.incident.source,
        });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        self.calls.push(Call { at_ms, door: "incidents", body });
    }

    fn approval(&mut self, at_ms: i64, approval: &str, kind: &str, (actor, who): (&str, &str)) {
        let body = json!({
            "approval_id": approval,
            "incident_id": self.id,
            "type": kind,
            "risk_level": if self.incident.severity == "critical" { "high" } else { "medium" },
            "action_type": "restart",
            "actor": { "kind": actor, "id": who },
            "service": self.incident.service,
            "occurred_at": rfc3339(at_ms),
            "plan_hash": format!("plan-{}", self.id),
        });
        self.calls.push(Call { at_ms, door: "approvals", body });
    }
}

/// One call to a model; which, and how long, follows from its number.
fn model_call(number: i64, at_ms: i64) -> Call {
    let dice = seed::unit("model", number);
    let (provider, model, service) = match dice {
        d if d < 0.55 => ("ollama", "qwen2.5:14b", "ollama"),
        d if d < 0.80 => ("gemini", "gemini-2.0-flash", "llm-gateway"),
        d if d < 0.98 => ("claude", "claude-3-5-sonnet-20241022", "llm-gateway"),
        _ => ("openclaw", "experimental-1", "openclaw"),
    };
    let input = 400 + (7_600.0 * seed::unit("input", number)) as u64;
    let cached = if provider == "claude" { input / 2 } else { 0 };
    let output = 80 + (1_400.0 * seed::unit("output", number)) as u64;
    let body = json!({
        "id": format!("call-{number}"),
        "ts": rfc3339(at_ms),
        "provider": provider,
        "model": model,
        "operation": "chat",
        "input_tokens": input,
        "cache_read_tokens": cached,
        "cache_write_tokens": 0,
        "output_tokens": output,
        "reasoning_tokens": 0,
        "duration_ms": 300 + output * 9,
        "status": "ok",
        "service": service,
        "trace_id": format!("{:016x}{:016x}", number.unsigned_abs(), 0xaf),
    });
    Call { at_ms, door: "llm-usage", body }
}

/// Alerts: one that fired and was resolved with the outage, one that still fires.
fn alerts(now_ms: i64) -> Vec<Call> {
    let minute = |ago: i64| now_ms - ago * MINUTE_MS;
    let (start, end) = (minute(58), minute(43));
    let scanner = minute(12);
    vec![
        alert(start, "firing", "HighErrorRate", "awoooi-api", "critical", start, None),
        alert(end, "resolved", "HighErrorRate", "awoooi-api", "critical", start, Some(end)),
        alert(scanner, "firing", "ScanOverdue", "kali-scanner", "warning", scanner, None),
    ]
}

fn alert(at_ms: i64, status: &str, name: &str, service: &str, severity: &str, starts_ms: i64, ends_ms: Option<i64>) -> Call {
    let labels = json!({ "alertname": name, "service": service, "severity": severity });
    let body = json!({
        "version": "4",
        "groupKey": format!("{{}}:{{alertname=\"{name}\"}}"),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "afferent",
        "groupLabels": { "alertname": name },
        "commonLabels": labels,
        "commonAnnotations": { "summary": format!("{name} on {service}") },
        "externalURL": "http://192.168.0.110:9093",
        "alerts": [{
            "status": status,
            "labels": labels,
            "annotations": { "summary": format!("{name} on {service}") },
            "startsAt": rfc3339(starts_ms),
            "endsAt": ends_ms.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), rfc3339),
            "generatorURL": "http://192.168.0.110:9090/graph",
            "fingerprint": format!("{:016x}", xxhash_rust::xxh3::xxh3_64(format!("{name}/{service}").as_bytes())),
        }],
    });
    Call { at_ms, door: "alertmanager", body }
}

#[cfg(test)]
mod tests;
