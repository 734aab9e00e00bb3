//! Every shipped view, run once by plain DataFusion over one small scenario; figures worked by hand or by the oracle.

use super::oracle::{self, AS_OF_MICROS, MINUTES, Told};
use super::{cells, query, session};
use crate::dimensions::Dimensions;
use crate::inventory::ServiceInventory;
use crate::prices::PriceMap;
use crate::slo::Objectives;
use afferent_engine::schema::{timestamp, view_envelope};
use arrow::array::new_null_array;
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use datafusion::prelude::SessionContext;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// The views in an order in which each stands after those it reads.
const VIEWS: [&str; 20] = [
    "service_traffic",
    "service_up",
    "host_signals",
    "slo_slices",
    "slo_buckets",
    "incidents",
    "alerts",
    "llm_cost",
    "slo_windows",
    "slo_bucket_windows",
    "host_anomalies",
    "service_anomalies",
    "up_anomalies",
    "slo_status",
    "autonomy",
    "autonomy_by",
    "mttr",
    "finops_month",
    "anomalies",
    "service_health",
];

const INVENTORY: &str =
    "services: [{ name: api, layer: L1, owner: platform, policy: cautious }, { name: web }, { name: node-1, layer: L0 }, { name: silent }]";

const OBJECTIVES: &str = r#"
apiVersion: openslo/v1
kind: SLO
metadata: { name: api-availability }
spec:
  service: api
  indicator: { metadata: { name: a }, spec: { ratioMetric: {
    bad: { metricSource: { spec: { metric: http_requests_total, service: api, matchers: { code: "=~5.." } } } },
    total: { metricSource: { spec: { metric: http_requests_total, service: api } } } } } }
  timeWindow: [{ duration: 1h, isRolling: true }]
  budgetingMethod: Occurrences
  objectives: [{ target: 0.99 }]
---
apiVersion: openslo/v1
kind: SLO
metadata: { name: web-week }
spec:
  service: web
  indicator: { metadata: { name: a }, spec: { ratioMetric: {
    good: { metricSource: { spec: { metric: http_requests_total, service: web, matchers: { code: "!~5.." } } } },
    total: { metricSource: { spec: { metric: http_requests_total, service: web } } } } } }
  timeWindow: [{ duration: 7d, isRolling: true }]
  budgetingMethod: Occurrences
  objectives: [{ target: 0.999 }]
---
apiVersion: openslo/v1
kind: SLO
metadata: { name: web-latency }
spec:
  service: web
  indicator: { metadata: { name: a }, spec: { thresholdMetric: { metricSource: { spec: { metric: http_request_duration_seconds_bucket, service: web } } } } }
  timeWindow: [{ duration: 1h, isRolling: true }]
  budgetingMethod: Occurrences
  objectives: [{ op: lte, value: 0.3, target: 0.7 }]
---
apiVersion: openslo/v1
kind: SLO
metadata: { name: web-slices }
spec:
  service: web
  indicator: { metadata: { name: a }, spec: { thresholdMetric: { metricSource: { spec: { metric: http_request_duration_seconds_bucket, service: web } } } } }
  timeWindow: [{ duration: 1h, isRolling: true }]
  budgetingMethod: Timeslices
  objectives: [{ op: lte, value: 0.5, target: 0.5, timeSliceTarget: 0.995 }]
"#;

