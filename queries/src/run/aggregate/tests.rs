//! Invariant I3 for windows and keys: any split of the rows, through bytes and merges, gives what one plain run gives.
#![allow(clippy::unwrap_used)]

use crate::definition::Definition;
use crate::plan::Compiler;
use crate::run::fixture::{self, Event, Pane, dimensions, same, shipped};
use crate::run::once::run_once;
use afferent_engine::query::{Program, View, WindowQuery};
use afferent_engine::time::EventTime;
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use std::sync::Arc;

const WINDOWS: &[&str] = [
    "SELECT tumble(window_start, INTERVAL '1 minute') AS window_start, service, COUNT(*) AS n, SUM(count) AS samples, SUM(increase) AS inc FROM panes GROUP BY service, tumble(window_start, INTERVAL '1 minute')",
    "SELECT service, date_bin(INTERVAL '5 minutes', window_start) AS window_start, MIN(min) AS lo, MAX(max) AS hi, AVG(last) AS mean FROM panes WHERE metric = 'node_load1' GROUP BY 1, 2",
    "SELECT tumble(window_start, INTERVAL '2 minutes') AS window_start, SUM(increase) FILTER (WHERE metric = 'up') AS ups, COUNT(last) AS values FROM panes WHERE metric IN ('up', 'node_load1') GROUP BY 1",
    "SELECT tumble(window_start, INTERVAL '3 minutes') AS window_start, metric, SUM(sum) AS s FROM panes GROUP BY 1, 2 HAVING COUNT(*) > 2",
    "SELECT tumble(window_start, INTERVAL '5 minutes') AS window_start, COUNT(DISTINCT series_id) AS series FROM panes GROUP BY 1",
    "SELECT tumble(window_start, INTERVAL '5 minutes') AS window_start, service, COUNT(DISTINCT series_id) AS series, COUNT(DISTINCT metric) AS metrics, SUM(DISTINCT count) AS c FROM panes GROUP BY 1, 2",
    "SELECT tumble(window_start, INTERVAL '10 minutes') AS window_start, metric, FIRST_VALUE(count ORDER BY window_start, series_id) AS a, LAST_VALUE(last ORDER BY window_start, series_id) AS z FROM panes GROUP BY 1, 2",
    "SELECT s.layer, tumble(p.window_start, INTERVAL '1 minute') AS window_start, SUM(p.increase) AS inc, bool_or(p.count > 5) AS many FROM panes p JOIN services s ON p.service = s.service GROUP BY s.layer, tumble(p.window_start, INTERVAL '1 minute')",
    "SELECT coalesce(s.layer, 'none') AS layer, tumble(p.window_start, INTERVAL '1 minute') AS window_start, COUNT(*) AS n FROM panes p LEFT JOIN services s ON p.service = s.service GROUP BY 1, 2",
    "SELECT x.window_start, x.host, x.inc / nullif(x.n, 0) AS ratio FROM (SELECT label(labels, 'instance') AS host, tumble(window_start, INTERVAL '1 minute') AS window_start, SUM(increase) AS inc, COUNT(*) AS n FROM panes GROUP BY 1, 2) x WHERE x.inc > 10",
    "SELECT tumble(window_start, INTERVAL '1 hour') AS window_start, median(count) AS middle, array_agg(count ORDER BY window_start, series_id, metric, count) AS list FROM panes GROUP BY 1",
    "SELECT tumble(window_start, INTERVAL '5 minutes') AS window_start, stddev(count) AS sd, var_pop(count) AS v FROM panes GROUP BY 1",
    "SELECT tumble(window_start, INTERVAL '5 minutes') AS window_start, service, SUM(CAST(increase AS DECIMAL(20, 3))) AS d, bit_xor(count) AS b FROM panes WHERE service IN (SELECT service FROM services WHERE layer = 'L1') GROUP BY 1, 2",
    "WITH w AS (SELECT tumble(window_start, INTERVAL '1 minute') AS window_start, service AS name, CAST(SUM(count) AS DOUBLE) AS n FROM panes WHERE metric = 'up' OR (metric = 'node_load1' AND count > 3) GROUP BY 1, 2) SELECT name AS who, window_start, n * 2 AS twice, current FROM (SELECT *, n > 10 AS current FROM w) y",
    // Windows that overlap.
    "SELECT hop(window_start, INTERVAL '1 minute', INTERVAL '5 minutes') AS window_start, service, COUNT(*) AS n, SUM(increase) AS inc, COUNT(DISTINCT series_id) AS series FROM panes GROUP BY service, hop(window_start, INTERVAL '1 minute', INTERVAL '5 minutes')",
    "SELECT label(labels, 'instance') AS host, hop(window_start, INTERVAL '2 minutes', INTERVAL '4 minutes') AS window_start, MAX(max) AS hi FROM panes WHERE metric IN ('up', 'node_load1') GROUP BY 1, 2 HAVING COUNT(*) > 1",
    "SELECT s.layer, hop(p.window_start, INTERVAL '3 minutes', INTERVAL '3 minutes') AS window_start, AVG(p.last) AS mean FROM panes p JOIN services s ON p.service = s.service GROUP BY 1, 2",
    // Several branches over one stream.
    "SELECT which, tumble(window_start, INTERVAL '2 minutes') AS window_start, SUM(x) AS x, COUNT(*) AS n FROM (SELECT 'load' AS which, window_start, last AS x FROM panes WHERE metric = 'node_load1' UNION ALL SELECT 'up', window_start, CAST(count AS DOUBLE) FROM panes WHERE metric = 'up' UNION ALL SELECT 'many', window_start, sum FROM panes WHERE count > 3) u GROUP BY 1, 2",
    "SELECT service, hop(window_start, INTERVAL '1 minute', INTERVAL '3 minutes') AS window_start, COUNT(*) AS n FROM (SELECT service, window_start FROM panes WHERE metric = 'up' UNION ALL SELECT service, window_start FROM panes WHERE metric = 'up' AND count > 2) GROUP BY 1, 2",
    // Ranks and shares within a window.
    "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start ORDER BY inc DESC, service) AS place FROM (SELECT service, tumble(window_start, INTERVAL '5 minutes') AS window_start, SUM(increase) AS inc FROM panes GROUP BY 1, 2)) WHERE place <= 2",
    "SELECT service, metric, tumble(window_start, INTERVAL '5 minutes') AS window_start, COUNT(*) AS n, RANK() OVER (PARTITION BY tumble(window_start, INTERVAL '5 minutes') ORDER BY COUNT(*) DESC) AS place, COUNT(*) * 1.0 / SUM(COUNT(*)) OVER (PARTITION BY tumble(window_start, INTERVAL '5 minutes'), service) AS share FROM panes GROUP BY 1, 2, 3",
    "SELECT *, LEAD(n) OVER (PARTITION BY window_start ORDER BY n, service) AS next, first_value(service) OVER (PARTITION BY window_start ORDER BY n DESC, service) AS busiest FROM (SELECT service, hop(window_start, INTERVAL '1 minute', INTERVAL '2 minutes') AS window_start, COUNT(*) AS n FROM panes GROUP BY 1, 2) t",
    // Aggregates.
    "SELECT tumble(window_start, INTERVAL '10 minutes') AS window_start, service, CASE WHEN count > 4 THEN 'many' ELSE 'few' END AS much, stddev(count) AS sd, corr(CAST(count AS DOUBLE), CAST(series_id AS DOUBLE)) AS r, covar_pop(count, series_id) AS c, regr_slope(count, series_id) AS b FROM panes GROUP BY 1, 2, 3",
    "SELECT tumble(window_start, INTERVAL '5 minutes') AS window_start, metric, approx_distinct(series_id) AS series, approx_distinct(label(labels, 'instance')) FILTER (WHERE count > 2) AS hosts FROM panes GROUP BY 1, 2",
    "SELECT tumble(window_start, INTERVAL '5 minutes') AS window_start, histogram_quantile(0.9, CAST(series_id AS DOUBLE), CAST(count AS DOUBLE)) AS p90, percentile_cont(0.5) WITHIN GROUP (ORDER BY last) AS exact FROM panes GROUP BY 1",
];

