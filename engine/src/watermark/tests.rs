use super::*;

fn at(s: i64) -> Option<EventTime> {
    Some(EventTime(s * 1000))
}

fn source(name: &str) -> Arc<str> {
    Arc::from(name)
}

#[test]
fn the_slowest_active_source_leads() {
    let mut mark = Watermark::new(10_000, 120_000, 300_000);
    mark.observe(&source("a"), at(100), WallTime(0));
    mark.observe(&source("b"), at(70), WallTime(0));
    assert_eq!(mark.current(), at(90), "a watermark never goes back, not even for a source that joins behind it");
    mark.observe(&source("a"), at(200), WallTime(1_000));
    assert_eq!(mark.current(), at(90));
    mark.observe(&source("b"), at(150), WallTime(1_000));
    assert_eq!(mark.current(), at(140));
}

#[test]
fn a_silent_source_stops_holding_back() {
    let mut mark = Watermark::new(0, 120_000, 300_000);
    mark.observe(&source("b"), at(10), WallTime(0));
    mark.observe(&source("a"), at(100), WallTime(60_000));
    assert_eq!(mark.current(), at(10));
    mark.observe(&source("a"), at(250), WallTime(120_001));
    assert_eq!(mark.current(), at(250));
}

#[test]
fn a_record_without_samples_keeps_a_source_active_but_moves_nothing() {
    let mut mark = Watermark::new(0, 120_000, 300_000);
    mark.observe(&source("a"), None, WallTime(0));
    assert_eq!(mark.current(), None);
    assert_eq!(mark.sources().count(), 0);
}

#[test]
fn sources_are_bounded() {
    let mut mark = Watermark::new(0, 1, 300_000);
    for i in 0..SOURCES_MAX as i64 + 10 {
        mark.observe(&source(&format!("s{i}")), at(i), WallTime(i));
    }
    assert_eq!(mark.sources().count(), SOURCES_MAX);
}

#[test]
fn a_sender_that_comes_back_two_hours_behind_holds_nobody_back() {
    let mut mark = Watermark::new(0, 120_000, 300_000);
    mark.observe(&source("b"), at(0), WallTime(0));
    mark.observe(&source("a"), at(7_200), WallTime(7_200_000));
    mark.observe(&source("b"), at(1), WallTime(7_200_000));
    mark.observe(&source("a"), at(7_260), WallTime(7_260_000));
    assert_eq!(mark.current(), at(7_260));
    mark.observe(&source("b"), at(7_200), WallTime(7_260_000));
    mark.observe(&source("a"), at(7_300), WallTime(7_300_000));
    assert_eq!(mark.current(), at(7_260), "once it has caught up it counts again");
}
