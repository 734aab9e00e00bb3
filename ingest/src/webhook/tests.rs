#![allow(clippy::unwrap_used)]
use super::*;
use crate::remote_write::tests::{Changes, any_changes, mutate};
use afferent_engine::event::EventKind;
use afferent_engine::log::Reject;
use afferent_engine::time::{EventTime, WallTime};
use proptest::prelude::*;
use serde_json::json;

/// 2026-11-22T09:00:00Z.
const NOW: i64 = 1_795_338_000_000;

const ALERTMANAGER: &str = include_str!("golden/alertmanager.json");
const INCIDENT: &str = include_str!("golden/incident.json");
const APPROVAL: &str = include_str!("golden/approval.json");
const LLM_USAGE: &str = include_str!("golden/llm_usage.json");

fn try_read(format: Format, body: impl AsRef<[u8]>) -> Result<(Vec<Event>, Vec<Reject>)> {
    let body = bytes::Bytes::copy_from_slice(body.as_ref());
    let record = Record { format, source: "test".into(), received_at: WallTime(NOW), body_hash: 0, request_id: 1, body };
    let decoded = decode(&record, 300_000)?;
    match decoded.body {
        DecodedBody::Events(events) => Ok((events, decoded.rejects)),
        DecodedBody::Samples(_) => panic!("webhooks hold events"),
    }
}

fn read(format: Format, body: impl AsRef<[u8]>) -> (Vec<Event>, Vec<Reject>) {
    try_read(format, body).unwrap()
}

fn fixed(text: &str) -> EventTime {
    EventTime(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
}

#[test]
fn alertmanager_golden() {
    let (events, rejects) = read(Format::Alertmanager, ALERTMANAGER);
    assert!(rejects.is_empty(), "{rejects:?}");
    let [firing, resolved] = events.as_slice() else { panic!("two alerts") };
    assert_eq!(firing.event_id, "d34db33fd34db33f:2026-11-22T08:00:00.123Z:firing");
    assert_eq!(firing.time, fixed("2026-11-22T08:00:00.123Z"));
    assert_eq!((firing.kind, firing.title.as_str()), (EventKind::Alert, "5 % of requests fail"));
    assert_eq!(
        (firing.severity.as_deref(), firing.service.as_deref(), firing.status.as_deref()),
        (Some("critical"), Some("awoooi-api"), Some("firing"))
    );
    assert_eq!(firing.fingerprint.as_deref(), Some("d34db33fd34db33f"));
    let attributes: Value = serde_json::from_str(&firing.attributes).unwrap();
    assert_eq!(attributes["groupKey"], "{}:{alertname=\"HighErrorRate\"}");
    assert_eq!((&attributes["receiver"], &attributes["truncatedAlerts"]), (&json!("afferent"), &json!(0)));
    assert_eq!(attributes["annotations"]["description"], "more words");
    assert_eq!(resolved.time, fixed("2026-11-22T07:30:00Z"));
    assert_eq!(resolved.title, "HighErrorRate");
    let fingerprint = resolved.fingerprint.as_deref().unwrap();
    assert_eq!(resolved.event_id, format!("{fingerprint}:2026-11-22T07:00:00.000Z:resolved"));
}

#[test]
fn the_computed_fingerprint_is_fnv_1a_over_sorted_labels() {
    let alert = json!({"status": "firing", "startsAt": "2026-11-22T08:00:00Z", "labels": {"b": "2", "a": "1"}});
    let (events, _) = read(Format::Alertmanager, json!({ "alerts": [alert] }).to_string());
    let naive =
        b"a\xff1\xffb\xff2\xff".iter().fold(14_695_981_039_346_656_037_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211));
    assert_eq!(events[0].fingerprint.as_deref(), Some(format!("{naive:016x}").as_str()));
}

#[test]
fn a_resolved_alert_without_an_end_was_over_when_it_came_in() {
    for ends_at in [json!("0001-01-01T00:00:00Z"), Value::Null] {
        let alert = json!({"status": "resolved", "startsAt": "2026-11-22T08:00:00Z", "endsAt": ends_at, "labels": {"alertname": "a"}});
        let (events, _) = read(Format::Alertmanager, json!({ "alerts": [alert] }).to_string());
        assert_eq!(events[0].time, EventTime(NOW));
    }
}

