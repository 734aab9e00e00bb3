//! Shapes, keys and metrics read off queries; and every refusal with its sentence.
#![allow(clippy::unwrap_used)]

mod explained;
mod questions;

use super::*;
use crate::run::fixture::dimensions;
use afferent_engine::error::ErrorKind;
use afferent_engine::event::EventKind;
use afferent_engine::query::WindowSource;

const TRAFFIC: &str = "CREATE MATERIALIZED VIEW traffic AS SELECT service, tumble(window_start, INTERVAL '1 minute') AS window_start, SUM(count) AS good, AVG(last) AS ratio FROM panes GROUP BY 1, 2";
const INCIDENTS: &str =
    "CREATE MATERIALIZED VIEW incidents AS SELECT fingerprint, MAX(time) AS newest FROM events WHERE kind = 'incident' GROUP BY fingerprint";

fn compile_all(texts: &[&str]) -> Result<Vec<View>> {
    let (mut views, mut known): (Vec<View>, Vec<ViewSpec>) = Default::default();
    for text in texts {
        let view = Compiler::new(&dimensions(), &known).compile(&Definition::parse("test", text)?)?;
        known.push(view.spec.clone());
        views.push(view);
    }
    Ok(views)
}

fn compile(select: &str) -> Result<View> {
    with_options("", select)
}

fn with_options(options: &str, select: &str) -> Result<View> {
    let text = format!("CREATE MATERIALIZED VIEW v {options} AS {select}");
    Ok(compile_all(&[TRAFFIC, INCIDENTS, &text])?.pop().unwrap())
}

fn window(select: &str) -> (View, WindowFacts) {
    let view = compile(select).unwrap_or_else(|e| panic!("{select}: {e}"));
    let Program::Window(w) = &view.program else { panic!("{select}") };
    let WindowSource::Panes { metrics } = &w.source else { panic!("{select}") };
    let facts = WindowFacts { window_ms: w.window_ms, metrics: metrics.clone().map(|m| m.into_iter().collect()) };
    (view, facts)
}

struct WindowFacts {
    window_ms: i64,
    metrics: Option<Vec<String>>,
}

#[test]
fn windows_tell_length_metrics_and_key() {
    let tumble = "tumble(window_start, INTERVAL '5 minutes') AS window_start, COUNT(*) AS n FROM panes";
    for (text, metrics) in [
        (format!("SELECT service, {tumble} WHERE metric = 'up' GROUP BY 1, 2"), Some(vec!["up"])),
        (format!("SELECT service, {tumble} WHERE metric IN ('up', 'a', 'b', 'c', 'd') AND metric <> 'a' GROUP BY 1, 2"), Some(vec!["a", "b", "c", "d", "up"])),
        (format!("SELECT service, {tumble} WHERE (metric = 'up' OR metric = 'x') AND count > 1 GROUP BY 1, 2"), Some(vec!["up", "x"])),
        (format!("SELECT service, {tumble} WHERE metric = 'up' OR count > 1 GROUP BY 1, 2"), None),
        (format!("SELECT service, {tumble} WHERE metric LIKE 'u%' GROUP BY 1, 2"), None),
        (format!("SELECT service, {tumble} WHERE metric NOT IN ('up') GROUP BY 1, 2"), None),
        ("SELECT p.service, tumble(p.window_start, INTERVAL '5 minutes') AS window_start, COUNT(*) AS n FROM panes p JOIN services s ON p.metric = s.service WHERE s.layer = 'L1' GROUP BY 1, 2".to_owned(), Some(vec!["api", "web"])),
        ("SELECT p.service, tumble(p.window_start, INTERVAL '5 minutes') AS window_start, COUNT(*) AS n FROM panes p LEFT JOIN services s ON p.metric = s.service GROUP BY 1, 2".to_owned(), None),
        ("WITH x AS (SELECT metric AS m, service, window_start AS w FROM panes) SELECT service, date_bin(INTERVAL '5 minutes', w) AS window_start, COUNT(*) AS n FROM x WHERE m = 'up' GROUP BY 1, 2".to_owned(), Some(vec!["up"])),
    ] {
        let (view, facts) = window(&text);
        assert_eq!(facts.window_ms, 300_000, "{text}");
        assert_eq!(facts.metrics, metrics.map(|m| m.into_iter().map(str::to_owned).collect::<Vec<_>>()), "{text}");
        assert_eq!(view.spec.key, ["service", "window_start"], "{text}");
    }
    assert_eq!(
        window("SELECT date_bin(INTERVAL '1 day', window_start) AS window_start, SUM(count) AS c FROM panes GROUP BY 1").1.window_ms,
        86_400_000
    );
}

