//! Random view definitions over the accepted grammar: windows, keyed state, folds and snapshots, each over what was defined before it.

use super::chance::Chance;
use super::rows::MOMENT;

/// A definition and what later ones may say about its rows.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) name: String,
    pub(super) sql: String,
    kind: Kind,
    /// Columns of the key but `window_start`.
    keys: Vec<String>,
    integers: Vec<String>,
    floats: Vec<String>,
    /// A row that was there once stays, whatever comes later.
    lasting: bool,
    /// Distance between its windows, minutes.
    minutes: i64,
    /// They are longer than that.
    overlapping: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Rows with `window_start`.
    Windowed,
    Keyed,
    Snapshot,
}

/// Lengths of windows, minutes.
const WINDOWS: [i64; 6] = [1, 1, 2, 5, 10, 60];

/// (name, expression, whether a series always gives the same).
const GROUPS: [(&str, &str, bool); 8] = [
    ("metric", "p.metric", true),
    ("service", "p.service", true),
    ("job", "label(p.labels, 'job')", true),
    ("instance", "label(p.labels, 'instance')", true),
    ("code", "label(p.labels, 'code')", true),
    ("series", "p.series_id", true),
    ("steady", "CASE WHEN p.resets > 0 THEN 'reset' WHEN p.increase = 0 THEN 'still' ELSE 'steady' END", false),
    ("many", "p.count > 2", false),
];

/// (condition, whether what held once goes on to hold).
const CONDITIONS: [(&str, bool); 9] = [
    ("p.metric = 'http_requests_total'", true),
    ("p.metric IN ('up', 'node_load1', 'temperature_celsius')", true),
    ("p.metric LIKE '%total'", true),
    ("p.service IS NOT NULL", true),
    ("label(p.labels, 'code') IS DISTINCT FROM '500'", true),
    ("p.count > 1", true),
    ("p.last BETWEEN -10 AND 1000", false),
    ("p.increase > 3.5 OR p.resets = 0", false),
    ("p.max >= p.first AND p.min < p.max", false),
];

const INTEGERS: [&str; 11] = [
    "COUNT(*)",
    "SUM(p.count)",
    "SUM(p.resets)",
    "COUNT(DISTINCT p.series_id)",
    "COUNT(DISTINCT label(p.labels, 'instance'))",
    "COUNT(*) FILTER (WHERE p.resets > 0)",
    "SUM(CAST(round(p.increase) AS BIGINT))",
    "SUM(CASE WHEN label(p.labels, 'code') = '500' THEN p.count ELSE 0 END)",
    "MAX(p.count) FILTER (WHERE p.metric = 'up')",
    "bit_or(p.count)",
    "COUNT(p.last) FILTER (WHERE p.last > 0)",
];

const FLOATS: [&str; 14] = [
    "SUM(p.sum)",
    "SUM(p.increase)",
    "MIN(p.min)",
    "MAX(p.max)",
    "AVG(p.last)",
    "SUM(p.increase) FILTER (WHERE p.metric = 'http_requests_total')",
    "SUM(CASE WHEN p.metric = 'jobs_done_total' THEN p.increase ELSE 0.0 END)",
    "first_value(p.first ORDER BY p.window_start, p.series_id)",
    "last_value(p.last ORDER BY p.window_start, p.series_id)",
    "median(p.last)",
    "SUM(p.increase) / nullif(CAST(SUM(p.count) AS DOUBLE), 0.0)",
    "MAX(p.last) - MIN(p.first)",
    "histogram_quantile(0.9, label_number(p.labels, 'le'), p.increase) FILTER (WHERE p.metric = 'http_request_duration_seconds_bucket')",
    "MIN(CASE WHEN p.resets = 0 THEN p.last END)",
];

const MOMENTS: [&str; 4] = ["stddev_pop(p.last)", "var_samp(p.last)", "covar_pop(p.first, p.last)", "regr_sxx(p.last, p.first)"];

