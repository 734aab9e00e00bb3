use super::*;

#[test]
fn figures_are_easy_to_read() {
    assert_eq!([0, 7, 999, 1_000, 1_234_567].map(count), ["0", "7", "999", "1,000", "1,234,567"]);
    assert_eq!([0.2, 3.4, 63.0, 3_900.0, -1.0].map(duration), ["0 s", "3 s", "1 m 3 s", "1 h 5 m", "0 s"]);
}

#[test]
fn a_bar_is_as_long_as_its_share() {
    assert_eq!(line(Some(0.5), "x", true), format!("[{}{}]  50.0 %  x", "#".repeat(12), ".".repeat(12)));
    assert_eq!(line(Some(7.0), "x", true), format!("[{}] 100.0 %  x", "#".repeat(24)));
    assert_eq!(line(Some(0.25), "x", false), " 25.0 %  x");
    assert_eq!(line(None, "x", true), "x");
}
