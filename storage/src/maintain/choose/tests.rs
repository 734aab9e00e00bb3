//! Groups are of one date and one size, big enough to pay, and no file is in two.
#![allow(clippy::unwrap_used)]

use super::*;
use std::collections::BTreeSet;

const MIB: u64 = 1024 * 1024;

fn file(date: &str, n: usize, size_bytes: u64) -> DataFile {
    DataFile { path: format!("date={date}/{n:04}.parquet"), date: date.to_owned(), size_bytes, row_count: 1, stats: String::new() }
}

fn sizes(groups: &[Vec<DataFile>]) -> Vec<usize> {
    groups.iter().map(Vec::len).collect()
}

#[test]
fn eight_files_of_one_size_are_worth_a_merge_and_seven_are_not() {
    let config = MaintainConfig::default();
    let of = |count: usize| (0..count).map(|n| file("2026-11-22", n, 6 * MIB)).collect::<Vec<_>>();
    assert_eq!(sizes(&groups(&of(7), &config, Eagerness::WhenWorthwhile)), Vec::<usize>::new());
    assert_eq!(sizes(&groups(&of(8), &config, Eagerness::WhenWorthwhile)), [8]);
    // Merged ones wait for others of their own size.
    let mut files = of(7);
    files.extend((10..16).map(|n| file("2026-11-22", n, 40 * MIB)));
    assert_eq!(sizes(&groups(&files, &config, Eagerness::WhenWorthwhile)), Vec::<usize>::new());
    files.extend((20..22).map(|n| file("2026-11-22", n, 40 * MIB)));
    let groups = groups(&files, &config, Eagerness::WhenWorthwhile);
    assert_eq!(sizes(&groups), [7], "seven of 40 MiB fill a file of the target size, so they need no eighth");
    assert!(groups[0].iter().all(|f| f.size_bytes == 40 * MIB));
}

#[test]
fn big_files_are_left_alone() {
    let config = MaintainConfig::default();
    let files: Vec<_> = (0..20).map(|n| file("2026-11-22", n, config.compaction_small_file_bytes)).collect();
    assert_eq!(sizes(&groups(&files, &config, Eagerness::Everything)), Vec::<usize>::new());
}

#[test]
fn dates_that_are_over_are_tidied_with_fewer() {
    let config = MaintainConfig::default();
    let mut files: Vec<_> = (0..4).map(|n| file("2026-11-21", n, if n == 0 { 30 * MIB } else { 10 })).collect();
    files.extend((0..4).map(|n| file("2026-11-22", n, 10)));
    assert_eq!(sizes(&groups(&files, &config, Eagerness::WhenWorthwhile)), [4]);
}

#[test]
fn everything_means_every_fresh_or_split_date_and_no_merged_one_alone() {
    let config = MaintainConfig::default();
    let mut files = vec![file("2026-11-20", 0, 10), file("2026-11-21", 0, 10), file("2026-11-21", 1, 10)];
    files.push(DataFile { path: layout::compacted_file("2026-11-22", 7), ..file("2026-11-22", 0, 10) });
    assert_eq!(sizes(&groups(&files, &config, Eagerness::Everything)), [1, 2]);
}

#[test]
fn a_group_has_a_limit_and_no_file_is_in_two() {
    let config = MaintainConfig { compaction_target_bytes: 100 * MIB, ..MaintainConfig::default() };
    let files: Vec<_> = (0..500).map(|n| file("2026-11-22", n, (n as u64 % 5) * MIB + 1)).collect();
    let groups = groups(&files, &config, Eagerness::WhenWorthwhile);
    let mut seen = BTreeSet::new();
    for group in &groups {
        assert!((MERGE_FILES_MIN..=MERGE_FILES_MAX).contains(&group.len()));
        assert!(group.iter().map(|f| f.size_bytes).sum::<u64>() <= 105 * MIB);
        assert!(group.iter().all(|f| seen.insert(f.path.clone())));
    }
    assert!(seen.len() > 400);
}
