//! What EXPLAIN says of each shape.

use super::{INCIDENTS, TRAFFIC};
use crate::definition::Definition;
use crate::explain::Explained;
use crate::plan::Statements;
use crate::run::fixture::dimensions;
use afferent_engine::query::Compiler as _;
use std::sync::Arc;

fn explain(options: &str, select: &str) -> Explained {
    let statements = Statements::new(Arc::new(dimensions())).unwrap();
    let mut known = Vec::new();
    for text in [TRAFFIC, INCIDENTS] {
        known.push(statements.compile(text, 1, &known).unwrap().spec);
    }
    let text = format!("CREATE MATERIALIZED VIEW v {options} AS {select}");
    statements.explain(&Definition::parse("test", &text).unwrap(), &known).unwrap_or_else(|e| panic!("{select}: {e}"))
}

fn says(explained: &Explained, step: &str, wanted: &str) {
    let details = explained.details(step);
    assert!(details.iter().any(|d| d.contains(wanted)), "{step}: {wanted} is not in {details:?}");
}

#[test]
fn explains_windows_their_state_and_sketches() {
    let select = "SELECT service, hop(window_start, INTERVAL '1 minute', INTERVAL '1 hour') AS window_start, COUNT(DISTINCT series_id) AS series, approx_distinct(metric) AS metrics, approx_percentile_cont(0.99) WITHIN GROUP (ORDER BY last) AS p99 FROM panes WHERE metric IN ('up', 'node_load1') GROUP BY 1, 2";
    let got = explain("", select);
    for (step, wanted) in [
        ("shape", "window"),
        ("reads", "panes"),
        ("metrics", "node_load1, up"),
        ("windows", "of 1 hour, one starting every 1 minute"),
        ("partial", "AggregateExec: mode=Partial"),
        ("partial", "SourceExec: panes"),
        ("merge", "mode=PartialReduce"),
        ("finish", "mode=Final"),
        ("state", "service Dictionary"),
        ("retention", "at most 61 of them"),
        ("key", "service, window_start"),
        ("columns", "p99 Float64"),
        ("sketch", "exact; keeps each distinct value, at most 1000000"),
        ("sketch", "HyperLogLog"),
        ("sketch", "t-digest of 100 centroids"),
    ] {
        says(&got, step, wanted);
    }
    assert!(got.details("ttl").is_empty());
    let minute = explain("", "SELECT tumble(window_start, INTERVAL '1 minute') AS window_start, COUNT(*) AS n FROM panes GROUP BY 1");
    says(&minute, "metrics", "all");
    says(&minute, "retention", "no state of final rows");
    let hourly = explain("", "SELECT tumble(window_start, INTERVAL '1 hour') AS window_start, SUM(good) AS n FROM traffic GROUP BY 1");
    says(&hourly, "reads", "traffic");
    assert!(hourly.details("metrics").is_empty());
}

#[test]
fn explains_keys_folds_and_snapshots() {
    let select = "SELECT fingerprint, COUNT(*) AS n FROM events WHERE kind = 'incident' GROUP BY 1";
    let got = explain("WITH (ttl = '30 days')", select);
    for (step, wanted) in [("shape", "keyed"), ("kinds", "incident"), ("ttl", "30 days"), ("retention", "a key leaves"), ("state", "newest")] {
        says(&got, step, wanted);
    }
    assert_eq!(got.details("columns"), ["fingerprint Utf8", "n Int64"], "the newest event's time is state, not a column");
    says(&explain("", select), "retention", "for ever; WITH (ttl");
    let over = "SELECT service, window_start, SUM(good) OVER (PARTITION BY service ORDER BY window_start RANGE BETWEEN INTERVAL '7 days' PRECEDING AND CURRENT ROW) AS n FROM traffic";
    let got = explain("", over);
    for (step, wanted) in [("shape", "fold"), ("reads", "traffic"), ("step", "sum"), ("retention", "7 days"), ("memory", "7 days")] {
        says(&got, step, wanted);
    }
    let got = explain("WITH (key = 'service')", "SELECT service, MAX(good) AS n FROM traffic GROUP BY service");
    for (step, wanted) in [("shape", "snapshot"), ("query", "SourceExec: traffic"), ("retention", "no state"), ("key", "service")] {
        says(&got, step, wanted);
    }
}
