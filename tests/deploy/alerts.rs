//! The alerts: promtool takes them, each is tested and explained, and what they read is there in a running program.

use super::tools::{installed, run, yaml};
use super::{default_of, folder, items, text, word};
use crate::program;
use afferent_tests::door::Door;
use afferent_tests::server::{Server, wait_for};
use afferent_tests::skip::skip;
use afferent_tests::wire;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What Prometheus itself knows of a target.
const OF_PROMETHEUS: [&str; 1] = ["up"];

/// Alerts whose threshold repeats a key of the configuration.
const LIMITS: [(&str, &str); 4] = [
    ("AfferentInFlightNearlyFull", "ingest.in_flight_bytes_max"),
    ("AfferentLogNearlyFull", "log.bytes_max"),
    ("AfferentBuffersFull", "engine.buffer_rows_max"),
    ("AfferentSeriesNearlyMax", "engine.series_max"),
];

/// Metrics that appear only when something is broken; every other one has to show in [`excited`].
const SELDOM: [&str; 3] =
    ["afferent_storage_log_write_failures_total", "afferent_storage_log_corrupt_total", "afferent_storage_compaction_errors_total"];

/// 2026-03-31T00:00:00Z.
const START_MS: i64 = 1_774_915_200_000;

/// Checkpoints often, so that tables get their rows at once; two series, so that a third is refused; a log that is soon full.
const CONFIG: &str = "
[log]
bytes_max = 16384
segment_bytes = 4096
[engine]
checkpoint_interval_ms = 500
series_max = 2
[ingest]
body_bytes_max = 10000
";

/// Events of 9 kB that are sent at most until the log is full.
const FILLING_MAX: usize = 1000;

#[test]
fn promtool_takes_the_alerts_and_their_tests_pass() {
    let name = "promtool_takes_the_alerts_and_their_tests_pass";
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"], ["check", "config", "prometheus.yml"]] {
        match installed("promtool") {
            Ok(mut promtool) => run(promtool.args(arguments).current_dir(folder())).map(drop).unwrap_or_else(|e| panic!("{e}")),
            Err(reason) => return skip(name, &reason),
        }
    }
}

/// Every rule of the file by its name.
fn alerts() -> Result<BTreeMap<String, Value>, String> {
    let file = yaml(&folder().join("alerts.yml"))?.remove(0);
    let rules = items(&file["groups"]).iter().flat_map(|group| items(&group["rules"]).to_vec());
    Ok(rules.map(|rule| (word(&rule["alert"]).to_owned(), rule)).collect())
}

#[test]
fn every_alert_is_explained_and_tested_both_ways() {
    let alerts = match alerts() {
        Ok(alerts) => alerts,
        Err(reason) => return skip("every_alert_is_explained_and_tested_both_ways", &reason),
    };
    let manual = text("README.md");
    let sections: BTreeSet<_> = manual.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let tests = yaml(&folder().join("alerts_test.yml")).unwrap().remove(0);
    let cases: Vec<&Value> = items(&tests["tests"]).iter().flat_map(|test| items(&test["promql_expr_test"])).collect();
    let mut offenders = Vec::new();
    for (name, rule) in &alerts {
        let mut need = |is: bool, what: &str| {
            if !is {
                offenders.push(format!("{name}: {what}"));
            }
        };
        need(sections.contains(name.as_str()), "deploy/README.md has no section of that name");
        need(rule["annotations"]["runbook"] == format!("deploy/README.md#{}", name.to_lowercase()), "its runbook is another section");
        need(["summary", "description"].iter().all(|key| rule["annotations"][*key].is_string()), "summary or description is missing");
        need(["critical", "warning"].iter().any(|severity| rule["labels"]["severity"] == *severity), "severity is neither critical nor warning");
        need(rule["for"].is_string(), "it has no `for`");
        let own: Vec<_> = cases.iter().filter(|case| word(&case["expr"]).contains(&format!("\"{name}\""))).collect();
        need(own.iter().any(|case| items(&case["exp_samples"]).is_empty()), "no test in which it is silent");
        need(own.iter().any(|case| !items(&case["exp_samples"]).is_empty()), "no test in which it fires");
    }
    for (name, key) in LIMITS {
        if !word(&alerts[name]["expr"]).contains(&format!("* {}", default_of(key))) {
            offenders.push(format!("{name}: does not compare with {key} = {}", default_of(key)));
        }
    }
    assert!(alerts.len() > 20 && offenders.is_empty(), "{} alerts\n{}", alerts.len(), offenders.join("\n"));
}

/// A metric as an expression names it, with the labels that it asks for.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Selector {
    metric: String,
    /// Label, operator, value.
    labels: Vec<(String, String, String)>,
}

/// The selectors of an expression of PromQL, found by the names of metrics. Values of labels hold no comma here.
fn selectors(expression: &str) -> Vec<Selector> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        let word: String = rest[start..].chars().take_while(|c| is_name(*c)).collect();
        rest = &rest[start + word.len()..];
        if !(word.starts_with("afferent_") || word.starts_with("process_") || OF_PROMETHEUS.contains(&word.as_str())) {
            continue;
        }
        let braces = rest.strip_prefix('{').and_then(|inner| inner.split_once("\"}"));
        let labels = braces.map_or("", |(inner, _)| inner).split("\", ").filter(|pair| !pair.is_empty()).map(|pair| {
            let (left, value) = pair.split_once('"').unwrap_or_else(|| panic!("{pair} in {expression}"));
            let name: String = left.chars().take_while(|c| is_name(*c)).collect();
            (name.clone(), left[name.len()..].to_owned(), value.to_owned())
        });
        found.push(Selector { metric: word, labels: labels.collect() });
        rest = braces.map_or(rest, |(_, after)| after);
    }
    found
}

