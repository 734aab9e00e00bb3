use super::*;
use proptest::prelude::*;

/// Adds up a counter as the definition reads, over all samples, without panes.
fn naive_increase(samples: &[(i64, f64)]) -> f64 {
    samples.windows(2).map(|w| if w[1].1 >= w[0].1 { w[1].1 - w[0].1 } else { w[1].1 }).sum()
}

proptest! {
    #[test]
    fn panes_add_up_to_the_window(values in prop::collection::vec(0u32..50, 2..200), gap in 1i64..90) {
        let samples: Vec<(i64, f64)> = values.iter().enumerate().map(|(i, v)| (i as i64 * gap * 1000, f64::from(*v))).collect();
        let (mut cell, mut total, mut resets) = (Cell::empty(), 0.0, 0);
        for (time, value) in &samples {
            if cell.start == NEVER || *time >= cell.end() {
                total += cell.increase(false);
                resets += cell.resets();
                cell = Cell::following(&cell, pane_of(*time));
            }
            cell.push(*time, *value, 0);
        }
        total += cell.increase(false);
        resets += cell.resets();
        prop_assert_eq!(total, naive_increase(&samples));
        prop_assert_eq!(resets, samples.windows(2).filter(|w| w[1].1 < w[0].1).count() as i64);
    }

    #[test]
    fn streaming_equals_recomputing(values in prop::collection::vec(0u32..50, 1..60)) {
        let samples: Vec<(i64, f64)> = values.iter().enumerate().map(|(i, v)| (i as i64 * 7000, f64::from(*v))).collect();
        let (mut cell, mut cells) = (Cell::empty(), vec![]);
        for (time, value) in &samples {
            if cell.start == NEVER || *time >= cell.end() {
                if cell.start != NEVER { cells.push(cell); }
                cell = Cell::following(&cell, pane_of(*time));
            }
            cell.push(*time, *value, 0);
        }
        cells.push(cell);
        for cell in cells {
            let again = Cell::of_samples(cell.start, samples.iter().copied(), 0);
            prop_assert_eq!(cell, again);
        }
    }
}

#[test]
fn an_anchor_older_than_the_look_back_does_not_count() {
    let mut before = Cell::following(&Cell::empty(), 0);
    before.push(59_000, 10.0, 0);
    let mut near = Cell::following(&before, 300_000);
    near.push(300_000, 25.0, 0);
    assert_eq!(near.increase(false), 15.0);
    let mut far = Cell::following(&before, 420_000);
    far.push(420_000, 25.0, 0);
    assert_eq!(far.increase(false), 0.0);
    assert!(!far.anchored());
}

#[test]
fn a_counter_born_in_the_pane_counts_from_zero() {
    let mut cell = Cell::following(&Cell::empty(), 0);
    cell.push(1_000, 3.0, 0);
    cell.push(2_000, 5.0, 0);
    assert_eq!(cell.increase(false), 2.0);
    assert_eq!(cell.increase(true), 5.0);
}
