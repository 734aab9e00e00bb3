//! Reads `week.json` and makes of it what senders send. Not a generator: everything follows from the file.

use afferent_tests::oracle::counter::Series;
use afferent_tests::oracle::incidents::Event;
use afferent_tests::wire::{self, TimeSeries};
use arrow::array::TimestampMillisecondArray;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const SCRAPE_MS: i64 = 30_000;
const SCRAPES_PER_BODY: usize = 200;

/// Share of every 60 requests that take at most so long.
const BUCKETS: [(&str, i64); 4] = [("0.1", 40), ("0.3", 58), ("1", 60), ("+Inf", 60)];

/// The written week.
pub(super) struct Week {
    /// Time of the last scrape.
    pub(super) end_ms: i64,
    minutes: i64,
    traffic: Vec<Value>,
    incidents: Vec<Value>,
    approvals: Vec<Value>,
    /// Calls of language models as their webhook takes them.
    pub(super) usage: Vec<Value>,
}

/// Milliseconds of a time such as `2026-03-31T03:59:45Z`.
pub(super) fn millis(text: &str) -> i64 {
    arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text).expect("a time") / 1_000_000
}

/// Such a time as the webhooks write it.
fn time_text(ms: i64) -> String {
    let array = TimestampMillisecondArray::from(vec![ms]).with_timezone("+00:00");
    ArrayFormatter::try_new(&array, &FormatOptions::new()).expect("a time").value(0).to_string()
}

impl Week {
    pub(super) fn read() -> Self {
        let whole: Value = serde_json::from_str(include_str!("week.json")).expect("valid JSON");
        let list = |key: &str| whole[key].as_array().expect("a list").clone();
        Self {
            end_ms: millis(whole["end"].as_str().expect("a time")),
            minutes: whole["minutes"].as_i64().expect("a number"),
            traffic: list("traffic"),
            incidents: list("incidents"),
            approvals: list("approvals"),
            usage: list("usage"),
        }
    }

    /// Every series with all its samples; names are `service/code=200` or `service/le=0.3`.
    pub(super) fn series(&self) -> Vec<Series> {
        let mut out: BTreeMap<String, Series> = BTreeMap::new();
        for traffic in &self.traffic {
            self.play(traffic, &mut |service, kind, time, value| {
                let name = format!("{service}/{kind}");
                let target = Some(("scenario".to_owned(), service.to_owned()));
                let series = out.entry(name.clone()).or_insert(Series { name, target, samples: BTreeMap::new() });
                series.samples.insert(time, value);
            });
        }
        out.into_values().collect()
    }

    /// The same as bodies, in order of time, one message per sample as Prometheus sends them.
    pub(super) fn bodies(&self) -> Vec<Vec<u8>> {
        let mut by_time: BTreeMap<i64, Vec<TimeSeries>> = BTreeMap::new();
        for series in self.series() {
            let (service, kind) = series.name.split_once('/').expect("a name of ours");
            let (label, value) = kind.split_once('=').expect("a name of ours");
            let metric = if label == "le" { "http_request_duration_seconds_bucket" } else { "http_requests_total" };
            let labels = [("__name__", metric), ("job", "scenario"), ("instance", service), ("service", service), (label, value)];
            for (time, sample) in &series.samples {
                by_time.entry(*time).or_default().push(wire::series(&labels, &[(*time, *sample)]));
            }
        }
        let scrapes: Vec<Vec<TimeSeries>> = by_time.into_values().collect();
        scrapes.chunks(SCRAPES_PER_BODY).map(|chunk| wire::body_v1(chunk.concat())).collect()
    }

    /// Calls `sample(service, kind, time, value)` for everything one service sends.
    fn play(&self, traffic: &Value, sample: &mut impl FnMut(&str, &str, i64, f64)) {
        let number = |value: &Value| value.as_i64().expect("a number");
        let service = traffic["service"].as_str().expect("a name");
        let (per_scrape, list) = (number(&traffic["requests"]) / 2, |key: &str| traffic[key].as_array().expect("a list").clone());
        let (errors, restarts, silent) = (list("errors"), list("restarts"), list("silent"));
        let inside = |range: &Value, minute: i64| (number(&range["from"])..number(&range["to"])).contains(&minute);
        let (mut good, mut bad, mut served, mut failed_before) = (0, 0, 0, false);
        for scrape in 0..self.minutes * 2 {
            let (minute, second) = (scrape / 2, scrape % 2 == 1);
            if !second && restarts.iter().any(|at| number(at) == minute) {
                (good, bad, served) = (0, 0, 0);
            }
            let due = |e: &&Value| second && inside(e, minute) && minute % number(&e["every"]) == 0;
            let failed: i64 = errors.iter().filter(due).map(|e| number(&e["count"])).sum();
            (good, bad, served) = (good + per_scrape - failed, bad + failed, served + per_scrape);
            failed_before |= failed > 0;
            if silent.iter().any(|range| inside(range, minute)) {
                continue;
            }
            let time = self.end_ms - (self.minutes * 2 - 1 - scrape) * SCRAPE_MS;
            sample(service, "code=200", time, good as f64);
            if failed_before {
                // The counter of failures appears with the first one.
                sample(service, "code=500", time, bad as f64);
            }
            if service == "shop" {
                for (bound, of_60) in BUCKETS {
                    sample(service, &format!("le={bound}"), time, (served * of_60 / 60) as f64);
                }
            }
        }
    }

    fn at(&self, item: &Value) -> i64 {
        self.end_ms - item["minutes_before_end"].as_i64().expect("minutes") * 60_000
    }

    fn bodies_of(&self, items: &[Value], prefix: &str) -> Vec<Value> {
        let body = |(n, item): (usize, &Value)| {
            let mut body = item.clone();
            let fields = body.as_object_mut().expect("an object");
            fields.remove("minutes_before_end");
            fields.insert("event_id".into(), json!(format!("{prefix}-{n}")));
            fields.insert("occurred_at".into(), json!(time_text(self.at(item))));
            fields.insert("actor".into(), json!({"kind": item["actor"], "id": "somebody"}));
            body
        };
        items.iter().enumerate().map(body).collect()
    }

    /// What the incident webhook takes.
    pub(super) fn incident_bodies(&self) -> Vec<Value> {
        self.bodies_of(&self.incidents, "incident")
    }

    /// What the approval webhook takes.
    pub(super) fn approval_bodies(&self) -> Vec<Value> {
        self.bodies_of(&self.approvals, "approval")
    }

    /// Both as the oracle takes them.
    pub(super) fn events(&self) -> Vec<Event> {
        let event = |item: &Value, prefix: &str| Event {
            incident: item["incident_id"].as_str().expect("an id").to_owned(),
            at_ms: self.at(item),
            kind: format!("{prefix}{}", item["type"].as_str().expect("a type")),
            actor: item["actor"].as_str().expect("an actor").to_owned(),
            outcome: item["action"]["outcome"].as_str().map(str::to_owned),
        };
        let incidents = self.incidents.iter().map(|item| event(item, ""));
        incidents.chain(self.approvals.iter().map(|item| event(item, "approval_"))).collect()
    }
}