const KEYED: [&str; 5] = [
    "SELECT fingerprint, COUNT(*) AS n, MAX(time) AS newest, LAST_VALUE(status ORDER BY time, sequence) AS status FROM events WHERE kind = 'incident' GROUP BY fingerprint",
    "SELECT service, kind, COUNT(DISTINCT fingerprint) AS incidents, SUM(json_int(attributes, 'input_tokens')) AS tokens FROM events GROUP BY service, kind",
    "SELECT date_trunc('hour', time) AS hour, json_text(attributes, 'model') AS model, SUM(json_int(attributes, 'input_tokens')) FILTER (WHERE status = 'opened') AS tokens FROM events WHERE kind IN ('llm_usage', 'incident') GROUP BY 1, 2",
    "SELECT fingerprint, FIRST_VALUE(title ORDER BY time, sequence) AS title, LAST_VALUE(severity ORDER BY time, sequence) FILTER (WHERE severity IS NOT NULL) AS severity, MAX(time) - MIN(time) > INTERVAL '5 minutes' AS long FROM events GROUP BY fingerprint HAVING COUNT(*) > 1",
    "SELECT s.layer, AVG(json_int(e.attributes, 'input_tokens')) AS mean FROM events e JOIN services s ON s.service = e.service GROUP BY s.layer",
];

