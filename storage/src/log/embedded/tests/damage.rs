//! Damage to stored bytes: torn tails are cut, everything else is reported, and no wrong record is ever returned.

use super::*;
use proptest::prelude::*;

/// Bytes of one record of [`drop_filled`].
const FRAME_BYTES: usize = frame::HEADER_BYTES + "node-a".len() + 100;

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_and_positions_go_on() {
    let whole = tempfile::tempdir().unwrap();
    drop_filled(whole.path(), 3).await;
    let bytes = std::fs::read(&segment_files(whole.path())[0]).unwrap();
    let last = bytes.len() - FRAME_BYTES;
    for cut in last..bytes.len() {
        // The file may end there, or the disk may hold zeros or old bytes instead of what was written.
        for rest in [None, Some(0), Some(0xAF)] {
            let dir = tempfile::tempdir().unwrap();
            copy_log(whole.path(), dir.path());
            set_mark(dir.path(), 2);
            let mut torn = bytes[..cut].to_vec();
            if let Some(fill) = rest {
                torn.resize(bytes.len(), fill);
            }
            if torn == bytes {
                continue;
            }
            std::fs::write(&segment_files(dir.path())[0], torn).unwrap();
            let log = EmbeddedLog::open(dir.path(), config(1 << 20)).unwrap();
            assert_eq!(expect_prefix(&read_all(&log).await.unwrap(), 100), 2, "cut at {cut}");
            fill(&log, 2..4, 100).await;
            drop(log);
            let log = EmbeddedLog::open(dir.path(), config(1 << 20)).unwrap();
            assert_eq!(expect_prefix(&read_all(&log).await.unwrap(), 100), 4, "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn an_acknowledged_record_cut_at_any_byte_is_corrupt() {
    let whole = tempfile::tempdir().unwrap();
    drop_filled(whole.path(), 3).await;
    let bytes = std::fs::read(&segment_files(whole.path())[0]).unwrap();
    for cut in bytes.len() - FRAME_BYTES..bytes.len() {
        let dir = tempfile::tempdir().unwrap();
        copy_log(whole.path(), dir.path());
        let path = &segment_files(dir.path())[0];
        std::fs::write(path, &bytes[..cut]).unwrap();
        let error = expect_kind(EmbeddedLog::open(dir.path(), config(1 << 20)), ErrorKind::Corrupt);
        let text = error.to_string();
        let place = format!("at byte {}", bytes.len() - FRAME_BYTES);
        assert!(text.contains(&place) && text.contains(&path.display().to_string()), "{text}");
    }
}

#[tokio::test]
async fn a_damaged_record_before_a_later_one_is_corrupt_even_without_the_mark() {
    let dir = tempfile::tempdir().unwrap();
    drop_filled(dir.path(), 3).await;
    std::fs::remove_file(log_dir(dir.path()).join(mark::FILE_NAME)).unwrap();
    let path = &segment_files(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    let middle = SEGMENT_HEADER_BYTES as usize + FRAME_BYTES;
    bytes[middle + 100] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let error = expect_kind(EmbeddedLog::open(dir.path(), config(1 << 20)), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&format!("at byte {middle}")), "{error}");
}

#[tokio::test]
async fn a_group_whose_later_part_alone_reached_the_disk_is_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    drop_filled(dir.path(), 2).await;
    let path = &segment_files(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    let salt = u32::from_le_bytes(bytes[24..28].try_into().unwrap());
    // One group of two, written after the first two were durable; a power cut kept its second page only.
    bytes.extend(std::iter::repeat_n(0, FRAME_BYTES));
    let late = record(3, 100);
    frame::encode_head(&late, Position(3), Position(2), salt, &mut bytes);
    bytes.extend_from_slice(&late.body);
    std::fs::write(path, &bytes).unwrap();
    let log = EmbeddedLog::open(dir.path(), config(1 << 20)).unwrap();
    assert_eq!(expect_prefix(&read_all(&log).await.unwrap(), 100), 2);
    fill(&log, 2..3, 100).await;
}

#[tokio::test]
async fn a_body_that_looks_like_records_proves_nothing() {
    let other = tempfile::tempdir().unwrap();
    drop_filled(other.path(), 9).await;
    let foreign = std::fs::read(&segment_files(other.path())[0]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path(), config(1 << 20)).unwrap();
    fill(&log, 0..2, 100).await;
    log.append(LOG, Record { body: Bytes::from(foreign), ..record(2, 0) }).await.unwrap();
    drop(log);
    set_mark(dir.path(), 2);
    let path = &segment_files(dir.path())[0];
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    let log = EmbeddedLog::open(dir.path(), config(1 << 20)).unwrap();
    assert_eq!(read_all(&log).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_missing_segment_is_corrupt_wherever_it_was() {
    let whole = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(whole.path(), config(4 << 10)).unwrap();
    fill(&log, 0..60, 500).await;
    drop(log);
    let count = segment_files(whole.path()).len();
    assert!(count > 4);
    for missing in [vec![1], vec![count / 2], vec![count - 1], (0..count).collect()] {
        let dir = tempfile::tempdir().unwrap();
        copy_log(whole.path(), dir.path());
        let files = segment_files(dir.path());
        missing.iter().for_each(|i| std::fs::remove_file(&files[*i]).unwrap());
        let error = expect_kind(EmbeddedLog::open(dir.path(), config(4 << 10)), ErrorKind::Corrupt);
        assert!(error.to_string().contains("metrics/0"), "{error}");
    }
}

/// The log is killed at any moment: every copy of the folder opens, holds all that was acknowledged, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_taken_at_any_moment_holds_everything_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path(), config(16 << 10)).unwrap();
    let acknowledged = Arc::new(Mutex::new(std::collections::HashMap::new()));
    let mut appenders = tokio::task::JoinSet::new();
    for appender in 0..4_u64 {
        let (log, acknowledged) = (Arc::clone(&log), Arc::clone(&acknowledged));
        appenders.spawn(async move {
            for number in appender * 1000..appender * 1000 + 150 {
                let position = log.append(LOG, record(number, 600)).await.unwrap();
                acknowledged.lock().unwrap().insert(position.0 as usize, number);
            }
        });
    }
    let mut copies = Vec::new();
    let finished = loop {
        if let Some(finished) = appenders.try_join_next() {
            break finished;
        }
        let before = acknowledged.lock().unwrap().clone();
        let copy = tempfile::tempdir().unwrap();
        if !segment_files_exist(dir.path()) {
            tokio::task::yield_now().await;
            continue;
        }
        copy_log(dir.path(), copy.path());
        copies.push((copy, before));
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    };
    finished.unwrap();
    for (copy, acknowledged) in &copies {
        let copied = EmbeddedLog::open(copy.path(), config(16 << 10)).unwrap();
        let found = read_all(&copied).await.unwrap();
        for (position, number) in acknowledged {
            assert!(same(&found[*position], &record(*number, 600)), "position {position}");
        }
        let unacknowledged = found.len() - acknowledged.len();
        assert!(found.iter().all(|r| same(r, &record(r.request_id, 600))), "{unacknowledged} more than acknowledged");
        let next = copied.append(LOG, record(1, 1)).await.unwrap();
        assert_eq!(next.0 as usize, found.len());
    }
    assert!(copies.len() > 2, "{} copies", copies.len());
}

fn segment_files_exist(dir: &Path) -> bool {
    log_dir(dir).join(mark::FILE_NAME).exists() && !segment_files(dir).is_empty()
}

/// A log of several segments, written by groups of one and of several.
fn sample_log(runtime: &tokio::runtime::Runtime) -> (tempfile::TempDir, Vec<Record>) {
    let dir = tempfile::tempdir().unwrap();
    let records = runtime.block_on(async {
        let log = EmbeddedLog::open(dir.path(), config(4 << 10)).unwrap();
        for group in 0..6_u64 {
            let appends = (0..group).map(|i| log.append(LOG, record(group * 100 + i, 200 + 100 * i as usize)));
            futures::future::try_join_all(appends).await.unwrap();
        }
        read_all(&log).await.unwrap()
    });
    (dir, records)
}

/// Where to damage: which file (the mark is one), where in it, and how.
fn damage() -> impl Strategy<Value = (prop::sample::Index, prop::sample::Index, u8, bool)> {
    (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..=255_u8, any::<bool>())
}

fn apply(dir: &Path, (file, place, flip, cut): (prop::sample::Index, prop::sample::Index, u8, bool)) {
    let mut files = segment_files(dir);
    files.push(log_dir(dir).join(mark::FILE_NAME));
    let path = file.get(&files);
    let mut bytes = std::fs::read(path).unwrap();
    let place = place.index(bytes.len());
    bytes[place] ^= flip;
    if cut {
        bytes.truncate(place);
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn damage_anywhere_is_reported_or_harmless() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (whole, written) = sample_log(&runtime);
    proptest!(ProptestConfig::with_cases(300), |(hit in damage())| {
        let dir = tempfile::tempdir().unwrap();
        copy_log(whole.path(), dir.path());
        apply(dir.path(), hit);
        // The mark is on disk, so every record is known to be acknowledged: all are there, or it is said that one is not.
        match EmbeddedLog::open(dir.path(), config(4 << 10)) {
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error),
            Ok(log) => {
                let found = runtime.block_on(read_all(&log)).unwrap();
                prop_assert_eq!(found.len(), written.len());
                prop_assert!(found.iter().zip(&written).all(|(a, b)| same(a, b)));
            }
        }
    });
}

#[test]
fn damage_without_a_mark_costs_at_most_the_last_group() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (whole, written) = sample_log(&runtime);
    proptest!(ProptestConfig::with_cases(300), |(hit in damage())| {
        let dir = tempfile::tempdir().unwrap();
        copy_log(whole.path(), dir.path());
        apply(dir.path(), hit);
        std::fs::remove_file(log_dir(dir.path()).join(mark::FILE_NAME)).unwrap();
        match EmbeddedLog::open(dir.path(), config(4 << 10)) {
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error),
            Ok(log) => {
                let found = runtime.block_on(read_all(&log)).unwrap();
                prop_assert!(found.iter().zip(&written).all(|(a, b)| same(a, b)));
                let in_last_segment = last_segment_records(whole.path(), written.len());
                prop_assert!(found.len() + in_last_segment >= written.len());
            }
        }
    });
}

/// Without the mark a cut of the file's end leaves no trace, so the last segment is what can be lost.
fn last_segment_records(dir: &Path, count: usize) -> usize {
    let last = segment_files(dir).pop().unwrap();
    let first: usize = last.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    count - first
}

#[test]
fn damage_under_an_open_log_is_never_read_as_a_record() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (whole, written) = sample_log(&runtime);
    proptest!(ProptestConfig::with_cases(200), |(hit in damage())| {
        let dir = tempfile::tempdir().unwrap();
        copy_log(whole.path(), dir.path());
        let log = EmbeddedLog::open(dir.path(), config(4 << 10)).unwrap();
        apply(dir.path(), hit);
        match runtime.block_on(read_all(&log)) {
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error),
            Ok(found) => {
                prop_assert_eq!(found.len(), written.len());
                prop_assert!(found.iter().zip(&written).all(|(a, b)| same(a, b)));
            }
        }
    });
}