#[test]
fn columns_have_one_spelling() {
    let (view, _) = window(
        "SELECT metric, tumble(window_start, INTERVAL '1 minute') AS window_start, arrow_cast(MAX(window_start), 'Timestamp(Millisecond, None)') AS t, approx_distinct(series_id) AS d FROM panes GROUP BY 1, 2",
    );
    let types: Vec<String> = view.spec.schema.fields().iter().map(|f| f.data_type().to_string()).collect();
    let time = afferent_engine::schema::timestamp().to_string();
    assert_eq!(types, ["Utf8", &time, &time, "Int64"]);
    assert!(view.spec.schema.fields().iter().all(|f| f.is_nullable()));
}

#[test]
fn keyed_tell_kinds_and_key() {
    for (select, kinds) in [
        ("SELECT fingerprint AS id, COUNT(*) AS n FROM events WHERE kind = 'incident' GROUP BY 1", Some(vec![EventKind::Incident])),
        (
            "SELECT fingerprint AS id, COUNT(*) AS n FROM events WHERE kind IN ('incident', 'approval') GROUP BY 1",
            Some(vec![EventKind::Incident, EventKind::Approval]),
        ),
        ("SELECT fingerprint AS id, COUNT(*) AS n FROM events GROUP BY 1", None),
    ] {
        let view = compile(select).unwrap();
        assert_eq!(view.spec.key, ["id"]);
        let Program::Keyed(k) = view.program else { panic!() };
        assert_eq!(k.kinds, kinds.map(|k| k.into_iter().collect()));
    }
}

#[test]
fn plain_views_stand_for_their_queries() {
    let plain = Definition::parse(
        "p",
        "CREATE VIEW usage AS SELECT service, json_int(attributes, 'input_tokens') AS tokens FROM events WHERE kind = 'llm_usage'",
    )
    .unwrap();
    let definition =
        Definition::parse("d", "CREATE MATERIALIZED VIEW d AS SELECT service, SUM(tokens) AS tokens FROM usage GROUP BY service").unwrap();
    let dimensions = dimensions();
    let view = Compiler::new(&dimensions, &[]).with_plain(vec![plain.clone()]).compile(&definition).unwrap();
    let Program::Keyed(k) = view.program else { panic!() };
    assert_eq!(k.kinds, Some([EventKind::LlmUsage].into()));
    assert!(Compiler::new(&dimensions, &[]).compile(&plain).err().unwrap().to_string().contains("MATERIALIZED"));
}

#[test]
fn folds_and_snapshots_tell_inputs_and_key() {
    let view =
        compile("SELECT window_start, service AS who, SUM(good) OVER (PARTITION BY service ORDER BY window_start) AS ever FROM traffic").unwrap();
    assert!(matches!(&view.program, Program::Fold(f) if f.input.as_str() == "traffic"));
    assert_eq!(view.spec.key, ["who", "window_start"]);
    let view = with_options("WITH (key = 'service')", "SELECT t.service, COUNT(*) AS n, MAX(i.newest) AS newest, as_of() AS at FROM traffic t CROSS JOIN incidents i WHERE t.window_start > as_of() - INTERVAL '1 hour' GROUP BY 1 ORDER BY 2 LIMIT 5").unwrap();
    let Program::Snapshot(s) = &view.program else { panic!() };
    assert_eq!(s.inputs.iter().map(|i| i.as_str()).collect::<Vec<_>>(), ["incidents", "traffic"]);
    let ranked = "SELECT service, row_number() OVER (PARTITION BY service ORDER BY window_start DESC) AS age FROM traffic";
    for options in ["WITH (key = 'service,age', shape = 'snapshot')", "WITH (key = 'service,age')"] {
        assert!(matches!(with_options(options, ranked).unwrap().program, Program::Snapshot(_)));
    }
    assert!(with_options("WITH (key = 'service,age', shape = 'fold')", ranked).is_err());
}

