//! A disk that fails on demand: what was acknowledged stays, what failed is refused, and the log goes on by itself.

use super::super::writer::REBUILD_PAUSE;
use super::*;
use proptest::prelude::*;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// Calls that can be told to fail.
#[derive(Debug, Default)]
struct FailingDisk {
    /// The next write stops half way.
    write: AtomicBool,
    /// The next sync of data fails, and what it should have covered is lost.
    sync: AtomicBool,
    /// Cutting a file fails for as long as this is set.
    truncate: AtomicBool,
    /// Naming a new segment fails for as long as this is set.
    rename: AtomicBool,
    /// Removing a file fails for as long as this is set.
    remove: AtomicBool,
    /// Syncs of data so far.
    syncs: AtomicUsize,
    /// Each sync takes this many milliseconds.
    sync_ms: AtomicUsize,
}

fn broken() -> io::Error {
    io::Error::other("the disk failed as told")
}

impl Disk for FailingDisk {
    fn write(&self, file: &mut File, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        if self.write.swap(false, SeqCst) {
            let bytes: Vec<u8> = slices.iter().flat_map(|s| s.to_vec()).collect();
            file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        RealDisk.write(file, slices)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(self.sync_ms.load(SeqCst) as u64));
        if self.sync.swap(false, SeqCst) {
            let length = file.metadata()?.len();
            file.write_all_at(&[0; 20], length - 20)?;
            return Err(broken());
        }
        RealDisk.sync_data(file)
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        RealDisk.sync_all(file)
    }

    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        if self.truncate.load(SeqCst) { Err(broken()) } else { RealDisk.truncate(file, length) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.rename.load(SeqCst) { Err(broken()) } else { RealDisk.rename(from, to) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if self.remove.load(SeqCst) { Err(broken()) } else { RealDisk.remove(path) }
    }
}

fn open(dir: &Path, disk: &Arc<FailingDisk>) -> Arc<EmbeddedLog> {
    EmbeddedLog::open_on(dir, config(8 << 10), Arc::clone(disk) as Arc<dyn Disk>).unwrap()
}

#[tokio::test]
async fn a_failed_write_or_sync_refuses_and_a_new_segment_goes_on() {
    for which in 0..2 {
        let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(FailingDisk::default()));
        let log = open(dir.path(), &disk);
        fill(&log, 0..3, 100).await;
        [&disk.write, &disk.sync][which].store(true, SeqCst);
        let error = expect_kind(log.append(LOG, record(77, 100)).await, ErrorKind::Unavailable);
        let text = ["disk is full", "failed as told"][which];
        assert!(error.to_string().contains(text), "{error}");
        expect_kind(log.append(LOG, record(78, 100)).await, ErrorKind::Unavailable);
        assert_eq!(log.bounds(LOG).await.unwrap().1, Position(3));
        tokio::time::sleep(REBUILD_PAUSE).await;
        fill(&log, 3..6, 100).await;
        assert_eq!(segment_files(dir.path()).len(), 2);
        assert_eq!(expect_prefix(&read_all(&log).await.unwrap(), 100), 6);
        drop(log);
        let log = open(dir.path(), &disk);
        assert_eq!(expect_prefix(&read_all(&log).await.unwrap(), 100), 6);
    }
}

#[tokio::test]
async fn a_segment_that_cannot_be_cut_or_followed_is_not_written_to() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(FailingDisk::default()));
    let log = open(dir.path(), &disk);
    fill(&log, 0..3, 100).await;
    disk.sync.store(true, SeqCst);
    disk.truncate.store(true, SeqCst);
    for _ in 0..3 {
        expect_kind(log.append(LOG, record(77, 100)).await, ErrorKind::Unavailable);
        tokio::time::sleep(REBUILD_PAUSE).await;
    }
    disk.truncate.store(false, SeqCst);
    disk.rename.store(true, SeqCst);
    for _ in 0..3 {
        expect_kind(log.append(LOG, record(77, 100)).await, ErrorKind::Unavailable);
        tokio::time::sleep(REBUILD_PAUSE).await;
    }
    disk.rename.store(false, SeqCst);
    fill(&log, 3..6, 100).await;
    drop(log);
    assert_eq!(expect_prefix(&read_all(&open(dir.path(), &disk)).await.unwrap(), 100), 6);
}

/// The process ends before it could cut back what a failed write left.
#[tokio::test]
async fn what_a_failed_write_left_is_a_torn_tail_for_the_next_process() {
    for which in 0..2 {
        let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(FailingDisk::default()));
        let log = open(dir.path(), &disk);
        fill(&log, 0..3, 100).await;
        [&disk.write, &disk.sync][which].store(true, SeqCst);
        expect_kind(log.append(LOG, record(77, 100)).await, ErrorKind::Unavailable);
        drop(log);
        let log = open(dir.path(), &disk);
        assert_eq!(expect_prefix(&read_all(&log).await.unwrap(), 100), 3);
        fill(&log, 3..6, 100).await;
    }
}

