//! The scenario of `views.rs` and what must come out of it, computed row by row without any SQL.

use afferent_engine::schema;
use afferent_engine::time::PANE_MS;
use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;
use std::sync::Arc;

/// 2026-03-10T04:00:00Z, 12:00 in Taipei: the instant answers are for.
pub(super) const AS_OF_MICROS: i64 = 1_773_115_200_000_000;
/// Minutes of panes before it.
pub(super) const MINUTES: i64 = 90;

/// One pane row.
#[derive(Debug, Clone)]
pub(super) struct Pane {
    pub(super) metric: &'static str,
    pub(super) minute: i64,
    pub(super) service: &'static str,
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) last: f64,
    pub(super) increase: f64,
}

impl Pane {
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(n, _)| *n == name).map_or("", |(_, v)| v)
    }
}

fn noise(seed: i64) -> i64 {
    let mut z = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((z ^ (z >> 32)) % 1_000) as i64
}

/// 90 minutes of two services and a host. The api fails much in its last 20 minutes; the web loses one of two targets in the last 3.
pub(super) fn panes() -> Vec<Pane> {
    let mut rows = Vec::new();
    let mut push = |metric, minute, service, labels: &[(&'static str, &str)], last: f64, increase: f64| {
        rows.push(Pane { metric, minute, service, labels: labels.iter().map(|(n, v)| (*n, (*v).to_owned())).collect(), last, increase });
    };
    for minute in 0..MINUTES {
        for (service, pods) in [("api", 2), ("web", 1)] {
            for pod in 0..pods {
                let pod_name = format!("{service}-{pod}");
                let good = 400 + noise(minute * 7 + pod) % 100;
                let bad = if service == "api" && minute >= 70 { 40 } else { noise(minute * 13 + pod) % 2 };
                push("http_requests_total", minute, service, &[("code", "200"), ("pod", &pod_name)], 0.0, good as f64);
                // The counter of failures does not exist before the first one.
                if minute >= 5 {
                    push("http_requests_total", minute, service, &[("code", "503"), ("pod", &pod_name)], 0.0, bad as f64);
                }
                let all = good + bad;
                let quick = all * 8 / 10;
                for (bound, count) in [("0.1", quick / 2), ("0.25", quick), ("0.5", all - noise(minute) % 5), ("+Inf", all)] {
                    push("http_request_duration_seconds_bucket", minute, service, &[("le", bound), ("pod", &pod_name)], 0.0, count as f64);
                }
            }
        }
        for (instance, up) in [("web-0", 1.0), ("web-1", if minute >= MINUTES - 3 { 0.0 } else { 1.0 })] {
            push("up", minute, "web", &[("instance", instance)], up, 0.0);
        }
        push("up", minute, "api", &[("instance", "api-0")], 1.0, 0.0);
        let busy = if minute >= MINUTES - 4 { 57.0 } else { 6.0 + (noise(minute) % 3) as f64 };
        for (mode, seconds) in [("idle", 60.0 - busy), ("user", busy * 0.75), ("system", busy * 0.25)] {
            push("node_cpu_seconds_total", minute, "node-1", &[("instance", "n1:9100"), ("mode", mode)], 0.0, seconds);
        }
        for (metric, value) in [("node_memory_MemAvailable_bytes", 4e9), ("node_memory_MemTotal_bytes", 16e9), ("node_load1", 0.5)] {
            push(metric, minute, "node-1", &[("instance", "n1:9100")], value, 0.0);
        }
        for (mount, avail) in [("/", 25e9), ("/boot", 1e9)] {
            push("node_filesystem_avail_bytes", minute, "node-1", &[("instance", "n1:9100"), ("mountpoint", mount)], avail, 0.0);
            push("node_filesystem_size_bytes", minute, "node-1", &[("instance", "n1:9100"), ("mountpoint", mount)], 100e9, 0.0);
        }
    }
    rows
}

pub(super) fn micros(minute: i64) -> i64 {
    AS_OF_MICROS - (MINUTES - minute) * PANE_MS * 1_000
}

/// Brings plain columns to the types of a relation.
fn typed(schema: &arrow::datatypes::SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    let columns = columns
        .iter()
        .zip(schema.fields())
        .map(|(c, f)| if c.data_type() == f.data_type() { Arc::clone(c) } else { cast(c, f.data_type()).unwrap() })
        .collect();
    RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
}

pub(super) fn pane_batch(rows: &[Pane]) -> RecordBatch {
    let numbers = |read: fn(&Pane) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(rows.iter().map(read))) };
    let texts = |read: fn(&Pane) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(read))) };
    let labels: Vec<Vec<(&str, &str)>> = rows.iter().map(|r| r.labels.iter().map(|(n, v)| (*n, v.as_str())).collect()).collect();
    let labels: Vec<&[(&str, &str)]> = labels.iter().map(Vec::as_slice).collect();
    let times: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| micros(r.minute))));
    let ones: ArrayRef = Arc::new(Int64Array::from(vec![1; rows.len()]));
    let columns = vec![
        texts(|r| r.metric),
        Arc::new(Int64Array::from_iter_values(0..rows.len() as i64)),
        times,
        Arc::clone(&ones),
        numbers(|r| r.last),
        numbers(|r| r.last),
        numbers(|r| r.last),
        numbers(|r| r.last),
        numbers(|r| r.last),
        numbers(|r| r.increase),
        Arc::new(Int64Array::from(vec![0; rows.len()])),
        texts(|r| r.service),
        super::label_map(&labels),
    ];
    typed(&schema::panes(), columns)
}