#[test]
fn windows_overlap_and_read_views() {
    let facts = |select: &str| match compile(select).unwrap_or_else(|e| panic!("{select}: {e}")).program {
        Program::Window(w) => (w.source, w.window_ms, w.every_ms),
        _ => panic!("{select}"),
    };
    let metrics = |names: &[&str]| WindowSource::Panes { metrics: Some(names.iter().map(|n| (*n).to_owned()).collect()) };
    let traffic = || WindowSource::View(TableName::new("traffic"));
    for (select, want) in [
        (
            "SELECT hop(window_start, INTERVAL '1 minute', INTERVAL '1 hour') AS window_start, COUNT(*) AS n FROM panes WHERE metric = 'up' GROUP BY 1",
            (metrics(&["up"]), 3_600_000, 60_000),
        ),
        (
            "SELECT hop(window_start, INTERVAL '1 minute', INTERVAL '1 day') AS window_start, COUNT(*) AS n FROM panes WHERE metric = 'up' GROUP BY 1",
            (metrics(&["up"]), 86_400_000, 60_000),
        ),
        (
            "SELECT tumble(window_start, INTERVAL '1 minute') AS window_start, COUNT(*) AS n FROM (SELECT window_start FROM panes WHERE metric = 'a' UNION ALL SELECT window_start FROM panes WHERE metric = 'b') GROUP BY 1",
            (metrics(&["a", "b"]), 60_000, 60_000),
        ),
        (
            "SELECT service, tumble(window_start, INTERVAL '1 hour') AS window_start, SUM(good) AS good FROM traffic GROUP BY 1, 2",
            (traffic(), 3_600_000, 3_600_000),
        ),
        (
            "SELECT service, hop(window_start, INTERVAL '5 minutes', INTERVAL '1 hour') AS window_start, SUM(good) AS good FROM traffic GROUP BY 1, 2",
            (traffic(), 3_600_000, 300_000),
        ),
    ] {
        assert_eq!(facts(select), want, "{select}");
    }
    // The same over a fold of the view, whose rows stand for the same windows; a key does not make it a snapshot, as_of() and shape do.
    let fold = "CREATE MATERIALIZED VIEW smooth AS SELECT service, window_start, SUM(good) OVER (PARTITION BY service ORDER BY window_start RANGE BETWEEN INTERVAL '5 minutes' PRECEDING AND CURRENT ROW) AS good FROM traffic";
    let hourly = "SELECT service, tumble(window_start, INTERVAL '1 hour') AS window_start, MAX(good) AS good FROM smooth GROUP BY 1, 2";
    for (options, snapshot) in
        [("", false), ("WITH (key = 'service, window_start')", false), ("WITH (shape = 'snapshot', key = 'service, window_start')", true)]
    {
        let view = compile_all(&[TRAFFIC, fold, &format!("CREATE MATERIALIZED VIEW v {options} AS {hourly}")]).unwrap().pop().unwrap();
        assert_eq!(matches!(view.program, Program::Snapshot(_)), snapshot, "{options}");
        assert_eq!(matches!(&view.program, Program::Window(w) if w.source == WindowSource::View(TableName::new("smooth"))), !snapshot);
    }
}

