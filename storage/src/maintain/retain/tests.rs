//! Whole dates go, none too early, whatever the clock says.
#![allow(clippy::unwrap_used)]

use super::*;

fn files(dates: &[&str]) -> Vec<DataFile> {
    let file = |date: &&str| DataFile {
        path: format!("date={date}/1.parquet"),
        date: (*date).to_owned(),
        size_bytes: 1,
        row_count: 1,
        stats: String::new(),
    };
    dates.iter().map(file).collect()
}

fn gone(dates: &[&str], days: u32, now: &str, needed_from: Option<&str>) -> Vec<String> {
    let now = WallTime(i64::from(day_of(now).unwrap()) * MS_PER_DAY + 3_600_000);
    let newest = newest_day(&files(dates)).unwrap_or_default();
    expired(&files(dates), days, now, newest, needed_from.and_then(day_of)).into_iter().map(|f| f.date).collect()
}

const DATES: [&str; 5] = ["2026-11-18", "2026-11-19", "2026-11-20", "2026-11-21", "2026-11-22"];

#[test]
fn dates_go_when_they_are_over_for_that_many_days() {
    assert_eq!(gone(&DATES, 2, "2026-11-22", None), DATES[..2]);
    assert_eq!(gone(&DATES, 4, "2026-11-22", None), Vec::<String>::new());
    assert_eq!(gone(&DATES, 4, "2026-11-23", None), DATES[..1]);
    assert_eq!(gone(&[], 1, "2026-11-23", None), Vec::<String>::new());
}

#[test]
fn what_is_still_needed_stays() {
    assert_eq!(gone(&DATES, 1, "2026-11-22", Some("2026-11-19")), DATES[..1]);
    assert_eq!(gone(&DATES, 1, "2026-11-22", Some("2026-11-30")), DATES[..3]);
}

#[test]
fn a_clock_that_jumps_ahead_drops_nothing_it_should_not() {
    assert_eq!(gone(&DATES, 30, "2036-01-01", None), Vec::<String>::new());
    assert_eq!(gone(&DATES, 3, "2036-01-01", None), DATES[..2], "today is at most the day after the newest date");
    assert_eq!(gone(&DATES, 1, "1970-01-02", None), Vec::<String>::new());
    assert_eq!(gone(&["no date", "2026-11-22"], 1, "2026-12-31", None), Vec::<String>::new());
}

#[test]
fn a_table_without_new_rows_loses_its_dates_while_others_go_on() {
    let now = WallTime(i64::from(day_of("2026-12-10").unwrap()) * MS_PER_DAY);
    assert_eq!(expired(&files(&DATES), 2, now, day_of("2026-12-09").unwrap(), None).len(), 5);
}
