//! Service levels from slices of one minute, in integers; every window is summed anew.

use std::collections::BTreeMap;

/// One slice: bad and all events of a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slice {
    /// Bad events.
    pub bad: i64,
    /// All events.
    pub total: i64,
}

/// An objective over a rolling window.
#[derive(Debug, Clone, Copy)]
pub struct Objective {
    /// Target in millionths.
    pub target_ppm: i64,
    /// Minutes of the window: 7, 28 or 30 days.
    pub period_minutes: i64,
}

/// Where an objective stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Events of the window.
    pub good: i64,
    /// Events of the window.
    pub bad: i64,
    /// Events of the window.
    pub total: i64,
    /// Slices seen in the window.
    pub observed: i64,
    /// Tiers that fire, in the order page quick, page slow, ticket quick, ticket slow.
    pub firing: [bool; 4],
    /// `no_data`, `breached`, `at_risk` or `healthy`.
    pub status: &'static str,
}

/// Minutes of the long and the short window of each tier.
const TIERS: [(i64, i64); 4] = [(60, 5), (360, 30), (1440, 120), (4320, 360)];

/// Factors of each tier in thousandths, for 7, 28 and 30 days.
const FACTORS: [(i64, [i64; 4]); 3] =
    [(10_080, [16_800, 5_600, 2_800, 1_000]), (40_320, [13_440, 5_600, 2_800, 933]), (43_200, [14_400, 6_000, 3_000, 1_000])];

/// Minutes after which the newest slice is too old.
const SILENT_MINUTES: i64 = 5;

/// The standing at `as_of_ms`, from slices by their start.
pub fn standing(slices: &BTreeMap<i64, Slice>, objective: Objective, as_of_ms: i64) -> Standing {
    let Some(newest) = slices.keys().next_back().copied() else {
        return Standing { good: 0, bad: 0, total: 0, observed: 0, firing: [false; 4], status: "no_data" };
    };
    let window = sum(slices, newest, objective.period_minutes);
    let observed = range(slices, newest, objective.period_minutes).count() as i64;
    let firing = firing(slices, newest, objective);
    let before = slices.range(..newest).next_back().map(|(start, _)| *start);
    let risky = |at: i64| is_risky(slices, at, objective);
    let silent = as_of_ms - (newest + 60_000) > SILENT_MINUTES * 60_000;
    let status = if silent || observed * 10 < objective.period_minutes * 9 || window.total == 0 {
        "no_data"
    } else if is_breached(window, objective) {
        "breached"
    } else if risky(newest) || before.is_some_and(risky) {
        "at_risk"
    } else {
        "healthy"
    };
    Standing { good: window.total - window.bad, bad: window.bad, total: window.total, observed, firing, status }
}

fn range(slices: &BTreeMap<i64, Slice>, newest: i64, minutes: i64) -> impl Iterator<Item = &Slice> {
    slices.range(newest - (minutes - 1) * 60_000..=newest).map(|(_, slice)| slice)
}

/// Events of the `minutes` that end with the slice starting at `newest`.
pub fn sum(slices: &BTreeMap<i64, Slice>, newest: i64, minutes: i64) -> Slice {
    range(slices, newest, minutes).fold(Slice::default(), |a, b| Slice { bad: a.bad + b.bad, total: a.total + b.total })
}

fn is_breached(window: Slice, objective: Objective) -> bool {
    i128::from(window.bad) * 1_000_000 > i128::from(window.total) * i128::from(1_000_000 - objective.target_ppm)
}

/// True where bad / total exceeds `milli` / 1000 of the allowed share.
fn burns(window: Slice, objective: Objective, milli: i64) -> bool {
    let allowed = i128::from(1_000_000 - objective.target_ppm);
    window.total > 0 && i128::from(window.bad) * 1_000_000_000 > i128::from(window.total) * allowed * i128::from(milli)
}

fn firing(slices: &BTreeMap<i64, Slice>, newest: i64, objective: Objective) -> [bool; 4] {
    let Some((_, factors)) = FACTORS.iter().find(|(minutes, _)| *minutes == objective.period_minutes) else { return [false; 4] };
    let mut out = [false; 4];
    for (tier, ((long, short), milli)) in TIERS.into_iter().zip(factors).enumerate() {
        let (long, short) = (sum(slices, newest, long), sum(slices, newest, short));
        // No burn rate can exceed 1 / (1 - T).
        let possible = i128::from(*milli) * i128::from(1_000_000 - objective.target_ppm) <= 1_000_000_000;
        let enough = tier > 1 || long.bad >= 3;
        out[tier] = possible && enough && burns(long, objective, *milli) && burns(short, objective, *milli);
    }
    out
}

fn is_risky(slices: &BTreeMap<i64, Slice>, newest: i64, objective: Objective) -> bool {
    let window = sum(slices, newest, objective.period_minutes);
    let allowed = i128::from(window.total) * i128::from(1_000_000 - objective.target_ppm);
    // remaining <= 0.25, that is: bad >= 0.75 x allowed
    let nearly_spent = window.total > 0 && i128::from(window.bad) * 4_000_000 >= allowed * 3;
    nearly_spent || firing(slices, newest, objective).contains(&true)
}

#[cfg(test)]
mod tests;
