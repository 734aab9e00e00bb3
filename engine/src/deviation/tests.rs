#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn minute(n: i64) -> EventTime {
    EventTime(1_763_820_000_000 / PANE_MS * PANE_MS + n * PANE_MS)
}

fn any() -> &'static Signal {
    Signal::named("any").unwrap()
}

/// Feeds a value per minute from `start` on and gives the judgements.
fn feed(baseline: &mut Baseline, start: i64, values: &[Option<f64>], signal: &Signal) -> Vec<Judgement> {
    values.iter().zip(start..).map(|(v, n)| baseline.step(*v, minute(n), signal)).collect()
}

#[test]
fn it_warms_for_sixty_points_then_judges() {
    let mut baseline = Baseline::default();
    let told = feed(&mut baseline, 0, &vec![Some(10.0); 61], any());
    assert!(told[..60].iter().all(|j| j.state == Readiness::Warming && j.score.is_none() && j.expected.is_none()));
    let first = &told[60];
    // A constant 10: deviation 0, so the relative floor of 1 % holds: the band is 3.7599... x 0.1.
    assert_eq!((first.state, first.expected, first.points, first.span_minutes), (Readiness::Live, Some(10.0), 60, 60));
    assert!((first.upper.unwrap() - (10.0 + BAND_DEVIATIONS * 0.1)).abs() < 1e-12);
    assert_eq!(first.score, Some(0.0));
}

#[test]
fn the_current_point_is_not_in_its_own_baseline() {
    let mut baseline = Baseline::default();
    feed(&mut baseline, 0, &vec![Some(10.0); 60], any());
    let told = baseline.step(Some(20.0), minute(60), any());
    assert_eq!(told.expected, Some(10.0));
    assert!((told.score.unwrap() - 10.0 / (BAND_DEVIATIONS * 0.1)).abs() < 1e-9);
}

#[test]
fn learning_is_clipped_at_five_deviations() {
    let mut baseline = Baseline::default();
    feed(&mut baseline, 0, &vec![Some(10.0); 100], any());
    baseline.step(Some(1_000.0), minute(100), any());
    // Weight 0.01 of a residual of 990 clipped to 5 x 0.1: the mean moves by 0.005.
    let after = baseline.step(Some(10.0), minute(101), any());
    assert!((after.expected.unwrap() - 10.005).abs() < 1e-9, "{after:?}");
}

#[test]
fn three_of_five_make_a_verdict_and_five_clean_ones_end_it() {
    let mut baseline = Baseline::default();
    feed(&mut baseline, 0, &vec![Some(0.2); 100], Signal::named("cpu").unwrap());
    let values = [0.9, 0.2, 0.9, 0.9, 0.2, 0.2, 0.2, 0.2, 0.2].map(Some);
    let told = feed(&mut baseline, 100, &values, Signal::named("cpu").unwrap());
    let verdicts: Vec<bool> = told.iter().map(|j| j.anomalous).collect();
    assert_eq!(verdicts, [false, false, false, true, true, true, true, true, false]);
    assert_eq!(told[3].since, Some(minute(103)));
    assert_eq!(told[3].outside, 3);
    assert_eq!(told[8].since, Some(minute(108)));
}

#[test]
fn only_the_direction_that_matters_counts() {
    let mut baseline = Baseline::default();
    feed(&mut baseline, 0, &vec![Some(0.8); 100], Signal::named("cpu").unwrap());
    assert_eq!(baseline.step(Some(0.1), minute(100), Signal::named("cpu").unwrap()).score, Some(0.0));
    let mut baseline = Baseline::default();
    feed(&mut baseline, 0, &vec![Some(1.0); 100], Signal::named("up").unwrap());
    assert!(baseline.step(Some(0.0), minute(100), Signal::named("up").unwrap()).score.unwrap() > 1.0);
}

#[test]
fn a_small_deviation_matters_to_nobody() {
    let mut baseline = Baseline::default();
    feed(&mut baseline, 0, &vec![Some(0.50); 100], Signal::named("cpu").unwrap());
    // Twenty-five points of the floor deviation, but less than the ten percent that matter.
    assert!(baseline.step(Some(0.599), minute(100), Signal::named("cpu").unwrap()).score.unwrap() < 1.0);
    assert!(baseline.step(Some(0.62), minute(101), Signal::named("cpu").unwrap()).score.unwrap() > 1.0);
}

#[test]
fn missing_minutes_stop_the_judgement_until_enough_are_seen() {
    let mut baseline = Baseline::default();
    feed(&mut baseline, 0, &vec![Some(1.0); 400], any());
    // 100 minutes without rows: (1 - 1/360)^100 = 0.757 of the points were seen.
    let told = baseline.step(Some(1.0), minute(500), any());
    assert_eq!(told.state, Readiness::Warming);
    assert!((told.seen_ratio - (0.757_1 + (1.0 - 0.757_1) / 360.0)).abs() < 1e-3, "{}", told.seen_ratio);
    let told = feed(&mut baseline, 501, &vec![Some(1.0); 100], any());
    assert_eq!(told.last().unwrap().state, Readiness::Live);
}

