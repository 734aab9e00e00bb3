//! Invariant I3 for folds: rows taken at any points, looked ahead from, saved and loaded, give what one plain run gives.
#![allow(clippy::unwrap_used)]

use crate::definition::Definition;
use crate::plan::Compiler;
use crate::run::fixture::{PANE, START, dimensions, same, times, words};
use crate::run::once::run_once;
use afferent_engine::error::ErrorKind;
use afferent_engine::query::{Fold, Program, View};
use afferent_engine::time::EventTime;
use arrow::array::{Float64Array, Int64Array, StringArray};
use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use std::sync::Arc;

const INPUT: &str = "CREATE MATERIALIZED VIEW slices AS SELECT service, label(labels, 'instance') AS host, tumble(window_start, INTERVAL '1 minute') AS window_start, \
    SUM(count) AS good, SUM(resets) AS bad, AVG(last) AS ratio FROM panes GROUP BY 1, 2, 3";

const FOLDS: &[&str] = &[
    "SELECT service, host, window_start, SUM(good) OVER w AS good_5m, COUNT(*) OVER w AS n, COUNT(bad) OVER w AS bads FROM slices WINDOW w AS (PARTITION BY service, host ORDER BY window_start RANGE BETWEEN INTERVAL '4 minutes' PRECEDING AND CURRENT ROW)",
    "SELECT service, host, window_start, good, SUM(bad) OVER (PARTITION BY service ORDER BY window_start RANGE BETWEEN INTERVAL '10 minutes' PRECEDING AND CURRENT ROW) AS bad_10m, SUM(good) OVER (PARTITION BY service ORDER BY window_start) AS ever, SUM(good + 1) OVER (PARTITION BY host ORDER BY window_start RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW) AS by_host FROM slices",
    "SELECT x.service AS service, x.host, x.window_start, CAST(x.b AS DOUBLE) / nullif(x.g, 0) AS ratio, s.layer FROM (SELECT *, SUM(good) OVER w AS g, SUM(bad) OVER w AS b FROM slices WHERE good <> 3 WINDOW w AS (PARTITION BY service, host ORDER BY window_start RANGE BETWEEN INTERVAL '2 minutes' PRECEDING AND CURRENT ROW)) x LEFT JOIN services s ON s.service = x.service WHERE x.g > 5",
    "SELECT service, host, window_start, COUNT(*) OVER (ORDER BY window_start RANGE BETWEEN INTERVAL '30 seconds' PRECEDING AND CURRENT ROW) AS peers FROM slices",
    "SELECT service, host, window_start, held_since(ratio, window_start) OVER w AS since, deviation(ratio, 'cpu', window_start) OVER w AS judged, SUM(good) OVER w AS ever FROM slices WINDOW w AS (PARTITION BY service, host ORDER BY window_start)",
    "SELECT service, host, window_start, SUM(n) OVER (PARTITION BY service ORDER BY window_start RANGE BETWEEN INTERVAL '3 minutes' PRECEDING AND CURRENT ROW) AS twice FROM (SELECT service, host, window_start, COUNT(*) OVER (PARTITION BY service, host ORDER BY window_start RANGE BETWEEN INTERVAL '5 minutes' PRECEDING AND CURRENT ROW) AS n FROM slices) y WHERE n > 1",
    "SELECT service, host, window_start, MIN(good) OVER r AS lo, MAX(ratio) OVER r AS hi, SUM(ratio) OVER r AS total, AVG(ratio) OVER r AS mean, SUM(bad) OVER r AS bads, COUNT(*) OVER r AS n FROM slices WINDOW r AS (PARTITION BY service, host ORDER BY window_start RANGE BETWEEN INTERVAL '5 minutes' PRECEDING AND CURRENT ROW)",
    "SELECT service, host, window_start, SUM(good) OVER n AS good_4, COUNT(ratio) OVER n AS seen, COUNT(*) OVER n AS n, MIN(ratio) OVER n AS low, MAX(window_start) OVER n AS newest, AVG(ratio) OVER n AS mean, SUM(ratio) OVER (PARTITION BY service, host ORDER BY window_start ROWS UNBOUNDED PRECEDING) AS ever, MAX(good) OVER (PARTITION BY service, host ORDER BY window_start) AS record FROM slices WINDOW n AS (PARTITION BY service, host ORDER BY window_start ROWS BETWEEN 3 PRECEDING AND CURRENT ROW)",
    "SELECT service, host, window_start, LAG(good) OVER p AS before, ratio - LAG(ratio, 3, 0.5) OVER p AS change, LAG(service || host, 2) OVER p AS who, LAG(window_start, 2) OVER p AS then, LAG(good > 2, 1, false) OVER p AS more FROM slices WINDOW p AS (PARTITION BY host, service ORDER BY window_start)",
    "SELECT service, host, window_start, MAX(calm) OVER (PARTITION BY service, host ORDER BY window_start ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS calmest FROM (SELECT service, host, window_start, AVG(ratio) OVER (PARTITION BY service, host ORDER BY window_start RANGE BETWEEN INTERVAL '3 minutes' PRECEDING AND CURRENT ROW) AS calm FROM slices) x",
    "SELECT service, host, window_start, novelty(ratio, window_start) OVER w AS new, novelty(good, window_start, 'record') OVER w AS record FROM slices WINDOW w AS (PARTITION BY service, host ORDER BY window_start)",
];

