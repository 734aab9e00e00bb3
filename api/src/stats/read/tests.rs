use super::*;

#[test]
fn an_objective_that_nothing_is_heard_of_says_nothing() {
    let now = WallTime(1_000_000);
    assert_eq!(heard(SloHealth::Healthy, Some(EventTime(1_000_000 - STALE_AFTER_MS)), now), SloHealth::Healthy);
    assert_eq!(heard(SloHealth::Healthy, Some(EventTime(999_999 - STALE_AFTER_MS)), now), SloHealth::NoData);
    assert_eq!(heard(SloHealth::Breached, None, now), SloHealth::NoData);
}

#[test]
fn a_name_cannot_leave_its_literal() {
    assert_eq!(quoted("redis"), "'redis'");
    assert_eq!(quoted("x' OR '1'='1"), "'x'' OR ''1''=''1'");
}
