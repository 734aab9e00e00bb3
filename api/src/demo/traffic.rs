//! Request counters, latency histograms and `up` of the platform's services, from a table of profiles. Not measured on anything: see `capture.rs` for what is.

use super::encode::{Batch, Slot};
use super::seed;

/// Bucket bounds in seconds, those of the Prometheus client libraries, as text for `le` and as number.
const BOUNDS: [(&str, f64); 11] = [
    ("0.005", 0.005),
    ("0.01", 0.01),
    ("0.025", 0.025),
    ("0.05", 0.05),
    ("0.1", 0.1),
    ("0.25", 0.25),
    ("0.5", 0.5),
    ("1", 1.0),
    ("2.5", 2.5),
    ("5", 5.0),
    ("10", 10.0),
];

/// How steeply latencies gather around their median (shape of a log-logistic distribution).
const LATENCY_SHAPE: f64 = 3.0;

/// The period over which traffic swells and ebbs.
const SWELL_MIN: f64 = 360.0;

/// How one service behaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Profile {
    /// Name in the inventory.
    pub(super) service: &'static str,
    /// Requests a minute.
    requests: f64,
    /// Share of requests that fail on a good day.
    errors: f64,
    /// Median latency.
    median_s: f64,
    /// Has objectives, so its counters are played from the start of the history.
    pub(super) has_objectives: bool,
}

const fn profile(service: &'static str, requests: f64, errors: f64, median_s: f64, has_objectives: bool) -> Profile {
    Profile { service, requests, errors, median_s, has_objectives }
}

/// Services that answer requests.
pub(super) const PROFILES: [Profile; 10] = [
    profile("awoooi-api", 600.0, 0.000_2, 0.060, true),
    profile("awoooi-web", 420.0, 0.000_3, 0.045, true),
    profile("llm-gateway", 90.0, 0.000_8, 0.700, true),
    profile("ollama", 60.0, 0.000_5, 0.750, true),
    profile("openclaw", 120.0, 0.011, 0.150, true),
    profile("ingress-nginx", 1100.0, 0.000_3, 0.030, false),
    profile("minio", 240.0, 0.000_1, 0.015, false),
    profile("harbor", 30.0, 0.000_5, 0.080, false),
    profile("sentry", 75.0, 0.000_4, 0.090, false),
    profile("langfuse", 45.0, 0.000_4, 0.110, false),
];

/// Every service of the inventory with where it runs, for `up`.
pub(super) const TARGETS: [(&str, &str); 25] = [
    ("host-110", "192.168.0.110:9100"),
    ("host-112", "192.168.0.112:9100"),
    ("host-120", "192.168.0.120:9100"),
    ("host-121", "192.168.0.121:9100"),
    ("host-188", "192.168.0.188:9100"),
    ("awoooi-api", "192.168.0.120:8000"),
    ("awoooi-web", "192.168.0.120:3000"),
    ("awoooi-worker", "192.168.0.121:8001"),
    ("ollama", "192.168.0.188:11434"),
    ("openclaw", "192.168.0.188:8080"),
    ("redis", "192.168.0.121:9121"),
    ("postgresql", "192.168.0.121:9187"),
    ("harbor", "192.168.0.110:8443"),
    ("sentry", "192.168.0.110:9000"),
    ("langfuse", "192.168.0.110:3001"),
    ("minio", "192.168.0.188:9001"),
    ("kali-scanner", "192.168.0.112:32334"),
    ("signoz", "192.168.0.188:3301"),
    ("grafana", "192.168.0.110:3002"),
    ("alertmanager", "192.168.0.110:9093"),
    ("ingress-nginx", "192.168.0.125:443"),
    ("web-vitals", "192.168.0.120:8002"),
    ("llm-gateway", "192.168.0.121:4000"),
    ("finops-reporter", "192.168.0.121:8003"),
    ("audit-trail", "192.168.0.121:8004"),
];

/// Minutes before the present at which awoooi-api starts to fail, and how long it does: long enough ago that no page fires any more, so that the
/// objective is at risk and not paging when somebody looks.
const OUTAGE_STARTS_MIN_AGO: i64 = 60;
const OUTAGE_LASTS_MIN: i64 = 15;
/// Share of its requests that fail meanwhile.
const OUTAGE_ERRORS: f64 = 0.40;
/// In live play awoooi-api fails for the first so many of every so many minutes, beginning with the second round.
const LIVE_ROUND_MIN: i64 = 10;
const LIVE_OUTAGE_MIN: i64 = 2;

/// Counters of one service.
#[derive(Debug)]
struct Counters {
    profile: Profile,
    ok: (Slot, u64),
    failed: (Slot, u64),
    buckets: Vec<(Slot, f64, u64)>,
    count: (Slot, u64),
    sum: (Slot, f64),
}

