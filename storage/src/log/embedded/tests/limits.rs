//! Room: the limit in bytes, the trim that gives it back, and a disk that is really full.

use super::*;
use std::process::Command;
use std::time::Duration;

#[tokio::test]
async fn a_full_log_refuses_by_name_and_comes_back_after_trims() {
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedLogConfig { bytes_max: 64 << 10, segment_bytes: 16 << 10 };
    let log = EmbeddedLog::open(dir.path(), config).unwrap();
    let mut next = 0;
    for _round in 0..3 {
        let error = loop {
            match log.append(LOG, record(next, 1000)).await {
                Ok(position) => assert_eq!(position, Position(next)),
                Err(error) => break error,
            }
            next += 1;
        };
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("bytes_max is 65536"), "{error}");
        assert!(bytes_on_disk(dir.path()) <= 65_536);
        // The first trim frees what is closed, and has the segment being written closed; a later one frees that too.
        log.trim(LOG, Position(next)).await.unwrap();
        fill(&log, next..next + 5, 1000).await;
        next += 5;
        let (_, end) = log.bounds(LOG).await.unwrap();
        assert_eq!(end, Position(next));
    }
}

#[tokio::test]
async fn a_full_log_of_active_segments_only_comes_back_after_trims() {
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedLogConfig { bytes_max: 64 << 10, segment_bytes: 16 << 10 };
    let log = EmbeddedLog::open(dir.path(), config).unwrap();
    let logs: Vec<LogName> = (0..6).map(|partition| LogName { topic: Topic::Events, partition }).collect();
    for name in &logs {
        for number in 0..10 {
            log.append(*name, record(number, 1000)).await.ok();
        }
    }
    expect_kind(log.append(logs[0], record(0, 1000)).await, ErrorKind::Unavailable);
    // No segment was closed, so only the segments being written can give room.
    for attempt in 0.. {
        for name in &logs {
            let (_, end) = log.bounds(*name).await.unwrap();
            log.trim(*name, end).await.unwrap();
        }
        if log.append(logs[0], record(0, 1000)).await.is_ok() {
            break;
        }
        assert!(attempt < 100, "the log stays full");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn records_beyond_the_limits_are_invalid() {
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedLogConfig { bytes_max: 64 << 10, segment_bytes: 16 << 10 };
    let log = EmbeddedLog::open(dir.path(), config).unwrap();
    expect_kind(log.append(LOG, record(0, 70_000)).await, ErrorKind::Invalid);
    let source: Arc<str> = Arc::from("x".repeat(5000));
    expect_kind(log.append(LOG, Record { source, ..record(0, 1) }).await, ErrorKind::Invalid);
    // One that is larger than a segment and fits the log gets a segment of its own.
    fill(&log, 0..1, 100).await;
    fill(&log, 1..2, 30_000).await;
    fill(&log, 2..3, 100).await;
    assert_eq!(segment_files(dir.path()).len(), 3);
}

#[tokio::test]
async fn a_limit_lowered_below_what_is_kept_refuses_until_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path(), config(8 << 10)).unwrap();
    fill(&log, 0..100, 1000).await;
    drop(log);
    let config = EmbeddedLogConfig { bytes_max: 64 << 10, segment_bytes: 8 << 10 };
    let log = EmbeddedLog::open(dir.path(), config).unwrap();
    expect_kind(log.append(LOG, record(100, 1000)).await, ErrorKind::Unavailable);
    log.trim(LOG, Position(90)).await.unwrap();
    fill(&log, 100..101, 1000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_beside_a_trim_gives_records_or_names_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path(), config(4 << 10)).unwrap();
    fill(&log, 0..600, 900).await;
    let trims = async {
        for before in 0..600 {
            log.trim(LOG, Position(before)).await.unwrap();
        }
    };
    let reads = async {
        loop {
            let (oldest, next) = log.bounds(LOG).await.unwrap();
            match log.read(LOG, oldest, 20_000).await {
                Ok(records) => {
                    let wrong = records.iter().find(|(position, found)| !same(found, &record(position.0, 900)));
                    assert!(wrong.is_none() && records[0].0 == oldest, "reading from {}", oldest.0);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid, "{error}"),
            }
            if next.0 - oldest.0 < 10 {
                break;
            }
        }
    };
    futures::future::join(trims, reads).await;
}

fn bytes_on_disk(dir: &Path) -> u64 {
    segment_files(dir).iter().map(|p| p.metadata().unwrap().len()).sum()
}

/// A small volume that can fill up; unmounted when dropped.
struct SmallVolume(tempfile::TempDir);

impl SmallVolume {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "afferent-test"]).arg(dir.path()).output();
        match done {
            Ok(output) if output.status.success() => Some(Self(dir)),
            _ => {
                eprintln!("skipped: no right to mount a small volume here");
                None
            }
        }
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        Command::new("umount").arg(self.0.path()).status().ok();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_the_log_goes_on_by_itself() {
    let Some(volume) = SmallVolume::mount() else { return };
    let log = EmbeddedLog::open(&volume.0.path().join("log"), config(256 << 10)).unwrap();
    let dir = volume.0.path().join("log");
    let ballast = volume.0.path().join("ballast");
    std::fs::write(&ballast, vec![0; 400 << 10]).unwrap();
    let mut next = 0;
    let error = loop {
        match log.append(LOG, record(next, 10_000)).await {
            Ok(position) => assert_eq!(position, Position(next)),
            Err(error) => break error,
        }
        next += 1;
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("disk is full"), "{error}");
    for _ in 0..3 {
        tokio::time::sleep(super::super::writer::REBUILD_PAUSE).await;
        let error = expect_kind(log.append(LOG, record(next, 10_000)).await, ErrorKind::Unavailable);
        assert!(error.to_string().contains("disk is full"), "{error}");
    }
    assert_eq!(expect_prefix(&read_all(&log).await.unwrap(), 10_000), next as usize);
    std::fs::remove_file(&ballast).unwrap();
    tokio::time::sleep(super::super::writer::REBUILD_PAUSE).await;
    fill(&log, next..next + 20, 10_000).await;
    drop(log);
    let log = EmbeddedLog::open(&dir, config(256 << 10)).unwrap();
    assert_eq!(expect_prefix(&read_all(&log).await.unwrap(), 10_000), next as usize + 20);
}

#[tokio::test]
async fn a_log_opens_and_trims_on_a_full_disk() {
    let Some(volume) = SmallVolume::mount() else { return };
    let dir = volume.0.path().join("log");
    let log = EmbeddedLog::open(&dir, config(64 << 10)).unwrap();
    fill(&log, 0..40, 10_000).await;
    drop(log);
    // Takes the rest of the volume.
    std::fs::write(volume.0.path().join("ballast"), vec![0; 1 << 20]).unwrap_err();
    let log = EmbeddedLog::open(&dir, config(64 << 10)).unwrap();
    expect_kind(log.append(LOG, record(40, 60_000)).await, ErrorKind::Unavailable);
    log.trim(LOG, Position(30)).await.unwrap();
    tokio::time::sleep(super::super::writer::REBUILD_PAUSE).await;
    fill(&log, 40..41, 10_000).await;
}
