#![allow(clippy::unwrap_used)]

//! Every function through SQL, with figures worked by hand; the shipped views stand in `views.rs`.

mod oracle;
mod states;
mod views;

use super::fold::FoldFunction;
use super::*;
use arrow::array::{ArrayRef, Float64Array, Int64Array, MapBuilder, StringArray, StringBuilder, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::{SessionConfig, SessionContext};

/// A session like the ones views are planned in, without `as_of()`.
pub(super) fn session() -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(1);
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    let context = SessionContext::new_with_config(config);
    register(&mut context.state_ref().write()).unwrap();
    context
}

pub(super) fn run(future: impl Future<Output = datafusion::error::Result<Vec<RecordBatch>>>) -> Result<Vec<RecordBatch>, String> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future).map_err(|e| e.strip_backtrace())
}

pub(super) fn query(context: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>, String> {
    run(async { context.sql(sql).await?.collect().await })
}

/// Every cell as text, row by row; null is `null`.
pub(super) fn cells(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("null");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect()));
    }
    rows
}

/// One value of a statement without relations.
fn value(expression: &str) -> String {
    match query(&session(), &format!("SELECT {expression}")) {
        Ok(batches) => cells(&batches)[0][0].clone(),
        Err(message) => format!("error: {message}"),
    }
}

fn label_map(rows: &[&[(&str, &str)]]) -> ArrayRef {
    let names = arrow::array::MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let mut map = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (name, value) in *row {
            map.keys().append_value(name);
            map.values().append_value(value);
        }
        map.append(true).unwrap();
    }
    Arc::new(map.finish())
}

#[test]
fn tumble_starts_windows_at_multiples_of_their_length() {
    let at = "arrow_cast('2026-03-01T10:07:59.999Z', 'Timestamp(Microsecond, Some(\"UTC\"))')";
    assert_eq!(value(&format!("tumble({at}, INTERVAL '1 minute')")), "2026-03-01T10:07:00Z");
    assert_eq!(value(&format!("tumble({at}, INTERVAL '5 minutes')")), "2026-03-01T10:05:00Z");
    assert_eq!(value(&format!("tumble({at}, INTERVAL '1 day')")), "2026-03-01T00:00:00Z");
    let before_1970 = "arrow_cast('1969-12-31T23:59:30Z', 'Timestamp(Microsecond, Some(\"UTC\"))')";
    assert_eq!(value(&format!("tumble({before_1970}, INTERVAL '1 minute')")), "1969-12-31T23:59:00Z");
    assert!(value(&format!("tumble({at}, INTERVAL '1 month')")).contains("fixed, positive number of microseconds"));
    assert!(value(&format!("tumble({at}, 5)")).contains("tumble takes a timestamp and an interval"));
}

