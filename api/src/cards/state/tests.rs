use super::*;

fn fresh() -> Facts {
    Facts { as_of: Some(EventTime(1_000_000)), now: WallTime(1_000_500), coverage: Some(1.0), failed: false, has_figures: true, has_gaps: false }
}

#[test]
fn the_first_that_holds_decides() {
    assert_eq!(decide(&fresh()), CardState::Ready);
    assert_eq!(decide(&Facts { coverage: None, ..fresh() }), CardState::Ready);
    assert_eq!(decide(&Facts { coverage: Some(0.899), ..fresh() }), CardState::Partial);
    assert_eq!(decide(&Facts { coverage: Some(0.90), ..fresh() }), CardState::Ready);
    assert_eq!(decide(&Facts { has_gaps: true, ..fresh() }), CardState::Partial);
    assert_eq!(decide(&Facts { now: WallTime(1_300_000), ..fresh() }), CardState::Ready);
    assert_eq!(decide(&Facts { now: WallTime(1_300_001), has_gaps: true, ..fresh() }), CardState::Stale);
    assert_eq!(decide(&Facts { has_figures: false, ..fresh() }), CardState::NoData);
    assert_eq!(decide(&Facts { as_of: None, ..fresh() }), CardState::NoData);
    assert_eq!(decide(&Facts { failed: true, as_of: None, ..fresh() }), CardState::Error);
}

#[test]
fn extreme_times_do_not_overflow() {
    assert_eq!(decide(&Facts { as_of: Some(EventTime(i64::MIN)), now: WallTime(i64::MAX), ..fresh() }), CardState::Stale);
}
