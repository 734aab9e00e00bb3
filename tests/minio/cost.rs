//! What a checkpoint costs in a bucket and in a folder: requests and time, printed; the figures stand in the storage crate's README.

use super::started;
use crate::program;
use afferent_tests::door::Door;
use afferent_tests::minio::Wire;
use afferent_tests::sender::{BODY_MS, Fleet, now_ms};
use afferent_tests::server::Server;
use std::thread;
use std::time::Duration;

/// No upkeep, so that only checkpoints are counted.
const CONFIG: &str = "[engine]\ncheckpoint_interval_ms = 1000\n[maintain]\ninterval_s = 3600\n";

/// Requests of one checkpoint that writes every table: two for each, some for the checkpoint and its state.
const REQUESTS_MAX: f64 = 100.0;

/// How long the server's own count lags behind.
const COUNT_LAG: Duration = Duration::from_secs(12);

/// Checkpoints so far, and the seconds they took.
fn checkpoints(door: &Door) -> (f64, f64) {
    let page = door.get("/metrics").unwrap().text();
    let value = |name: &str| page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok()).unwrap_or_default();
    (value("afferent_engine_checkpoint_seconds_count "), value("afferent_engine_checkpoint_seconds_sum "))
}

/// The same load; gives the checkpoints made under it, and the mean seconds of one.
fn load(door: &Door) -> (f64, f64) {
    let before = checkpoints(door);
    Fleet::new(7, 2, now_ms() - 3000 * BODY_MS).send_during(door, || thread::sleep(Duration::from_secs(20)));
    thread::sleep(Duration::from_secs(2));
    let after = checkpoints(door);
    (after.0 - before.0, (after.1 - before.1) / (after.0 - before.0))
}

#[test]
fn a_checkpoint_in_a_bucket_costs_two_requests_a_table_and_some() {
    let folder = tempfile::tempdir().unwrap();
    let Some(minio) = started("a_checkpoint_in_a_bucket_costs_two_requests_a_table_and_some", folder.path(), Wire::Plain) else { return };
    let server = Server::start(program(), &folder.path().join("bucket"), &format!("{CONFIG}{}", minio.config("cost"))).unwrap();
    thread::sleep(COUNT_LAG);
    let before = minio.requests().unwrap();
    let (epochs, seconds) = load(&server.door());
    thread::sleep(COUNT_LAG);
    let requests: Vec<(String, f64)> = minio
        .requests()
        .unwrap()
        .into_iter()
        .map(|(call, count)| {
            let earlier = before.iter().find(|(name, _)| *name == call).map_or(0, |(_, count)| *count);
            (call, (count - earlier) as f64 / epochs)
        })
        .collect();
    drop(server);
    let on_disk = Server::start(program(), &folder.path().join("folder"), CONFIG).unwrap();
    let (epochs_disk, seconds_disk) = load(&on_disk.door());
    let total: f64 = requests.iter().map(|(_, count)| count).sum();
    eprintln!(
        "in a bucket {epochs} checkpoints of {seconds:.3} s and {total:.1} requests each ({requests:.1?}); in a folder {epochs_disk} of {seconds_disk:.3} s"
    );
    assert!(epochs > 5.0 && (10.0..REQUESTS_MAX).contains(&total), "{total} requests each over {epochs} checkpoints");
}