#[test]
fn hop_counts_a_row_in_every_window_that_holds_it() {
    let context = session();
    let minute = 60_000_000_i64;
    let times = [0, 4 * minute, 5 * minute - 1, 7 * minute, -minute];
    let column: ArrayRef = Arc::new(times.into_iter().map(Some).chain([None]).collect::<TimestampMicrosecondArray>().with_timezone("UTC"));
    let n: ArrayRef = Arc::new(Int64Array::from(vec![1, 10, 100, 1_000, 10_000, 100_000]));
    context.register_batch("t", RecordBatch::try_from_iter([("at", column), ("n", n)]).unwrap()).unwrap();
    let hopped = |select: &str| query(&context, select).map(|rows| cells(&rows));
    // By hand: windows of 4 minutes from every second minute, each holding its first instant and not its last.
    let want = [("-240", "10000"), ("-120", "10001"), ("0", "1"), ("120", "110"), ("240", "1110"), ("360", "1000"), ("null", "100000")];
    let sql = "SELECT CAST(start AS BIGINT) / 1000000 AS s, total FROM (SELECT hop(at, INTERVAL '2 minutes', INTERVAL '4 minutes') AS start, SUM(n) AS total FROM t GROUP BY 1) ORDER BY s";
    assert_eq!(hopped(sql).unwrap(), want.map(|(s, t)| vec![s.to_owned(), t.to_owned()]));
    // The window's end, a condition on groups, and rows joined with their own windows.
    let sql = "SELECT CAST(hop(at, INTERVAL '2 minutes', INTERVAL '4 minutes') + INTERVAL '4 minutes' AS BIGINT) / 1000000 AS e, COUNT(*) AS c FROM t WHERE n < 50000 GROUP BY hop(at, INTERVAL '2 minutes', INTERVAL '4 minutes') HAVING COUNT(*) > 1 ORDER BY e";
    assert_eq!(hopped(sql).unwrap(), [["120", "2"], ["360", "2"], ["480", "3"]]);
    // As many windows as a row may have, and not one more.
    assert_eq!(
        hopped("SELECT COUNT(*) FROM (SELECT hop(at, INTERVAL '1 minute', INTERVAL '1 day') AS s FROM t WHERE n = 1 GROUP BY 1)").unwrap(),
        [["1440"]]
    );
    for (call, says) in [
        ("hop(at, INTERVAL '1 minute', INTERVAL '1441 minutes')", "the limit is 1440"),
        ("hop(at, INTERVAL '5 minutes', INTERVAL '1 minute')", "first the distance between windows, then their length"),
        ("hop(at, INTERVAL '2 minutes', INTERVAL '5 minutes')", "multiple of the distance"),
        ("hop(at, INTERVAL '1 month', INTERVAL '2 months')", "constants without months"),
        ("hop(at, INTERVAL '0 minutes', INTERVAL '2 minutes')", "must be positive"),
        ("hop(at, 5, 10)", "a timestamp and two intervals"),
        ("hop(at, INTERVAL '1 minute')", "a timestamp and two intervals"),
        ("hop(at, INTERVAL '1 minute', INTERVAL '2 minutes'), hop(at, INTERVAL '1 minute', INTERVAL '3 minutes')", "two hop"),
        ("ROLLUP(hop(at, INTERVAL '1 minute', INTERVAL '2 minutes'))", "does not go with ROLLUP"),
    ] {
        let said = hopped(&format!("SELECT COUNT(*) FROM t GROUP BY {call}")).unwrap_err();
        assert!(said.contains(says), "{call}: {said}");
    }
    let said = hopped("SELECT hop(at, INTERVAL '1 minute', INTERVAL '2 minutes') FROM t").unwrap_err();
    assert!(said.contains("stands only in GROUP BY"), "{said}");
}

#[test]
fn labels_come_out_of_the_map() {
    let context = session();
    let labels = label_map(&[&[("code", "500"), ("le", "0.5")], &[("le", "+Inf"), ("status", "200")], &[("le", "NaN")], &[]]);
    context.register_batch("t", RecordBatch::try_from_iter([("labels", labels)]).unwrap()).unwrap();
    let rows = cells(&query(&context, "SELECT label(labels, 'code', 'status'), label_number(labels, 'le'), label(labels, 'x') FROM t").unwrap());
    assert_eq!(rows, [["500", "0.5", "null"], ["200", "inf", "null"], ["null", "null", "null"], ["null", "null", "null"]]);
    let rows = cells(
        &query(
            &context,
            "SELECT label_match(labels, '{\"code\": \"!~5..\"}'), label_match(labels, '{\"code\": \"=~5.\"}'), label_match(labels, '{}') FROM t",
        )
        .unwrap(),
    );
    assert_eq!(rows, [["false", "false", "true"], ["true", "false", "true"], ["true", "false", "true"], ["true", "false", "true"]]);
    assert!(query(&context, "SELECT label_match(labels, '[1]') FROM t").unwrap_err().contains("JSON object of texts"));
    assert!(query(&context, "SELECT label_match(labels, '{\"a\": \"=~(\"}') FROM t").unwrap_err().contains("label \"a\""));
    assert!(query(&context, "SELECT label(labels) FROM t").unwrap_err().contains("label takes the column labels"));
}

