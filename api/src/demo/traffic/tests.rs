#![allow(clippy::unwrap_used)]

use super::*;
use std::collections::BTreeSet;

fn played(steps: std::ops::Range<i64>) -> (Batch, Traffic) {
    let mut batch = Batch::default();
    let mut traffic = Traffic::new(&mut batch).unwrap();
    for (step, minute) in steps.enumerate() {
        traffic.advance(&mut batch, step as i64, minute, 60.0, minute * 60_000, true);
    }
    (batch, traffic)
}

#[test]
fn same_steps_same_bytes() {
    let body = || played(-60..0).0.take_body().unwrap().unwrap();
    assert_eq!(body(), body());
}

#[test]
fn histograms_add_up() {
    let (_, traffic) = played(-120..0);
    for counters in &traffic.counters {
        let total = counters.ok.1 + counters.failed.1;
        assert_eq!(counters.count.1, total);
        assert_eq!(counters.buckets.last().unwrap().2, total);
        assert!(counters.buckets.windows(2).all(|w| w[0].2 <= w[1].2));
        assert!(counters.sum.1 > 0.0);
    }
}

#[test]
fn only_the_failing_service_fails_and_only_for_its_minutes() {
    let minutes = (-10_200..0).filter(|m| is_outage(*m)).count();
    assert_eq!(minutes, 15);
    assert!(!is_outage(0) && is_outage(10) && !is_outage(12) && is_outage(21));
    let (_, traffic) = played(-61..-44);
    let share = |name: &str| {
        let c = traffic.counters.iter().find(|c| c.profile.service == name).unwrap();
        c.failed.1 as f64 / c.count.1 as f64
    };
    assert!(share("awoooi-api") > 0.2);
    assert!(share("awoooi-web") < 0.01);
}

#[test]
fn every_profile_has_a_target_and_targets_are_25() {
    let names: BTreeSet<_> = TARGETS.iter().map(|(s, _)| *s).collect();
    assert_eq!(names.len(), 25);
    assert!(PROFILES.iter().all(|p| names.contains(p.service)));
}