fn incident(minutes_ago: i64, id: &str, what: &'static str, actor: &str, more: &str) -> Told {
    let attributes = format!(r#"{{"incident_id": "{id}", "type": "{what}", "actor": {{"kind": "{actor}"}}, "source": "alertmanager"{more}}}"#);
    (minutes_ago, "incident", Some("api"), Some("high"), None, what, attributes)
}

fn approval(minutes_ago: i64, id: &str, what: &'static str, actor: &str) -> Told {
    let attributes =
        format!(r#"{{"approval_id": "p", "incident_id": "{id}", "type": "{what}", "actor": {{"kind": "{actor}"}}, "action_type": "scale"}}"#);
    (minutes_ago, "approval", None, Some("low"), Some("p"), what, attributes)
}

fn alert(minutes_ago: i64, fingerprint: &'static str, status: &'static str, severity: &'static str) -> Told {
    (
        minutes_ago,
        "alert",
        Some("web"),
        Some(severity),
        Some(fingerprint),
        status,
        r#"{"startsAt": "2026-03-10T01:00:00Z", "labels": {"alertname": "Slow"}}"#.to_owned(),
    )
}

fn call(minutes_ago: i64, attributes: &str) -> Told {
    (minutes_ago, "llm_usage", Some("api"), None, None, "ok", attributes.to_owned())
}

/// Incidents A to J, alerts and calls, out of order; minutes count back from 2026-03-10T04:00Z.
fn events() -> Vec<Told> {
    const HOUR: i64 = 60;
    const DAY: i64 = 24 * HOUR;
    let fixed = r#", "action": {"type": "restart", "outcome": "succeeded"}"#;
    let claude = r#"{"provider": "anthropic", "model": "claude-3-5-sonnet-20241022", "input_tokens": 1000, "cache_read_tokens": 200, "cache_write_tokens": 100, "output_tokens": 500, "duration_ms": 1200}"#;
    vec![
        incident(2 * HOUR + 50, "A", "resolved", "ai", ""),
        incident(3 * HOUR, "A", "opened", "system", ""),
        incident(2 * HOUR + 55, "A", "note", "ai", fixed),
        incident(3 * HOUR, "B", "opened", "system", ""),
        approval(2 * HOUR + 58, "B", "requested", "ai"),
        approval(2 * HOUR + 56, "B", "approved", "human"),
        approval(2 * HOUR + 55, "B", "executed", "ai"),
        incident(2 * HOUR + 40, "B", "resolved", "ai", ""),
        incident(2 * HOUR, "C", "opened", "system", ""),
        incident(100, "C", "note", "human", fixed),
        incident(90, "C", "resolved", "human", ""),
        incident(2 * HOUR, "D", "opened", "system", ""),
        incident(115, "D", "resolved", "system", ""),
        incident(18 * HOUR, "E", "opened", "system", ""),
        incident(18 * HOUR - 5, "E", "note", "ai", fixed),
        incident(18 * HOUR - 10, "E", "resolved", "ai", ""),
        incident(17 * HOUR, "E", "reopened", "system", ""),
        incident(17 * HOUR - 30, "E", "resolved", "ai", ""),
        incident(2 * HOUR, "F", "opened", "system", ""),
        incident(110, "F", "cancelled", "human", ""),
        incident(HOUR, "G", "opened", "system", ""),
        incident(50, "G", "acknowledged", "human", ""),
        incident(DAY + 8 * HOUR + 10, "H", "opened", "system", ""),
        incident(DAY + 8 * HOUR + 5, "H", "note", "ai", fixed),
        incident(DAY + 8 * HOUR, "H", "resolved", "ai", ""),
        incident(DAY + 8 * HOUR, "I", "opened", "system", ""),
        incident(DAY + 7 * HOUR + 30, "I", "resolved", "human", ""),
        incident(3 * DAY + 4 * HOUR, "J", "opened", "system", ""),
        incident(3 * DAY + 3 * HOUR, "J", "resolved", "system", ""),
        incident(2 * DAY + HOUR, "J", "reopened", "system", ""),
        incident(2 * DAY + 30, "J", "resolved", "human", ""),
        alert(30, "f1", "firing", "warning"),
        alert(60, "f1", "resolved", "warning"),
        alert(90, "f1", "firing", "warning"),
        alert(40, "f2", "resolved", "critical"),
        call(10, claude),
        call(11, r#"{"provider": "ollama", "model": "llama3", "input_tokens": 5000, "output_tokens": 100}"#),
        call(12, r#"{"provider": "gemini", "model": "gemini-1.5-pro", "input_tokens": 200000, "output_tokens": 1000}"#),
        call(13, r#"{"provider": "openai", "model": "gpt-9", "input_tokens": 20, "output_tokens": 10}"#),
        call(14, r#"{"provider": "openai", "model": "gpt-4o", "input_tokens": 20, "output_tokens": 10, "status": "error", "cost_usd": 0.123}"#),
        call(9 * DAY + 12 * HOUR + 1, r#"{"provider": "claude", "model": "claude-3-5-sonnet-20241022", "input_tokens": 10}"#),
    ]
}

/// A view's statement without what makes it a view.
fn select_of(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql").join(format!("{name}.sql"));
    let text = std::fs::read_to_string(&path).unwrap();
    let start = text.find(&format!("CREATE MATERIALIZED VIEW {name} WITH (key = '")).unwrap_or_else(|| panic!("{name} starts otherwise"));
    text[start..].split_once(" AS\n").unwrap().1.to_owned()
}

/// Every view's rows with the envelope columns that readers see, registered one after the other.
fn build() -> SessionContext {
    let context = session();
    let inventory = ServiceInventory::from_yaml(INVENTORY, "inventory.yaml").unwrap();
    let objectives = Objectives::from_yaml(&[("slo.yaml", OBJECTIVES)]).unwrap();
    let dimensions = Dimensions::of(inventory, objectives, PriceMap::example().unwrap()).unwrap();
    for (name, rows) in dimensions.relations() {
        context.register_batch(&name, rows).unwrap();
    }
    let as_of = ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(Some(AS_OF_MICROS), Some("UTC".into())));
    context.register_udf(create_udf("as_of", vec![], timestamp(), Volatility::Volatile, Arc::new(move |_| Ok(as_of.clone()))));
    context.register_batch("panes", oracle::pane_batch(&oracle::panes())).unwrap();
    context.register_batch("events", oracle::event_batch(&events())).unwrap();
    for name in VIEWS {
        let rows = query(&context, &select_of(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let rows = concat_batches(&rows[0].schema(), &rows).unwrap();
        context.register_batch(name, enveloped(&rows)).unwrap();
    }
    context
}

fn enveloped(rows: &RecordBatch) -> RecordBatch {
    let mut fields: Vec<_> = rows.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    let mut columns = rows.columns().to_vec();
    for field in view_envelope() {
        assert!(fields.iter().all(|f| f.name() != field.name()), "a view must not have a column {}", field.name());
        columns.push(new_null_array(field.data_type(), rows.num_rows()));
        fields.push(field.with_nullable(true));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

static CONTEXT: LazyLock<SessionContext> = LazyLock::new(build);

fn rows(sql: &str) -> Vec<Vec<String>> {
    cells(&query(&CONTEXT, sql).unwrap_or_else(|e| panic!("{sql}: {e}")))
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

#[test]
fn the_list_of_views_is_the_folder() {
    let mut files: Vec<String> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("sql"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut expected = VIEWS.map(|v| format!("{v}.sql")).to_vec();
    expected.sort();
    assert_eq!(files, expected);
}

#[test]
fn keys_are_unique_in_every_view() {
    for name in VIEWS {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("sql").join(format!("{name}.sql"))).unwrap();
        let key = text.split_once("WITH (key = '").unwrap().1.split_once('\'').unwrap().0;
        assert_eq!(rows(&format!("SELECT {key} FROM {name} GROUP BY {key} HAVING COUNT(*) > 1")), Vec::<Vec<String>>::new(), "{name}");
        assert_ne!(rows(&format!("SELECT COUNT(*) FROM {name}")), [["0"]], "{name}");
    }
}

#[test]
fn traffic_is_the_oracles() {
    let panes = oracle::panes();
    let got = rows("SELECT service, CAST(window_start AS BIGINT), requests, errors, error_ratio, rps, p50_ms, p95_ms, p99_ms FROM service_traffic");
    assert_eq!(got.len() as i64, 2 * MINUTES);
    for row in got {
        let minute = (0..MINUTES).find(|m| oracle::micros(*m).to_string() == row[1]).unwrap();
        let (all, failed) = oracle::requests(&panes, &row[0], minute);
        assert_eq!((row[2].as_str(), row[3].as_str()), (all.to_string().as_str(), failed.to_string().as_str()));
        assert!((number(&row[4]) - failed as f64 / all as f64).abs() < 1e-12);
        assert!((number(&row[5]) - all as f64 / 60.0).abs() < 1e-12);
        let buckets = oracle::histogram(&panes, &row[0], minute..minute + 1);
        for (column, q) in [(6, 0.5), (7, 0.95), (8, 0.99)] {
            assert!((number(&row[column]) - 1_000.0 * oracle::quantile(&buckets, q)).abs() < 1e-9, "{row:?} {buckets:?}");
        }
    }
}

#[test]
fn hosts_and_targets_are_counted() {
    assert_eq!(
        rows("SELECT targets, up_targets, up_ratio FROM service_up WHERE service = 'web' ORDER BY window_start DESC LIMIT 4"),
        [["2", "1", "0.5"], ["2", "1", "0.5"], ["2", "1", "0.5"], ["2", "2", "1.0"]]
    );
    let newest =
        rows("SELECT instance, cpu_busy_ratio, memory_used_ratio, disk_used_ratio, load1 FROM host_signals ORDER BY window_start DESC LIMIT 1");
    assert_eq!(newest[0][0], "n1:9100");
    for (text, expected) in newest[0][1..].iter().zip([57.0 / 60.0, 0.75, 0.75, 0.5]) {
        assert!((number(text) - expected).abs() < 1e-12);
    }
}

#[test]
fn objectives_stand_where_the_oracle_says() {
    let panes = oracle::panes();
    let hour = MINUTES - 60..MINUTES;
    let (mut total, mut bad) = (0, 0);
    for minute in hour.clone() {
        let (all, failed) = oracle::requests(&panes, "api", minute);
        (total, bad) = (total + all, bad + failed);
    }
    let status: BTreeMap<String, Vec<String>> = rows("SELECT slo, total, bad, good, status, indicator, sli, remaining_events, burn_1h, window_coverage, page_quick, threshold_ms, p95_ms, burn_5m, page_quick_factor FROM slo_status").into_iter().map(|r| (r[0].clone(), r)).collect();
    assert_eq!(status.len(), 4);
    let api = &status["api-availability"];
    assert_eq!(api[1..6], [total.to_string(), bad.to_string(), (total - bad).to_string(), "breached".to_owned(), "availability".to_owned()]);
    assert!((number(&api[6]) - (total - bad) as f64 / total as f64).abs() < 1e-12);
    assert!((number(&api[7]) - (total as f64 * 0.01 - bad as f64)).abs() < 1e-6);
    assert!((number(&api[8]) - bad as f64 / total as f64 / 0.01).abs() < 1e-9);
    assert_eq!((api[9].as_str(), api[10].as_str()), ("1.0", "false"));

    let buckets = oracle::histogram(&panes, "web", hour.clone());
    let good = buckets.iter().find(|(bound, _)| *bound == 0.25).unwrap().1;
    let all = buckets.last().unwrap().1;
    let latency = &status["web-latency"];
    assert_eq!(latency[1..6], [all.to_string(), (all - good).to_string(), good.to_string(), "healthy".to_owned(), "latency".to_owned()]);
    assert_eq!(latency[11], "300.0");
    assert!((number(&latency[12]) - 1_000.0 * oracle::quantile(&buckets, 0.95)).abs() < 1e-9);
    assert_eq!(rows("SELECT DISTINCT threshold_effective_s FROM slo_slices WHERE slo = 'web-latency'"), [["0.25"]]);

    let slices = hour.filter(|m| {
        let slice = oracle::histogram(&panes, "web", *m..*m + 1);
        slice.iter().find(|(bound, _)| *bound == 0.5).unwrap().1 * 1_000 >= slice.last().unwrap().1 * 995
    });
    let good = slices.count();
    // Half of 60 slices may be bad; from three quarters of those on little of the budget remains.
    let bad = 60 - good;
    assert!((23..=30).contains(&bad), "the scenario should leave at most a quarter of the budget: {bad}");
    assert_eq!(status["web-slices"][1..5], ["60".to_owned(), bad.to_string(), good.to_string(), "at_risk".to_owned()]);
    // Ninety minutes of a week: unknown, not healthy.
    assert_eq!((status["web-week"][4].as_str(), status["web-week"][14].as_str()), ("no_data", "16.8"));
}

#[test]
fn a_missing_bad_counter_counts_nothing_bad() {
    assert_eq!(
        rows(
            "SELECT MIN(bad), MAX(bad), MAX(observed), COUNT(*) FROM (SELECT bad, observed FROM slo_slices WHERE slo = 'api-availability' ORDER BY window_start LIMIT 5)"
        ),
        [["0", "0", "1", "5"]]
    );
}

#[test]
fn incidents_take_the_paths_they_took() {
    let got = rows("SELECT incident_id, path, state, duration_s, reopened, episode, excluded, action_type FROM incidents ORDER BY incident_id");
    let expected = [
        ["A", "auto", "resolved", "600.0", "0", "1", "false", "restart"],
        ["B", "assisted", "resolved", "1200.0", "0", "1", "false", "scale"],
        ["C", "manual", "resolved", "1800.0", "0", "1", "false", "restart"],
        ["D", "self_cleared", "resolved", "300.0", "0", "1", "false", "null"],
        ["E", "auto", "resolved", "5400.0", "1", "1", "false", "restart"],
        ["F", "self_cleared", "cancelled", "null", "0", "1", "true", "null"],
        ["G", "open", "acknowledged", "null", "0", "1", "false", "null"],
        ["H", "auto", "resolved", "600.0", "0", "1", "false", "restart"],
        ["I", "manual", "resolved", "1800.0", "0", "1", "false", "null"],
        ["J", "manual", "resolved", "1800.0", "0", "2", "false", "null"],
    ];
    assert_eq!(got, expected);
}

#[test]
fn autonomy_is_named_apart_for_the_day_and_for_24_hours() {
    let columns = "auto, assisted, manual, self_cleared, n, yesterday_n, rate, strict_rate, daily_trend_pp, from_time";
    let day = rows(&format!("SELECT {columns} FROM autonomy WHERE scope = 'rolling_24h'"));
    assert_eq!(day[0], ["2", "1", "1", "1", "4", "2", "50.0", "25.0", "0.0", "2026-03-09T04:00:00Z"]);
    let today = rows(&format!("SELECT {columns} FROM autonomy WHERE scope = 'today'"));
    assert_eq!(today[0][..6], ["1", "1", "1", "1", "3", "2"]);
    assert_eq!(today[0][9], "2026-03-09T16:00:00Z");
    assert!((number(&today[0][6]) - 100.0 / 3.0).abs() < 1e-9 && (number(&today[0][8]) - (100.0 / 3.0 - 50.0)).abs() < 1e-9);
    let by = rows("SELECT dimension, value, auto, human, n, rate FROM autonomy_by ORDER BY dimension, value");
    assert_eq!(
        by,
        [
            ["action_type", "restart", "2", "1", "3", &(200.0 / 3.0_f64).to_string()],
            ["action_type", "scale", "0", "1", "1", "0.0"],
            ["action_type", "unknown", "0", "0", "0", "null"],
            ["severity", "high", "2", "2", "4", "50.0"],
            ["source", "alertmanager", "2", "2", "4", "50.0"],
        ]
    );
}

#[test]
fn time_to_resolution_is_split_and_open_incidents_are_shown() {
    let got = rows(
        "SELECT period, scope, n, mean_s, median_s, p90_s, open_count, oldest_open_s, excluded_count, previous_n, trend FROM mttr ORDER BY period, scope",
    );
    assert_eq!(got.len(), 9);
    assert_eq!(got[0], ["24h", "auto", "2", "3000.0", "3000.0", "4920.0", "1", "3600.0", "1", "1", "null"]);
    assert_eq!(got[1][..6], ["24h", "human", "2", "1500.0", "1500.0", "1740.0"]);
    assert_eq!(got[2], ["24h", "overall", "5", "1860.0", "1200.0", "3960.0", "1", "3600.0", "1", "2", "null"]);
    assert_eq!(got[8][..4], ["7d", "overall", "8", "1687.5"]);
    let geometric = rows("SELECT geometric_mean_s, median_low_s, median_high_s FROM mttr WHERE period = '24h' AND scope = 'overall'");
    let expected = (300.0_f64 * 600.0 * 1200.0 * 1800.0 * 5400.0).powf(0.2);
    assert!((number(&geometric[0][0]) - expected).abs() < 1e-6);
    assert!(number(&geometric[0][1]) <= 1200.0 && number(&geometric[0][2]) >= 1200.0);
}

#[test]
fn money_adds_up_to_the_nano() {
    let got =
        rows("SELECT month, provider, model, cost_nano_usd, cost_basis, unpriced_tokens, failed_calls FROM llm_cost ORDER BY month, provider, model");
    assert_eq!(
        got,
        [
            ["2026-02", "claude", "claude-3-5-sonnet-20241022", "30000", "computed", "0", "0"],
            ["2026-03", "claude", "claude-3-5-sonnet-20241022", "10035000", "computed", "0", "0"],
            ["2026-03", "gemini", "gemini-1.5-pro", "510000000", "computed", "0", "0"],
            ["2026-03", "ollama", "llama3", "0", "computed", "0", "0"],
            ["2026-03", "openai", "gpt-4o", "123000000", "ingested", "0", "1"],
            ["2026-03", "openai", "gpt-9", "null", "unpriced", "30", "0"],
        ]
    );
    let got = rows(
        "SELECT level, provider, cost_nano_usd, calls, is_current FROM finops_month WHERE month = '2026-03' AND level <> 'model' ORDER BY level, provider",
    );
    assert_eq!(
        got,
        [
            ["provider", "claude", "10035000", "1", "true"],
            ["provider", "gemini", "510000000", "1", "true"],
            ["provider", "ollama", "0", "1", "true"],
            ["provider", "openai", "123000000", "2", "true"],
            ["total", "*", "643035000", "5", "true"],
        ]
    );
}

#[test]
fn alerts_hold_their_newest_state() {
    let got = rows("SELECT fingerprint, status, last_change_at, changes, firing_count, starts_at, alert_name FROM alerts ORDER BY fingerprint");
    assert_eq!(
        got,
        [
            ["f1", "firing", "2026-03-10T03:30:00Z", "3", "2", "2026-03-10T01:00:00Z", "Slow"],
            ["f2", "resolved", "2026-03-10T03:20:00Z", "1", "0", "null", "Slow"],
        ]
    );
}

#[test]
fn what_changed_is_anomalous_and_says_why() {
    let got = rows("SELECT service, signal, anomalous, outside, state FROM anomalies WHERE anomalous ORDER BY service, signal");
    assert_eq!(
        got,
        [["api", "error_ratio", "true", "5", "live"], ["node-1", "cpu_busy_ratio", "true", "4", "live"], ["web", "up_ratio", "true", "3", "live"],]
    );
    let host = rows("SELECT value, expected, upper, score, since, points FROM anomalies WHERE signal = 'cpu_busy_ratio'");
    assert!((number(&host[0][0]) - 0.95).abs() < 1e-12 && number(&host[0][1]) < 0.3 && number(&host[0][3]) > 1.0, "{host:?}");
    assert_eq!(host[0][4..], ["2026-03-10T03:58:00Z", "89"]);
}

#[test]
fn one_status_per_service_with_its_reason() {
    let got = rows("SELECT service, status, reason, since, slo_status, firing_alerts, policy FROM service_health ORDER BY service");
    assert_eq!(
        got,
        [
            ["api", "critical", "slo_breached", "null", "breached", "0", "cautious"],
            ["node-1", "warning", "anomaly", "2026-03-10T03:58:00Z", "null", "0", "auto"],
            ["silent", "no_data", "silent", "null", "null", "0", "auto"],
            ["web", "warning", "partly_down", "2026-03-10T03:57:00Z", "at_risk", "1", "auto"],
        ]
    );
}
