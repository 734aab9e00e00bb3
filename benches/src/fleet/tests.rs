use super::*;
use crate::capture;

fn shape() -> Shape {
    Shape { hosts: 6, scrapes: 5, connections: 4, samples_per_body: 2000, interval_ms: 1000, start_ms: 1_000_000, run: "t".into() }
}

#[test]
fn every_sample_is_sent_once_by_the_connection_of_its_host() {
    let capture = capture::shipped().expect("readable");
    let bodies = bodies(&capture, &shape()).expect("encoded");
    let per_connection: Vec<usize> = bodies.iter().map(|b| b.iter().map(|b| b.samples).sum()).collect();
    assert_eq!(per_connection, [2 * 5 * 507, 2 * 5 * 507, 5 * 507, 5 * 507]);
    assert!(bodies.iter().flatten().all(|b| b.samples <= 2000 && b.scrape < 5));
}

#[test]
fn counters_never_fall_and_hosts_differ() {
    let capture = capture::shipped().expect("readable");
    for series in capture.series.iter().filter(|s| s.grows) {
        for scrape in 1..600 {
            let (before, after) = (value(series, 3, scrape - 1), value(series, 3, scrape));
            assert!(after >= before, "{:?} at {scrape}: {before} {after}", series.labels);
        }
    }
    let load = capture.series.iter().find(|s| s.labels[0].1 == "node_load1").expect("a gauge");
    assert_ne!(value(load, 1, 0), value(load, 2, 0));
    assert_eq!(rounded(0.1 + 0.2, 2), 0.3);
}