const OTHERS: [&str; 6] = [
    "bool_or(p.resets > 0)",
    "bool_and(p.count > 2)",
    "string_agg(p.metric, ',' ORDER BY p.window_start, p.series_id)",
    "MAX(p.metric)",
    "approx_distinct(p.series_id)",
    "approx_distinct(p.metric)",
];

/// Some definitions, each after those it reads.
pub(super) fn definitions(chance: &mut Chance) -> Vec<Written> {
    let mut out: Vec<Written> = vec![];
    for i in 0..chance.between(3, 6) {
        out.push(window(chance, format!("window_{i}")));
    }
    for i in 0..chance.between(1, 3) {
        out.push(keyed(chance, format!("keyed_{i}")));
    }
    for i in 0..chance.between(2, 5) {
        let windowed: Vec<Written> = out.iter().filter(|w| w.kind == Kind::Windowed).cloned().collect();
        let input = chance.pick(&windowed).clone();
        out.push(fold(chance, format!("fold_{i}"), &input));
    }
    for i in 0..chance.between(0, 3) {
        let windowed: Vec<Written> = out.iter().filter(|w| w.kind == Kind::Windowed && !w.overlapping).cloned().collect();
        if !windowed.is_empty() {
            let input = chance.pick(&windowed).clone();
            out.push(window_over(chance, format!("over_{i}"), &input));
        }
    }
    for i in 0..chance.between(1, 4) {
        let lasting: Vec<Written> = out.iter().filter(|w| w.lasting && w.kind != Kind::Snapshot).cloned().collect();
        if !lasting.is_empty() {
            let input = chance.pick(&lasting).clone();
            out.push(snapshot(chance, format!("snapshot_{i}"), &input));
        }
    }
    out
}

/// Aggregates with the names of their columns, by kind.
struct Columns {
    select: Vec<String>,
    integers: Vec<String>,
    floats: Vec<String>,
}

fn aggregates(chance: &mut Chance) -> Columns {
    let mut out = Columns { select: vec![], integers: vec![], floats: vec![] };
    for (i, call) in chance.some(&INTEGERS, 1, 3).into_iter().enumerate() {
        out.select.push(format!("{call} AS n{i}"));
        // The type of a bitwise result may be unsigned; frames want BIGINT.
        out.integers.push(format!("n{i}"));
    }
    for (i, call) in chance.some(&FLOATS, 0, 3).into_iter().enumerate() {
        out.select.push(format!("{call} AS x{i}"));
        out.floats.push(format!("x{i}"));
    }
    for (i, call) in chance.some(&MOMENTS, 0, 1).into_iter().enumerate() {
        out.select.push(format!("{call} AS {MOMENT}{i}"));
    }
    for (i, call) in chance.some(&OTHERS, 0, 2).into_iter().enumerate() {
        out.select.push(format!("{call} AS o{i}"));
    }
    out
}