#[test]
fn good_alerts_are_kept_beside_bad_ones_which_are_named_by_path() {
    let mut body: Value = serde_json::from_str(ALERTMANAGER).unwrap();
    let good = body["alerts"][0].clone();
    let with = |key: &str, value: Value| {
        let mut alert = good.clone();
        alert[key] = value;
        alert
    };
    body["alerts"] = json!([
        good.clone(),
        with("startsAt", json!("yesterday")),
        with("startsAt", Value::Null),
        with("status", json!("pending")),
        with("labels", json!([])),
        7,
        with("startsAt", json!("2026-11-22T09:05:00.001Z")),
        with("fingerprint", json!(["x"])),
    ]);
    let (events, rejects) = read(Format::Alertmanager, body.to_string());
    assert_eq!(events.len(), 1);
    let found: Vec<_> = rejects.iter().map(|reject| (reject.reason, reject.detail.split(": ").next().unwrap())).collect();
    assert_eq!(
        found,
        [
            ("bad_field", "$.alerts[1].startsAt"),
            ("missing_field", "$.alerts[2].startsAt"),
            ("bad_field", "$.alerts[3].status"),
            ("bad_field", "$.alerts[4].labels"),
            ("bad_field", "$.alerts[5]"),
            ("future", "$.alerts[6]"),
            ("bad_field", "$.alerts[7].fingerprint"),
        ]
    );
}

