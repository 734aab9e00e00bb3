#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

#[test]
fn a_table_lines_up_numbers_to_the_right_and_wide_characters() {
    let answer = json!({
        "columns": [{"name": "service", "type": "string"}, {"name": "n", "type": "int64"}],
        "rows": [["api", 7], ["自治率", 12345], [null, null]],
        "stats": {"rows": 3, "elapsed_ms": 1.25},
    });
    let expected = " service |     n\n---------+-------\n api     |     7\n 自治率  | 12345\n         |\n(3 rows, 1.2 ms)\n";
    assert_eq!(table(&answer), expected);
}

#[test]
fn long_and_hostile_values_cannot_break_the_table() {
    let answer = json!({ "columns": [{"name": "x", "type": "string"}], "rows": [["a\u{1b}[31m\nb"], ["y".repeat(1000)]] });
    let table = table(&answer);
    assert!(!table.contains('\u{1b}'));
    assert!(table.lines().all(|line| cells(line) <= COLUMN_CELLS_MAX + 2), "{table}");
    assert_eq!(table.lines().count(), 5);
}

#[test]
fn an_error_is_said_in_words() {
    let body = r#"{"error":{"kind":"invalid","message":"no table x","hint":"SHOW TABLES"}}"#;
    assert_eq!(explain(400, body), "invalid: no table x\nhint: SHOW TABLES");
    assert_eq!(explain(502, "<html>"), "HTTP 502: <html>");
}

#[test]
fn answers_that_are_not_ours_do_not_panic() {
    for answer in [json!(null), json!({"rows": [1]}), json!({"columns": [1], "rows": [["a", "b"]]})] {
        table(&answer);
    }
}
