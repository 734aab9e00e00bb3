//! Random events of every kind, as their senders write them.

use super::chance::Chance;
use super::stream::{Body, DAY_MS, Sent};
use afferent_engine::log::Format;
use serde_json::{Value, json};

/// RFC 3339 without a date library; days are counted on in March 2026.
fn text_of(at: i64) -> String {
    let ms = at - DAY_MS;
    let (day, ms) = (1 + ms / 86_400_000, ms % 86_400_000);
    format!("2026-03-{day:02}T{:02}:{:02}:{:02}.{:03}Z", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

/// An event that comes after everything else.
pub(super) fn closing(at: i64) -> Sent {
    let event = json!({"event_id": "closing", "incident_id": "closing", "type": "note", "occurred_at": at, "actor": {"kind": "system", "id": "x"}});
    let body = Body::Events { format: Format::Incidents, kind: "incident", ids: vec!["closing".into()], text: event.to_string() };
    Sent { arrives: at, source: "closing".into(), body }
}

/// Events over the stream's time; `again` is how often one comes twice.
pub(super) fn events(chance: &mut Chance, (start, end): (i64, i64), again: f64) -> Vec<Sent> {
    let mut out = vec![];
    for i in 0..chance.between(0, 6) {
        incident(chance, &format!("inc-{i}"), chance.clone().between(start, end), &mut out);
    }
    for i in 0..chance.between(0, 6) {
        let starts = chance.between(start, end);
        for firing in [true, false].into_iter().take(chance.between(1, 3) as usize) {
            out.push(alert(chance, i % 3, starts, firing));
        }
    }
    for i in 0..chance.between(0, 10) {
        let at = chance.between(start, end);
        out.push(usage(chance, i, at));
    }
    for sent in &mut out {
        sent.arrives += chance.between(0, 90_000);
    }
    let twice: Vec<Sent> = out.iter().filter(|_| chance.with(again)).cloned().collect();
    out.extend(twice.into_iter().map(|mut sent| {
        sent.arrives += chance.between(0, 300_000);
        // Other bytes, the same event.
        if let (Body::Events { text, .. }, true) = (&mut sent.body, chance.one_in(2)) {
            text.push(' ');
        }
        sent
    }));
    out
}

fn one(source: &str, arrives: i64, format: Format, kind: &'static str, id: String, event: &Value) -> Sent {
    Sent { arrives, source: source.into(), body: Body::Events { format, kind, ids: vec![id], text: event.to_string() } }
}

fn incident(chance: &mut Chance, id: &str, opened: i64, out: &mut Vec<Sent>) {
    let mut at = opened;
    let service = *chance.pick(&["shop", "pay", "host-a"]);
    let severity = *chance.pick(&["high", "low", "critical"]);
    let steps = ["acknowledged", "mitigated", "note", "resolved", "reopened", "escalated"];
    for (n, kind) in std::iter::once("opened").chain(chance.some(&steps, 0, 5)).enumerate() {
        let event_id = format!("{id}-{n}");
        let actor = *chance.pick(&["ai", "human", "system"]);
        let mut event = json!({"event_id": event_id, "incident_id": id, "type": kind, "occurred_at": text_of(at), "actor": {"kind": actor, "id": "x"},
            "severity": severity, "service": service, "source": "prometheus"});
        if let (true, Some(fields)) = (chance.one_in(3), event.as_object_mut()) {
            let outcome = *chance.pick(&["succeeded", "failed"]);
            fields.insert("action".into(), json!({"type": "restart", "plan_id": "p", "outcome": outcome}));
        }
        out.push(one("platform", at, Format::Incidents, "incident", event_id, &event));
        if chance.one_in(4) {
            let approval_id = format!("ap-{id}-{n}");
            let approval = json!({"event_id": approval_id, "approval_id": approval_id, "incident_id": id, "type": "approved", "risk_level": "high",
                "action_type": "restart", "actor": {"kind": "human", "id": "y"}, "occurred_at": text_of(at), "comment": "yes", "plan_hash": "h"});
            out.push(one("platform", at, Format::Approvals, "approval", approval_id, &approval));
        }
        at += chance.between(0, 200_000);
    }
}

fn alert(chance: &mut Chance, number: i64, starts: i64, firing: bool) -> Sent {
    let ends = starts + chance.between(1_000, 200_000);
    let status = if firing { "firing" } else { "resolved" };
    let ends_text = if firing { "0001-01-01T00:00:00Z".to_owned() } else { text_of(ends) };
    let body = json!({"version": "4", "groupKey": "g", "truncatedAlerts": 0, "status": status, "receiver": "afferent", "groupLabels": {},
        "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager.example",
        "alerts": [{"status": status, "labels": {"alertname": format!("Alert{number}"), "severity": "critical", "job": "shop", "service": "shop"},
            "annotations": {"summary": "errors"}, "startsAt": text_of(starts), "endsAt": ends_text, "generatorURL": "http://prometheus.example",
            "fingerprint": format!("f{number}")}]});
    let id = format!("{number} {starts} {status}");
    one("alertmanager", if firing { starts } else { ends }, Format::Alertmanager, "alert", id, &body)
}

fn usage(chance: &mut Chance, number: i64, at: i64) -> Sent {
    let (provider, model) = *chance.pick(&[("ollama", "llama3"), ("anthropic", "claude-sonnet-4-5"), ("nobody", "unheard-of")]);
    let call = json!({"id": format!("u{number}"), "ts": text_of(at), "provider": provider, "model": model, "operation": "chat",
        "input_tokens": 1000 + number, "output_tokens": chance.between(0, 500), "duration_ms": 900, "status": chance.pick(&["ok", "error"]),
        "service": "shop", "trace_id": "t"});
    one("gateway", at, Format::LlmUsage, "llm_usage", format!("u{number}"), &call)
}
