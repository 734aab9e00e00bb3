//! Which files to merge. Pure: no I/O.
//!
//! Files are merged with others of about their size, so each row is rewritten a logarithmic number of times and not once per epoch.

use crate::config::MaintainConfig;
use crate::layout;
use afferent_engine::table::DataFile;
use std::collections::BTreeMap;

/// How readily to merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eagerness {
    /// As the background does: enough files of one size.
    WhenWorthwhile,
    /// Whatever could be better.
    Everything,
}

/// Files of one size that make a merge worthwhile.
const MERGE_FILES_MIN: usize = 8;

/// The same for a date that is over: few more will come, so few are enough.
const CLOSED_FILES_MIN: usize = 4;

/// Files merged at once; each holds a reader open.
const MERGE_FILES_MAX: usize = 64;

/// Sizes of one tier differ by up to this factor.
const TIER_FACTOR: u64 = 8;

/// The lowest tier holds everything below this.
const TIER_BYTES_MIN: u64 = 1024 * 1024;

/// Groups of files to be merged into one file each; every group is of one date.
pub(super) fn groups(files: &[DataFile], config: &MaintainConfig, eagerness: Eagerness) -> Vec<Vec<DataFile>> {
    let newest = files.iter().map(|f| f.date.as_str()).max().unwrap_or_default();
    let mut tiers: BTreeMap<(&str, u32), Vec<&DataFile>> = BTreeMap::new();
    for file in files.iter().filter(|f| f.size_bytes < config.compaction_small_file_bytes) {
        let tier = if eagerness == Eagerness::Everything || file.date.as_str() < newest { 0 } else { tier(file.size_bytes) };
        tiers.entry((&file.date, tier)).or_default().push(file);
    }
    let mut groups = Vec::new();
    for ((date, _), mut small) in tiers {
        small.sort_by(|a, b| a.path.cmp(&b.path));
        for group in split(&small, config.compaction_target_bytes) {
            let bytes: u64 = group.iter().map(|f| f.size_bytes).sum();
            let enough = match eagerness {
                // Few big files that fill a file of the target size are as good as many small ones.
                _ if group.len() > 1 && bytes >= config.compaction_target_bytes => true,
                Eagerness::Everything => group.len() > 1 || group.iter().any(|f| !layout::is_compacted(&f.path)),
                Eagerness::WhenWorthwhile if date < newest => group.len() >= CLOSED_FILES_MIN,
                Eagerness::WhenWorthwhile => group.len() >= MERGE_FILES_MIN,
            };
            if enough {
                groups.push(group.into_iter().cloned().collect());
            }
        }
    }
    groups
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