/// The view that [`OVER_ROWS`] read.
const TRAFFIC: &str = "CREATE MATERIALIZED VIEW traffic AS SELECT service, tumble(window_start, INTERVAL '2 minutes') AS window_start, SUM(count) AS requests, SUM(increase) AS inc FROM panes GROUP BY 1, 2";

const OVER_ROWS: &[&str] = &[
    "SELECT service, tumble(window_start, INTERVAL '6 minutes') AS window_start, SUM(requests) AS requests, MAX(inc) AS top FROM traffic GROUP BY service, tumble(window_start, INTERVAL '6 minutes')",
    "SELECT s.layer, hop(t.window_start, INTERVAL '2 minutes', INTERVAL '10 minutes') AS window_start, SUM(t.requests) AS requests, COUNT(*) AS n FROM traffic AS t LEFT JOIN services AS s ON s.service = t.service WHERE t.requests > 1 GROUP BY 1, 2",
    "SELECT *, RANK() OVER (PARTITION BY window_start ORDER BY n DESC) AS place FROM (SELECT date_bin(INTERVAL '4 minutes', window_start) AS window_start, service, COUNT(requests) AS n FROM traffic GROUP BY 1, 2) x",
];

fn view(select: &str) -> View {
    let definition = Definition::parse("test", &format!("CREATE MATERIALIZED VIEW v AS {select}")).unwrap();
    Compiler::new(&dimensions(), &[]).compile(&definition).unwrap_or_else(|e| panic!("{select}: {e}"))
}

fn query(view: &View) -> Arc<dyn WindowQuery> {
    match &view.program {
        Program::Window(w) => Arc::clone(&w.query),
        Program::Keyed(k) => Arc::clone(&k.query),
        _ => panic!("not an aggregation"),
    }
}

/// Splits by `cuts`, aggregates each part, ships and merges the states in two halves, finishes.
fn in_parts(query: &dyn WindowQuery, all: &RecordBatch, cuts: &[usize]) -> RecordBatch {
    let mut bounds: Vec<usize> = cuts.iter().map(|c| c % (all.num_rows() + 1)).chain([0, all.num_rows()]).collect();
    bounds.sort_unstable();
    let parts: Vec<RecordBatch> = bounds.windows(2).map(|w| all.slice(w[0], w[1] - w[0])).collect();
    // Each state is of two slices, so that a call sees several batches, some of them empty.
    let states: Vec<RecordBatch> = parts.chunks(2).map(|p| shipped(&query.partial(p).unwrap())).collect();
    let (a, b) = states.split_at(states.len() / 2);
    let halves = [shipped(&query.merge(a).unwrap()), shipped(&query.merge(b).unwrap())];
    let merged = query.merge(&halves).unwrap();
    let straight = query.finish(std::slice::from_ref(&merged)).unwrap();
    same(&[query.finish(&states).unwrap()], std::slice::from_ref(&straight)).unwrap();
    straight
}

fn check(select: &str, relation: &str, all: &RecordBatch, cuts: &[usize]) -> Result<(), TestCaseError> {
    check_view(&view(select), select, relation, all, cuts)
}