#[test]
fn refuses_windows_over_views_and_ranks_that_cannot_stream() {
    let hourly = |view: &str| format!("SELECT tumble(window_start, INTERVAL '1 hour') AS window_start, COUNT(*) AS n FROM {view} GROUP BY 1");
    let of = |texts: &[&str], select: &str| {
        let text = format!("CREATE MATERIALIZED VIEW v AS {select}");
        let texts: Vec<&str> = texts.iter().copied().chain([text.as_str()]).collect();
        compile_all(&texts).err().unwrap_or_else(|| panic!("accepted: {select}")).to_string()
    };
    let overlapping = "CREATE MATERIALIZED VIEW w AS SELECT hop(window_start, INTERVAL '1 minute', INTERVAL '5 minutes') AS window_start, COUNT(*) AS n FROM panes GROUP BY 1";
    let odd = "CREATE MATERIALIZED VIEW w AS SELECT tumble(window_start, INTERVAL '7 minutes') AS window_start, COUNT(*) AS n FROM panes GROUP BY 1";
    let current =
        "CREATE MATERIALIZED VIEW w WITH (key = 'service') AS SELECT service, MAX(window_start) AS window_start FROM traffic GROUP BY service";
    for (texts, says) in
        [(vec![overlapping], "counted several times"), (vec![odd], "stand for 7 minutes each"), (vec![TRAFFIC, current], "stand for no windows")]
    {
        let text = of(&texts, &hourly("w"));
        assert!(text.contains(says), "{text}");
    }
    let rank = |over: &str| {
        format!(
            "SELECT *, {over} AS x FROM (SELECT service, tumble(window_start, INTERVAL '1 minute') AS window_start, COUNT(*) AS n FROM panes GROUP BY 1, 2) t"
        )
    };
    let tumble = "tumble(window_start, INTERVAL '1 minute') AS window_start";
    for (select, clause, instead) in [
        (hourly("traffic").replace("1 hour", "1 month"), "the window's length", "INTERVAL '1 minute'"),
        (hourly("traffic").replace("COUNT(*)", "MAX(revision)"), "column revision of traffic", "leave it out"),
        (rank("ROW_NUMBER() OVER (PARTITION BY window_start ORDER BY n DESC)"), "row_number(...) OVER", "service; or write RANK()"),
        (rank("ROW_NUMBER() OVER (ORDER BY n DESC, service)"), "without PARTITION BY window_start", "second view"),
        (rank("LAG(n) OVER (PARTITION BY service ORDER BY window_start)"), "without PARTITION BY window_start", "second view"),
        (rank("SUM(n) OVER (PARTITION BY window_start ORDER BY n ROWS UNBOUNDED PRECEDING)"), "sum(...) OVER", "service"),
        (rank("held_since(n, window_start) OVER (PARTITION BY window_start ORDER BY service)"), "held_since(...) OVER", "second view"),
        (
            format!(
                "SELECT {tumble}, COUNT(*) AS n FROM panes WHERE metric = 'a' GROUP BY 1 UNION ALL SELECT {tumble}, COUNT(*) FROM panes WHERE metric = 'b' GROUP BY 1"
            ),
            "UNION",
            "unite the rows before they are aggregated",
        ),
        (
            format!("SELECT {tumble}, COUNT(*) AS n FROM (SELECT window_start FROM panes UNION SELECT window_start FROM panes) GROUP BY 1"),
            "DISTINCT",
            "UNION ALL for UNION",
        ),
        ("SELECT date_trunc('hour', window_start) AS window_start, COUNT(*) AS n FROM panes GROUP BY 1".to_owned(), "date_trunc", "write tumble"),
        (
            "SELECT tumble(time, INTERVAL '1 minute') AS window_start, MAX(value) AS n FROM samples GROUP BY 1".to_owned(),
            "FROM samples",
            "FROM panes WHERE metric",
        ),
        (
            "SELECT tumble(time, INTERVAL '1 minute') AS window_start, MAX(value) AS n FROM metrics.\"up\" GROUP BY 1".to_owned(),
            "FROM metrics.",
            "FROM panes WHERE metric",
        ),
        (
            "SELECT session(window_start, INTERVAL '5 minutes') AS window_start, COUNT(*) AS n FROM panes GROUP BY 1".to_owned(),
            "session windows",
            "LAG(window_start)",
        ),
        (
            "SELECT hop(window_start, INTERVAL '5 minutes', INTERVAL '1 minute') AS window_start, COUNT(*) AS n FROM panes GROUP BY 1".to_owned(),
            "hop(...) in GROUP BY",
            "first the distance",
        ),
        (
            "SELECT hop(window_start, INTERVAL '1 minute', INTERVAL '2 days') AS window_start, COUNT(*) AS n FROM panes GROUP BY 1".to_owned(),
            "the limit is 1440",
            "tumble view",
        ),
        (
            "SELECT hop(window_start, INTERVAL '30 seconds', INTERVAL '1 minute') AS window_start, COUNT(*) AS n FROM panes GROUP BY 1".to_owned(),
            "the window's length",
            "whole number of panes",
        ),
        (
            "SELECT hop(window_start, INTERVAL '1 minute', INTERVAL '2 minutes') AS w, COUNT(*) AS n FROM panes GROUP BY 1".to_owned(),
            "no column window_start",
            "AS window_start",
        ),
    ] {
        refused("", &select, clause, instead);
    }
}

#[test]
fn every_shipped_view_compiles() {
    let views = shipped(&dimensions()).unwrap();
    let known: Vec<ViewSpec> = views.iter().map(|view| view.spec.clone()).collect();
    let compiler = Statements::new(Arc::new(dimensions())).unwrap();
    for (place, spec) in known.iter().enumerate() {
        afferent_engine::query::Compiler::compile(&*compiler, &spec.sql, 1, &known[..place]).unwrap_or_else(|e| panic!("{}: {e}", spec.name));
    }
    assert!(views.len() >= 15, "{}", views.len());
    for view in &views {
        for key in &view.spec.key {
            assert!(view.spec.schema.column_with_name(key).is_some(), "{}: {key}", view.spec.name);
        }
    }
}

