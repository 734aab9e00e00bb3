//! A disk without room: writers are told to come back, nothing acknowledged is lost, and it goes on by itself when there is room again.

use crate::program;
use afferent_storage::steps::Step;
use afferent_tests::door::Door;
use afferent_tests::rows;
use afferent_tests::server::{Server, wait_for};
use afferent_tests::wire;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const CONFIG: &str = "
[log]
segment_bytes = 1048576
bytes_max = 1073741824
[engine]
checkpoint_interval_ms = 2000
";

/// Size of the small file system, and of the file that is taken away to make room again.
const DISK_BYTES: u64 = 48 << 20;
const BALLAST_BYTES: usize = 24 << 20;

/// A file system in memory that is unmounted when the test ends.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path) -> Option<Self> {
        let place = folder.join("disk");
        fs::create_dir_all(&place).ok()?;
        let options = format!("size={DISK_BYTES}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&place).output().ok()?;
        mounted.status.success().then_some(Self(place))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[test]
fn a_full_disk_is_answered_503_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        eprintln!("skipped a_full_disk_is_answered_503_and_goes_on_when_there_is_room: only root can mount a small file system");
        return;
    };
    let ballast = disk.0.join("ballast");
    fs::write(&ballast, vec![1u8; BALLAST_BYTES]).unwrap();
    let mut server = Server::start(program(), &disk.0.join("server"), CONFIG).unwrap();
    let door = server.door();
    let mut acknowledged = 0;
    let full = (0..5000).any(|n| match post(&door, n) {
        503 => true,
        status => {
            assert!(status < 300, "body {n} was answered {status}");
            acknowledged += 1;
            false
        }
    });
    assert!(full, "the disk never got full");
    assert_eq!(post(&door, 100_000), 503, "it stays full");
    assert_eq!(door.get("/healthz").unwrap().status, 200, "it goes on answering");
    fs::remove_file(&ballast).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while post(&door, 100_000) >= 300 {
        assert!(Instant::now() < deadline, "still refused a minute after there was room");
        thread::sleep(Duration::from_millis(200));
    }
    acknowledged += 1;
    let wanted = i64::from(acknowledged) * i64::from(SAMPLES);
    let deadline = Instant::now() + Duration::from_secs(20);
    while count(&door) < wanted && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(count(&door), wanted, "every acknowledged sample, and no refused one");
    server.kill().unwrap();
    server.restart().unwrap();
    assert_eq!(count(&door), i64::from(acknowledged) * i64::from(SAMPLES), "after a kill");
}

/// Where a checkpoint is when the disk fills: before its commit point, at it, and behind it.
const STEPS: [Step; 3] = [Step::TableWritten, Step::CheckpointBegun, Step::CheckpointCommitted];

#[test]
fn a_disk_that_fills_in_mid_checkpoint_loses_nothing_and_it_goes_on() {
    for step in STEPS {
        let folder = tempfile::tempdir().unwrap();
        let Some(disk) = SmallDisk::mount(folder.path()) else {
            eprintln!("skipped a_disk_that_fills_in_mid_checkpoint_loses_nothing_and_it_goes_on: only root can mount a small file system");
            return;
        };
        fill_at(&disk, step);
    }
}

fn fill_at(disk: &SmallDisk, step: Step) {
    let mut server = Server::prepared(program(), &disk.0.join("server"), CONFIG, &[]).unwrap();
    server.spawn_with(|command| command.env("AFFERENT_AT_STEP", format!("{step}:2:stop"))).unwrap();
    server.wait_ready().unwrap();
    let door = server.door();
    let (stop, refused, acknowledged) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                // No answer at all is asked for again, with the same bytes.
                match try_post(&door, acknowledged.load(Relaxed)) {
                    Ok(status) if status < 300 => {
                        acknowledged.fetch_add(1, Relaxed);
                    }
                    Ok(status) => {
                        assert_eq!(status, 503, "{step}");
                        refused.fetch_add(1, Relaxed);
                    }
                    Err(error) => eprintln!("{step}: {error:#}"),
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(&format!("the checkpoint to stand still ({step})"), || server.status_line("State").is_some_and(|s| s.starts_with('T')));
            fill(&disk.0.join("ballast"));
            server.signal("CONT").unwrap();
            wait_for(&format!("a writer to be refused ({step})"), || refused.load(Relaxed) > 0);
            // The checkpoint tries again and again meanwhile.
            thread::sleep(Duration::from_secs(3));
            fs::remove_file(disk.0.join("ballast")).unwrap();
            let before = acknowledged.load(Relaxed);
            wait_for(&format!("writers to be taken again ({step})"), || acknowledged.load(Relaxed) > before + 3);
        }));
        stop.store(true, Relaxed);
        played.unwrap_or_else(|panic| {
            server.kill().ok();
            std::panic::resume_unwind(panic)
        });
    });
    let wanted = i64::from(acknowledged.load(Relaxed)) * i64::from(SAMPLES);
    wait_for(&format!("every acknowledged sample ({step})"), || count(&door) == wanted);
    server.kill().unwrap();
    server.restart().unwrap();
    assert_eq!(count(&door), wanted, "{step}, after a kill");
}

/// Takes all room there is.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for bytes in [1 << 20, 1 << 12] {
        while file.write_all(&vec![1u8; bytes]).is_ok() {}
    }
}

const SAMPLES: u32 = 4000;

/// One body of noise that does not compress; its status.
fn post(door: &Door, n: u32) -> u16 {
    try_post(door, n).unwrap()
}

fn try_post(door: &Door, n: u32) -> anyhow::Result<u16> {
    let noise = |k: u32| f64::from_bits((u64::from(n) << 32 | u64::from(k)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2);
    let series = |k: u32| wire::series(&[("__name__", "noise"), ("k", &format!("{k:04}"))], &[(1_767_225_600_000 + i64::from(n) * 100, noise(k))]);
    let body = wire::body_v1((0..SAMPLES).map(series).collect());
    Ok(door.write_v1("noise", &body)?.status)
}

fn count(door: &Door) -> i64 {
    rows::one_int(door, "SELECT count(*) FROM samples WHERE metric = 'noise'").unwrap()
}
