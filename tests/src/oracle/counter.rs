//! Panes of raw samples: one pass over all samples of a series, sorted by time, for every pane.

use std::collections::BTreeMap;

/// Milliseconds of a pane.
pub const PANE_MS: i64 = 60_000;

/// How far before a pane its anchor may lie.
const ANCHOR_MS_MAX: i64 = 300_000;

/// Scrapes of a target after which its new series count from zero.
const SCRAPES_SEEN: usize = 2;

/// The bits of a staleness marker.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// One series.
#[derive(Debug, Clone)]
pub struct Series {
    /// Its name for the caller.
    pub name: String,
    /// What is scraped together with it, (job, instance); series without one never count from zero.
    pub target: Option<(String, String)>,
    /// (milliseconds, value), one per time.
    pub samples: BTreeMap<i64, f64>,
}

/// What a pane of one series holds; `min`, `max`, `first`, `last` are `None` without a finite value.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pane {
    /// Finite samples.
    pub count: i64,
    /// Their sum.
    pub sum: f64,
    /// Smallest.
    pub min: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// Earliest.
    pub first: Option<f64>,
    /// Latest.
    pub last: Option<f64>,
    /// How much a counter rose.
    pub increase: f64,
    /// How often it fell.
    pub resets: i64,
}

/// Panes of every series that have a finite sample, by (name, start).
pub fn panes(all: &[Series]) -> BTreeMap<(String, i64), Pane> {
    let mut out = BTreeMap::new();
    for series in all {
        let starts: Vec<i64> = series.samples.keys().map(|time| time - time.rem_euclid(PANE_MS)).collect();
        for start in starts {
            let key = (series.name.clone(), start);
            if !out.contains_key(&key)
                && let Some(pane) = pane(series, start, all)
            {
                out.insert(key, pane);
            }
        }
    }
    out
}

fn pane(series: &Series, start: i64, all: &[Series]) -> Option<Pane> {
    let finite = |range: std::ops::Range<i64>| series.samples.range(range).filter(|(_, v)| v.is_finite()).map(|(t, v)| (*t, *v));
    let inside: Vec<(i64, f64)> = finite(start..start + PANE_MS).collect();
    let (first_time, first) = *inside.first()?;
    let mut pane = Pane { first: Some(first), last: inside.last().map(|(_, v)| *v), ..Pane::default() };
    let mut before = finite(start - ANCHOR_MS_MAX..start).next_back().map(|(_, v)| v);
    if before.is_none() && finite(i64::MIN..start).next().is_none() && counts_from_zero(series, first_time, all) {
        // Whatever its first value is, it began: that is no reset.
        pane.increase = first;
    }
    for (_, value) in inside {
        pane.count += 1;
        pane.sum += value;
        pane.min = Some(pane.min.map_or(value, |m| m.min(value)));
        pane.max = Some(pane.max.map_or(value, |m| m.max(value)));
        if let Some(last) = before {
            pane.increase += if value < last { value } else { value - last };
            pane.resets += i64::from(value < last);
        }
        before = Some(value);
    }
    Some(pane)
}

/// A new series counts from zero when its target was already seen for two scrapes.
fn counts_from_zero(series: &Series, first_time: i64, all: &[Series]) -> bool {
    let Some(target) = &series.target else { return false };
    let others = all.iter().filter(|other| other.target.as_ref() == Some(target));
    let scrapes: std::collections::BTreeSet<i64> = others.flat_map(|other| other.samples.range(..first_time).map(|(t, _)| *t)).collect();
    scrapes.len() >= SCRAPES_SEEN
}

#[cfg(test)]
mod tests;