#[test]
fn incident_golden() {
    let (events, rejects) = read(Format::Incidents, INCIDENT);
    assert!(rejects.is_empty(), "{rejects:?}");
    let event = &events[0];
    assert_eq!((event.event_id.as_str(), event.kind, event.time), ("evt-1", EventKind::Incident, fixed("2026-11-22T08:05:00Z")));
    assert_eq!((event.fingerprint.as_deref(), event.status.as_deref()), (Some("INC-7"), Some("resolved")));
    assert_eq!((event.severity.as_deref(), event.service.as_deref()), (Some("high"), Some("awoooi-worker")));
    assert_eq!(event.title, "INC-7 resolved: queue drained");
    assert!(event.attributes.contains(r#""field_of_tomorrow":[1,{"a":1,"b":2}]"#), "{}", event.attributes);
}

#[test]
fn an_incident_without_an_id_is_known_by_its_content_whatever_the_order_of_its_fields() {
    let one = r#"{"incident_id":"I","type":"opened","occurred_at":"2026-11-22T08:00:00Z","extra":{"a":1,"b":2}}"#;
    let two = r#" {"extra": {"b":2, "a":1}, "type":"opened", "occurred_at":"2026-11-22T08:00:00Z", "incident_id":"I"}"#;
    let other = one.replace("08:00:00", "08:00:01");
    let id = |body: &str| read(Format::Incidents, body).0[0].event_id.clone();
    assert_eq!(id(one), id(two));
    assert_ne!(id(one), id(&other));
    assert_eq!(id(one).len(), 32);
}

#[test]
fn approval_golden() {
    let (events, rejects) = read(Format::Approvals, APPROVAL);
    assert!(rejects.is_empty(), "{rejects:?}");
    let event = &events[0];
    assert_eq!((event.kind, event.time), (EventKind::Approval, EventTime(1_795_334_700_000)));
    assert_eq!((event.fingerprint.as_deref(), event.status.as_deref(), event.severity.as_deref()), (Some("APR-3"), Some("approved"), Some("high")));
    assert_eq!(event.title, "APR-3 approved: rollback");
}

#[test]
fn llm_usage_golden_in_each_wrapping() {
    let (events, rejects) = read(Format::LlmUsage, LLM_USAGE);
    assert!(rejects.is_empty(), "{rejects:?}");
    assert_eq!(events.iter().map(|event| event.event_id.as_str()).collect::<Vec<_>>(), ["call-1", "42"]);
    assert_eq!(events[0].title, "claude opus chat");
    assert_eq!((events[0].kind, events[0].status.as_deref(), events[0].service.as_deref()), (EventKind::LlmUsage, Some("ok"), Some("openclaw")));
    assert_eq!((events[0].time, events[1].time), (fixed("2026-11-22T08:00:00Z"), fixed("2026-11-22T08:00:00Z")));
    let body: Value = serde_json::from_str(LLM_USAGE).unwrap();
    assert_eq!(read(Format::LlmUsage, body["usage"].to_string()).0, events);
    assert_eq!(read(Format::LlmUsage, body["usage"][0].to_string()).0, events[..1]);
}

#[test]
fn bad_fields_are_named_by_path() {
    let cases = [
        (Format::Incidents, json!({"type": "opened", "occurred_at": 1}), "$.incident_id"),
        (Format::Incidents, json!([{"incident_id": "i", "type": "exploded", "occurred_at": 1}]), "$[0].type"),
        (Format::Incidents, json!({"incident_id": "i", "type": "opened"}), "$.occurred_at"),
        (Format::Incidents, json!({"incident_id": "i", "type": "opened", "occurred_at": 1, "actor": {"kind": "cat"}}), "$.actor.kind"),
        (Format::Incidents, json!({"incident_id": "i", "type": "opened", "occurred_at": 1, "actor": "ai"}), "$.actor"),
        (Format::Approvals, json!({"incident_id": "i", "type": "approved", "occurred_at": 1}), "$.approval_id"),
        (Format::Approvals, json!({"approval_id": {}, "type": "approved", "occurred_at": 1}), "$.approval_id"),
        (Format::LlmUsage, json!({"usage": [{"id": "a", "ts": 1, "provider": "p"}]}), "$.usage[0].model"),
        (Format::LlmUsage, json!({"id": "a", "ts": 1, "provider": "p", "model": "m", "input_tokens": -1}), "$.input_tokens"),
        (Format::LlmUsage, json!({"id": "a", "ts": 1, "provider": "p", "model": "m", "output_tokens": 1.5}), "$.output_tokens"),
        (Format::LlmUsage, json!({"id": "a", "ts": 1, "provider": "p", "model": "m", "cost_usd": "1"}), "$.cost_usd"),
        (Format::LlmUsage, json!({"id": "a", "ts": true, "provider": "p", "model": "m"}), "$.ts"),
    ];
    for (format, body, path) in cases {
        let (events, rejects) = read(format, body.to_string());
        assert!(events.is_empty(), "{body}");
        assert_eq!(rejects[0].detail.split(": ").next(), Some(path), "{rejects:?}");
    }
}

#[test]
fn bodies_of_another_shape_are_refused_whole() {
    for body in ["", "{", "nul", "\u{feff}{}", "{\"alerts\": [", &"[".repeat(100_000)] {
        assert!(matches!(try_read(Format::Incidents, body), Err(Error::Json { .. })), "{body:.20}");
    }
    assert!(matches!(try_read(Format::LlmUsage, "3"), Err(Error::Shape { .. })));
    let error = try_read(Format::Alertmanager, r#"{"version":"4","alerts":{}}"#).unwrap_err();
    assert_eq!(error.to_string(), "$.alerts must be an array");
    let error = try_read(Format::Alertmanager, json!({"alerts": [], "groupKey": "x".repeat(9000)}).to_string()).unwrap_err();
    assert!(error.to_string().starts_with("$.groupKey"), "{error}");
    assert!(matches!(try_read(Format::LlmUsage, format!("[{}0]", "0,".repeat(10_000))), Err(Error::TooLarge { .. })));
}

#[test]
fn a_group_cannot_blow_its_alerts_up() {
    let alert = json!({"status": "firing", "startsAt": 1, "labels": {"a": "b"}});
    let text = "x".repeat(8000);
    let body = json!({"groupKey": text, "receiver": text, "externalURL": text, "alerts": vec![alert; 9000]});
    assert!(matches!(try_read(Format::Alertmanager, body.to_string()), Err(Error::TooLarge { .. })));
}

fn try_mutated(format: Format, golden: &str, changes: &Changes) {
    let mut body = golden.as_bytes().to_vec();
    mutate(&mut body, changes);
    if let Ok((events, rejects)) = try_read(format, body) {
        assert!(events.iter().all(|event| serde_json::from_str::<Value>(&event.attributes).is_ok() && !event.event_id.is_empty()));
        assert!(events.len() + rejects.len() <= 3);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_bodies_never_panic(changes in any_changes()) {
        try_mutated(Format::Alertmanager, ALERTMANAGER, &changes);
        try_mutated(Format::Incidents, INCIDENT, &changes);
        try_mutated(Format::Approvals, APPROVAL, &changes);
        try_mutated(Format::LlmUsage, LLM_USAGE, &changes);
    }
}
