//! Sliding sums against adding everything up anew, with provisional rows and saved states in between.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn naive(rows: &[(i64, Vec<Cell>)], range: Option<i64>, lane: usize) -> Cell {
    let now = rows.last().unwrap().0;
    let mut total = Cell::default();
    for (time, cells) in rows {
        if range.is_none_or(|r| *time >= now - r) {
            total.add(cells[lane]);
        }
    }
    total
}

fn row() -> impl Strategy<Value = (i64, Vec<Cell>)> {
    let step = prop_oneof![4 => Just(USUAL_STEP_MICROS), 1 => Just(0), 1 => 0..500_000_000i64, 1 => (1..50i64).prop_map(|m| m * USUAL_STEP_MICROS)];
    let cell = prop_oneof![
        6 => (0..2_000i64).prop_map(|sum| Cell { sum, count: 1 }),
        1 => Just(Cell::default()),
        1 => any::<i64>().prop_map(|sum| Cell { sum, count: 3 }),
    ];
    (step, proptest::collection::vec(cell, 2))
}

proptest! {
    #[test]
    fn equals_adding_up_anew(steps in proptest::collection::vec((row(), any::<u8>()), 1..120)) {
        let shape = FrameShape { ranges: vec![Some(0), Some(4 * USUAL_STEP_MICROS), Some(29 * USUAL_STEP_MICROS), None], lanes: 2 };
        let mut frames = shape.empty();
        let mut rows: Vec<(i64, Vec<Cell>)> = Vec::new();
        let mut time = 1_763_820_000_000_000;
        for (i, ((step, cells), choice)) in steps.iter().enumerate() {
            // A glance ahead over the next rows leaves the state as it is.
            let before = frames.clone();
            let (mut progress, mut tail, mut ahead, mut later) = (frames.progress.clone(), frames.tape.continued(), rows.clone(), time);
            for ((step, cells), _) in steps.iter().skip(i).take(usize::from(choice % 5)) {
                later += step;
                ahead.push((later, cells.clone()));
                shape.step(&mut progress, Some(&frames.tape), &mut tail, later, cells);
                for (r, range) in shape.ranges.iter().enumerate() {
                    prop_assert_eq!(progress.total(r, 1), naive(&ahead, *range, 1));
                }
            }
            prop_assert_eq!(&before, &frames);
            time += step;
            rows.push((time, cells.clone()));
            shape.step(&mut frames.progress, None, &mut frames.tape, time, cells);
            for (r, range) in shape.ranges.iter().enumerate() {
                for lane in 0..2 {
                    prop_assert_eq!(frames.progress.total(r, lane), naive(&rows, *range, lane));
                }
            }
            if choice % 7 == 0 {
                let mut out = Writer::default();
                shape.save(&frames, &mut out);
                let bytes = out.into_bytes();
                frames = shape.load(&mut Reader::new(&bytes)).unwrap();
                prop_assert!(shape.load(&mut Reader::new(&bytes[..bytes.len() - 1])).is_none());
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let shape = FrameShape { ranges: vec![Some(60), None], lanes: 2 };
        if let Some(mut frames) = shape.load(&mut Reader::new(&bytes)) {
            for i in 0..5 {
                let time = frames.progress.newest().unwrap_or(0).saturating_add(i * 100);
                shape.step(&mut frames.progress, None, &mut frames.tape, time, &[Cell { sum: 1, count: 1 }; 2]);
            }
        }
    }
}

#[test]
fn a_row_of_thirty_days_takes_few_bytes() {
    let shape = FrameShape { ranges: vec![Some(43_199 * USUAL_STEP_MICROS)], lanes: 4 };
    let mut frames = shape.empty();
    for i in 0..50_000i64 {
        let cells: Vec<Cell> = [1200 + i % 100, i % 3, 1210, 1].map(|sum| Cell { sum, count: 1 }).to_vec();
        shape.step(&mut frames.progress, None, &mut frames.tape, i * USUAL_STEP_MICROS, &cells);
    }
    assert_eq!(frames.progress.total(0, 3), Cell { sum: 43_200, count: 43_200 });
    let mut out = Writer::default();
    shape.save(&frames, &mut out);
    assert!(out.into_bytes().len() < 43_200 * 8);
}