#[test]
fn selectors_are_found_with_their_labels() {
    let found =
        selectors(r#"sum by (job) (rate(afferent_a_total{path=~"/v1/(x|y)", reason="503"}[5m])) > on (job) 0.5 * up{job="z"} unless afferent_b"#);
    let label = |name: &str, operator: &str, value: &str| (name.to_owned(), operator.to_owned(), value.to_owned());
    let selector = |metric: &str, labels| Selector { metric: metric.to_owned(), labels };
    let wanted = [
        selector("afferent_a_total", vec![label("path", "=~", "/v1/(x|y)"), label("reason", "=", "503")]),
        selector("up", vec![label("job", "=", "z")]),
        selector("afferent_b", vec![]),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn alerts_read_metrics_and_labels_that_are_there() {
    let alerts = match alerts() {
        Ok(alerts) => alerts,
        Err(reason) => return skip("alerts_read_metrics_and_labels_that_are_there", &reason),
    };
    let read: BTreeSet<Selector> = alerts.values().flat_map(|rule| selectors(word(&rule["expr"]))).collect();
    let named: BTreeSet<_> = afferent_api::metrics::descriptions().into_iter().map(|(name, _)| name).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(program(), folder.path(), CONFIG).unwrap();
    let shown = excited(&server.door());
    assert!(server.stop().unwrap().success());
    let mut offenders = Vec::new();
    for selector in read.iter().filter(|selector| !OF_PROMETHEUS.contains(&selector.metric.as_str())) {
        let metric = selector.metric.as_str();
        let parts = ["_sum", "_count", "_bucket"].iter().filter_map(|part| metric.strip_suffix(part));
        // The process' own metrics stand in no enum: they have to be shown.
        let is_named =
            metric.starts_with("process_") || named.contains(metric) || parts.clone().any(|of| of.ends_with("_seconds") && named.contains(of));
        if !is_named {
            offenders.push(format!("{metric}: no metric of the program"));
        } else if !SELDOM.contains(&metric) && !shown.lines().any(|line| has(line, selector)) {
            let near: Vec<_> = shown.lines().filter(|line| line.starts_with(metric)).collect();
            offenders.push(format!("{selector:?}: nothing of that kind is shown by the program, but {near:?}"));
        }
    }
    assert!(read.len() > 25 && offenders.is_empty(), "{} selectors\n{}", read.len(), offenders.join("\n"));
}

/// True where a line of `/metrics` is a series that a selector may mean: same name, its labels there, and those equal that have to be equal.
fn has(line: &str, selector: &Selector) -> bool {
    let (metric, labels) = line.split_once([' ', '{']).unwrap_or((line, ""));
    let of_scrape = ["job", "instance"];
    let mut asked = selector.labels.iter().filter(|(name, _, _)| !of_scrape.contains(&name.as_str()));
    metric == selector.metric
        && asked.all(|(name, operator, value)| match operator.as_str() {
            "=" => labels.contains(&format!("{name}=\"{value}\"")),
            "=~" => {
                let value_there = labels.split_once(&format!("{name}=\"")).and_then(|(_, after)| after.split_once('"')).map(|(value, _)| value);
                value_there.is_some_and(|there| alternatives(value).iter().any(|one| there.starts_with(one.as_str())))
            }
            _ => labels.contains(&format!("{name}=\"")),
        })
}

/// The plain beginnings of what a regular expression of the form `a|b` or `a(b|c/.+)` takes.
fn alternatives(expression: &str) -> Vec<String> {
    let (before, choices) = expression.split_once('(').unwrap_or(("", expression));
    choices.trim_end_matches(')').split('|').map(|choice| format!("{before}{}", choice.trim_end_matches(".+"))).collect()
}

/// `/metrics` of a server to which everything has happened that senders can do to it.
fn excited(door: &Door) -> String {
    let send = |name: &str, at: i64, value: f64| {
        let body = wire::body_v1(vec![wire::series(&[("__name__", name), ("job", "a")], &[(at, value)])]);
        door.write_v1("a", &body).unwrap().status
    };
    assert_eq!(send("first", START_MS, 1.0), 204);
    assert_eq!(send("second", START_MS + 3_600_000, 1.0), 204);
    assert_eq!(send("second", START_MS + 3_600_000, 2.0), 204, "equal time, other value: a conflict");
    assert_eq!(send("first", START_MS + 1_000, 1.0), 204, "an hour late");
    assert_eq!(send("third", START_MS + 3_601_000, 1.0), 204, "one series too many");
    let unnamed = wire::body_v1(vec![wire::series(&[("job", "a")], &[(START_MS, 1.0)])]);
    assert_eq!(door.write_v1("a", &unnamed).unwrap().status, 400, "a dead letter");
    assert_eq!(door.write_v1("a", &[0; 20_000]).unwrap().status, 413);
    let full = (0..FILLING_MAX).find(|n| {
        let event = json!({"event_id": format!("e{n}"), "incident_id": "i", "type": "opened", "occurred_at": "2026-03-31T00:00:00Z",
            "actor": {"kind": "ai", "id": "x"}, "severity": "low", "service": "web", "title": "x".repeat(9_000)});
        door.post_json("/api/v1/webhooks/incidents", &event).unwrap().status == 503
    });
    assert!(full.is_some(), "the log took everything");
    let metrics = || door.get("/metrics").unwrap().text();
    wait_for("dead letters in their table, and the epoch that has them counted", || {
        let shown = metrics();
        ["table_rows_in_total{table=\"dead_letters\"}", "afferent_engine_epochs_out_total"].iter().all(|line| shown.contains(line))
    });
    metrics()
}
