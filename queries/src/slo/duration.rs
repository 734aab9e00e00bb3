//! OpenSLO's duration shorthand: `5m`, `1h`, `7d`, `4w`, `1M`, `1Q`, `1Y`. Not ISO 8601.

/// A duration as written, with its length where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duration {
    /// Minutes, hours, days and weeks have a fixed length, in minutes.
    Fixed(i64),
    /// Months, quarters and years depend on the calendar; counted in months.
    Months(i64),
}

/// The most that may be written of any unit.
const COUNT_MAX: i64 = 1_000_000;

/// Reads a duration.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 5m, 1h, 7d, 4w, 1M, 1Q or 1Y");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let count: i64 = text.strip_suffix(unit).and_then(|n| n.parse().ok()).filter(|n| (1..=COUNT_MAX).contains(n)).ok_or_else(wrong)?;
    match unit {
        'm' => Ok(Duration::Fixed(count)),
        'h' => Ok(Duration::Fixed(count * 60)),
        'd' => Ok(Duration::Fixed(count * 1_440)),
        'w' => Ok(Duration::Fixed(count * 10_080)),
        'M' => Ok(Duration::Months(count)),
        'Q' => Ok(Duration::Months(count * 3)),
        'Y' => Ok(Duration::Months(count * 12)),
        _ => Err(wrong()),
    }
}
