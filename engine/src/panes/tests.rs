use super::*;
use proptest::prelude::*;

/// What the pane rows must be, from all rows at once.
fn naive(samples: &BTreeMap<i64, f64>) -> BTreeMap<i64, (u32, f64, f64, i64)> {
    let finite: Vec<(i64, f64)> = samples.iter().map(|(t, v)| (*t, *v)).filter(|(_, v)| v.is_finite()).collect();
    let mut out: BTreeMap<i64, (u32, f64, f64, i64)> = BTreeMap::new();
    for (i, (time, value)) in finite.iter().enumerate() {
        let start = time - time.rem_euclid(60_000);
        let row = out.entry(start).or_insert((0, 0.0, 0.0, 0));
        row.0 += 1;
        row.1 += value;
        if let Some((t, before)) = i.checked_sub(1).and_then(|i| finite.get(i))
            && *t >= start - 300_000
        {
            row.2 += if value >= before { value - before } else { *value };
            row.3 += i64::from(value < before);
        }
    }
    out
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![8 => (0u8..20).prop_map(f64::from), 1 => Just(f64::NAN), 1 => Just(f64::from_bits(crate::sample::STALE_NAN_BITS))]
}

proptest! {
    /// Any order of arrival gives the rows of the sorted stream, finals and revisions together.
    #[test]
    fn order_does_not_matter(samples in prop::collection::btree_map(0i64..1_200, value(), 1..80), seed in any::<u64>()) {
        let samples: BTreeMap<i64, f64> = samples.into_iter().map(|(t, v)| (t * 1000, v)).collect();
        let mut order: Vec<(i64, f64)> = samples.iter().map(|(t, v)| (*t, *v)).collect();
        let mut state = seed | 1;
        for i in (1..order.len()).rev() {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            order.swap(i, (state >> 33) as usize % (i + 1));
        }
        let mut panes = Panes::new(300_000);
        panes.add(0, 0, true);
        let mut rows: BTreeMap<i64, f64> = BTreeMap::new();
        for (time, value) in order {
            match panes.take(0, time, value, 0) {
                Taken::Accepted => { rows.insert(time, value); }
                Taken::OutOfOrder => {
                    rows.insert(time, value);
                    let start = pane_of(time);
                    let near: Vec<_> = rows.range(start - 300_000..start + 60_000).map(|(t, v)| (*t, *v)).collect();
                    panes.revise(0, time, value, 0, &near);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        let done = panes.finalize(EventTime(i64::MAX - 60_000));
        let got: BTreeMap<i64, (u32, f64, f64, i64)> = done.iter().flat_map(|(start, cells)| {
            cells.iter().map(move |(_, c)| (*start, (c.count, c.sum, c.increase(false), c.resets())))
        }).collect();
        prop_assert_eq!(done.iter().map(|(_, c)| c.len()).sum::<usize>(), got.len(), "one row per pane");
        prop_assert_eq!(got, naive(&samples));
    }
}

#[test]
fn a_sample_before_the_frontier_is_late_and_a_repeat_is_a_duplicate() {
    let mut panes = Panes::new(300_000);
    panes.add(0, 0, false);
    assert_eq!(panes.take(0, 1_000, 1.0, 0), Taken::Accepted);
    assert_eq!(panes.take(0, 1_000, 1.0, 0), Taken::Duplicate);
    assert_eq!(panes.take(0, 1_000, 2.0, 0), Taken::Conflict);
    assert_eq!(panes.take(0, 500, 2.0, 0), Taken::OutOfOrder);
    assert_eq!(panes.frontier_at(EventTime(400_000)), EventTime(60_000));
    let done = panes.finalize(EventTime(60_000));
    assert_eq!(done.len(), 1);
    assert_eq!(panes.take(0, 59_999, 2.0, 0), Taken::Late);
    assert_eq!(panes.take(0, 60_000, 5.0, 0), Taken::Accepted);
    assert_eq!(panes.cell(0, 60_000).map(|c| c.increase(false)), Some(4.0), "a final pane still anchors what follows");
    assert!(panes.finalize(EventTime(60_000)).is_empty(), "final once");
}

#[test]
fn nan_is_bits_not_a_number_for_duplicates() {
    let mut panes = Panes::new(300_000);
    panes.add(0, 0, false);
    assert_eq!(panes.take(0, 1, f64::NAN, 0), Taken::Accepted);
    assert_eq!(panes.take(0, 1, f64::NAN, 0), Taken::Duplicate);
    assert_eq!(panes.take(0, 1, f64::from_bits(crate::sample::STALE_NAN_BITS), 0), Taken::Conflict);
}
