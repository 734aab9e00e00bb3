//! Which files to merge. Pure: no I/O.
//!
//! While a date grows, files are merged with others of about their size, so each row is rewritten a logarithmic number of times and not once
//! per epoch. A date at rest is tidied with whatever it has.

use crate::config::MaintainConfig;
use crate::layout;
use afferent_engine::table::DataFile;
use std::collections::{BTreeMap, BTreeSet};

/// How readily to merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eagerness {
    /// As the background does: enough files of one size.
    WhenWorthwhile,
    /// Whatever could be better.
    Everything,
}

/// Files of one size that make a merge worthwhile while more are coming.
const MERGE_FILES_MIN: usize = 8;

/// The same for a date that is over: few more will come, so few are enough.
const CLOSED_FILES_MIN: usize = 4;

/// Files merged at once; each holds a reader open.
const MERGE_FILES_MAX: usize = 64;

/// Sizes of one tier differ by up to this factor.
const TIER_FACTOR: u64 = 8;

/// The lowest tier holds everything below this.
const TIER_BYTES_MIN: u64 = 64 * 1024;

/// Groups of files to be merged into one file each; every group is of one date. `settled` are the dates that came to rest.
pub(super) fn groups(files: &[DataFile], config: &MaintainConfig, eagerness: Eagerness, settled: &BTreeSet<String>) -> Vec<Vec<DataFile>> {
    let newest = files.iter().map(|f| f.date.as_str()).max().unwrap_or_default();
    let mut dates: BTreeMap<&str, Vec<&DataFile>> = BTreeMap::new();
    // What an epoch wrote is written again once whatever its size: merged files take about half the bytes.
    for file in files.iter().filter(|f| f.size_bytes < config.compaction_small_file_bytes || is_fresh(f)) {
        dates.entry(&file.date).or_default().push(file);
    }
    let mut groups = Vec::new();
    for (date, files) in dates {
        let chosen = match eagerness {
            Eagerness::Everything => everything(files, config),
            Eagerness::WhenWorthwhile => {
                let enough = if date < newest { CLOSED_FILES_MIN } else { MERGE_FILES_MIN };
                let chosen = of_one_size(&files, config, enough);
                if chosen.is_empty() && settled.contains(date) { at_rest(files, config) } else { chosen }
            }
        };
        groups.extend(chosen.into_iter().map(|group| group.into_iter().cloned().collect()));
    }
    groups
}

fn is_fresh(file: &DataFile) -> bool {
    !layout::is_compacted(&file.path)
}

fn everything<'a>(mut files: Vec<&'a DataFile>, config: &MaintainConfig) -> Vec<Vec<&'a DataFile>> {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let groups = split(&files, config.compaction_target_bytes).into_iter();
    groups.filter(|group| group.len() > 1 || group.iter().any(|f| is_fresh(f))).collect()
}

/// Enough files of one size class, or few that fill a file of the target size.
fn of_one_size<'a>(files: &[&'a DataFile], config: &MaintainConfig, enough: usize) -> Vec<Vec<&'a DataFile>> {
    let mut tiers: BTreeMap<u32, Vec<&DataFile>> = BTreeMap::new();
    for file in files {
        tiers.entry(tier(file.size_bytes)).or_default().push(file);
    }
    let mut groups = Vec::new();
    for mut files in tiers.into_values() {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let full = |group: &[&DataFile]| group.len() > 1 && group.iter().map(|f| f.size_bytes).sum::<u64>() >= config.compaction_target_bytes;
        groups.extend(split(&files, config.compaction_target_bytes).into_iter().filter(|group| group.len() >= enough || full(group)));
    }
    groups
}

/// Of a date at rest: what epochs wrote, be it one file, with everything smaller, and then each bigger file that is no bigger than what came
/// together before it. A file is so rewritten only when it at least doubles, and what stays behind at least halves from file to file.
fn at_rest<'a>(mut files: Vec<&'a DataFile>, config: &MaintainConfig) -> Vec<Vec<&'a DataFile>> {
    files.sort_by(|a, b| (a.size_bytes, &a.path).cmp(&(b.size_bytes, &b.path)));
    let mut taken = files.iter().rposition(|f| is_fresh(f)).map_or(1, |last| last + 1).min(files.len());
    let mut bytes: u64 = files[..taken].iter().map(|f| f.size_bytes).sum();
    while let Some(next) = files.get(taken).filter(|next| next.size_bytes <= bytes) {
        bytes += next.size_bytes;
        taken += 1;
    }
    files.truncate(taken);
    everything(files, config)
}

fn tier(size_bytes: u64) -> u32 {
    let mut tier = 0;
    let mut bound = TIER_BYTES_MIN;
    while size_bytes >= bound {
        tier += 1;
        bound = bound.saturating_mul(TIER_FACTOR);
    }
    tier
}

/// Cuts a run of files where a group has enough bytes or files.
fn split<'a>(files: &[&'a DataFile], target_bytes: u64) -> Vec<Vec<&'a DataFile>> {
    let mut groups: Vec<Vec<&DataFile>> = Vec::new();
    let mut bytes = 0;
    for file in files {
        match groups.last_mut() {
            Some(group) if bytes < target_bytes && group.len() < MERGE_FILES_MAX => {
                group.push(file);
                bytes += file.size_bytes;
            }
            _ => {
                groups.push(vec![file]);
                bytes = file.size_bytes;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests;