fn refused(options: &str, select: &str, clause: &str, instead: &str) {
    let error = match with_options(options, select) {
        Ok(_) => panic!("accepted: {select}"),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Invalid, "{select}: {error}");
    let text = error.to_string();
    assert!(text.contains(clause) && text.contains(instead), "{select}\n  says: {text}\n  want: {clause} ... {instead}");
}

#[test]
fn refuses_windows_that_cannot_stream() {
    let tumble = "tumble(window_start, INTERVAL '1 minute') AS window_start";
    for (select, clause, instead) in [
        (format!("SELECT {tumble}, COUNT(*) AS n FROM panes GROUP BY 1 ORDER BY 1"), "ORDER BY", "leave ORDER BY out"),
        (format!("SELECT {tumble}, COUNT(*) AS n FROM panes GROUP BY 1 LIMIT 3"), "LIMIT", "ROW_NUMBER() OVER (PARTITION BY window_start"),
        (format!("SELECT DISTINCT {tumble}, COUNT(*) AS n FROM panes GROUP BY 1"), "DISTINCT", "write GROUP BY"),
        ("SELECT service, COUNT(*) AS n FROM panes GROUP BY 1".to_owned(), "GROUP BY without a window", "tumble(window_start"),
        ("SELECT COUNT(*) AS n FROM panes".to_owned(), "no GROUP BY", "add GROUP BY"),
        ("SELECT service, last FROM panes".to_owned(), "no GROUP BY", "tumble(window_start"),
        ("SELECT service, COUNT(*) AS n FROM panes GROUP BY 1, tumble(window_start, INTERVAL '1 minute')".to_owned(), "GROUP BY", "select it too"),
        ("SELECT service, tumble(window_start, INTERVAL '1 minute') AS w, COUNT(*) AS n FROM panes GROUP BY 1, 2".to_owned(), "no column window_start", "AS window_start"),
        ("SELECT service, tumble(window_start, INTERVAL '90 seconds') AS window_start, COUNT(*) AS n FROM panes GROUP BY 1, 2".to_owned(), "window's length", "INTERVAL '1 minute'"),
        ("SELECT service, date_bin(INTERVAL '1 month', window_start) AS window_start, COUNT(*) AS n FROM panes GROUP BY 1, 2".to_owned(), "window's length", "1 hour"),
        ("SELECT service, date_bin(INTERVAL '1 hour', window_start, TIMESTAMP '2026-01-01T00:30:00Z') AS window_start, COUNT(*) AS n FROM panes GROUP BY 1, 2".to_owned(), "origin", "tumble"),
        ("SELECT service, tumble(window_start + INTERVAL '1 second', INTERVAL '1 minute') AS window_start, COUNT(*) AS n FROM panes GROUP BY 1, 2".to_owned(), "tumble", "GROUP BY tumble(window_start"),
        (format!("SELECT {tumble}, FIRST_VALUE(last) AS f FROM panes GROUP BY 1"), "first_value", "ORDER BY window_start"),
        (format!("SELECT {tumble}, array_agg(last) AS f FROM panes GROUP BY 1"), "array_agg", "ORDER BY window_start"),
        (format!("SELECT {tumble}, COUNT(*) AS n FROM panes WHERE window_start > now() GROUP BY 1"), "now()", "times of the data"),
        (format!("SELECT {tumble}, SUM(count * random()) AS n FROM panes GROUP BY 1"), "random()", "another answer each time"),
        (format!("SELECT {tumble}, MAX(as_of()) AS n FROM panes GROUP BY 1"), "as_of()", "snapshot view"),
        ("SELECT service, window_start, SUM(count) OVER (PARTITION BY service ORDER BY window_start) AS n FROM panes".to_owned(), "OVER", "second view"),
        ("SELECT a.service, tumble(a.window_start, INTERVAL '1 minute') AS window_start, COUNT(*) AS n FROM panes a JOIN panes b ON a.series_id = b.series_id GROUP BY 1, 2".to_owned(), "more than one of panes", "view of its own"),
        ("SELECT a.service, tumble(a.window_start, INTERVAL '1 minute') AS window_start, COUNT(*) AS n FROM panes a JOIN traffic b ON a.service = b.service GROUP BY 1, 2".to_owned(), "more than one of panes", "snapshot"),
        ("SELECT tumble(p.window_start, INTERVAL '1 minute') AS window_start, s.layer, COUNT(*) AS n FROM services s LEFT JOIN panes p ON p.service = s.service GROUP BY 1, 2".to_owned(), "LEFT JOIN", "stream LEFT JOIN dimension"),
        ("SELECT service, tumble(window_start, INTERVAL '1 minute') AS window_start, COUNT(*) AS n FROM panes GROUP BY ROLLUP (service, tumble(window_start, INTERVAL '1 minute'))".to_owned(), "ROLLUP", "one view per grouping"),
        ("SELECT window_start, MAX(n) AS n FROM (SELECT service, tumble(window_start, INTERVAL '1 minute') AS window_start, COUNT(*) AS n FROM panes GROUP BY 1, 2) x GROUP BY 1".to_owned(), "two levels of GROUP BY", "second view over it"),
        (format!("SELECT {tumble}, COUNT(*) AS n, COUNT(*) AS revision FROM panes GROUP BY 1"), "column revision", "otherwise with AS"),
        (format!("SELECT {tumble}, INTERVAL '1 day' AS n FROM panes GROUP BY 1"), "column n", "cast it"),
        ("SELECT service FROM services s WHERE EXISTS (SELECT 1 FROM panes)".to_owned(), "subquery over panes", "FROM panes"),
    ] {
        refused("", &select, clause, instead);
    }
    let counted = format!("SELECT {tumble}, service, COUNT(*) AS n FROM panes GROUP BY 1, 2");
    refused("WITH (key = 'service')", &counted, "key", "add window_start");
    refused("WITH (key = 'window_start, host')", &counted, "key column host", "choose among window_start, service, n");
    refused("WITH (shape = 'keyed')", &counted, "shape = 'keyed'", "window reads panes");
}

