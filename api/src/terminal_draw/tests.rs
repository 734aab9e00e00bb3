#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

fn card(title: &str, summary: &str) -> Value {
    json!({
        "title": title, "summary": summary, "state": "ready", "data_as_of": "2026-11-22T10:00:00.000Z",
        "data": { "services": [
            { "name": "awoooi-api", "status": "critical" }, { "name": "a-service-with-a-long-name", "status": "healthy" },
            { "name": "三", "status": "no_data" }, { "name": "d", "status": "warning" }, { "name": "e", "status": "healthy" },
            { "name": "f", "status": "healthy" },
        ]},
        "facts": [
            { "label": "p95 延遲", "display": "161 ms", "status": "ok" },
            { "label": "x".repeat(200), "display": "y".repeat(200), "status": "critical" },
            {},
        ],
    })
}

#[test]
fn every_line_is_exactly_as_wide_as_the_terminal() {
    let long = "長".repeat(300);
    for drawing in [draw(&card("自治率", &long)), draw(&card(&long, "a b c ".repeat(100).as_str())), draw(&json!({})), draw(&json!([1]))] {
        for line in drawing.lines() {
            assert_eq!(width(line), WIDTH, "{line}");
        }
        assert!(!drawing.contains('\u{1b}'));
    }
}

#[test]
fn marks_tell_states_without_colour() {
    let drawing = draw(&card("Health", "6 services"));
    for part in ["X awoooi-api", "o a-service-~", "? 三", "! d", "161 ms  o"] {
        assert!(drawing.contains(part), "{part} is missing in\n{drawing}");
    }
}

#[test]
fn control_characters_never_reach_the_terminal() {
    let drawing = draw(&json!({ "title": "a\u{1b}[31mb\u{7}", "summary": "c\rd" }));
    assert!(drawing.chars().all(|c| c == '\n' || !c.is_control()), "{drawing:?}");
}
