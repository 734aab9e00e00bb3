//! What only the embedded log promises: damage on disk, limits, failing disks, and who may open a folder.
#![allow(clippy::unwrap_used)]

mod damage;
mod faults;
mod limits;
pub(crate) mod power;

use super::disk::{Disk, RealDisk};
use super::frame;
use super::mark;
use super::segment::SEGMENT_HEADER_BYTES;
use super::*;
use afferent_engine::error::{Error, ErrorKind};
use afferent_engine::log::Format;
use afferent_engine::time::WallTime;
use bytes::Bytes;

const LOG: LogName = LogName { topic: Topic::Metrics, partition: 0 };

fn config(segment_bytes: u64) -> EmbeddedLogConfig {
    EmbeddedLogConfig { segment_bytes, ..EmbeddedLogConfig::default() }
}

fn record(number: u64, body_bytes: usize) -> Record {
    Record {
        format: Format::RemoteWriteV1,
        source: Arc::from("node-a"),
        received_at: WallTime(number as i64),
        body_hash: u128::from(number) << 70 | 5,
        request_id: number,
        body: (0..body_bytes).map(|i| (number as usize * 31 + i * 7) as u8).collect::<Vec<_>>().into(),
    }
}

async fn fill(log: &EmbeddedLog, numbers: std::ops::Range<u64>, body_bytes: usize) {
    for number in numbers {
        assert_eq!(log.append(LOG, record(number, body_bytes)).await.unwrap(), Position(number));
    }
}

async fn read_all(log: &EmbeddedLog) -> Result<Vec<Record>> {
    let (mut from, end) = log.bounds(LOG).await?;
    let mut all = Vec::new();
    while from < end {
        for (position, record) in log.read(LOG, from, 1 << 20).await? {
            assert_eq!(position, from);
            from = from.next();
            all.push(record);
        }
    }
    Ok(all)
}

fn same(a: &Record, b: &Record) -> bool {
    let heads = |r: &Record| (r.format, r.source.clone(), r.received_at, r.body_hash, r.request_id);
    heads(a) == heads(b) && a.body == b.body
}

/// Every record is the one that was written with its number, from 0 on; how many there are.
fn expect_prefix(found: &[Record], body_bytes: usize) -> usize {
    for (number, found) in found.iter().enumerate() {
        assert!(same(found, &record(number as u64, body_bytes)), "record {number} differs");
    }
    found.len()
}

fn log_dir(dir: &Path) -> PathBuf {
    dir.join("metrics").join("0")
}

fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(log_dir(dir)).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "log"));
    paths.sort();
    paths
}

/// Copies a log's folder, the mark first: what it says is then in every segment copied after it.
fn copy_log(from: &Path, to: &Path) {
    std::fs::create_dir_all(log_dir(to)).unwrap();
    std::fs::copy(log_dir(from).join(mark::FILE_NAME), log_dir(to).join(mark::FILE_NAME)).unwrap();
    for path in segment_files(from) {
        std::fs::copy(&path, log_dir(to).join(path.file_name().unwrap())).unwrap();
    }
}

fn set_mark(dir: &Path, next: u64) {
    std::fs::write(log_dir(dir).join(mark::FILE_NAME), mark::encode(Position(next))).unwrap();
}

fn expect_kind<T>(result: Result<T>, kind: ErrorKind) -> Error {
    match result {
        Ok(_) => panic!("expected an error of kind {kind}"),
        Err(error) => {
            assert_eq!(error.kind(), kind, "{error}");
            error
        }
    }
}

#[tokio::test]
async fn a_second_opening_conflicts_until_the_first_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path(), config(1 << 20)).unwrap();
    fill(&log, 0..3, 100).await;
    let error = expect_kind(EmbeddedLog::open(dir.path(), config(1 << 20)), ErrorKind::Conflict);
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
    assert!(error.to_string().contains(&format!("in use by process {} on host", std::process::id())), "{error}");
    drop(log);
    let log = EmbeddedLog::open(dir.path(), config(1 << 20)).unwrap();
    fill(&log, 3..5, 100).await;
}