#[test]
fn refuses_keys_folds_and_snapshots_that_cannot_stream() {
    let frame = |call: &str, over: &str| format!("SELECT service, window_start, {call} OVER ({over}) AS x FROM traffic");
    let usual = "PARTITION BY service ORDER BY window_start";
    for (options, select, clause, instead) in [
        (
            "",
            "SELECT fingerprint, COUNT(*) AS n FROM events WHERE kind = 'scan' GROUP BY 1".to_owned(),
            "kind = 'scan'",
            "alert, incident, approval, llm_usage",
        ),
        ("", "SELECT fingerprint, LAST_VALUE(status) AS s FROM events GROUP BY 1".to_owned(), "last_value", "ORDER BY time, sequence"),
        ("", "SELECT COUNT(*) AS n FROM events".to_owned(), "no GROUP BY", "identify a row"),
        (
            "WITH (ttl = '1 day')",
            "SELECT tumble(window_start, INTERVAL '1 minute') AS window_start, COUNT(*) AS n FROM panes GROUP BY 1".to_owned(),
            "WITH (ttl",
            "retention",
        ),
        ("WITH (ttl = '1 day', key = 'service')", "SELECT service, COUNT(*) AS n FROM traffic GROUP BY 1".to_owned(), "WITH (ttl", "retention"),
        ("", "SELECT e.fingerprint, COUNT(*) AS n FROM events e, panes p GROUP BY 1".to_owned(), "more than one of panes", "view of its own"),
        ("", frame("stddev(good)", usual), "stddev(...) OVER", "AVG, MIN, MAX, LAG"),
        ("", frame("LEAD(good)", usual), "LEAD(...) OVER", "has not come yet"),
        ("", frame("MIN(service)", usual), "min(traffic.service) OVER", "BIGINT or DOUBLE"),
        ("", frame("SUM(ratio)", "ORDER BY window_start"), "without service in PARTITION BY", "in any order"),
        ("", frame("LAG(good)", "ORDER BY window_start"), "without service in PARTITION BY", "in any order"),
        ("", frame("LAG(good, 2000)", usual), "LAG(...) OVER", "0 to 1440 rows"),
        ("", frame("MAX(good)", &format!("{usual} RANGE BETWEEN INTERVAL '32 days' PRECEDING AND CURRENT ROW")), "OVER", "at most 31 days"),
        ("", frame("SUM(good)", &format!("{usual} ROWS BETWEEN 10081 PRECEDING AND CURRENT ROW")), "OVER", "at most 10080 rows"),
        ("", frame("SUM(good)", &format!("{usual} ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING")), "OVER", "end with the current row"),
        ("", frame("ROW_NUMBER()", usual), "row_number(...) OVER", "shape = 'snapshot'"),
        ("", frame("SUM(good)", "PARTITION BY service"), "ORDER BY (nothing)", "ORDER BY window_start"),
        ("", frame("SUM(good)", "PARTITION BY service ORDER BY window_start DESC"), "inside OVER", "ORDER BY window_start"),
        ("", frame("SUM(good)", "PARTITION BY service ORDER BY good"), "inside OVER", "order of window_start"),
        ("", frame("SUM(good)", &format!("{usual} RANGE BETWEEN INTERVAL '1 month' PRECEDING AND CURRENT ROW")), "OVER", "no months"),
        (
            "",
            frame("SUM(good)", &format!("{usual} RANGE BETWEEN INTERVAL '1 day' PRECEDING AND INTERVAL '1 day' FOLLOWING")),
            "OVER",
            "AND CURRENT ROW",
        ),
        ("", format!("SELECT service, window_start, SUM(good) FILTER (WHERE good > 1) OVER ({usual}) AS x FROM traffic"), "FILTER", "CASE WHEN"),
        ("", frame("coverage, SUM(good)", usual), "column coverage", "list columns instead of *"),
        (
            "",
            format!("SELECT service, window_start, coverage * 2 AS c, SUM(good) OVER ({usual}) AS x FROM traffic"),
            "column coverage of traffic",
            "leave it out",
        ),
        ("", format!("SELECT window_start, SUM(good) OVER ({usual}) AS x FROM traffic"), "column service of traffic", "select it too"),
        ("", format!("SELECT service, window_start, SUM(good) OVER ({usual}) AS x FROM traffic ORDER BY 1"), "ORDER BY", "leave ORDER BY out"),
        ("", "SELECT service, COUNT(*) AS n FROM traffic GROUP BY 1".to_owned(), "no key", "WITH (key = "),
        ("WITH (key = 'service')", "SELECT service, now() AS t FROM traffic".to_owned(), "now()", "write as_of()"),
        ("WITH (key = 'service')", "SELECT service FROM services".to_owned(), "FROM", "read panes, events or a view"),
        ("WITH (key = 'x')", "SELECT a.service, b.service FROM traffic a JOIN traffic b ON a.good = b.good".to_owned(), "column service", "with AS"),
    ] {
        refused(options, &select, clause, instead);
    }
}

