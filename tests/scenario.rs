//! A written week, posted through the doors, and the four answers a person reads: service levels, autonomy, time to resolution, cost. Every figure is
//! computed a second time by oracles that share no code with the product, and compared to the integer.

mod week;

use crate::program;
use afferent_tests::door::Door;
use afferent_tests::oracle::cost::{self, Call, Prices};
use afferent_tests::oracle::counter::{self, Pane};
use afferent_tests::oracle::incidents;
use afferent_tests::oracle::slo::{self, Objective, Slice, Standing};
use afferent_tests::rows;
use afferent_tests::server::Server;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use week::Week;

/// How long the server may take to work through a week of minutes.
const SETTLE: Duration = Duration::from_secs(240);

const WEEK_99: Objective = Objective { target_ppm: 990_000, period_minutes: 10_080 };
const WEEK_95: Objective = Objective { target_ppm: 950_000, period_minutes: 10_080 };

/// Services with an availability objective; `quiet` never sends anything.
const SERVICES: [&str; 4] = ["shop", "pay", "search", "quiet"];

const PRICES: &str = r#"{
  "scenario-large": {"litellm_provider": "anthropic", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
                     "cache_read_input_token_cost": 3e-07, "cache_creation_input_token_cost": 3.75e-06},
  "gemini/scenario-small": {"litellm_provider": "gemini", "input_cost_per_token": 1e-07, "output_cost_per_token": 4e-07,
                            "cache_read_input_token_cost": 2.5e-08},
  "ollama/*": {"litellm_provider": "ollama", "input_cost_per_token": 0, "output_cost_per_token": 0}
}"#;

fn openslo() -> String {
    let availability = |service: &str| {
        format!(
            r#"---
apiVersion: openslo/v1
kind: SLO
metadata: {{ name: {service}-availability }}
spec:
  service: {service}
  indicator:
    metadata: {{ name: {service}-bad }}
    spec:
      ratioMetric:
        counter: true
        bad: {{ metricSource: {{ type: afferent, spec: {{ metric: http_requests_total, service: {service}, matchers: {{ code: "=~5.." }} }} }} }}
        total: {{ metricSource: {{ type: afferent, spec: {{ metric: http_requests_total, service: {service} }} }} }}
  timeWindow: [{{ duration: 7d, isRolling: true }}]
  budgetingMethod: Occurrences
  objectives: [{{ target: 0.99 }}]
"#
        )
    };
    let latency = r#"---
apiVersion: openslo/v1
kind: SLO
metadata: { name: shop-latency }
spec:
  service: shop
  indicator:
    metadata: { name: shop-quick }
    spec:
      thresholdMetric: { metricSource: { type: afferent, spec: { metric: http_request_duration_seconds_bucket, service: shop } } }
  timeWindow: [{ duration: 7d, isRolling: true }]
  budgetingMethod: Occurrences
  objectives: [{ op: lte, value: 0.3, target: 0.95 }]
"#;
    SERVICES.map(availability).join("") + latency
}

fn config(folder: &Path) -> String {
    let slo = folder.join("slo");
    fs::create_dir_all(&slo).unwrap();
    fs::write(slo.join("all.yaml"), openslo()).unwrap();
    let prices = folder.join("prices.json");
    fs::write(&prices, PRICES).unwrap();
    format!("[files]\nslo = {slo:?}\nprices = {prices:?}\n[engine]\ncheckpoint_interval_ms = 5000\n")
}

#[test]
fn the_answers_of_a_written_week_are_those_of_the_oracles() {
    let week = Week::read();
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let mut server = Server::start(program(), folder.path(), &config).unwrap();
    let door = server.door();
    post_events(&door, &week);
    for (n, body) in week.bodies().iter().enumerate() {
        if n == 20 {
            server.kill().unwrap();
            server.restart().unwrap();
        }
        let answer = door.write_v1("scenario", body).unwrap();
        assert_eq!(answer.status, 204, "body {n}: {}", answer.text());
    }
    settle(&door, &week);
    check(&door, &week, "live");
    server.kill().unwrap();
    server.restart().unwrap();
    settle(&door, &week);
    check(&door, &week, "after a kill");
}

