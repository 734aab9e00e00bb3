//! Which files are past their table's retention. Pure: no I/O.

use crate::table::scan::day_of;
use afferent_engine::table::DataFile;
use afferent_engine::time::WallTime;

/// The unit of retention.
pub(super) const MS_PER_DAY: i64 = 86_400_000;

/// The files of dates that are over for at least `days` whole days, and not of `needed_from` (days since 1970) or later.
///
/// `newest` is the newest date of the whole lake: today is the wall's date, but no later than the day after that. So a clock that jumps ahead
/// drops nothing, and a table that gets no more rows still loses its dates while others go on.
pub(super) fn expired(files: &[DataFile], days: u32, now: WallTime, newest: i32, needed_from: Option<i32>) -> Vec<DataFile> {
    let wall = i32::try_from(now.0.div_euclid(MS_PER_DAY)).unwrap_or_default();
    let today = wall.min(newest.saturating_add(1));
    let keep_from = today.saturating_sub(i32::try_from(days).unwrap_or(i32::MAX));
    let keep_from = needed_from.map_or(keep_from, |needed| needed.min(keep_from));
    files.iter().filter(|f| day_of(&f.date).is_some_and(|day| day < keep_from)).cloned().collect()
}

/// The newest date among files.
pub(super) fn newest_day(files: &[DataFile]) -> Option<i32> {
    files.iter().filter_map(|f| day_of(&f.date)).max()
}

#[cfg(test)]
mod tests;
