use super::*;

fn series(name: &str, target: &str, samples: &[(i64, f64)]) -> Series {
    Series {
        name: name.to_owned(),
        target: Some(("job".to_owned(), target.to_owned())),
        samples: samples.iter().map(|(s, v)| (s * 1000, *v)).collect(),
    }
}

#[test]
fn increases_are_anchored_before_the_pane_and_resets_count_what_came_after() {
    let nan = f64::from_bits(STALE_BITS);
    let all = [series("a", "x", &[(30, 10.0), (90, 15.0), (100, nan), (110, 3.0), (150, 4.0)])];
    let panes = panes(&all);
    let increase = |start| panes[&("a".to_owned(), start)].increase;
    assert_eq!((increase(0), increase(60_000), increase(120_000)), (0.0, 8.0, 1.0));
    assert_eq!((panes[&("a".to_owned(), 60_000)].resets, panes[&("a".to_owned(), 60_000)].count), (1, 2));
}

#[test]
fn a_new_series_of_a_known_target_counts_from_zero() {
    let all = [series("old", "x", &[(10, 1.0), (20, 1.0), (30, 1.0)]), series("new", "x", &[(30, 7.0)]), series("other", "y", &[(30, 7.0)])];
    let panes = panes(&all);
    assert_eq!(panes[&("new".to_owned(), 0)].increase, 7.0);
    assert_eq!(panes[&("other".to_owned(), 0)].increase, 0.0);
}