fn input() -> View {
    Compiler::new(&dimensions(), &[]).compile(&Definition::parse("test", INPUT).unwrap()).unwrap()
}

fn fold(select: &str) -> (View, Box<dyn Fold>) {
    let definition = Definition::parse("test", &format!("CREATE MATERIALIZED VIEW f AS {select}")).unwrap();
    let view = Compiler::new(&dimensions(), &[input().spec]).compile(&definition).unwrap_or_else(|e| panic!("{select}: {e}"));
    let Program::Fold(program) = &view.program else { panic!("not a fold: {select}") };
    assert_eq!(program.input.as_str(), "slices");
    let fold = (program.make)();
    (view, fold)
}

/// One minute's rows: per (service, host), which never repeats in a minute.
type Slice = Vec<(usize, usize, Option<i64>, Option<i64>, Option<f64>)>;

fn batch(minute: i64, slice: &Slice) -> RecordBatch {
    let schema = input().spec.schema.clone();
    let service = words(slice.iter().map(|r| Some(["api", "web", "cron"][r.0])));
    RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            arrow::compute::cast(&service, schema.field(0).data_type()).unwrap(),
            Arc::new(StringArray::from_iter_values(slice.iter().map(|r| format!("h{}", r.1)))),
            times(slice.iter().map(|_| START + minute * PANE)),
            Arc::new(slice.iter().map(|r| r.2).collect::<Int64Array>()),
            Arc::new(slice.iter().map(|r| r.3).collect::<Int64Array>()),
            Arc::new(slice.iter().map(|r| r.4).collect::<Float64Array>()),
        ],
    )
    .unwrap()
}

fn slice() -> impl Strategy<Value = Slice> {
    let number = || prop_oneof![6 => (0..9i64).prop_map(Some), 1 => Just(None), 1 => Just(Some(i64::MAX - 2))];
    let row = (0..3usize, 0..2usize, number(), number(), prop_oneof![4 => (0..3i32).prop_map(|v| Some(f64::from(v) / 4.0)), 1 => Just(None)]);
    proptest::collection::vec(row, 0..6).prop_map(|mut rows| {
        let mut seen = std::collections::BTreeSet::new();
        rows.retain(|r| seen.insert((r.0, r.1)));
        rows
    })
}

fn once(sql: &str, all: &[RecordBatch]) -> Vec<RecordBatch> {
    let all = concat_batches(&input().spec.schema, all).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(run_once(sql, vec![("slices".to_owned(), vec![all])], &dimensions(), EventTime(0))).unwrap()
}