#[test]
fn planner_errors_name_what_is_near() {
    let text =
        compile("SELECT tumble(window_start, INTERVAL '1 minute') AS window_start, SUM(cuont) AS n FROM panes GROUP BY 1").err().unwrap().to_string();
    assert!(text.contains("cuont") && text.contains("count"), "{text}");
    assert!(compile("SELECT x FROM nowhere GROUP BY 1").err().unwrap().to_string().contains("nowhere"));
}

#[test]
fn what_fails_whatever_the_data_is_refused_with_its_reason() {
    let windowed = |value: &str| {
        format!(
            "SELECT service, tumble(window_start, INTERVAL '1 minute') AS window_start, {value} AS x FROM panes WHERE metric = 'up' GROUP BY 1, 2"
        )
    };
    for (select, said) in [
        (windowed("SUM(count) + 1 / 0"), "the constant Int64(1) / Int64(0) cannot be computed: "),
        (windowed("MAX(CAST('many' AS BIGINT))"), "Cannot cast string 'many'"),
        (windowed("approx_percentile_cont(last, 1.5)"), "1.5"),
        (
            "SELECT window_start, service, deviation(ratio, 'warmth', window_start) OVER (PARTITION BY service ORDER BY window_start)['state'] AS s FROM traffic".to_owned(),
            "signal \"warmth\" is not known",
        ),
    ] {
        let error = compile(&select).err().unwrap_or_else(|| panic!("{select}"));
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(said), "{select}: {error}");
    }
    for value in ["SUM(count) / (COUNT(*) - 2)", "100 / MIN(resets)", "SUM(count) / NULLIF(0, 0)", "MAX(CAST(label(labels, 'code') AS BIGINT))"] {
        compile(&windowed(value)).unwrap_or_else(|e| panic!("{value}: {e}"));
    }
}
