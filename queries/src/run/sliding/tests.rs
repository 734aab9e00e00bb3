//! Frames against sums and extremes computed anew for each row, with copies made and states saved at any point.
#![allow(clippy::unwrap_used)]

use super::*;
use arrow::array::{Float64Array, Int64Array, TimestampMicrosecondArray};
use proptest::prelude::*;

fn columns(rows: &[(i64, Option<f64>)], kind: Kind) -> Vec<ArrayRef> {
    let values: ArrayRef = match kind {
        Kind::Float => Arc::new(rows.iter().map(|r| r.1).collect::<Float64Array>()),
        _ => Arc::new(rows.iter().map(|r| r.1.map(|v| v as i64)).collect::<Int64Array>()),
    };
    vec![values, Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.0)).with_timezone("UTC"))]
}

/// The frame of the row at `at`, computed from scratch.
fn naive(frame: Sliding, rows: &[(i64, Option<f64>)], at: usize) -> ScalarValue {
    let inside = rows[..=at].iter().enumerate().filter(|(i, r)| match frame.reach {
        Reach::All => true,
        Reach::Micros(micros) => r.0 >= rows[at].0 - micros,
        Reach::Rows(n) => i + n as usize >= at,
    });
    let values: Vec<f64> = inside.filter_map(|(_, r)| r.1).collect();
    if frame.op == Op::Count {
        return ScalarValue::Int64(Some(values.len() as i64));
    }
    let some = |v: f64| (!values.is_empty()).then_some(v);
    let sum: f64 = values.iter().sum();
    let result = match frame.op {
        Op::Mean => return ScalarValue::Float64(some(sum / values.len() as f64)),
        Op::Min => values.iter().copied().reduce(f64::min),
        Op::Max => values.iter().copied().reduce(f64::max),
        _ => some(sum),
    };
    match frame.kind {
        Kind::Float => ScalarValue::Float64(result),
        _ => ScalarValue::Int64(result.map(|v| v as i64)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn frames_equal_sums_computed_anew(steps in proptest::collection::vec((1..5i64, prop_oneof![5 => (-40..40i32).prop_map(|v| Some(f64::from(v))), 1 => Just(None)], any::<u8>()), 1..60)) {
        let mut time = 0;
        let rows: Vec<(i64, Option<f64>)> = steps.iter().map(|(step, value, _)| { time += step; (time, *value) }).collect();
        for (op, kind) in [(Op::Sum, Kind::Float), (Op::Sum, Kind::Integer), (Op::Count, Kind::Integer), (Op::Mean, Kind::Float), (Op::Min, Kind::Float), (Op::Max, Kind::Integer)] {
            for reach in [Reach::All, Reach::Micros(0), Reach::Micros(7), Reach::Rows(0), Reach::Rows(4)] {
                let frame = Sliding { op, kind, reach };
                let columns = columns(&rows, kind);
                let mut state = frame.start();
                for (at, (_, _, choice)) in steps.iter().enumerate() {
                    // A copy looks ahead and leaves the state alone.
                    let mut copy = state.copy();
                    for ahead in at..(at + usize::from(choice % 7)).min(rows.len()) {
                        prop_assert_eq!(copy.step(&columns, ahead).unwrap(), naive(frame, &rows, ahead), "{:?} looks ahead to {}", frame, ahead);
                        if choice % 3 == 0 {
                            copy = frame.load(&copy.save()).unwrap();
                        }
                    }
                    prop_assert_eq!(state.step(&columns, at).unwrap(), naive(frame, &rows, at), "{:?} at {}", frame, at);
                    if choice % 5 == 0 {
                        let bytes = state.save();
                        state = frame.load(&bytes).unwrap();
                        prop_assert_eq!(state.save(), bytes);
                    }
                }
            }
        }
    }
}

#[test]
fn what_leaves_a_sum_takes_all_it_brought() {
    let frame = Sliding { op: Op::Sum, kind: Kind::Float, reach: Reach::Rows(1) };
    let rows: Vec<(i64, Option<f64>)> =
        [0.1, 1e16, 0.2, 0.3, f64::INFINITY, 1.0, 2.0, f64::NAN, 4.0, 5.0].iter().enumerate().map(|(i, v)| (i as i64, Some(*v))).collect();
    let columns = columns(&rows, Kind::Float);
    let mut state = frame.start();
    let got: Vec<f64> = (0..rows.len())
        .map(|row| match state.step(&columns, row).unwrap() {
            ScalarValue::Float64(Some(v)) => v,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(got[3], 0.5);
    assert_eq!((got[5], got[6]), (f64::INFINITY, 3.0));
    assert!(got[8].is_nan());
    assert_eq!(got[9], 9.0);
}

#[test]
fn extremes_keep_only_what_may_still_win() {
    let frame = Sliding { op: Op::Max, kind: Kind::Integer, reach: Reach::Micros(1_000_000) };
    let rows: Vec<(i64, Option<f64>)> = (0..10_000).map(|i| (i, Some(i as f64))).collect();
    let columns = columns(&rows, Kind::Integer);
    let mut state = frame.start();
    (0..rows.len()).for_each(|row| {
        state.step(&columns, row).unwrap();
    });
    assert!(state.save().len() < 64, "{}", state.save().len());
    assert!(frame.load(&[9]).is_none() && frame.load(&state.save()[..4]).is_none());
}

#[test]
fn floats_keep_their_order_as_integers() {
    let values = [f64::NEG_INFINITY, -1e300, -1.0, -0.0, 0.0, 1e-300, 2.0, f64::INFINITY];
    assert!(values.windows(2).all(|w| ordered(w[0]) < ordered(w[1])));
    assert!(values.iter().all(|v| float(ordered(*v)).to_bits() == v.to_bits()));
}