/// Its lock file is gone, as on a file system that loses locks, and another has the folder: nothing of the sleeper's is written or removed.
#[tokio::test]
async fn a_holder_that_was_replaced_neither_acknowledges_nor_trims() {
    let dir = tempfile::tempdir().unwrap();
    let sleeper = EmbeddedLog::open(dir.path(), config(4 << 10)).unwrap();
    fill(&sleeper, 0..20, 1000).await;
    std::fs::remove_file(dir.path().join("LOCK")).unwrap();
    expect_kind(sleeper.append(LOG, record(20, 1000)).await, ErrorKind::Conflict);
    let successor = EmbeddedLog::open(dir.path(), config(4 << 10)).unwrap();
    fill(&successor, 20..23, 1000).await;
    let before = segment_files(dir.path());
    let error = expect_kind(sleeper.append(LOG, record(77, 1000)).await, ErrorKind::Conflict);
    assert!(error.to_string().contains("in use by process"), "{error}");
    expect_kind(sleeper.trim(LOG, Position(20)).await, ErrorKind::Conflict);
    drop(sleeper);
    assert_eq!(segment_files(dir.path()), before);
    fill(&successor, 23..26, 1000).await;
    drop(successor);
    let reopened = EmbeddedLog::open(dir.path(), config(4 << 10)).unwrap();
    assert_eq!(expect_prefix(&read_all(&reopened).await.unwrap(), 1000), 26);
}

#[tokio::test]
async fn a_dropped_log_is_free_at_once_while_other_processes_start() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let starter = scope.spawn(|| {
            for _ in 0..300 {
                assert!(std::process::Command::new("true").status().unwrap().success());
            }
        });
        while !starter.is_finished() {
            drop(EmbeddedLog::open(dir.path(), config(1 << 20)).unwrap());
        }
    });
}

#[tokio::test]
async fn a_closed_log_refuses_appends_and_still_reads() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path(), config(1 << 20)).unwrap();
    fill(&log, 0..3, 100).await;
    log.close().await.unwrap();
    let error = expect_kind(log.append(LOG, record(3, 100)).await, ErrorKind::Unavailable);
    assert!(error.to_string().contains("closed"), "{error}");
    expect_kind(log.append(LogName::first(Topic::Events), record(0, 1)).await, ErrorKind::Unavailable);
    expect_kind(log.trim(LOG, Position(1)).await, ErrorKind::Unavailable);
    assert_eq!(expect_prefix(&read_all(&log).await.unwrap(), 100), 3);
}

#[tokio::test]
async fn a_config_out_of_range_is_invalid() {
    let dir = tempfile::tempdir().unwrap();
    for (bytes_max, segment_bytes) in [(1 << 30, 1), (1 << 30, 2 << 30), (1 << 20, 1 << 20)] {
        let config = EmbeddedLogConfig { bytes_max, segment_bytes };
        expect_kind(EmbeddedLog::open(dir.path(), config), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn a_segment_of_a_newer_version_is_named() {
    let dir = tempfile::tempdir().unwrap();
    drop_filled(dir.path(), 2).await;
    let path = &segment_files(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let crc = crc32c::crc32c_append(2, &bytes[16..SEGMENT_HEADER_BYTES as usize]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
    let error = expect_kind(EmbeddedLog::open(dir.path(), config(1 << 20)), ErrorKind::Corrupt);
    assert!(error.to_string().contains("version 2"), "{error}");
}

#[tokio::test]
async fn what_a_crash_left_of_a_new_segment_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    drop_filled(dir.path(), 2).await;
    let leftover = log_dir(dir.path()).join("00000000000000000002.log.new");
    std::fs::write(&leftover, b"afferl").unwrap();
    let log = EmbeddedLog::open(dir.path(), config(1 << 20)).unwrap();
    assert!(!leftover.exists());
    fill(&log, 2..4, 100).await;
}

/// A stopped log of `count` records of 100 bytes, each synced alone.
async fn drop_filled(dir: &Path, count: u64) {
    let log = EmbeddedLog::open(dir, config(1 << 20)).unwrap();
    fill(&log, 0..count, 100).await;
}