fn window(chance: &mut Chance, name: String) -> Written {
    let mut minutes = *chance.pick(&WINDOWS);
    let mut lasting = true;
    let mut groups: Vec<(String, String)> = vec![];
    for (column, expression, fixed) in chance.some(&GROUPS, 0, 2) {
        groups.push((column.to_owned(), expression.to_owned()));
        lasting &= fixed;
    }
    let join = match chance.between(0, 5) {
        0 => {
            groups.push(("slo".into(), "r.slo".into()));
            if chance.one_in(2) {
                groups.push(("role".into(), "r.role".into()));
            }
            " JOIN slo_rules AS r ON p.metric = r.metric"
        }
        1 => {
            groups.push(("layer".into(), "s.layer".into()));
            *chance.pick(&[" LEFT JOIN services AS s ON p.service = s.service", " JOIN services AS s ON s.service = p.service"])
        }
        _ => "",
    };
    let mut conditions = vec![];
    for (condition, holds_on) in chance.some(&CONDITIONS, 0, 2) {
        conditions.push(format!("({condition})"));
        lasting &= holds_on;
    }
    let columns = aggregates(chance);
    let (start, overlapping) = match chance.between(0, 5) {
        0 => (format!("date_bin(INTERVAL '{minutes} minutes', p.window_start)"), false),
        1 => {
            minutes = minutes.min(10);
            (format!("hop(p.window_start, INTERVAL '{minutes} minutes', INTERVAL '{} minutes')", minutes * chance.between(2, 5)), true)
        }
        _ => (format!("tumble(p.window_start, INTERVAL '{minutes} minutes')"), false),
    };
    let mut select: Vec<String> = groups.iter().map(|(column, expression)| format!("{expression} AS {column}")).collect();
    select.push(format!("{start} AS window_start"));
    select.extend(columns.select);
    let mut by: Vec<String> = groups.iter().map(|(_, expression)| expression.clone()).collect();
    by.push(start);
    let mut sql = format!("SELECT {} FROM panes AS p{join}", select.join(", "));
    if !conditions.is_empty() {
        sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
    }
    sql.push_str(&format!(" GROUP BY {}", by.join(", ")));
    if chance.one_in(5) {
        sql.push_str(&format!(" HAVING {}", chance.pick(&["COUNT(*) > 1", "SUM(p.count) < 12", "MAX(p.last) > 20"])));
        lasting = false;
    }
    let keys: Vec<String> = groups.into_iter().map(|(column, _)| column).collect();
    let (mut integers, mut floats) = (columns.integers, columns.floats);
    if chance.one_in(4) {
        // The aggregation as a part of a larger query.
        let n = chance.pick(&integers).clone();
        let passed: Vec<String> = keys.iter().chain(["window_start".to_owned()].iter()).chain(&integers).chain(&floats).cloned().collect();
        let more = format!("CASE WHEN {n} IS NULL THEN -1 WHEN {n} > 3 THEN {n} * 2 ELSE {n} END AS cased, CAST({n} AS DOUBLE) / 4 AS quarter");
        let kept = if chance.one_in(3) {
            lasting = false;
            format!(" WHERE {n} <> 2")
        } else {
            String::new()
        };
        sql = format!("SELECT {}, {more} FROM ({sql}) AS part{kept}", passed.join(", "));
        integers.push("cased".into());
        floats.push("quarter".into());
    }
    let key = keys.iter().map(String::as_str).chain(["window_start"]).collect::<Vec<_>>().join(", ");
    let sql = format!("CREATE MATERIALIZED VIEW {name} WITH (key = '{key}') AS {sql}");
    Written { name, sql, kind: Kind::Windowed, keys, integers, floats, lasting, minutes, overlapping }
}

/// Windows over the rows of another view.
fn window_over(chance: &mut Chance, name: String, input: &Written) -> Written {
    let minutes = input.minutes * *chance.pick(&[1, 1, 2, 5]);
    let keys = chance.some(&input.keys, 0, input.keys.len());
    let mut select = keys.clone();
    let start = format!("tumble(window_start, INTERVAL '{minutes} minutes')");
    select.push(format!("{start} AS window_start"));
    let (mut integers, mut floats) = (vec![], vec![]);
    for i in 0..chance.between(1, 4) {
        let n = chance.pick(&input.integers).clone();
        let calls = [format!("SUM({n})"), "COUNT(*)".to_owned(), format!("MAX({n})"), format!("COUNT(*) FILTER (WHERE {n} > 2)")];
        select.push(format!("{} AS n{i}", chance.pick(&calls)));
        integers.push(format!("n{i}"));
    }
    if let (Some(x), true) = (input.floats.first(), chance.one_in(2)) {
        select.push(format!("{}({x}) AS x0", chance.pick(&["SUM", "MIN", "MAX"])));
        floats.push("x0".into());
    }
    let by: Vec<&str> = keys.iter().map(String::as_str).chain([start.as_str()]).collect();
    let mut sql = format!("SELECT {} FROM {} GROUP BY {}", select.join(", "), input.name, by.join(", "));
    let mut lasting = input.lasting;
    if chance.one_in(4) {
        sql.push_str(" HAVING COUNT(*) > 1");
        lasting = false;
    }
    let key = keys.iter().map(String::as_str).chain(["window_start"]).collect::<Vec<_>>().join(", ");
    let sql = format!("CREATE MATERIALIZED VIEW {name} WITH (key = '{key}') AS {sql}");
    Written { name, sql, kind: Kind::Windowed, keys, integers, floats, lasting, minutes, overlapping: false }
}

