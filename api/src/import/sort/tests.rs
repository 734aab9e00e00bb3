#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn sorted(rows: &[Row], run_rows: usize) -> Vec<Row> {
    let mut sorter = Sorter::with_runs_of(run_rows);
    rows.iter().for_each(|row| sorter.push(*row).unwrap());
    assert_eq!(sorter.count(), rows.len() as u64);
    let mut sorted = sorter.sorted().unwrap();
    std::iter::from_fn(|| sorted.take().unwrap()).collect()
}

proptest! {
    #[test]
    fn runs_of_any_size_give_what_one_stable_sort_gives(rows in prop::collection::vec((-5_i64..50, 0_u32..4, any::<u64>()), 0..200), run in 1_usize..80) {
        let rows: Vec<Row> = rows.into_iter().map(|(time_ms, series, bits)| Row { time_ms, series, bits }).collect();
        let mut want = rows.clone();
        want.sort_by_key(|row| (row.time_ms, row.series));
        prop_assert_eq!(sorted(&rows, run), want);
    }
}