#[tokio::test]
async fn a_trim_that_cannot_remove_is_unavailable_and_loses_nothing() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(FailingDisk::default()));
    let log = open(dir.path(), &disk);
    fill(&log, 0..60, 500).await;
    disk.remove.store(true, SeqCst);
    expect_kind(log.trim(LOG, Position(50)).await, ErrorKind::Unavailable);
    assert_eq!(expect_prefix(&read_all(&log).await.unwrap(), 500), 60);
    disk.remove.store(false, SeqCst);
    log.trim(LOG, Position(50)).await.unwrap();
    assert!(log.bounds(LOG).await.unwrap().0 > Position(0));
}

#[tokio::test]
async fn refused_appends_give_their_room_back() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(FailingDisk::default()));
    let small = EmbeddedLogConfig { bytes_max: 64 << 10, segment_bytes: 16 << 10 };
    let log = EmbeddedLog::open_on(dir.path(), small, Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
    fill(&log, 0..1, 1000).await;
    disk.sync.store(true, SeqCst);
    disk.truncate.store(true, SeqCst);
    for _ in 0..200 {
        let error = expect_kind(log.append(LOG, record(1, 1000)).await, ErrorKind::Unavailable);
        assert!(!error.to_string().contains("bytes_max"), "{error}");
    }
    disk.truncate.store(false, SeqCst);
    tokio::time::sleep(REBUILD_PAUSE).await;
    fill(&log, 1..40, 1000).await;
}

#[tokio::test]
async fn waiting_appends_share_a_sync() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(FailingDisk::default()));
    disk.sync_ms.store(20, SeqCst);
    let log = open(dir.path(), &disk);
    fill(&log, 0..1, 10).await;
    let before = disk.syncs.load(SeqCst);
    let appends = (0..64).map(|i| log.append(LOG, record(i, 10)));
    let positions = futures::future::try_join_all(appends).await.unwrap();
    let distinct: std::collections::BTreeSet<_> = positions.iter().collect();
    assert_eq!(distinct.len(), 64);
    let syncs = disk.syncs.load(SeqCst) - before;
    assert!(syncs <= 4, "{syncs} syncs for 64 appends at once");
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Append(u16),
    Group(u8),
    FailWrite,
    FailSync,
    Trim,
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..3000_u16).prop_map(Act::Append),
        3 => (2..12_u8).prop_map(Act::Group),
        1 => Just(Act::FailWrite),
        1 => Just(Act::FailSync),
        1 => Just(Act::Trim),
        1 => Just(Act::Reopen),
    ]
}

/// Plays `acts` and compares with a plain map of what was acknowledged.
async fn play(acts: Vec<Act>) {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(FailingDisk::default()));
    let mut log = open(dir.path(), &disk);
    let mut acknowledged = BTreeMap::new();
    let mut number = 0;
    for act in acts {
        let sizes = match act {
            Act::Append(bytes) => vec![usize::from(bytes)],
            Act::Group(count) => vec![300; usize::from(count)],
            Act::FailWrite => {
                disk.write.store(true, SeqCst);
                continue;
            }
            Act::FailSync => {
                disk.sync.store(true, SeqCst);
                continue;
            }
            Act::Trim => {
                let middle = acknowledged.keys().nth(acknowledged.len() / 2).copied().unwrap_or(Position(0));
                log.trim(LOG, middle).await.unwrap();
                acknowledged = acknowledged.split_off(&middle);
                continue;
            }
            Act::Reopen => {
                drop(log);
                log = open(dir.path(), &disk);
                continue;
            }
        };
        let records: Vec<_> = sizes
            .into_iter()
            .map(|bytes| {
                record(
                    {
                        number += 1;
                        number
                    },
                    bytes,
                )
            })
            .collect();
        let answers = futures::future::join_all(records.iter().map(|r| log.append(LOG, r.clone()))).await;
        let refused = answers.iter().any(|a| a.is_err());
        for (record, answer) in records.into_iter().zip(answers) {
            match answer {
                Ok(position) => assert!(acknowledged.insert(position, record).is_none(), "{} given twice", position.0),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
        }
        if refused {
            tokio::time::sleep(REBUILD_PAUSE).await;
        }
    }
    drop(log);
    let log = open(dir.path(), &disk);
    let (oldest, next) = log.bounds(LOG).await.unwrap();
    let found = read_all(&log).await.unwrap();
    assert_eq!(found.len() as u64, next.0 - oldest.0);
    for (position, record) in &acknowledged {
        assert!(same(&found[(position.0 - oldest.0) as usize], record), "position {}", position.0);
    }
}

#[test]
fn any_order_of_faults_trims_and_openings_keeps_what_was_acknowledged() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    proptest!(ProptestConfig::with_cases(24), |(acts in prop::collection::vec(act(), 1..30))| {
        runtime.block_on(play(acts));
    });
}