#[test]
fn json_values_come_out_by_path() {
    let json = r#"'{"a": {"b": "x", "n": 7, "f": 7.5, "t": "2026-03-01T00:00:00+08:00"}, "l": [1], "z": null, "s": "12", "y": true, "old": "0001-01-01T00:00:00Z", "ms": 1772294400000, "sec": 1772294400}'"#;
    let cases = [
        ("json_text", "a.b", "x"),
        ("json_text", "a.n", "7"),
        ("json_text", "l", "[1]"),
        ("json_text", "y", "true"),
        ("json_text", "z", "null"),
        ("json_text", "a.missing.deep", "null"),
        ("json_int", "a.n", "7"),
        ("json_int", "a.f", "null"),
        ("json_int", "s", "12"),
        ("json_float", "a.f", "7.5"),
        ("json_float", "a.b", "null"),
        ("json_time", "a.t", "2026-02-28T16:00:00Z"),
        ("json_time", "old", "null"),
        ("json_time", "ms", "2026-02-28T16:00:00Z"),
        ("json_time", "sec", "2026-02-28T16:00:00Z"),
        ("json_nano", "a.f", "7500000000"),
        ("json_nano", "a.b", "null"),
    ];
    for (function, path, expected) in cases {
        assert_eq!(value(&format!("{function}({json}, '{path}')")), expected, "{function} {path}");
    }
    assert_eq!(value("json_text('not json', 'a')"), "null");
    assert_eq!(value(r#"json_nano('{"c": 0.0000000015}', 'c')"#), "2");
    assert_eq!(value(r#"json_nano('{"c": "0.123456789"}', 'c')"#), "123456789");
    assert_eq!(value(r#"json_nano('{"c": -1}', 'c')"#), "null");
}

#[test]
fn days_belong_to_a_zone() {
    let at = |text: &str| format!("arrow_cast('{text}', 'Timestamp(Microsecond, Some(\"UTC\"))')");
    assert_eq!(value(&format!("day_in_zone({}, 'Asia/Taipei')", at("2026-03-31T16:00:00Z"))), "2026-04-01");
    assert_eq!(value(&format!("month_in_zone({}, 'Asia/Taipei')", at("2026-03-31T15:59:59Z"))), "2026-03");
    assert_eq!(value(&format!("day_start({}, 'Asia/Taipei')", at("2026-03-31T16:00:00Z"))), "2026-03-31T16:00:00Z");
    assert_eq!(value(&format!("day_start({}, 'Asia/Taipei')", at("2026-03-31T15:59:59Z"))), "2026-03-30T16:00:00Z");
    // Sao Paulo skipped midnight on 2018-11-04: the day began at 01:00 local, 03:00 UTC.
    assert_eq!(value(&format!("day_start({}, 'America/Sao_Paulo')", at("2018-11-04T12:00:00Z"))), "2018-11-04T03:00:00Z");
    assert!(value(&format!("day_start({}, 'Taipei')", at("2026-03-31T16:00:00Z"))).contains("is not an IANA zone"));
}

#[test]
fn calls_cost_what_their_tokens_cost() {
    // 1000 input, of them 200 read and 100 written: 700 x 3 + 200 x 0.3 + 100 x 3.75 + 500 x 15 USD per million = 2100 + 60 + 375 + 7500 micro-USD.
    assert_eq!(value("llm_cost_nano(1000, 200, 100, 500, false, 3000000, 300000, 3750000, 15000000)"), "10035000");
    // Exclusive: the 1000 are all uncached.
    assert_eq!(value("llm_cost_nano(1000, 200, 100, 500, true, 3000000, 300000, 3750000, 15000000)"), "10935000");
    // Cache prices unknown: the input price. 1000 x 3 + 500 x 15.
    assert_eq!(value("llm_cost_nano(1000, 200, 100, 500, false, 3000000, NULL, NULL, 15000000)"), "10500000");
    // Half a nano rounds up: 1 token at 500 pico, and 1 at 499.
    assert_eq!(value("llm_cost_nano(1, 0, 0, 0, false, 500, NULL, NULL, NULL)"), "1");
    assert_eq!(value("llm_cost_nano(1, 0, 0, 0, false, 499, NULL, NULL, NULL)"), "0");
    // Unknown prices give no cost, not nothing.
    assert_eq!(value("llm_cost_nano(1, 0, 0, 0, false, NULL, 1, 1, 1)"), "null");
    assert_eq!(value("llm_cost_nano(1, 0, 0, 5, false, 1, 1, 1, NULL)"), "null");
    assert_eq!(value("llm_provider('Anthropic')"), "claude");
}

#[test]
fn burn_is_compared_in_whole_numbers() {
    // 99.9 %: 10 bad of 10000 is exactly the budget.
    assert_eq!(value("compare_burn(10, 10000, 999000, 1000)"), "0");
    assert_eq!(value("compare_burn(11, 10000, 999000, 1000)"), "1");
    assert_eq!(value("compare_burn(9, 10000, 999000, 1000)"), "-1");
    assert_eq!(value("compare_burn(144, 10000, 999000, 14400)"), "0");
    assert_eq!(value("compare_burn(0, 0, 999000, 1000)"), "null");
    assert_eq!(value("compare_burn(9000000000000000000, 9000000000000000000, 999999, 16800)"), "1");
    assert_eq!(value("compare_burn(1, 1, 999000, NULL)"), "null");
}

#[test]
fn wilson_intervals_are_those_of_the_tables() {
    // 7 of 10: 0.3968 to 0.8922 (Brown, Cai and DasGupta's worked form of the score interval).
    let low: f64 = value("wilson_low(7, 10)").parse().unwrap();
    let high: f64 = value("wilson_high(7, 10)").parse().unwrap();
    assert!((low - 0.396_78).abs() < 5e-5 && (high - 0.892_21).abs() < 5e-5, "{low} {high}");
    assert_eq!((value("wilson_low(0, 5)"), value("wilson_high(5, 5)")), ("0.0".to_owned(), "1.0".to_owned()));
    assert_eq!((value("wilson_low(0, 0)"), value("wilson_high(6, 5)")), ("null".to_owned(), "null".to_owned()));
}

#[test]
fn the_median_interval_depends_on_values_only() {
    let one = value("median_interval(make_array(5.0, 1.0, 4.0, 2.0, 3.0))");
    assert_eq!(one, value("median_interval(make_array(1.0, 2.0, 3.0, 4.0, 5.0))"));
    assert_eq!(one, "{low: 1.0, high: 5.0}");
    assert_eq!(value("median_interval(make_array(1.0))"), "{low: null, high: null}");
    let (low, high) = median_interval::interval((0..101).map(f64::from).collect()).unwrap();
    // Order statistics say 50 -+ 9.85; the bootstrap stays within a step or two of them.
    assert!((38.0..=42.0).contains(&low) && (58.0..=62.0).contains(&high), "{low} {high}");
    let (low, high) = median_interval::interval((0..10_001).map(f64::from).collect()).unwrap();
    assert_eq!((low, high), (4902.0, 5099.0));
}

#[test]
fn quantiles_interpolate_in_the_summed_histogram() {
    let context = session();
    // Two series of one histogram: 0.1 -> 5 + 5, 0.5 -> 9 + 9, 1 -> 10 + 9, +Inf -> 10 + 10. Sums: 10, 18, 19, 20.
    let bounds = [0.1, 0.5, 1.0, f64::INFINITY, 0.1, 0.5, 1.0, f64::INFINITY];
    let counts = [5.0, 9.0, 10.0, 10.0, 5.0, 9.0, 9.0, 10.0];
    let batch = RecordBatch::try_from_iter([
        ("le", Arc::new(Float64Array::from(bounds.to_vec())) as ArrayRef),
        ("n", Arc::new(Float64Array::from(counts.to_vec()))),
    ]);
    context.register_batch("t", batch.unwrap()).unwrap();
    let one = |expression: &str| cells(&query(&context, &format!("SELECT {expression} FROM t")).unwrap())[0][0].clone();
    assert_eq!(one("histogram_quantile(0.5, le, n)"), "0.1");
    // Rank 15 lies in (0.1, 0.5], 5 of its 8: 0.1 + 0.4 x 5 / 8.
    assert_eq!(one("histogram_quantile(0.75, le, n)"), "0.35");
    assert_eq!(one("histogram_quantile(0.25, le, n)"), "0.05");
    assert_eq!(one("histogram_quantile(0.95, le, n)"), "1.0");
    assert_eq!(one("histogram_quantile(0.99, le, n)"), "1.0");
    assert_eq!(one("histogram_quantile(0.5, le, n * 0)"), "null");
    assert_eq!(one("histogram_quantile(1.5, le, n)"), "null");
    assert_eq!(one("histogram_quantile(0.5, le, n) FILTER (WHERE le < 10)"), "null");
    assert_eq!(one("histogram_below(0.7, le, n)"), "18");
    assert_eq!(one("histogram_bound(0.7, le, n)"), "0.5");
    assert_eq!(one("histogram_below(0.05, le, n)"), "0");
    assert_eq!(one("histogram_bound(0.05, le, n)"), "null");
    assert_eq!(one("histogram_below(0.5, le, n) FILTER (WHERE le < 0)"), "null");
}

fn minutes(count: i64) -> ArrayRef {
    Arc::new((0..count).map(|n| Some(1_772_294_400_000_000 + n * 60_000_000)).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

#[test]
fn folds_run_as_window_functions() {
    let context = session();
    let values: Vec<Option<f64>> = (0..63)
        .map(|n| {
            if n < 60 {
                Some(0.2)
            } else if n == 61 {
                None
            } else {
                Some(0.9)
            }
        })
        .collect();
    let batch = RecordBatch::try_from_iter([
        ("window_start", minutes(63)),
        ("host", Arc::new(StringArray::from(vec!["a"; 63])) as ArrayRef),
        ("x", Arc::new(Float64Array::from(values))),
        ("n", Arc::new(Int64Array::from_iter_values((0..63).map(|n| if n == 62 { 1 } else { 100 })))),
    ]);
    context.register_batch("t", batch.unwrap()).unwrap();
    let sql = "SELECT d['state'], d['score'] > 1, d['anomalous'], e['value'], held FROM (SELECT window_start, deviation(x, 'cpu', window_start) OVER w AS d, deviation(x, 'error_ratio', window_start, n) OVER w AS e, held_since(x, window_start) OVER w AS held FROM t WINDOW w AS (PARTITION BY host ORDER BY window_start)) ORDER BY window_start";
    let rows = cells(&query(&context, sql).unwrap());
    assert_eq!(rows[59], ["warming", "null", "false", "0.2", "2026-02-28T16:00:00Z"]);
    assert_eq!(rows[60], ["live", "true", "false", "0.9", "2026-02-28T17:00:00Z"]);
    assert_eq!(rows[61], ["live", "null", "false", "null", "2026-02-28T17:01:00Z"]);
    // One event is too few for an error ratio.
    assert_eq!(rows[62], ["live", "true", "false", "null", "2026-02-28T17:02:00Z"]);
    let wrong = query(&context, "SELECT deviation(x, 'cpus', window_start) OVER (ORDER BY window_start) FROM t").unwrap_err();
    assert!(wrong.contains("signal \"cpus\" is not known; there are cpu, memory"), "{wrong}");
    let wrong = query(&context, "SELECT deviation(x) OVER (ORDER BY window_start) FROM t").unwrap_err();
    assert!(wrong.contains("deviation takes a number, a signal, window_start"), "{wrong}");
}

#[test]
fn a_fold_goes_on_from_its_saved_state() {
    let arguments = |value: f64, n: i64| -> Vec<ArrayRef> { vec![Arc::new(Float64Array::from(vec![value])), minutes(n + 1).slice(n as usize, 1)] };
    let mut state = held_since::HeldSince.start();
    state.step(&arguments(1.0, 0), 0).unwrap();
    let mut again = held_since::HeldSince.load(&state.save()).unwrap();
    assert_eq!(state.step(&arguments(1.0, 1), 0).unwrap(), again.step(&arguments(1.0, 1), 0).unwrap());
    assert_eq!(format!("{state:?}"), format!("{again:?}"));
    assert!(held_since::HeldSince.load(b"nonsense").is_none());
    assert!(deviation::Deviation.load(&[0; 3]).is_none());
    let fresh = deviation::Deviation.start();
    assert_eq!(format!("{fresh:?}"), format!("{:?}", deviation::Deviation.load(&fresh.save()).unwrap()));
    assert!(windows().iter().all(|w| fold::of_window(w).is_some()));
}
