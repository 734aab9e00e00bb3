//! Groups are of one date and one size, big enough to pay, and no file is in two.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::layout::Owner;
use std::collections::BTreeSet;

const MIB: u64 = 1024 * 1024;
const NONE: BTreeSet<String> = BTreeSet::new();

fn file(date: &str, n: usize, size_bytes: u64) -> DataFile {
    DataFile { path: format!("date={date}/{n:04}.parquet"), date: date.to_owned(), size_bytes, row_count: 1, stats: String::new() }
}

fn merged(date: &str, n: u64, size_bytes: u64) -> DataFile {
    DataFile { path: Owner::Sole.compacted_file(date, n), ..file(date, 0, size_bytes) }
}

fn settled() -> BTreeSet<String> {
    BTreeSet::from(["2026-11-22".to_owned()])
}

fn sizes(groups: &[Vec<DataFile>]) -> Vec<usize> {
    groups.iter().map(Vec::len).collect()
}

#[test]
fn eight_files_of_one_size_are_worth_a_merge_and_seven_are_not() {
    let config = MaintainConfig::default();
    let of = |count: usize| (0..count).map(|n| file("2026-11-22", n, 6 * MIB)).collect::<Vec<_>>();
    assert_eq!(sizes(&groups(&of(7), &config, Eagerness::WhenWorthwhile, &NONE)), Vec::<usize>::new());
    assert_eq!(sizes(&groups(&of(8), &config, Eagerness::WhenWorthwhile, &NONE)), [8]);
    // Merged ones wait for others of their own size.
    let mut files = of(7);
    files.extend((10..16).map(|n| file("2026-11-22", n, 40 * MIB)));
    assert_eq!(sizes(&groups(&files, &config, Eagerness::WhenWorthwhile, &NONE)), Vec::<usize>::new());
    files.extend((20..22).map(|n| file("2026-11-22", n, 40 * MIB)));
    let groups = groups(&files, &config, Eagerness::WhenWorthwhile, &NONE);
    assert_eq!(sizes(&groups), [7], "seven of 40 MiB fill a file of the target size, so they need no eighth");
    assert!(groups[0].iter().all(|f| f.size_bytes == 40 * MIB));
}

#[test]
fn big_files_are_left_alone() {
    let config = MaintainConfig::default();
    let files: Vec<_> = (0..20).map(|n: u64| merged("2026-11-22", n, config.compaction_small_file_bytes)).collect();
    assert_eq!(sizes(&groups(&files, &config, Eagerness::Everything, &NONE)), Vec::<usize>::new());
    assert_eq!(sizes(&groups(&files, &config, Eagerness::WhenWorthwhile, &settled())), Vec::<usize>::new());
    let written_by_an_epoch = [file("2026-11-22", 0, 2 * config.compaction_target_bytes)];
    assert_eq!(sizes(&groups(&written_by_an_epoch, &config, Eagerness::WhenWorthwhile, &NONE)), Vec::<usize>::new());
    assert_eq!(sizes(&groups(&written_by_an_epoch, &config, Eagerness::WhenWorthwhile, &settled())), [1], "it takes half the bytes merged");
}

#[test]
fn dates_that_are_over_are_tidied_with_fewer() {
    let config = MaintainConfig::default();
    let mut files: Vec<_> = (0..4).map(|n| file("2026-11-21", n, 10 + n as u64)).collect();
    files.extend((0..4).map(|n| file("2026-11-22", n, 10)));
    assert_eq!(sizes(&groups(&files, &config, Eagerness::WhenWorthwhile, &NONE)), [4]);
}

#[test]
fn everything_means_every_fresh_or_split_date_and_no_merged_one_alone() {
    let config = MaintainConfig::default();
    let mut files = vec![file("2026-11-20", 0, 10), file("2026-11-21", 0, 10), file("2026-11-21", 1, 10)];
    files.push(DataFile { path: Owner::Sole.compacted_file("2026-11-22", 7), ..file("2026-11-22", 0, 10) });
    assert_eq!(sizes(&groups(&files, &config, Eagerness::Everything, &NONE)), [1, 2]);
}

