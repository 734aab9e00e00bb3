use super::*;

const WEEK: Objective = Objective { target_ppm: 990_000, period_minutes: 10_080 };

fn week(bad: impl Fn(i64) -> i64) -> BTreeMap<i64, Slice> {
    (0..10_080).map(|minute| (minute * 60_000, Slice { bad: bad(minute), total: 100 })).collect()
}

#[test]
fn the_statuses_come_in_their_order() {
    let status = |slices: &BTreeMap<i64, Slice>| standing(slices, WEEK, 10_080 * 60_000).status;
    assert_eq!(status(&week(|_| 0)), "healthy");
    assert_eq!(status(&week(|_| 1)), "at_risk", "all of the budget is spent, and not more");
    assert_eq!(status(&week(|minute| 1 + i64::from(minute == 7))), "breached");
    assert_eq!(status(&week(|minute| if minute > 10_010 { 20 } else { 0 })), "at_risk", "the page tier fires");
    let mut gaps = week(|_| 0);
    gaps.retain(|start, _| start % 600_000 != 0 && *start != 60_000);
    assert_eq!(status(&gaps), "no_data");
    assert_eq!(standing(&week(|_| 0), WEEK, 10_086 * 60_000).status, "no_data", "the newest slice is too old");
}

#[test]
fn sums_hold_exactly_the_minutes_of_the_window() {
    let slices = week(|minute| minute % 2);
    assert_eq!(sum(&slices, 10_079 * 60_000, 5), Slice { bad: 3, total: 500 });
    let standing = standing(&slices, WEEK, 0);
    assert_eq!((standing.good, standing.bad, standing.total, standing.observed), (1_002_960, 5_040, 1_008_000, 10_080));
}