fn check(select: &str, slices: &[(i64, Slice, u8)]) -> Result<(), TestCaseError> {
    let (view, mut fold) = fold(select);
    let mut minute = 0;
    let all: Vec<RecordBatch> = slices
        .iter()
        .map(|(gap, slice, _)| {
            minute += gap;
            batch(minute, slice)
        })
        .collect();
    let want = once(&view.spec.sql, &all);
    let mut got = Vec::new();
    let mut at = 0;
    while at < all.len() {
        let choice = slices[at].2;
        // Looking ahead twice gives the same, and leaves the state alone.
        let ahead = (at + 1 + usize::from(choice % 4)).min(all.len());
        let seen = fold.evaluate(&all[at..ahead]).unwrap();
        same(&[fold.evaluate(&all[at..ahead]).unwrap()], std::slice::from_ref(&seen)).map_err(TestCaseError::fail)?;
        prop_assert_eq!(seen.schema(), view.spec.schema.clone());
        // Only a part of what was looked at becomes final, in one call or in several.
        let taken = at + 1 + usize::from(choice / 64) % (ahead - at);
        got.push(fold.evaluate(&all[at..taken]).unwrap());
        if choice.is_multiple_of(2) {
            fold.advance(&all[at..taken]).unwrap()
        } else {
            all[at..taken].iter().for_each(|b| fold.advance(std::slice::from_ref(b)).unwrap())
        }
        at = taken;
        if choice.is_multiple_of(5) {
            let bytes = fold.save().unwrap();
            let (_, mut fresh) = self::fold(select);
            fresh.load(&bytes).unwrap();
            prop_assert_eq!(fresh.save().unwrap(), bytes);
            fold = fresh;
        }
    }
    same(&got, &want).map_err(|e| TestCaseError::fail(format!("{select}\n{e}")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn folds_equal_one_run(slices in proptest::collection::vec((1..4i64, slice(), any::<u8>()), 1..25)) {
        for select in FOLDS {
            check(select, &slices)?;
        }
    }
}

#[test]
fn folds_tell_how_far_back_they_reach() {
    let memory = |select: &str| match fold(select).0.program {
        Program::Fold(program) => program.memory_ms,
        _ => None,
    };
    let minute = 60_000;
    let want = [Some(4 * minute), None, Some(2 * minute), Some(30_000), None, Some(8 * minute), Some(5 * minute), None, None, None, None];
    assert_eq!(FOLDS.iter().map(|f| memory(f)).collect::<Vec<_>>(), want);
}

#[test]
fn damaged_states_are_refused() {
    let (_, mut fold) = fold(FOLDS[4]);
    fold.advance(&[batch(0, &vec![(0, 0, Some(1), None, Some(0.5)), (1, 1, Some(2), Some(1), None)])]).unwrap();
    let bytes = fold.save().unwrap();
    for cut in 0..bytes.len() {
        let error = fold.load(&bytes[..cut]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    let (_, mut other) = self::fold(FOLDS[0]);
    assert!(other.load(&bytes).unwrap_err().to_string().contains("another definition"));
    assert!(fold.load(&[bytes.clone(), vec![0]].concat()).unwrap_err().to_string().contains("left over"));
    fold.load(&bytes).unwrap();
}

#[test]
fn rows_out_of_order_are_an_error_and_tear_the_fold() {
    let (_, mut fold) = fold(FOLDS[0]);
    let row: Slice = vec![(0, 0, Some(1), None, None)];
    fold.advance(&[batch(5, &row)]).unwrap();
    let kept = fold.save().unwrap();
    assert!(fold.evaluate(&[batch(4, &row)]).unwrap_err().to_string().contains("order of window_start"));
    assert!(fold.advance(&[batch(4, &row)]).unwrap_err().to_string().contains("order of window_start"));
    assert!(fold.save().unwrap_err().to_string().contains("loaded anew"));
    fold.load(&kept).unwrap();
    fold.advance(&[batch(6, &row)]).unwrap();
}

#[test]
fn keys_that_fell_silent_are_dropped() {
    let (_, mut fold) = fold(FOLDS[0]);
    fold.advance(&[batch(0, &vec![(0, 0, Some(1), None, None), (1, 0, Some(1), None, None)])]).unwrap();
    let two = fold.save().unwrap().len();
    fold.advance(&[batch(100, &vec![(0, 0, Some(7), None, None)])]).unwrap();
    assert!(fold.save().unwrap().len() < two);
    let row = fold.evaluate(&[batch(101, &vec![(1, 0, Some(2), None, None)])]).unwrap();
    assert_eq!(row.column_by_name("good_5m").unwrap().as_ref(), &Int64Array::from(vec![2]));
}