#[test]
fn a_level_held_for_six_hours_becomes_the_baseline() {
    let mut baseline = Baseline::default();
    let signal = Signal::named("cpu").unwrap();
    feed(&mut baseline, 0, &vec![Some(0.1); 100], signal);
    // Growing fast enough that the winsorised deviation never catches up: the run stays outside.
    let mut level = 0.5;
    let mut shifts = Vec::new();
    for n in 0..400 {
        level *= 1.06;
        let told = baseline.step(Some(level), minute(100 + n), signal);
        if told.level_shift {
            shifts.push((n, told.anomalous));
        }
    }
    assert_eq!(shifts, [(i64::from(SHIFT_POINTS) - 1, false)]);
}

#[test]
fn values_that_are_no_numbers_are_gaps() {
    let mut baseline = Baseline::default();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e301] {
        assert_eq!(baseline.step(Some(value), minute(0), any()).value, None);
    }
    assert_eq!(baseline, Baseline::default());
}

#[test]
fn bytes_of_another_version_or_with_unknown_flags_are_refused() {
    let good = Baseline::default().to_bytes();
    assert_eq!(Baseline::from_bytes(&good), Some(Baseline::default()));
    for (at, byte) in [(0, 9), (1, 0b0010_0000)] {
        let mut bad = good;
        bad[at] = byte;
        assert_eq!(Baseline::from_bytes(&bad), None);
    }
    let mut bad = good;
    bad[10..18].copy_from_slice(&f64::NAN.to_le_bytes());
    assert_eq!(Baseline::from_bytes(&bad), None);
}

/// Mean and deviation as the source says it, without anything around it.
fn oracle(values: &[f64], signal: &Signal) -> (f64, f64) {
    let (mut mean, mut deviation) = (values[0], 0.0_f64);
    for (n, value) in values.iter().enumerate().skip(1) {
        let weight = (1.0 / (n as f64 + 1.0)).max(0.01);
        let spread = deviation.max(signal.floor_absolute).max(signal.floor_relative * mean.abs()).max(signal.resolution);
        let residual = value - mean;
        let residual = if n >= 10 { residual.max(-5.0 * spread).min(5.0 * spread) } else { residual };
        deviation += weight * (residual.abs() - deviation);
        mean += weight * residual;
    }
    (mean, deviation)
}

proptest! {
    #[test]
    fn nothing_said_is_ever_infinite_or_nan(values in proptest::collection::vec(proptest::option::weighted(0.9, proptest::num::f64::ANY), 1..300), class in 0..SIGNALS.len()) {
        let mut baseline = Baseline::default();
        for told in feed(&mut baseline, 0, &values, &SIGNALS[class]) {
            for number in [told.value, told.score, told.expected, told.lower, told.upper].into_iter().flatten() {
                prop_assert!(number.is_finite());
            }
            prop_assert!(told.score.is_none_or(|s| (0.0..=SCORE_MAX).contains(&s)));
            prop_assert!((0.0..=1.0).contains(&told.seen_ratio));
            prop_assert!(told.outside <= VERDICT_POINTS);
        }
    }

    #[test]
    fn the_baseline_is_that_of_the_source(values in proptest::collection::vec(-1e6..1e6_f64, 61..300)) {
        let mut baseline = Baseline::default();
        let told = feed(&mut baseline, 0, &values.iter().copied().map(Some).collect::<Vec<_>>(), any());
        let (mean, deviation) = oracle(&values[..values.len() - 1], any());
        let last = told.last().unwrap();
        let spread = deviation.max(1e-9).max(0.01 * mean.abs());
        prop_assert!((last.expected.unwrap() - mean).abs() <= 1e-9 * mean.abs().max(1.0));
        let score = (values[values.len() - 1] - mean).abs() / (BAND_DEVIATIONS * spread);
        prop_assert!((last.score.unwrap() - score.min(SCORE_MAX)).abs() <= 1e-6 * score.max(1.0));
    }

    #[test]
    fn a_restart_anywhere_changes_nothing(values in proptest::collection::vec(proptest::option::weighted(0.95, -100.0..100.0_f64), 2..400), cut in proptest::arbitrary::any::<proptest::sample::Index>()) {
        let signal = Signal::named("any").unwrap();
        let cut = cut.index(values.len());
        let mut straight = Baseline::default();
        let all = feed(&mut straight, 0, &values, signal);
        let mut first = Baseline::default();
        let mut told = feed(&mut first, 0, &values[..cut], signal);
        let mut second = Baseline::from_bytes(&first.to_bytes()).unwrap();
        told.extend(feed(&mut second, cut as i64, &values[cut..], signal));
        prop_assert_eq!(all, told);
        prop_assert_eq!(straight, second);
    }
}