fn keyed(chance: &mut Chance, name: String) -> Written {
    let groups = [
        ("kind", "e.kind"),
        ("service", "e.service"),
        ("severity", "e.severity"),
        ("matter", "e.fingerprint"),
        ("incident", "json_text(e.attributes, 'incident_id')"),
        ("status", "CASE WHEN e.status IN ('firing', 'opened') THEN 'bad' ELSE 'other' END"),
    ];
    let calls = [
        "COUNT(*)",
        "COUNT(DISTINCT e.event_id)",
        "COUNT(*) FILTER (WHERE e.status = 'firing')",
        "COUNT(e.severity)",
        "SUM(CASE WHEN e.kind = 'llm_usage' THEN json_int(e.attributes, 'output_tokens') ELSE 0 END)",
    ];
    let others = [
        "MIN(e.time)",
        "MAX(e.time)",
        "last_value(CAST(e.status AS VARCHAR) ORDER BY e.time, e.sequence)",
        "first_value(e.title ORDER BY e.time, e.sequence)",
        "last_value(CAST(e.severity AS VARCHAR) ORDER BY e.time, e.sequence) FILTER (WHERE e.severity IS NOT NULL)",
        "bool_or(e.service IS NULL)",
        "AVG(json_float(e.attributes, 'input_tokens'))",
    ];
    let groups = chance.some(&groups, 1, 2);
    let mut select: Vec<String> = groups.iter().map(|(column, expression)| format!("{expression} AS {column}")).collect();
    let integers: Vec<String> = chance
        .some(&calls, 1, 3)
        .into_iter()
        .enumerate()
        .map(|(i, call)| (i, format!("{call} AS n{i}")))
        .map(|(i, text)| {
            select.push(text);
            format!("n{i}")
        })
        .collect();
    select.extend(chance.some(&others, 0, 3).into_iter().enumerate().map(|(i, call)| format!("{call} AS o{i}")));
    let conditions =
        chance.some(&["e.kind IN ('incident', 'approval')", "e.kind <> 'llm_usage'", "e.service IS NOT NULL", "e.title LIKE '%1%'"], 0, 1);
    let kept = conditions.first().map(|c| format!(" WHERE {c}")).unwrap_or_default();
    let by: Vec<&str> = groups.iter().map(|(_, expression)| *expression).collect();
    let sql = format!("CREATE MATERIALIZED VIEW {name} AS SELECT {} FROM events AS e{kept} GROUP BY {}", select.join(", "), by.join(", "));
    let keys = groups.iter().map(|(column, _)| (*column).to_owned()).collect();
    Written { name, sql, kind: Kind::Keyed, keys, integers, floats: vec![], lasting: true, minutes: 0, overlapping: false }
}

