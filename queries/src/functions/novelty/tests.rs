//! The behaviours that the score promises, on series made for them.
#![allow(clippy::unwrap_used)]

use super::score::*;
use super::*;
use std::sync::Arc;

const MINUTE: i64 = 60_000_000;

/// Judges values one minute apart; gives every result.
fn judge(variant: Variant, values: impl Iterator<Item = f64>) -> Vec<score::Novelty> {
    let mut memory = Memory::new(variant, BURST_POINTS);
    values.enumerate().map(|(i, v)| memory.step(v, i as i64 * MINUTE)).collect()
}

fn noise(i: usize) -> f64 {
    let mut z = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((z ^ (z >> 32)) % 1_000_000) as f64 / 1_000_000.0
}

/// Noise around 50, with one value put in.
fn with_one(at: usize, value: f64, length: usize) -> impl Iterator<Item = f64> {
    (0..length).map(move |i| if i == at { value } else { 45.0 + 10.0 * noise(i) })
}

#[test]
fn a_value_never_seen_is_new_and_names_its_channel() {
    for (variant, value) in [(Variant::Nearest, 200.0), (Variant::Record, 200.0), (Variant::Nearest, -100.0)] {
        let found = judge(variant, with_one(2_000, value, 2_010));
        assert!(found[2_000].score > 0.02, "{variant:?} {:?}", found[2_000]);
        assert!(found[2_000].channel.is_some());
        let loudest = found[500..2_000].iter().map(|f| f.score).fold(0.0, f64::max);
        assert!(found[2_000].score > 2.0 * loudest, "{loudest} before");
        let (low, high) = found[2_000].usual.unwrap();
        assert!(low < 46.0 && high > 54.0 && !(low..high).contains(&value), "{low}..{high}");
    }
}

#[test]
fn a_gap_inside_the_range_is_new_to_the_nearest_value_only() {
    // Two levels, and a value between them that was never there.
    let values = |i: usize| {
        if i == 3_000 {
            50.0
        } else if (i / 5).is_multiple_of(2) {
            10.0 + noise(i)
        } else {
            90.0 + noise(i)
        }
    };
    let nearest = judge(Variant::Nearest, (0..3_001).map(values));
    assert!(nearest[3_000].score > 0.02 && nearest[3_000].channel == Some(Channel::Value), "{:?}", nearest[3_000]);
    assert_eq!(judge(Variant::Record, (0..3_001).map(values))[3_000].score, 0.0);
}

#[test]
fn only_the_first_of_a_burst_speaks_and_repetition_tires() {
    let values = |i: usize| if (2_000..2_010).contains(&i) { 200.0 } else { 45.0 + 10.0 * noise(i) };
    let found = judge(Variant::Record, (0..2_040).map(values));
    assert!(found[2_000].score > 0.02);
    assert!(found[2_001..2_010].iter().all(|f| f.score == 0.0));
    // The same relative record soon after a first one counts for less.
    let steps = |i: usize| {
        if i >= 2_100 {
            1_000.0
        } else if i >= 2_000 {
            200.0
        } else {
            45.0 + 10.0 * noise(i)
        }
    };
    let alone = |i: usize| if i >= 2_100 { 1_000.0 } else { 45.0 + 10.0 * noise(i) };
    let (tired, fresh) = (judge(Variant::Record, (0..2_101).map(steps))[2_100].score, judge(Variant::Record, (0..2_101).map(alone))[2_100].score);
    assert!(tired > 0.0 && tired < fresh, "{tired} {fresh}");
}

#[test]
fn silent_while_warming_and_on_what_never_changes() {
    let found = judge(Variant::Nearest, with_one(300, 1e6, 400));
    assert!(found.iter().all(|f| f.score == 0.0 && !f.live));
    let flat = judge(Variant::Nearest, std::iter::repeat_n(7.0, 3_000));
    assert!(flat.iter().all(|f| f.score == 0.0 && f.expected == 7.0));
    assert!(flat[2_999].live);
    // A series of one point an hour is live after two days.
    let mut memory = Memory::new(Variant::Nearest, BURST_POINTS);
    let live: Vec<bool> = (0..60).map(|i| memory.step(noise(i), i as i64 * 60 * MINUTE).live).collect();
    assert_eq!(live.iter().position(|l| *l), Some(48));
}

#[test]
fn the_hour_of_the_week_is_expected() {
    // 100 from 9 to 17 o'clock and 10 else; after three weeks a busy midnight is a record, and a busy noon is not.
    let usual = |i: usize| if (9 * 60..17 * 60).contains(&(i % 1_440)) { 100.0 } else { 10.0 } + noise(i);
    let length = 21 * 1_440;
    let at = |hour: usize| judge(Variant::Record, (0..=length + hour * 60).map(|i| if i == length + hour * 60 { 100.5 } else { usual(i) }));
    let (midnight, noon) = (at(1), at(12));
    let (midnight, noon) = (midnight.last().unwrap(), noon.last().unwrap());
    assert!((midnight.expected - 10.5).abs() < 2.0 && (noon.expected - 100.5).abs() < 2.0, "{midnight:?} {noon:?}");
    assert_eq!(noon.score, 0.0);
    assert_eq!(midnight.channel, Some(Channel::Profile), "{midnight:?}");
}

#[test]
fn saved_memories_go_on_as_if_never_saved() {
    for variant in [Variant::Nearest, Variant::Record] {
        let values: Vec<f64> = with_one(900, 300.0, 1_500).collect();
        let mut straight = Memory::new(variant, BURST_POINTS);
        let mut restarted = straight.clone();
        for (i, value) in values.iter().enumerate() {
            if i % 97 == 0 {
                restarted = Memory::from_bytes(&restarted.to_bytes()).unwrap();
            }
            assert_eq!(straight.step(*value, i as i64 * MINUTE), restarted.step(*value, i as i64 * MINUTE));
        }
        let bytes = straight.to_bytes();
        assert!(bytes.len() <= 6 * 1024, "{}", bytes.len());
        assert!((0..bytes.len()).all(|cut| Memory::from_bytes(&bytes[..cut]).is_none()));
        assert!(Memory::from_bytes(&[bytes, vec![0]].concat()).is_none());
    }
}

#[test]
fn gaps_are_neither_judged_nor_learnt() {
    let values: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![Some(1.0), None, Some(f64::NAN), Some(f64::INFINITY), Some(2.0)]));
    let times: ArrayRef = Arc::new(arrow::array::TimestampMicrosecondArray::from_iter_values((0..5).map(|i| i * MINUTE)).with_timezone("UTC"));
    let names: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["record"; 5]));
    let mut state = super::Novelty.start();
    let empty = super::Novelty.load(&state.save()).unwrap();
    assert_eq!(empty.save(), state.save());
    for row in 0..5 {
        state.step(&[Arc::clone(&values), Arc::clone(&times), Arc::clone(&names)], row).unwrap();
    }
    let mut want = Memory::new(Variant::Record, BURST_POINTS);
    want.step(1.0, 0);
    want.step(2.0, 4 * MINUTE);
    assert_eq!(state.save(), want.to_bytes());
    let wrong: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["other"; 5]));
    assert!(state.step(&[values, times, wrong], 0).unwrap_err().to_string().contains("'nearest' and 'record'"));
}
