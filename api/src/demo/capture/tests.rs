#![allow(clippy::unwrap_used)]

use super::*;
use std::collections::BTreeSet;

#[test]
fn the_capture_holds_240_scrapes_of_507_series() {
    let capture = Capture::load().unwrap();
    assert_eq!(capture.series.len(), 507);
    assert!(capture.series.iter().all(|s| s.values.len() == 240));
    let names: BTreeSet<_> = capture.series.iter().map(|s| (&s.metric, &s.labels)).collect();
    assert_eq!(names.len(), 507, "a series stands twice");
    assert!(SCRAPES.len() < 300_000, "the file is {} bytes", SCRAPES.len());
}

#[test]
fn counters_never_fall_over_many_rounds_and_hosts_differ() {
    let capture = Capture::load().unwrap();
    for series in capture.series.iter().filter(|s| s.nature == Nature::Counter) {
        let monotone = series.values.windows(2).all(|w| w[1] >= w[0]);
        assert!(monotone, "{} falls in the capture", series.metric);
        let mut previous = f64::NEG_INFINITY;
        for elapsed in (0..1500).step_by(7) {
            let value = series.value(&capture, 2, elapsed, 0.0);
            assert!(value >= previous, "{} falls at {elapsed} s", series.metric);
            previous = value;
        }
    }
    let total = capture.series.iter().find(|s| s.metric == "node_memory_MemTotal_bytes").unwrap();
    let sizes: BTreeSet<u64> = (0..5).map(|host| total.value(&capture, host, 60, 0.0).to_bits()).collect();
    assert_eq!(sizes.len(), 5);
}

#[test]
fn escapes_and_broken_lines() {
    let series = describe(r#"m{a="x\"y",b="p,q}"}"#).unwrap();
    assert_eq!(series.labels, [("a".to_owned(), "x\"y".to_owned()), ("b".to_owned(), "p,q}".to_owned())]);
    assert!(describe(r#"m{a="x"#).is_err());
    assert!(Capture::parse("m 1\n\nm 1\nn 2\n").is_err());
    assert!(Capture::parse("m x\n").is_err());
}
