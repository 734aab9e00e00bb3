#![allow(clippy::unwrap_used)]

use super::*;
use afferent_engine::event::EventKind;
use afferent_engine::time::EventTime;

const TEXT: &str = r#"
services:
  - name: awoooi-api
    aliases: [api]
    layer: L1
    owner: platform
    policy: cautious
    match:
      - job: awoooi-api
      - job: "=~blackbox-.+"
        instance: "=~api\\..*"
    links: { grafana: "https://grafana.example/d/api" }
    slos: [api-availability]
  - name: node-110
    match: [{ job: node, instance: "!~.*:9999" }]
"#;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_unsorted(pairs.iter().copied().chain([("__name__", "up")])).unwrap()
}

fn event(service: Option<&str>, attributes: &str) -> Event {
    Event {
        event_id: "1".to_owned(),
        time: EventTime(0),
        kind: EventKind::Alert,
        severity: None,
        service: service.map(str::to_owned),
        fingerprint: None,
        status: None,
        title: String::new(),
        attributes: attributes.to_owned(),
    }
}

#[test]
fn series_go_to_the_first_service_that_fits() {
    let inventory = ServiceInventory::from_yaml(TEXT, "inventory.yaml").unwrap();
    let cases: [(&[(&str, &str)], Option<&str>); 8] = [
        (&[("job", "awoooi-api")], Some("awoooi-api")),
        (&[("job", "blackbox-http"), ("instance", "api.example:443")], Some("awoooi-api")),
        (&[("job", "blackbox-http"), ("instance", "web.example:443")], None),
        (&[("job", "my-awoooi-api")], None),
        (&[("job", "node"), ("instance", "110:9100")], Some("node-110")),
        (&[("job", "node"), ("instance", "110:9999")], None),
        (&[("job", "x"), ("service", "api")], Some("awoooi-api")),
        (&[("job", "unknown")], None),
    ];
    for (pairs, expected) in cases {
        assert_eq!(inventory.service_of_series(&labels(pairs)).as_deref(), expected, "{pairs:?}");
    }
}

#[test]
fn events_go_by_name_alias_labels_or_their_own_word() {
    let inventory = ServiceInventory::from_yaml(TEXT, "inventory.yaml").unwrap();
    assert_eq!(inventory.service_of_event(&event(Some("api"), "{}")).as_deref(), Some("awoooi-api"));
    assert_eq!(inventory.service_of_event(&event(None, r#"{"labels": {"job": "awoooi-api"}}"#)).as_deref(), Some("awoooi-api"));
    assert_eq!(inventory.service_of_event(&event(Some("else"), "{}")).as_deref(), Some("else"));
    assert_eq!(inventory.service_of_event(&event(None, "not json")), None);
}

#[test]
fn without_a_file_labels_speak_for_themselves() {
    let inventory = ServiceInventory::default();
    assert_eq!(inventory.service_of_series(&labels(&[("job", "a"), ("service", "b")])).as_deref(), Some("b"));
    assert_eq!(inventory.service_of_series(&labels(&[("job", "a")])).as_deref(), Some("a"));
}

#[test]
fn errors_say_where_and_what() {
    let cases = [
        ("services:\n  - name: a\n    ownr: x\n", "line 3"),
        ("services:\n  - name: a\n    policy: bold\n", "unknown variant `bold`"),
        ("services:\n  - name: a\n    layer: L9\n", "unknown variant `L9`"),
        ("services:\n  - nam: a\n", "unknown field `nam`"),
        ("services:\n  - name: a\n  - name: b\n    aliases: [a]\n", "\"a\" is taken already"),
        ("services:\n  - name: ''\n", "must not be empty"),
        ("services:\n  - name: a\n    match: [{ job: '=~(' }]\n", "label \"job\": pattern \"(\""),
        ("services:\n  - name: a\n    match: [{}]\n", "would take every series"),
        ("services:\n  - name: a\n    links: { x: 'javascript:alert(1)' }\n", "must begin with http"),
        ("services: [", "line 2"),
    ];
    for (text, expected) in cases {
        let message = ServiceInventory::from_yaml(text, "inventory.yaml").unwrap_err().to_string();
        assert!(message.starts_with("inventory.yaml: ") && message.contains(expected), "{text}: {message}");
    }
}