fn check_view(view: &View, select: &str, relation: &str, all: &RecordBatch, cuts: &[usize]) -> Result<(), TestCaseError> {
    let got = in_parts(query(view).as_ref(), all, cuts);
    prop_assert_eq!(got.schema(), view.spec.schema.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let relations = vec![(relation.to_owned(), vec![all.clone()])];
    let want = runtime.block_on(run_once(&view.spec.sql, relations, &dimensions(), EventTime(0))).unwrap();
    if let (Some(first), true) = (want.first(), got.num_rows() > 0) {
        let types = |b: &RecordBatch| b.schema().fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect::<Vec<_>>();
        prop_assert_eq!(types(first), types(&got));
    }
    same(&[got], &want).map_err(|e| TestCaseError::fail(format!("{select}\n{e}")))
}

fn pane() -> impl Strategy<Value = Pane> {
    let value = prop_oneof![5 => (0..1000i32).prop_map(|v| Some(f64::from(v) / 8.0)), 1 => Just(None)];
    (0..3usize, 0..12i64, 0..12i64, 0..9i64, value, prop_oneof![4 => (0..4usize).prop_map(Some), 1 => Just(None)])
        .prop_map(|(metric, series, minute, count, value, service)| Pane { metric, series, minute, count, value, service })
}

/// No two rows of one series, metric and minute, so that "by time" is a total order.
fn panes() -> impl Strategy<Value = Vec<Pane>> {
    proptest::collection::vec(pane(), 0..80).prop_map(|mut rows| {
        let mut seen = std::collections::BTreeSet::new();
        rows.retain(|r| seen.insert((r.metric, r.series, r.minute)));
        rows
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (0..4000i64, 0..6u8, any::<bool>(), 0..5000i64);
    proptest::collection::vec(event, 0..60).prop_map(|rows| {
        let number = |(i, (at, incident, resolved, tokens)): (usize, (i64, u8, bool, i64))| Event {
            at: at / 60 * 60,
            sequence: i as i64,
            incident,
            resolved,
            tokens,
        };
        rows.into_iter().enumerate().map(number).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn windows_equal_one_run(rows in panes(), cuts in proptest::collection::vec(any::<usize>(), 0..9)) {
        for select in WINDOWS {
            check(select, "panes", &fixture::panes(&rows), &cuts)?;
        }
    }

    #[test]
    fn windows_over_a_views_rows_equal_one_run(rows in panes(), cuts in proptest::collection::vec(any::<usize>(), 0..9)) {
        let definition = Definition::parse("test", TRAFFIC).unwrap();
        let traffic = Compiler::new(&dimensions(), &[]).compile(&definition).unwrap();
        let inner = query(&traffic);
        let rows = inner.finish(&[inner.partial(&[fixture::panes(&rows)]).unwrap()]).unwrap();
        let known = [traffic.spec];
        for select in OVER_ROWS {
            let text = format!("CREATE MATERIALIZED VIEW v AS {select}");
            let view = Compiler::new(&dimensions(), &known).compile(&Definition::parse("test", &text).unwrap()).unwrap_or_else(|e| panic!("{select}: {e}"));
            check_view(&view, select, "traffic", &rows, &cuts)?;
        }
    }

    #[test]
    fn keys_equal_one_run(rows in events(), cuts in proptest::collection::vec(any::<usize>(), 0..9)) {
        for select in KEYED {
            check(select, "events", &fixture::events(&rows), &cuts)?;
        }
    }
}

#[test]
fn nothing_in_gives_nothing_out() {
    for select in WINDOWS {
        let view = view(select);
        let query = query(&view);
        let empty = query.partial(&[]).unwrap();
        assert_eq!(empty.num_rows(), 0);
        let merged = query.merge(&[]).unwrap();
        assert_eq!(merged.schema(), empty.schema());
        assert_eq!(query.finish(&[]).unwrap().num_rows(), 0);
        let finished = query.finish(&[shipped(&empty), merged]).unwrap();
        assert_eq!((finished.num_rows(), finished.schema()), (0, view.spec.schema.clone()));
    }
}

#[test]
fn a_foreign_state_is_corrupt() {
    let query = query(&view(WINDOWS[0]));
    let foreign = fixture::panes(&[Pane { metric: 0, series: 1, minute: 0, count: 1, value: None, service: None }]);
    let error = query.finish(&[foreign]).unwrap_err();
    assert_eq!(error.kind(), afferent_engine::error::ErrorKind::Corrupt, "{error}");
}

#[test]
fn runs_inside_an_async_task() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let rows: Vec<Pane> =
        (0..20_000).map(|i| Pane { metric: 0, series: i % 500, minute: i / 500, count: 1, value: Some(1.0), service: Some(0) }).collect();
    let batch = fixture::panes(&rows);
    // More calls than a task's cooperative budget allows.
    let count = runtime.block_on(async move {
        tokio::runtime::Handle::current()
            .spawn(async move { (0..300).map(|_| query(&view(WINDOWS[7])).partial(&[batch.slice(0, 50)]).unwrap().num_rows()).sum::<usize>() })
            .await
            .unwrap()
    });
    assert!(count > 0);
}

/// Prints what a call costs; nothing is asserted, since a debug build on a busy machine says little.
#[test]
fn cost_of_calls() {
    let rows: Vec<Pane> = (0..20).map(|i| Pane { metric: 0, series: i, minute: i / 10, count: 1, value: Some(1.0), service: Some(0) }).collect();
    let batch = fixture::panes(&rows);
    for select in [WINDOWS[0], WINDOWS[5], WINDOWS[7]] {
        let planned = std::time::Instant::now();
        let query = query(&view(select));
        let planned = planned.elapsed();
        let state = query.partial(std::slice::from_ref(&batch)).unwrap();
        let mut cost = [0u128; 3];
        for _ in 0..200 {
            for (slot, call) in cost.iter_mut().zip(["partial", "merge", "finish"]) {
                let t = std::time::Instant::now();
                let out = match call {
                    "partial" => query.partial(std::slice::from_ref(&batch)),
                    "merge" => query.merge(&[state.clone(), state.clone()]),
                    _ => query.finish(std::slice::from_ref(&state)),
                };
                *slot += t.elapsed().as_micros();
                out.unwrap();
            }
        }
        eprintln!(
            "plan {planned:?}; partial {} us, merge {} us, finish {} us over 20 rows | {}",
            cost[0] / 200,
            cost[1] / 200,
            cost[2] / 200,
            &select[..60]
        );
    }
}
