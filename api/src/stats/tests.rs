use super::*;

#[test]
fn months_and_periods_are_checked() {
    assert!(month("2026-03").is_ok());
    for wrong in ["2026-3", "2026-13", "2026-00", "26-03", "2026-03-01", "'; --", "", "2026-+1", "２０２６-03"] {
        assert!(month(wrong).is_err(), "{wrong}");
    }
    assert_eq!(mttr_period(None).ok(), Some("7d"));
    assert_eq!(mttr_period(Some("24h")).ok(), Some("24h"));
    assert!(mttr_period(Some("1y")).is_err());
}
