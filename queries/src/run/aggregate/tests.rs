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

const WINDOWS: &[&str] = &[
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
    "SELECT tumble(window_start, INTERVAL '5 minutes') AS window_start, metric, approx_distinct(series_id) AS series, approx_distinct(service) AS services, approx_distinct(label(labels, 'instance')) FILTER (WHERE count > 2) AS hosts FROM panes GROUP BY 1, 2",
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

/// Keyed by fingerprint; the second hides `time` in a subquery, the third filters, joins and unites.
const EXPIRING: &[&str] = &[
    "SELECT fingerprint, COUNT(*) AS n, MAX(time) AS newest, LAST_VALUE(status ORDER BY time, sequence) AS status FROM events GROUP BY fingerprint",
    "WITH e AS (SELECT fingerprint AS f, json_int(attributes, 'input_tokens') AS tokens FROM events) SELECT f AS fingerprint, tokens / n AS mean FROM (SELECT f, SUM(tokens) AS tokens, COUNT(*) AS n FROM e GROUP BY f) x WHERE n > 0",
    "SELECT u.fingerprint, COUNT(s.layer) AS n FROM (SELECT fingerprint, service FROM events WHERE sequence % 2 = 0 UNION ALL SELECT fingerprint, service FROM events WHERE sequence % 2 = 1) u LEFT JOIN services s ON s.service = u.service GROUP BY u.fingerprint HAVING COUNT(*) > 0",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    /// A key leaves when its newest event is older than the bound, and no other; whatever the split, with the state through bytes.
    #[test]
    fn keys_expire_by_their_newest_event(rows in events(), cuts in proptest::collection::vec(any::<usize>(), 0..5), bound in 0..4000i64) {
        let mut newest = std::collections::BTreeMap::new();
        for row in &rows {
            let at: &mut i64 = newest.entry(row.incident).or_insert(row.at);
            *at = row.at.max(*at);
        }
        let all = fixture::events(&rows);
        let living: Vec<Event> = rows.iter().filter(|r| newest[&r.incident] >= bound).cloned().collect();
        for select in EXPIRING {
            let text = format!("CREATE MATERIALIZED VIEW v WITH (key = 'fingerprint', ttl = '2 hours') AS {select}");
            let view = Compiler::new(&dimensions(), &[]).compile(&Definition::parse("test", &text).unwrap()).unwrap_or_else(|e| panic!("{select}: {e}"));
            assert!(matches!(&view.program, Program::Keyed(k) if k.ttl_ms == Some(7_200_000)));
            let query = query(&view);
            let mut bounds: Vec<usize> = cuts.iter().map(|c| c % (rows.len() + 1)).chain([0, rows.len()]).collect();
            bounds.sort_unstable();
            let parts: Vec<RecordBatch> = bounds.windows(2).map(|w| shipped(&query.partial(&[all.slice(w[0], w[1] - w[0])]).unwrap())).collect();
            let state = shipped(&query.merge(&parts).unwrap());
            prop_assert_eq!(query.finish(std::slice::from_ref(&state)).unwrap().schema(), view.spec.schema.clone());
            let before = EventTime(fixture::START / 1000 + bound * 1000);
            let left = shipped(&query.expire(&state, before).unwrap());
            prop_assert_eq!(left.schema(), state.schema());
            // Expiring again takes nothing more, and a state goes on as if the keys had never been.
            prop_assert_eq!(query.expire(&left, before).unwrap().num_rows(), left.num_rows());
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
            for (state, events) in [(left.clone(), living.clone()), (query.merge(&[left, query.partial(std::slice::from_ref(&all)).unwrap()]).unwrap(), [living.clone(), rows.clone()].concat())] {
                let relations = vec![("events".to_owned(), vec![fixture::events(&events)])];
                let want = runtime.block_on(run_once(select, relations, &dimensions(), EventTime(0))).unwrap();
                same(&[query.finish(&[state]).unwrap()], &want).map_err(|e| TestCaseError::fail(format!("{select}\n{e}")))?;
            }
        }
    }
}

#[test]
fn a_group_that_keeps_too_many_values_is_refused_by_name() {
    let view = view("SELECT tumble(window_start, INTERVAL '1 hour') AS window_start, COUNT(DISTINCT series_id) AS n FROM panes GROUP BY 1");
    let Program::Window(w) = &view.program else { panic!() };
    let rows = |from: i64| {
        let one = fixture::panes(&[Pane { metric: 0, series: 0, minute: 0, count: 1, value: None, service: None }]);
        let count = 600_000;
        let places = arrow::array::UInt32Array::from(vec![0; count]);
        let mut batch = arrow::compute::take_record_batch(&one, &places).unwrap();
        let mut columns = batch.columns().to_vec();
        columns[1] = Arc::new(arrow::array::Int64Array::from_iter_values(from..from + count as i64));
        batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
        w.query.partial(&[batch]).unwrap()
    };
    let (a, b) = (rows(0), rows(300_000));
    assert_eq!(w.query.merge(&[a.clone(), b]).unwrap().num_rows(), 1);
    let error = w.query.merge(&[a, rows(600_000)]).unwrap_err();
    assert_eq!(error.kind(), afferent_engine::error::ErrorKind::Invalid);
    assert!(error.to_string().contains("limit of 1000000 values kept by one group") && error.to_string().contains("approx_distinct"), "{error}");
}

/// t-digests merged in many parts stay within the stated error of rank, whatever the distribution.
#[test]
fn quantile_sketches_stay_within_their_stated_error() {
    let quantiles = [0.5, 0.9, 0.95, 0.99, 0.999];
    let columns: Vec<String> =
        quantiles.iter().enumerate().map(|(i, q)| format!("approx_percentile_cont({q}) WITHIN GROUP (ORDER BY last) AS q{i}")).collect();
    let view = view(&format!("SELECT tumble(window_start, INTERVAL '1 hour') AS window_start, {} FROM panes GROUP BY 1", columns.join(", ")));
    let query = query(&view);
    let mut worst = [0.0_f64; 5];
    let shapes: [fn(f64) -> f64; 4] =
        [|u| u, |u| (-(1.0 - u).ln()).powi(3), |u| (u * 20.0).floor() + u / 100.0, |u| if u < 0.97 { u } else { 1e6 * u }];
    for shape in shapes {
        let mut seed = 7_u64;
        let mut values: Vec<f64> = (0..30_000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                shape((seed >> 11) as f64 / (1_u64 << 53) as f64)
            })
            .collect();
        let rows: Vec<Pane> = values.iter().map(|v| Pane { metric: 0, series: 0, minute: 0, count: 1, value: Some(*v), service: None }).collect();
        let states: Vec<RecordBatch> = rows.chunks(500).map(|c| query.partial(&[fixture::panes(c)]).unwrap()).collect();
        let merged: Vec<RecordBatch> = states.chunks(7).map(|c| shipped(&query.merge(c).unwrap())).collect();
        let got = query.finish(&[query.merge(&merged).unwrap()]).unwrap();
        values.sort_by(f64::total_cmp);
        for (i, q) in quantiles.iter().enumerate() {
            let column = got.column(i + 1);
            let value = arrow::array::AsArray::as_primitive::<arrow::datatypes::Float64Type>(column).value(0);
            let (low, high) = (values.partition_point(|v| *v < value) as f64, values.partition_point(|v| *v <= value) as f64);
            let (low, high) = (low / values.len() as f64, high / values.len() as f64);
            worst[i] = worst[i].max((low - q).max(q - high).max(0.0));
        }
    }
    eprintln!("worst errors of rank at {quantiles:?}: {worst:?}");
    assert!(worst.iter().all(|e| *e <= 0.002), "{worst:?}");
    assert!(worst[3] <= 0.001 && worst[4] <= 0.001, "{worst:?}");
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
