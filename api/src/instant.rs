//! Instants as people write them: RFC 3339, `now`, or a distance before now such as `-24h`. Not SQL's times.

use afferent_engine::time::{EventTime, PANE_MS, WallTime};
use chrono::{DateTime, NaiveDate};

/// Units of a distance with their milliseconds.
const UNITS: [(char, i64); 5] = [('s', 1_000), ('m', 60_000), ('h', 3_600_000), ('d', 86_400_000), ('w', 604_800_000)];

/// Reads an instant. Those given by their distance from `now` are whole minutes, since views have no finer ones.
///
/// # Errors
/// Says what an instant may look like.
pub fn parse(text: &str, now: WallTime) -> Result<EventTime, String> {
    let text = text.trim();
    let relative = |distance_ms: i64| EventTime(now.0.saturating_sub(distance_ms).div_euclid(PANE_MS) * PANE_MS);
    if text == "now" {
        return Ok(relative(0));
    }
    if let Some(distance) = text.strip_prefix('-') {
        return distance_ms(distance).map(relative).ok_or_else(|| wrong(text));
    }
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Ok(EventTime(instant.timestamp_millis()));
    }
    // A day alone begins at its midnight, UTC like every other time here.
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0));
    day.map(|midnight| EventTime(midnight.and_utc().timestamp_millis())).ok_or_else(|| wrong(text))
}

fn distance_ms(text: &str) -> Option<i64> {
    let unit = text.chars().next_back()?;
    let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let count: i64 = text.strip_suffix(unit)?.parse().ok().filter(|count| *count >= 0)?;
    count.checked_mul(*ms)
}

fn wrong(text: &str) -> String {
    format!("{text:?} is no instant: write 2026-11-22T10:00:00Z, 2026-11-22, now, or a distance before now such as -90m, -24h or -30d")
}

#[cfg(test)]
mod tests;
