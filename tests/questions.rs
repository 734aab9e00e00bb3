//! The questions of the queries' README, asked as a newcomer would: two written hours are imported, every view is defined as it stands there, and its
//! answer is the one that is written below it.

use crate::program;
use afferent_tests::server::Server;
use serde_json::json;
use std::fs;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

const README: &str = include_str!("../queries/README.md");

/// Longest time until an answer is the written one.
const ANSWER_WAIT: Duration = Duration::from_secs(90);

/// 2025-01-01T00:00:00Z, seconds.
const START_S: i64 = 1_735_689_600;

/// One in 15 seconds, over two hours.
const SCRAPES: i64 = 480;

/// From this one on, half of shop's requests fail.
const WORSE_FROM: i64 = 360;

/// The two hours as OpenMetrics text: a line per sample.
fn two_hours() -> String {
    let mut text = String::new();
    let mut series = |name: &str, labels: &str, value: &dyn Fn(i64) -> f64| {
        for i in 0..SCRAPES {
            text.push_str(&format!("{name}{{{labels}}} {} {}\n", value(i), START_S + i * 15));
        }
    };
    let worse = |i: i64| (i - WORSE_FROM + 1).max(0) as f64;
    series("http_requests_total", r#"service="shop",code="200",job="shop",instance="s1""#, &|i| 9.0 * i as f64 - 4.0 * worse(i));
    series("http_requests_total", r#"service="shop",code="500",job="shop",instance="s1""#, &|i| i as f64 + 4.0 * worse(i));
    series("http_requests_total", r#"service="pay",code="200",job="pay",instance="p1""#, &|i| 5.0 * i as f64);
    for (bound, per_scrape) in [("0.1", 8.0), ("0.5", 10.0), ("+Inf", 10.0)] {
        let labels = format!(r#"service="shop",le="{bound}",job="shop",instance="s1""#);
        series("http_request_duration_seconds_bucket", &labels, &|i| per_scrape * i as f64);
    }
    series("grpc_server_handled_total", r#"service="pay",job="pay",instance="p1""#, &|i| 2.0 * i as f64);
    for (instance, free) in [("n1", 5e9), ("n2", 5e10)] {
        let labels = format!(r#"instance="{instance}",mountpoint="/",job="node""#);
        series("node_filesystem_avail_bytes", &labels, &|_| free);
        series("node_filesystem_size_bytes", &labels, &|_| 1e11);
    }
    for (instance, load) in [("n1", 1.0), ("n2", 2.0), ("n3", 3.0)] {
        series("node_load1", &format!(r#"instance="{instance}",job="node""#), &|_| load);
    }
    text + "# EOF\n"
}

/// A view with a question about it, and the answer as CSV.
struct Written {
    view: &'static str,
    question: &'static str,
    answer: &'static str,
}

fn written() -> Vec<Written> {
    let section = README.split("## Writing a view").nth(1).unwrap().split("\n## ").next().unwrap();
    let one = |part: &'static str| {
        let (view, after) = part.split_once("```").unwrap();
        let (_, block) = after.split_once("```text\n").unwrap_or_else(|| panic!("no answer below {view}"));
        let (question, answer) = block.split("```").next().unwrap().split_once('\n').unwrap();
        Written { view: view.trim(), question, answer }
    };
    section.split("```sql\n").skip(1).map(one).collect()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_question_of_the_readme_has_the_answer_written_below_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(program(), folder.path(), "").unwrap();
    let file = folder.path().join("hours.om");
    fs::write(&file, two_hours()).unwrap();
    let imported = server.ask(&["import", &file.display().to_string()]).unwrap();
    assert!(imported.status.success(), "{}", said(&imported));
    let step = |kind: &str, at: &str| {
        json!({"event_id": kind, "incident_id": "INC-1", "type": kind, "occurred_at": at, "actor": {"kind": "human", "id": "a"},
            "severity": "high", "service": "shop", "source": "prometheus"})
    };
    for body in [step("opened", "2025-01-01T01:32:00Z"), step("resolved", "2025-01-01T01:40:00Z")] {
        let answer = server.door().post_json("/api/v1/webhooks/incidents", &body).unwrap();
        assert!(answer.status < 300, "{}", answer.text());
    }
    let written = written();
    assert!(written.len() >= 10, "{} questions", written.len());
    for Written { view, question, answer } in written {
        let deadline = Instant::now() + ANSWER_WAIT;
        // A view that reads another is defined when that one's history is computed; the error says so.
        loop {
            let defined = server.ask(&["sql", view]).unwrap();
            if defined.status.success() {
                break;
            }
            assert!(said(&defined).contains("is computing its history") && Instant::now() < deadline, "{view}\n{}", said(&defined));
            thread::sleep(Duration::from_millis(200));
        }
        loop {
            let output = server.ask(&["sql", "--format", "csv", question]).unwrap();
            if output.status.success() && String::from_utf8_lossy(&output.stdout).lines().eq(answer.lines()) {
                break;
            }
            assert!(Instant::now() < deadline, "{question}\nshould answer\n{answer}but says\n{}", said(&output));
            thread::sleep(Duration::from_millis(200));
        }
    }
}
