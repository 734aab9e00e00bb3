#![allow(clippy::unwrap_used)]

use super::*;

const NOW: WallTime = WallTime(1_795_305_630_500);

#[test]
fn instants_come_in_three_forms() {
    let at = |text: &str| parse(text, NOW).map(|t| t.to_string()).unwrap();
    assert_eq!(at("2026-11-22T10:00:00Z"), "2026-11-22T10:00:00.000Z");
    assert_eq!(at(" 2026-11-22T10:00:00+08:00 "), "2026-11-22T02:00:00.000Z");
    assert_eq!(at("2026-11-22"), "2026-11-22T00:00:00.000Z");
    assert_eq!(at("now"), "2026-11-22T00:00:00.000Z");
    assert_eq!(at("-0s"), at("now"));
    assert_eq!(at("-90m"), "2026-11-21T22:30:00.000Z");
    assert_eq!(at("-24h"), at("-1d"));
    assert_eq!(at("-2w"), at("-14d"));
}

#[test]
fn everything_else_is_refused_with_what_to_write() {
    for text in ["", "-", "24h", "-24", "-h", "--1h", "-1y", "-99999999999999999h", "yesterday", "2026-13-01", "2026-11-22 10:00", "1795305600"] {
        let error = parse(text, NOW).unwrap_err();
        assert!(error.contains("-24h"), "{text:?}: {error}");
    }
}
