use super::*;
use std::collections::BTreeSet;

const NOW: i64 = 1_795_358_280_000;

#[test]
fn the_last_day_holds_seven_auto_two_assisted_and_one_manual() {
    let count = |path: Path, minutes: std::ops::Range<i64>| {
        SCRIPT.iter().filter(|i| i.path == path && minutes.contains(&(i.minutes_ago - i.lasts_min))).count()
    };
    assert_eq!(count(Path::Auto, 0..1440), 7);
    assert_eq!(count(Path::Assisted, 0..1440), 2);
    assert_eq!(count(Path::Manual, 0..1440) + count(Path::Reopened, 0..1440), 1);
    assert_eq!(count(Path::Auto, 1440..2880), 7);
    assert_eq!(count(Path::Assisted, 1440..2880), 3);
    assert_eq!(count(Path::Manual, 1440..2880), 2);
}

#[test]
fn calls_are_in_order_and_no_event_stands_twice() {
    let calls = history(NOW, 10_120, 90);
    assert!(calls.windows(2).all(|w| w[0].at_ms <= w[1].at_ms));
    assert!(calls.iter().all(|c| c.at_ms < NOW));
    let ids: Vec<String> = calls.iter().filter_map(|c| c.body.get("event_id").or(c.body.get("id"))).map(ToString::to_string).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    for door in ["incidents", "approvals", "llm-usage", "alertmanager"] {
        assert!(calls.iter().any(|c| c.door == door), "{door}");
    }
    assert_eq!(calls, history(NOW, 10_120, 90));
}

#[test]
fn figures_do_not_depend_on_when_the_demo_runs() {
    let tokens = |now: i64| -> Vec<Value> { history(now, 10_120, 90).into_iter().filter_map(|c| c.body.get("input_tokens").cloned()).collect() };
    assert_eq!(tokens(NOW), tokens(NOW + 86_400_000 * 31));
}

#[test]
fn live_play_skips_no_call_when_seconds_are_missed() {
    let one_by_one: usize = (1..=400).map(|s| live(s, s - 1, NOW).len()).sum();
    let in_leaps: usize = (1..=80).map(|s| live(s * 5, (s - 1) * 5, NOW).len()).sum();
    assert_eq!(one_by_one, in_leaps);
}