fn fold(chance: &mut Chance, name: String, input: &Written) -> Written {
    let window = |keys: &[String], range: &str| {
        let by = if keys.is_empty() { String::new() } else { format!("PARTITION BY {} ", keys.join(", ")) };
        format!("({by}ORDER BY window_start{range})")
    };
    let mut select: Vec<String> = input.keys.iter().cloned().chain(["window_start".to_owned()]).collect();
    let (mut integers, mut floats) = (vec![], vec![]);
    for i in 0..chance.between(1, 4) {
        let n = chance.pick(&input.integers).clone();
        let call = chance.pick(&[format!("SUM({n})"), "COUNT(*)".to_owned(), format!("COUNT({n})"), format!("SUM({n} + 1)")]).clone();
        let minutes = input.minutes * chance.between(0, 12);
        let range = chance.pick(&[String::new(), format!(" RANGE BETWEEN INTERVAL '{minutes} minutes' PRECEDING AND CURRENT ROW")]).clone();
        let keys = chance.some(&input.keys, 0, input.keys.len());
        select.push(format!("{call} OVER {} AS f{i}", window(&keys, &range)));
        integers.push(format!("f{i}"));
    }
    if let (Some(x), true) = (input.floats.first().cloned(), chance.one_in(3)) {
        select.push(format!("held_since({x}, window_start) OVER {} AS since", window(&input.keys, "")));
    }
    if let (Some(x), true) = (input.floats.last().cloned(), chance.one_in(3)) {
        select.push(format!("deviation({x}, 'cpu', window_start) OVER {} AS judged", window(&input.keys, "")));
    }
    let carried = chance.pick(&input.integers).clone();
    select.push(format!("{carried} AS carried"));
    let mut lasting = input.lasting;
    let mut kept = String::new();
    if chance.one_in(3) {
        kept = format!(" WHERE {carried} > 1");
        lasting = false;
    }
    let mut sql = format!("SELECT {} FROM {}{kept}", select.join(", "), input.name);
    if chance.one_in(3) {
        sql = format!("SELECT *, CAST(f0 AS DOUBLE) / nullif(carried, 0) AS ratio FROM ({sql}) AS inside");
        floats.push("ratio".into());
    }
    let key = input.keys.iter().map(String::as_str).chain(["window_start"]).collect::<Vec<_>>().join(", ");
    let sql = format!("CREATE MATERIALIZED VIEW {name} WITH (key = '{key}', shape = 'fold') AS {sql}");
    Written {
        name,
        sql,
        kind: Kind::Windowed,
        keys: input.keys.clone(),
        integers,
        floats,
        lasting,
        minutes: input.minutes,
        overlapping: input.overlapping,
    }
}

fn snapshot(chance: &mut Chance, name: String, input: &Written) -> Written {
    let n = chance.pick(&input.integers).clone();
    let keys = input.keys.join(", ");
    let comma = if input.keys.is_empty() { "" } else { ", " };
    let (select, key) = match (input.kind, chance.between(0, 3)) {
        (Kind::Windowed, 0) => {
            let by = if keys.is_empty() { String::new() } else { format!("PARTITION BY {keys} ") };
            let ranked = format!("SELECT *, ROW_NUMBER() OVER ({by}ORDER BY window_start DESC) AS age FROM {}", input.name);
            (
                format!(
                    "SELECT {keys}{comma}age, window_start, {n} AS n, as_of() - window_start < INTERVAL '5 minutes' AS fresh FROM ({ranked}) AS r WHERE age <= 2"
                ),
                format!("{keys}{comma}age"),
            )
        }
        (Kind::Windowed, 1) if !keys.is_empty() => {
            let counted = format!(
                "COUNT(*) AS n, SUM({n}) AS total, MAX(window_start) AS newest, SUM(CASE WHEN window_start > as_of() - INTERVAL '7 minutes' THEN {n} ELSE 0 END) AS lately"
            );
            (format!("SELECT {keys}, {counted} FROM {} GROUP BY {keys}", input.name), keys.clone())
        }
        (Kind::Windowed, _) => {
            let key = format!("{keys}{comma}window_start");
            (format!("SELECT {key}, {n} AS n, CASE WHEN {n} > 4 THEN 'much' ELSE 'little' END AS word FROM {}", input.name), key)
        }
        _ => (format!("SELECT {keys}, {n} AS n, {n} * 2 + 1 AS more, as_of() AS at FROM {}", input.name), keys.clone()),
    };
    let sql = format!("CREATE MATERIALIZED VIEW {name} WITH (key = '{key}', shape = 'snapshot') AS {select}");
    Written { name, sql, kind: Kind::Snapshot, keys: vec![], integers: vec![], floats: vec![], lasting: false, minutes: 0, overlapping: false }
}