fn check(door: &Door, week: &Week, when: &str) {
    eprintln!("comparing {when}");
    check_slo(&door.json("/api/v1/slo/status").unwrap(), week);
    check_autonomy(&door.json("/api/v1/stats/autonomy").unwrap(), week);
    check_mttr(&door.json("/api/v1/stats/mttr?period=7d").unwrap(), week);
    check_cost(door, week);
}

/// Newest first, each body twice: neither order nor repetition may change anything.
fn post_events(door: &Door, week: &Week) {
    for (path, items) in [("incidents", week.incident_bodies()), ("approvals", week.approval_bodies()), ("llm-usage", week.usage.clone())] {
        for items in [items.iter().rev().cloned().collect::<Vec<_>>(), items.clone()] {
            let answer = door.post_json(&format!("/api/v1/webhooks/{path}"), &Value::Array(items)).unwrap();
            assert!(answer.status < 300, "{path}: {} {}", answer.status, answer.text());
        }
    }
}

/// Waits until the newest slice of every service that sends is there, and every counted sample is in the tables.
fn settle(door: &Door, week: &Week) {
    let deadline = Instant::now() + SETTLE;
    let newest = week.end_ms - week.end_ms.rem_euclid(60_000) + 60_000;
    let statement = format!("SELECT count(*) FROM slo_status WHERE window_end = to_timestamp_millis({newest})");
    // Three availability objectives and one of latency; the quiet one never has a slice.
    while rows::one_int(door, &statement).unwrap() < 4 {
        if Instant::now() > deadline {
            let seen = door.get("/api/v1/slo/status").unwrap().text();
            let freshness = door.get("/api/v1/freshness").unwrap().text();
            panic!("the last minute did not reach the objectives:\n{seen}\n{freshness}");
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// Slices of a service from the oracle's panes.
fn slices(
    panes: &BTreeMap<(String, i64), Pane>,
    service: &str,
    is_bad: impl Fn(&str) -> bool,
    is_total: impl Fn(&str) -> bool,
) -> BTreeMap<i64, Slice> {
    let mut out: BTreeMap<i64, Slice> = BTreeMap::new();
    for ((name, start), pane) in panes.iter().filter(|((name, _), _)| name.split('/').next() == Some(service)) {
        let kind = name.split_once('/').map_or("", |(_, kind)| kind);
        let rise = pane.increase.round() as i64;
        if is_total(kind) {
            out.entry(*start).or_default().total += rise;
        }
        if is_bad(kind) {
            out.entry(*start).or_default().bad += rise;
        }
    }
    out
}

fn check_slo(answer: &Value, week: &Week) {
    assert_eq!(answer["as_of"].as_str().map(week::millis), Some(week.end_ms), "{answer}");
    let panes = counter::panes(&week.series());
    for service in SERVICES {
        let slices = slices(&panes, service, |kind| kind == "code=500", |kind| kind.starts_with("code="));
        let standing = slo::standing(&slices, WEEK_99, week.end_ms);
        check_objective(answer, service, &format!("{service}-availability"), WEEK_99, &standing, &slices);
    }
    let within = slices(&panes, "shop", |kind| kind == "le=0.3", |kind| kind == "le=+Inf");
    let late: BTreeMap<i64, Slice> = within.iter().map(|(at, s)| (*at, Slice { bad: s.total - s.bad, total: s.total })).collect();
    check_objective(answer, "shop", "shop-latency", WEEK_95, &slo::standing(&late, WEEK_95, week.end_ms), &late);
    // 40 of 60 take at most 100 ms and 58 at most 300 ms: the 57th lies 17/18 of the way between.
    let p95 = answer["shop"]["latency_p95_7d"].as_f64().expect("a percentile");
    assert!((p95 - (100.0 + 200.0 * 17.0 / 18.0)).abs() < 1e-6, "{p95}");
    assert_eq!(answer["overall"], "breached");
}

fn check_objective(answer: &Value, service: &str, name: &str, objective: Objective, wanted: &Standing, slices: &BTreeMap<i64, Slice>) {
    let all = answer[service]["objectives"].as_array().unwrap_or_else(|| panic!("no {service} in {answer}"));
    let found = all.iter().find(|o| o["objective"] == name).unwrap_or_else(|| panic!("no {name} in {answer}"));
    assert_eq!(found["status"], wanted.status, "{name}: {found}");
    if slices.is_empty() {
        assert!(found["sli"].is_null() && answer[service]["availability_7d"].is_null(), "unknown is null: {found}");
        return;
    }
    let counts = ["good", "bad", "total"].map(|key| found[key].as_i64().unwrap_or(-1));
    assert_eq!(counts, [wanted.good, wanted.bad, wanted.total], "{name}: {found}");
    let coverage = found["coverage"].as_f64().expect("a coverage");
    assert_eq!((coverage * objective.period_minutes as f64).round() as i64, wanted.observed, "{name}: {found}");
    let allowed = (1_000_000 - objective.target_ppm) as f64 / 1e6;
    let newest = *slices.keys().next_back().expect("slices");
    for (key, minutes) in [("5m", 5), ("30m", 30), ("1h", 60), ("2h", 120), ("6h", 360), ("1d", 1440), ("3d", 4320)] {
        let window = slo::sum(slices, newest, minutes);
        let burn = window.bad as f64 / window.total as f64 / allowed;
        near(&found["burn"][key], burn, &format!("{name} burn {key}"));
    }
    near(&found["budget"]["remaining_ratio"], 1.0 - wanted.bad as f64 / (wanted.total as f64 * allowed), &format!("{name} budget"));
    for (alert, fires) in found["alerts"].as_array().expect("alerts").iter().zip(wanted.firing) {
        let state = if wanted.status == "no_data" {
            "frozen"
        } else if fires {
            "firing"
        } else {
            "ok"
        };
        assert_eq!(alert["state"], state, "{name}: {alert}");
    }
}

fn near(found: &Value, wanted: f64, what: &str) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{what} is {found}"));
    assert!((found - wanted).abs() <= wanted.abs().max(1.0) * 1e-9, "{what} is {found}, wanted {wanted}");
}

const DAY_MS: i64 = 86_400_000;

/// Midnight in Taipei (UTC+8, no summer time) at or before an instant.
fn taipei_midnight(at_ms: i64) -> i64 {
    let shifted = at_ms + 8 * 3_600_000;
    at_ms - shifted.rem_euclid(DAY_MS)
}

fn check_autonomy(answer: &Value, week: &Week) {
    let all = incidents::fold(&week.events());
    let between = |after, to| incidents::autonomy(&incidents::resolved(&all, after, to));
    let now = between(week.end_ms - DAY_MS, week.end_ms);
    let before = between(week.end_ms - 2 * DAY_MS, week.end_ms - DAY_MS);
    let keys = ["auto_resolved_24h", "assisted_24h", "manual_24h", "self_cleared_24h", "human_resolved_24h"];
    let found = keys.map(|key| answer[key].as_i64().unwrap_or(-1));
    assert_eq!(found, [now.auto, now.assisted, now.manual, now.self_cleared, now.assisted + now.manual], "{answer}");
    assert!(now.auto > 3 && now.assisted > 0 && now.manual > 1 && now.self_cleared > 0 && before.auto > 2, "the week tells of every path");
    near(&answer["rate"], now.rate().expect("a rate"), "rate");
    near(&answer["daily_trend_pp"], now.rate().expect("a rate") - before.rate().expect("a rate"), "trend");
    let midnight = taipei_midnight(week.end_ms);
    let today = between(midnight - 1, week.end_ms);
    let found = ["auto_resolved", "human_resolved", "self_cleared"].map(|key| answer["today"][key].as_i64().unwrap_or(-1));
    assert_eq!(found, [today.auto, today.assisted + today.manual, today.self_cleared], "{answer}");
}

fn check_mttr(answer: &Value, week: &Week) {
    let all = incidents::fold(&week.events());
    for (period, days) in [("24h", 1), ("7d", 7)] {
        let resolved = incidents::resolved(&all, week.end_ms - days * DAY_MS, week.end_ms);
        let is_human = |path| matches!(path, incidents::Path::Assisted | incidents::Path::Manual);
        let auto: Vec<_> = resolved.iter().copied().filter(|i| i.path == incidents::Path::Auto).collect();
        let human: Vec<_> = resolved.iter().copied().filter(|i| is_human(i.path)).collect();
        for (scope, chosen) in [("overall", &resolved), ("auto", &auto), ("human", &human)] {
            let (found, durations) = (&answer["periods"][period][scope], incidents::durations_ms(chosen));
            assert_eq!(found["n"].as_i64(), Some(durations.len() as i64), "{period} {scope}: {answer}");
            near(&found["mean_s"], incidents::mean_s(&durations).expect("incidents"), &format!("{period} {scope} mean"));
            near(&found["median_s"], incidents::median_s(&durations).expect("incidents"), &format!("{period} {scope} median"));
        }
    }
    let open: Vec<_> = all.values().filter(|i| i.resolved_ms.is_none() && !i.excluded).collect();
    assert_eq!(answer["open"]["count"].as_i64(), Some(open.len() as i64), "{answer}");
    let oldest_ms = open.iter().map(|i| i.created_ms).min().expect("one is open");
    near(&answer["open"]["oldest_age_s"], (week.end_ms - oldest_ms) as f64 / 1000.0, "oldest open");
}

fn check_cost(door: &Door, week: &Week) {
    let price = |input: &str, cache_read: &str, cache_write: &str, output: &str| Prices {
        input: cost::pico_usd(input),
        cache_read: cost::pico_usd(cache_read),
        cache_write: cost::pico_usd(cache_write),
        output: cost::pico_usd(output),
    };
    let prices = BTreeMap::from([
        ("scenario-large", price("3e-06", "3e-07", "3.75e-06", "1.5e-05")),
        ("scenario-small", price("1e-07", "2.5e-08", "1e-07", "4e-07")),
        ("llama3:70b", price("0", "0", "0", "0")),
    ]);
    let mut by_provider: BTreeMap<&str, i128> = BTreeMap::new();
    let mut unpriced = 0;
    for usage in week.usage.iter().filter(|u| week::millis(u["ts"].as_str().expect("a time")) >= week::millis("2026-02-28T16:00:00Z")) {
        let tokens = |key: &str| i128::from(usage[key].as_i64().expect("tokens"));
        let call = Call {
            input: tokens("input_tokens"),
            cache_read: tokens("cache_read_tokens"),
            cache_write: tokens("cache_write_tokens"),
            output: tokens("output_tokens"),
        };
        let provider = match usage["provider"].as_str().expect("a provider") {
            "anthropic" => "claude",
            other => other,
        };
        let stated = usage["cost_usd"].as_f64().map(|usd| (usd * 1e9).round() as i128);
        let computed = prices.get(usage["model"].as_str().expect("a model")).map(|prices| cost::nano_usd(call, *prices));
        match stated.or(computed) {
            Some(nano) => *by_provider.entry(provider).or_default() += nano,
            None => unpriced += call.input + call.output,
        }
    }
    let statement = "SELECT provider, cost_nano_usd FROM finops_month WHERE month = '2026-03' AND level = 'provider' AND cost_nano_usd IS NOT NULL";
    let found: BTreeMap<String, i128> =
        rows::sql(door, statement).unwrap().iter().map(|row| (row[0].text().to_owned(), i128::from(row[1].int()))).collect();
    let wanted: BTreeMap<String, i128> = by_provider.iter().map(|(provider, nano)| ((*provider).to_owned(), *nano)).collect();
    assert_eq!(found, wanted);
    let answer = door.json("/api/v1/finops/summary?period=2026-03").unwrap();
    let usd = |nano: i128| nano as f64 / 1e9;
    near(&answer["total_cost_usd"], usd(by_provider.values().sum()), "total");
    for (key, provider) in [("claude_cost", "claude"), ("gemini_cost", "gemini"), ("ollama_cost", "ollama")] {
        near(&answer[key], usd(by_provider[provider]), key);
    }
    let unpriced_found: i64 = answer["by_model"].as_array().expect("models").iter().filter_map(|m| m["unpriced_tokens"].as_i64()).sum();
    assert_eq!(i128::from(unpriced_found), unpriced, "{answer}");
}
