//! Acknowledged means kept, once: senders with a memory, a server that is killed again and again, and every row compared at the end.

use crate::program;
use afferent_engine::sim::faults::Dice;
use afferent_tests::sender::{BODY_MS, Fleet, now_ms};
use afferent_tests::server::Server;
use afferent_tests::skip::soak_seconds;
use std::thread;
use std::time::Duration;

/// Epochs and segments much smaller than usual, so that every kill meets a different moment of both.
const CONFIG: &str = "
[log]
segment_bytes = 65536
[engine]
checkpoint_interval_ms = 2000
[maintain]
interval_s = 2
[sql]
rows_max = 100000000
seconds_max = 60
";

const SENDERS: usize = 4;
const KILLS: u64 = 5;

/// Bodies a sender sends in a second at most.
const BODIES_PER_S: i64 = 20;

#[test]
fn every_acknowledged_sample_stands_exactly_once_through_kills() {
    let seconds = soak_seconds(25);
    let seed = now_ms() as u64;
    eprintln!("seed {seed}");
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(program(), folder.path(), CONFIG).unwrap();
    let door = server.door();
    let fleet = Fleet::new(seed, SENDERS, now_ms() - seconds as i64 * BODIES_PER_S * BODY_MS - 600_000);
    let sent = fleet.send_during(&door, || kill_at_random(&mut server, seed, seconds));
    assert!(sent.samples.len() > 10_000, "only {} samples were acknowledged", sent.samples.len());
    let (_, compared) = sent.expect_to_last(&mut server, "after the kills");
    assert!(compared > 500, "only {compared} panes were final");
}

fn kill_at_random(server: &mut Server, seed: u64, seconds: u64) {
    let mut random = Dice::new(!seed);
    let share_ms = seconds * 1000 / (KILLS + 1);
    for _ in 0..KILLS {
        thread::sleep(Duration::from_millis(share_ms / 2 + random.below(share_ms)));
        server.kill().unwrap();
        thread::sleep(Duration::from_millis(random.below(300)));
        server.restart().unwrap();
    }
    thread::sleep(Duration::from_millis(share_ms / 2));
}