/// The platform's traffic so far.
#[derive(Debug)]
pub(super) struct Traffic {
    counters: Vec<Counters>,
    up: Vec<Slot>,
}

impl Traffic {
    /// Names every series in the batch; nothing has happened yet.
    pub(super) fn new(batch: &mut Batch) -> anyhow::Result<Self> {
        let counters = PROFILES.into_iter().map(|profile| Counters::new(batch, profile)).collect::<anyhow::Result<_>>()?;
        let up = TARGETS
            .into_iter()
            .map(|(service, instance)| batch.series("up", &[("job", service), ("service", service), ("instance", instance)]))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { counters, up })
    }

    /// Lets `seconds` pass up to `minute` (0 is the minute the demo began, the past is negative) and writes all counters at `time_ms`.
    ///
    /// `step` numbers the calls; with `all` false only the services with objectives are written.
    pub(super) fn advance(&mut self, batch: &mut Batch, step: i64, minute: i64, seconds: f64, time_ms: i64, all: bool) {
        for counters in self.counters.iter_mut().filter(|c| all || c.profile.has_objectives) {
            counters.advance(step, minute, seconds);
            counters.write(batch, time_ms);
        }
        if all {
            for slot in &self.up {
                batch.push(*slot, time_ms, 1.0);
            }
        }
    }
}

/// Whether awoooi-api is failing.
pub(super) fn is_outage(minute: i64) -> bool {
    if minute < 0 {
        (-OUTAGE_STARTS_MIN_AGO..-OUTAGE_STARTS_MIN_AGO + OUTAGE_LASTS_MIN).contains(&minute)
    } else {
        minute >= LIVE_ROUND_MIN && minute % LIVE_ROUND_MIN < LIVE_OUTAGE_MIN
    }
}

impl Counters {
    fn new(batch: &mut Batch, profile: Profile) -> anyhow::Result<Self> {
        let name = profile.service;
        let instance = TARGETS.iter().find(|(service, _)| *service == name).map_or("", |(_, instance)| *instance);
        let own = [("job", name), ("service", name), ("instance", instance)];
        let mut series = |metric: &str, more: Option<(&str, &str)>| {
            let labels: Vec<(&str, &str)> = own.into_iter().chain(more).collect();
            batch.series(metric, &labels)
        };
        let mut buckets = Vec::with_capacity(BOUNDS.len() + 1);
        for (le, bound) in BOUNDS.into_iter().chain([("+Inf", f64::INFINITY)]) {
            buckets.push((series("http_request_duration_seconds_bucket", Some(("le", le)))?, bound, 0));
        }
        Ok(Self {
            profile,
            ok: (series("http_requests_total", Some(("code", "200")))?, 0),
            failed: (series("http_requests_total", Some(("code", "500")))?, 0),
            buckets,
            count: (series("http_request_duration_seconds_count", None)?, 0),
            sum: (series("http_request_duration_seconds_sum", None)?, 0.0),
        })
    }

    fn advance(&mut self, step: i64, minute: i64, seconds: f64) {
        let Profile { service, requests, errors, median_s, .. } = self.profile;
        let outage = service == "awoooi-api" && is_outage(minute);
        let swell = 1.0 + 0.3 * (std::f64::consts::TAU * minute as f64 / SWELL_MIN).sin();
        let jitter = 0.9 + 0.2 * seed::unit(service, step);
        let total = seed::about(requests * seconds / 60.0 * swell * jitter, &format!("{service} requests"), step);
        let share = if outage { OUTAGE_ERRORS } else { errors };
        let failed = seed::about(total as f64 * share, &format!("{service} errors"), step).min(total);
        self.ok.1 += total - failed;
        self.failed.1 += failed;
        let median_s = median_s * if outage { 4.0 } else { 0.95 + 0.1 * seed::unit(&format!("{service} latency"), step) };
        for (_, bound, count) in &mut self.buckets {
            let within = 1.0 / (1.0 + (median_s / *bound).powf(LATENCY_SHAPE));
            *count += (total as f64 * within).round() as u64;
        }
        self.count.1 += total;
        // The mean of a log-logistic distribution of this shape is 1.209 medians.
        self.sum.1 += total as f64 * median_s * 1.209;
    }

    fn write(&self, batch: &mut Batch, time_ms: i64) {
        for (slot, value) in [self.ok, self.failed, self.count] {
            batch.push(slot, time_ms, value as f64);
        }
        for (slot, _, value) in &self.buckets {
            batch.push(*slot, time_ms, *value as f64);
        }
        batch.push(self.sum.0, time_ms, self.sum.1);
    }
}

#[cfg(test)]
mod tests;
