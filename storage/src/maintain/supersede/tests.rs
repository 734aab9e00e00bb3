//! What is left equals a naive reading: per key the greatest rank, each row once; nothing else goes, and everything is accounted for.
#![allow(clippy::unwrap_used)]

use super::*;
use afferent_engine::schema;
use arrow::array::{DictionaryArray, Float64Array, Int64Array, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::Int32Type;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Metric, series, minute, revision, sum.
type Row = (u8, i64, i64, Option<i64>, u8);

fn batch(rows: &[Row]) -> RecordBatch {
    let ints = |of: fn(&Row) -> i64| Arc::new(rows.iter().map(of).collect::<Int64Array>()) as ArrayRef;
    let floats = |of: fn(&Row) -> f64| Arc::new(rows.iter().map(of).collect::<Float64Array>()) as ArrayRef;
    let odd = |r: &Row| if r.4 == 0 { f64::NAN } else { f64::from(r.4) };
    let metrics: Vec<String> = rows.iter().map(|r| format!("m{}", r.0)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(metrics.iter().map(String::as_str).collect::<DictionaryArray<Int32Type>>()),
        ints(|r| r.1),
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.2 * 60_000_000)).with_timezone("UTC")),
        ints(|_| 1),
        floats(odd),
        floats(odd),
        floats(odd),
        floats(odd),
        floats(odd),
        floats(|_| 0.0),
        ints(|_| 0),
        Arc::new(rows.iter().map(|r| r.3).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(schema::rollup_1m().schema, columns).unwrap()
}

fn rows(batches: &[RecordBatch]) -> Vec<Row> {
    let all = concat_batches(&schema::rollup_1m().schema, batches).unwrap();
    let metrics = cast(all.column(0), &DataType::Utf8).unwrap();
    let ints = |i: usize| cast(all.column(i), &DataType::Int64).unwrap().as_primitive::<Int64Type>().clone();
    let (series, times, revisions) = (ints(1), ints(2), ints(11));
    let sums = all.column(4).as_primitive::<arrow::datatypes::Float64Type>();
    (0..all.num_rows())
        .map(|i| {
            let metric = metrics.as_string::<i32>().value(i)[1..].parse().unwrap();
            let sum = if sums.value(i).is_nan() { 0 } else { sums.value(i) as u8 };
            (metric, series.value(i), times.value(i) / 60_000_000, revisions.is_valid(i).then(|| revisions.value(i)), sum)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_newest_of_each_key_are_left(
        mut given in prop::collection::vec((0u8..2, 0i64..3, 0i64..3, prop::option::of(0i64..4), 0u8..3), 0..120),
        cuts in prop::collection::vec(0usize..12, 1..40),
    ) {
        given.sort_by_key(|r| (r.0, r.1, r.2));
        let mut newest = Newest::of(&schema::rollup_1m()).unwrap();
        let (mut got, mut at) = (Vec::new(), 0);
        for cut in cuts.iter().cycle().take(200) {
            let end = (at + cut).min(given.len());
            got.extend(newest.push(&batch(&given[at..end])).unwrap());
            at = end;
        }
        got.extend(newest.push(&batch(&given[at..])).unwrap());
        got.extend(newest.finish());
        let got = rows(&got);

        let mut best: BTreeMap<(u8, i64, i64), i64> = BTreeMap::new();
        for r in &given {
            let revision = r.3.unwrap_or(0);
            best.entry((r.0, r.1, r.2)).and_modify(|b| *b = revision.max(*b)).or_insert(revision);
        }
        let mut wanted: Vec<Row> = given.iter().filter(|r| best[&(r.0, r.1, r.2)] == r.3.unwrap_or(0)).copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        prop_assert!(got.windows(2).all(|w| (w[0].0, w[0].1, w[0].2) <= (w[1].0, w[1].1, w[1].2)), "the order stays");
        let mut sorted = got.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, wanted);
        prop_assert_eq!(got.len() as u64 + newest.superseded, given.len() as u64);
    }
}

#[test]
fn tables_whose_rows_all_count_have_no_filter() {
    for def in [schema::samples(), schema::events(), schema::late_samples(), schema::dead_letters(), schema::exemplars()] {
        assert!(Newest::of(&def).is_none(), "{}", def.name);
    }
    for def in schema::fixed_tables().iter().filter(|def| def.supersedes.is_some()) {
        assert!(Newest::of(def).is_some(), "{} names columns that it has", def.name);
    }
}

#[test]
fn more_rows_of_one_rank_than_can_be_held_pass() {
    let many: Vec<Row> = (0..5000).map(|i| (0, 0, 0, Some(1), (i % 250) as u8 + 1)).collect();
    let distinct: Vec<RecordBatch> = many.chunks(100).map(batch).collect();
    let mut newest = Newest::of(&schema::rollup_1m()).unwrap();
    let mut got = Vec::new();
    for rows in &distinct {
        got.extend(newest.push(rows).unwrap());
    }
    got.extend(newest.finish());
    assert_eq!(rows(&got).len() as u64 + newest.superseded, 5000);
}
