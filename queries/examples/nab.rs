//! Runs the novelty score over the Numenta Anomaly Benchmark and prints the scores of its three profiles: `nab <folder of the corpus>`.
//!
//! The folder holds `data/<group>/<file>.csv` and `labels/combined_windows.json` of <https://github.com/numenta/NAB>, which this project does not carry.
//! The scoring rule is the benchmark's own: a window earns once, at its best detection; one threshold for all files; the first 15 % of a file, at most 750 points,
//! do not count.
#![allow(clippy::print_stdout)]

use afferent_queries::functions::novelty::score::{BURST_POINTS, Memory, Variant};
use chrono::NaiveDateTime;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

/// The profiles: weights of a false alarm and of a missed window.
const PROFILES: [(&str, f64, f64); 3] = [("standard", 0.11, 1.0), ("low false positives", 0.22, 1.0), ("low false negatives", 0.11, 2.0)];

type Outcome<T> = Result<T, Box<dyn Error>>;

/// One file: times with values, and the first and last row of each labelled window.
struct Series {
    rows: Vec<(i64, f64)>,
    windows: Vec<(usize, usize)>,
}

impl Series {
    /// Rows at the beginning that do not count.
    fn probation(&self) -> usize {
        (self.rows.len() * 15 / 100).min(750)
    }
}

fn main() -> Outcome<()> {
    let folder = std::env::args().nth(1).ok_or("usage: nab <folder with data and labels>")?;
    let series = read(Path::new(&folder))?;
    println!("{} series, {} windows", series.len(), series.iter().map(|s| s.windows.len()).sum::<usize>());
    for (name, variant, burst) in [
        ("nearest", Variant::Nearest, BURST_POINTS),
        ("nearest", Variant::Nearest, 80),
        ("record", Variant::Record, BURST_POINTS),
        ("record", Variant::Record, 80),
    ] {
        let scores: Vec<Vec<f64>> = series
            .iter()
            .map(|s| {
                let mut memory = Memory::new(variant, burst);
                s.rows.iter().map(|(at, value)| memory.step(*value, *at).score).collect()
            })
            .collect();
        print!("variant {name}, burst {burst}:");
        for (profile, false_alarm, missed) in PROFILES {
            let thresholds = (10..=60).map(|t| f64::from(t) / 1000.0);
            let best = thresholds.map(|t| (score(&series, &scores, t, false_alarm, missed), t)).max_by(|a, b| a.0.total_cmp(&b.0));
            let fixed = score(&series, &scores, 0.020, false_alarm, missed);
            let (best, at) = best.ok_or("no threshold")?;
            print!(" {profile} {best:.1} at {at:.3} ({fixed:.1} at 0.020);");
        }
        let (hits, alarms) = counts(&series, &scores, 0.020);
        println!(" {hits} hits and {alarms} false alarms at 0.020");
    }
    Ok(())
}

fn read(folder: &Path) -> Outcome<Vec<Series>> {
    let labels: BTreeMap<String, Vec<[String; 2]>> = serde_json::from_str(&std::fs::read_to_string(folder.join("labels/combined_windows.json"))?)?;
    labels.iter().map(|(file, windows)| one(&folder.join("data").join(file), windows)).collect()
}

fn one(path: &Path, windows: &[[String; 2]]) -> Outcome<Series> {
    let time = |text: &str| -> Outcome<i64> { Ok(NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")?.and_utc().timestamp_micros()) };
    let text = std::fs::read_to_string(path)?;
    let row = |line: &str| -> Outcome<(i64, f64)> {
        let (at, value) = line.split_once(',').ok_or("a line without a comma")?;
        Ok((time(at)?, value.trim().parse()?))
    };
    let rows = text.lines().skip(1).map(row).collect::<Outcome<Vec<_>>>()?;
    let place = |text: &str| -> Outcome<usize> {
        let at = time(text)?;
        rows.iter().position(|r| r.0 == at).ok_or_else(|| format!("{}: no row at {text}", path.display()).into())
    };
    let windows = windows.iter().map(|[from, to]| Ok((place(from)?, place(to)?))).collect::<Outcome<Vec<_>>>()?;
    Ok(Series { rows, windows })
}

/// The benchmark's sigmoid: near 1 at -1, 0 at 0, -1 far beyond.
fn sigmoid(x: f64) -> f64 {
    if x > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * x).exp()) - 1.0 }
}

/// The profile's score: 0 is no detection at all, 100 is perfect.
fn score(series: &[Series], scores: &[Vec<f64>], threshold: f64, false_alarm: f64, missed: f64) -> f64 {
    let (mut raw, mut windows) = (0.0, 0.0);
    for (series, scores) in series.iter().zip(scores) {
        let mut best: Vec<f64> = vec![-missed; series.windows.len()];
        for (row, _) in scores.iter().enumerate().skip(series.probation()).filter(|(_, s)| **s >= threshold) {
            if let Some(index) = series.windows.iter().position(|(from, to)| (*from..=*to).contains(&row)) {
                let (from, to) = series.windows[index];
                let position = -((to - row + 1) as f64) / (to - from + 1) as f64;
                best[index] = best[index].max(sigmoid(position) / sigmoid(-1.0));
            } else {
                let before = series.windows.iter().rfind(|(_, to)| *to < row);
                let cost = before.map_or(-1.0, |(from, to)| sigmoid((row - to) as f64 / (to - from) as f64));
                raw += cost * false_alarm;
            }
        }
        raw += best.iter().sum::<f64>();
        windows += series.windows.len() as f64;
    }
    100.0 * (raw + windows * missed) / (windows + windows * missed)
}

/// Windows found, and detections outside any.
fn counts(series: &[Series], scores: &[Vec<f64>], threshold: f64) -> (usize, usize) {
    let (mut hits, mut alarms) = (0, 0);
    for (series, scores) in series.iter().zip(scores) {
        let found: Vec<usize> = (series.probation()..scores.len()).filter(|row| scores[*row] >= threshold).collect();
        hits += series.windows.iter().filter(|(from, to)| found.iter().any(|row| (*from..=*to).contains(row))).count();
        alarms += found.iter().filter(|row| !series.windows.iter().any(|(from, to)| (*from..=*to).contains(row))).count();
    }
    (hits, alarms)
}