/// One event: minutes before the instant, kind, service, severity, fingerprint, status, attributes.
pub(super) type Told = (i64, &'static str, Option<&'static str>, Option<&'static str>, Option<&'static str>, &'static str, String);

pub(super) fn event_batch(rows: &[Told]) -> RecordBatch {
    let texts = |read: fn(&Told) -> Option<&str>| -> ArrayRef { Arc::new(rows.iter().map(read).collect::<StringArray>()) };
    let times: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| AS_OF_MICROS - r.0 * PANE_MS * 1_000)));
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows.len()).map(|i| i.to_string())));
    let columns = vec![
        ids,
        Arc::clone(&times),
        times,
        Arc::new(Int64Array::from_iter_values(0..rows.len() as i64)),
        texts(|_| Some("test")),
        texts(|r| Some(r.1)),
        texts(|r| r.3),
        texts(|r| r.2),
        texts(|r| r.4),
        texts(|r| Some(r.5)),
        texts(|_| Some("title")),
        texts(|r| Some(&r.6)),
    ];
    typed(&schema::events().schema, columns)
}

/// Requests and failures of a service in a minute.
pub(super) fn requests(rows: &[Pane], service: &str, minute: i64) -> (i64, i64) {
    let (mut all, mut failed) = (0, 0);
    for row in rows.iter().filter(|r| r.metric == "http_requests_total" && r.service == service && r.minute == minute) {
        all += row.increase as i64;
        if row.label("code").starts_with('5') {
            failed += row.increase as i64;
        }
    }
    (all, failed)
}

/// The summed histogram of a service over minutes: bound and cumulative count.
pub(super) fn histogram(rows: &[Pane], service: &str, minutes: std::ops::Range<i64>) -> Vec<(f64, i64)> {
    let mut sums: BTreeMap<u64, i64> = BTreeMap::new();
    for row in rows.iter().filter(|r| r.metric == "http_request_duration_seconds_bucket" && r.service == service && minutes.contains(&r.minute)) {
        let bound = if row.label("le") == "+Inf" { f64::INFINITY } else { row.label("le").parse::<f64>().unwrap() };
        // Positive floats sort as their bits do.
        *sums.entry(bound.to_bits()).or_default() += row.increase as i64;
    }
    sums.into_iter().map(|(bits, count)| (f64::from_bits(bits), count)).collect()
}

/// A quantile by walking to the bucket that holds the rank.
pub(super) fn quantile(buckets: &[(f64, i64)], q: f64) -> f64 {
    let total = buckets.last().unwrap().1 as f64;
    let at = buckets.iter().position(|(_, count)| *count as f64 >= q * total).unwrap();
    if buckets[at].0.is_infinite() {
        return buckets[at - 1].0;
    }
    let (low, before) = if at == 0 { (0.0, 0) } else { buckets[at - 1] };
    low + (buckets[at].0 - low) * (q * total - before as f64) / (buckets[at].1 - before) as f64
}