#[test]
fn a_group_has_a_limit_and_no_file_is_in_two() {
    let config = MaintainConfig { compaction_target_bytes: 100 * MIB, ..MaintainConfig::default() };
    let files: Vec<_> = (0..500).map(|n| file("2026-11-22", n, (n as u64 % 5) * MIB + 1)).collect();
    let groups = groups(&files, &config, Eagerness::WhenWorthwhile, &NONE);
    let mut seen = BTreeSet::new();
    for group in &groups {
        assert!((MERGE_FILES_MIN..=MERGE_FILES_MAX).contains(&group.len()));
        assert!(group.iter().map(|f| f.size_bytes).sum::<u64>() <= 105 * MIB);
        assert!(group.iter().all(|f| seen.insert(f.path.clone())));
    }
    assert!(seen.len() > 400);
}

#[test]
fn a_date_at_rest_is_tidied_with_what_it_has() {
    let config = MaintainConfig::default();
    let chosen = |files: &[DataFile]| sizes(&groups(files, &config, Eagerness::WhenWorthwhile, &settled()));
    assert_eq!(chosen(&(0..7).map(|n| file("2026-11-22", n, 6 * MIB)).collect::<Vec<_>>()), [7]);
    assert_eq!(chosen(&[file("2026-11-22", 0, 10)]), [1], "even one file");
    assert_eq!(chosen(&[merged("2026-11-22", 0, 10)]), Vec::<usize>::new());
    assert_eq!(chosen(&[merged("2026-11-22", 0, 30 * MIB), file("2026-11-22", 1, MIB)]), [1], "a big file is not written again for a small one");
    assert_eq!(chosen(&[merged("2026-11-22", 0, 30 * MIB), file("2026-11-22", 1, 29 * MIB), file("2026-11-22", 2, MIB)]), [3]);
    assert_eq!(chosen(&[merged("2026-11-22", 0, 30 * MIB), merged("2026-11-22", 1, 29 * MIB)]), Vec::<usize>::new());
    assert_eq!(chosen(&[merged("2026-11-22", 0, 30 * MIB), merged("2026-11-22", 1, 30 * MIB)]), [2]);
    let other_date = [file("2026-11-22", 0, 10), file("2026-11-23", 0, 10)];
    assert_eq!(chosen(&other_date), [1], "only the date at rest");
}

/// How many bytes are written for each byte that epochs wrote, and how many files are left, when files come `per_burst` together and the
/// date comes to rest after each burst. Merged rows take 0.6 of their bytes.
fn played(bursts: usize, per_burst: usize, size_bytes: u64, settles: bool) -> (f64, usize, usize) {
    let config = MaintainConfig::default();
    let (mut files, mut written, mut given, mut most) = (Vec::new(), 0, 0, 0);
    let mut next = 0;
    let mut tidy = |files: &mut Vec<DataFile>, settled: &BTreeSet<String>| {
        let mut written = 0;
        loop {
            let chosen = groups(files, &config, Eagerness::WhenWorthwhile, settled);
            if chosen.is_empty() {
                return written;
            }
            for group in chosen {
                let bytes: f64 = group.iter().map(|f| f.size_bytes as f64 * if is_fresh(f) { 0.6 } else { 1.0 }).sum();
                files.retain(|f| !group.iter().any(|g| g.path == f.path));
                next += 1;
                written += bytes as u64;
                files.push(merged("2026-11-22", next, bytes as u64));
            }
        }
    };
    for burst in 0..bursts {
        for n in 0..per_burst {
            files.push(file("2026-11-22", burst * per_burst + n, size_bytes));
            given += size_bytes;
            written += tidy(&mut files, &NONE);
            most = most.max(files.len());
        }
        if settles {
            written += tidy(&mut files, &settled());
        }
    }
    ((given + written) as f64 / given as f64, files.len(), most)
}

/// Prints the figures of the README.
#[test]
fn a_byte_is_written_few_times_whatever_the_rhythm() {
    let day = played(2880, 1, 2 * MIB, false);
    let slow = played(1440, 1, 20 * 1024, true);
    let bursts = played(96, 10, 2 * MIB, true);
    let seconds = played(86_400, 1, 4 * 1024, false);
    for (rhythm, (amplification, left, most)) in [
        ("one file of 2 MiB every 30 s", day),
        ("one of 20 KiB a minute, at rest after each", slow),
        ("ten of 2 MiB every 15 minutes, at rest between", bursts),
        ("one of 4 KiB every second", seconds),
    ] {
        eprintln!("{rhythm}: {amplification:.1} bytes written a byte, {left} files left, {most} at most");
        assert!(amplification < 8.0, "{rhythm}: {amplification}");
        assert!(most < 60, "{rhythm}: {most} files");
    }
    assert_eq!(played(1, 7, 6 * MIB, true).1, 1, "one load of seven epochs ends as one file");
}
