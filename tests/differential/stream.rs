//! Random streams: what senders send and when it arrives, with everything that goes wrong on the way. Knows nothing of what becomes of it.

use super::chance::Chance;
use super::events;
use afferent_engine::config::EngineConfig;
use afferent_engine::log::{Format, Record};
use afferent_engine::series::{Labels, SeriesKey};
use afferent_engine::time::WallTime;
use afferent_tests::wire::{Label, Sample, TimeSeries, body_v1, body_v2};

/// 2026-03-01T00:00:00Z.
pub(super) const DAY_MS: i64 = 1_772_323_200_000;

/// How far after its arrival a sample may lie, milliseconds.
pub(super) const FUTURE_MS_MAX: i64 = 300_000;

/// Bodies that faults may add to a stream.
const EXTRAS_MAX: usize = 120;

const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// One stream.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) config: EngineConfig,
    pub(super) series: Vec<Vec<(String, String)>>,
    pub(super) sent: Vec<Sent>,
}

/// One body and when it arrives if nothing shuffles it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sent {
    pub(super) arrives: i64,
    pub(super) source: String,
    pub(super) body: Body,
}

/// What a body says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Body {
    /// (series, time, value); `v2` is the protocol's version.
    Samples { v2: bool, samples: Vec<(usize, i64, f64)> },
    /// Each event's identity within (source, kind), and the text as sent.
    Events { format: Format, kind: &'static str, ids: Vec<String>, text: String },
}

impl Stream {
    /// The stored identity of a series.
    pub(super) fn id(&self, series: usize) -> i64 {
        Labels::from_pairs(self.series[series].iter().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap().key().id().0
    }

    /// Bodies in the order of their arrival; `delay` is added to each.
    pub(super) fn arrivals(&self, mut delay: impl FnMut() -> i64) -> Vec<Sent> {
        let mut all: Vec<Sent> = self.sent.iter().map(|s| Sent { arrives: s.arrives + delay(), ..s.clone() }).collect();
        all.sort_by_key(|s| s.arrives);
        if let Some(last) = all.last().map(|s| s.arrives) {
            // Every answer is for an instant after everything else, however the rest came.
            all.push(events::closing(last.max(self.newest()) + 30_000));
        }
        all
    }

    fn newest(&self) -> i64 {
        let times = |sent: &Sent| match &sent.body {
            Body::Samples { samples, .. } => samples.iter().map(|s| s.1).filter(|t| *t <= sent.arrives + 2 * FUTURE_MS_MAX).max(),
            Body::Events { .. } => None,
        };
        self.sent.iter().filter_map(times).max().unwrap_or_default()
    }

    /// The record of an arrival.
    pub(super) fn record(&self, sent: &Sent) -> Record {
        let (format, body) = match &sent.body {
            Body::Samples { v2, samples } => {
                let series = self.timeseries(samples);
                if *v2 { (Format::RemoteWriteV2, body_v2(&series)) } else { (Format::RemoteWriteV1, body_v1(series)) }
            }
            Body::Events { format, text, .. } => (*format, text.clone().into_bytes()),
        };
        // Any 128 bits that differ for different bodies will do.
        let body_hash = SeriesKey::of(&body).0;
        Record { format, source: sent.source.as_str().into(), received_at: WallTime(sent.arrives), body_hash, request_id: 0, body: body.into() }
    }

    fn timeseries(&self, samples: &[(usize, i64, f64)]) -> Vec<TimeSeries> {
        let mut out: Vec<(usize, TimeSeries)> = vec![];
        for (series, timestamp, value) in samples {
            let sample = Sample { value: *value, timestamp: *timestamp };
            match out.iter_mut().find(|(s, _)| s == series) {
                Some((_, one)) => one.samples.push(sample),
                None => {
                    let labels = self.series[*series].iter().map(|(n, v)| Label { name: n.clone(), value: v.clone() }).collect();
                    out.push((*series, TimeSeries { labels, samples: vec![sample], ..TimeSeries::default() }));
                }
            }
        }
        out.into_iter().map(|(_, one)| one).collect()
    }
}

/// How often each fault happens to a sample (or body) of one stream.
struct Faults {
    stale: f64,
    not_a_number: f64,
    lost: f64,
    repeated: f64,
    conflict: f64,
    out_of_order: f64,
    late: f64,
    future: f64,
    retried: f64,
    reset: f64,
}

impl Faults {
    fn random(chance: &mut Chance) -> Self {
        let mut often = || *chance.pick(&[0.0, 0.0, 0.002, 0.01, 0.04]);
        Self {
            stale: often(),
            not_a_number: often(),
            lost: often(),
            repeated: often(),
            conflict: often(),
            out_of_order: often(),
            late: often(),
            future: often(),
            retried: often() * 3.0,
            reset: often(),
        }
    }
}

/// How the values of a series go on.
#[derive(Clone, Copy)]
enum Values {
    Counter(i64),
    Gauge(i64),
    Up,
}

/// One series of one source.
struct Sender {
    series: usize,
    values: Values,
    now: f64,
    /// Alive in `[from, to)`.
    from: i64,
    to: i64,
}

/// One source: when it scrapes, what, and how its bodies travel.
struct Source {
    name: String,
    v2: bool,
    every_ms: i64,
    jitter_ms: i64,
    lag_ms: i64,
    scrapes_per_body: i64,
    silent_from: i64,
    outage: Option<(i64, i64, bool)>,
    senders: Vec<Sender>,
}

fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    all.sort();
    all
}

/// The series of one target.
fn target(chance: &mut Chance, job: &str, instance: &str) -> Vec<(Vec<(String, String)>, Values)> {
    let of = |name: &str, more: &[(&str, &str)]| {
        let mut pairs = vec![("__name__", name), ("instance", instance), ("job", job)];
        pairs.extend_from_slice(more);
        labels(&pairs)
    };
    let mut out = vec![(of("up", &[]), Values::Up)];
    for code in chance.some(&["200", "404", "500"], 1, 3) {
        out.push((of("http_requests_total", &[("code", code)]), Values::Counter(*chance.pick(&[1, 40, 3000]))));
    }
    if chance.one_in(2) {
        for (le, speed) in [("0.1", 10), ("0.25", 18), ("1", 20), ("+Inf", 21)] {
            out.push((of("http_request_duration_seconds_bucket", &[("le", le)]), Values::Counter(speed)));
        }
    }
    if chance.one_in(2) {
        out.push((of("node_load1", &[]), Values::Gauge(16)));
        out.push((of("temperature_celsius", &[("sensor", "s1")]), Values::Gauge(800)));
    }
    for queue in chance.some(&["a", "b", "c"], 0, 3) {
        out.push((of("jobs_done_total", &[("queue", queue)]), Values::Counter(7)));
    }
    out
}

/// A random stream.
pub(super) fn stream(chance: &mut Chance) -> Stream {
    let minutes = *chance.pick(&[6, 9, 14, 22, 32]);
    let start = DAY_MS + *chance.pick(&[0, 11 * 3_600_000 + 7, 23 * 3_600_000 + 50 * 60_000 + 59_999, chance.clone().between(0, 80_000_000)]);
    let end = start + minutes * 60_000;
    let config = EngineConfig {
        lateness_ms: *chance.pick(&[60_000, 90_000, 180_000, 300_000]),
        slack_ms: *chance.pick(&[0, 5_000, 10_000, 30_000]),
        idle_ms: *chance.pick(&[20_000, 60_000, 120_000]),
        retry_window_ms: *chance.pick(&[0, 30_000, 1_800_000]),
        ..EngineConfig::default()
    };
    let faults = Faults::random(chance);
    let mut out = Stream { config, series: vec![], sent: vec![] };
    for i in 0..chance.between(1, 4) {
        let mut source = source(chance, &mut out.series, i, (start, end));
        scrape(chance, &mut source, &faults, (start, end), &mut out);
    }
    out.sent.extend(events::events(chance, (start, end), faults.retried + faults.repeated));
    out
}

fn source(chance: &mut Chance, known: &mut Vec<Vec<(String, String)>>, number: i64, (start, end): (i64, i64)) -> Source {
    let mut senders = vec![];
    for _ in 0..chance.between(1, 3) {
        let (job, instance) = *chance.pick(&[("shop", "s:80"), ("shop", "t:80"), ("node", "a:9100"), ("node", "b:9100"), ("batch", "c:1")]);
        for (labels, values) in target(chance, job, instance) {
            let series = known.iter().position(|k| *k == labels).unwrap_or_else(|| {
                known.push(labels);
                known.len() - 1
            });
            if senders.iter().any(|s: &Sender| s.series == series) {
                continue;
            }
            let whole = !chance.one_in(5);
            let (a, b) = (chance.between(start, end), chance.between(start, end));
            let (from, to) = if whole { (start, end) } else { (a.min(b), a.max(b)) };
            senders.push(Sender { series, values, now: (chance.between(0, 50) * 8) as f64, from, to });
        }
    }
    let outage = chance.one_in(3).then(|| {
        let from = chance.between(start, end);
        (from, from + chance.between(60_000, 900_000), chance.one_in(2))
    });
    Source {
        name: format!("source-{number}"),
        v2: chance.one_in(2),
        every_ms: *chance.pick(&[15_000, 15_000, 30_000, 60_000]),
        jitter_ms: *chance.pick(&[0, 0, 900]),
        lag_ms: *chance.pick(&[0, 300, 5_000, 45_000, 130_000]),
        scrapes_per_body: *chance.pick(&[1, 1, 2, 4]),
        silent_from: if chance.one_in(5) { chance.between(start, end) } else { i64::MAX },
        outage,
        senders,
    }
}

fn value(chance: &mut Chance, sender: &mut Sender, faults: &Faults) -> f64 {
    match sender.values {
        // Eighths add up exactly in any order, so sums may be compared bit for bit.
        Values::Counter(speed) if chance.with(faults.reset) => sender.now = chance.between(0, speed) as f64 / 8.0,
        Values::Counter(speed) => sender.now += chance.between(0, speed * 8) as f64 / 8.0,
        Values::Gauge(breadth) => sender.now = chance.between(-breadth, breadth) as f64 / 8.0,
        Values::Up => sender.now = f64::from(u8::from(!chance.one_in(12))),
    }
    if chance.with(faults.stale) {
        STALE
    } else if chance.with(faults.not_a_number) {
        *chance.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY])
    } else {
        sender.now
    }
}

/// Fills in what the source sends.
fn scrape(chance: &mut Chance, source: &mut Source, faults: &Faults, (start, end): (i64, i64), out: &mut Stream) {
    let lateness = out.config.lateness_ms;
    let mut body: Vec<(usize, i64, f64)> = vec![];
    let mut extras: Vec<Sent> = vec![];
    let mut at = start + chance.between(0, source.every_ms);
    let mut scrapes = 0;
    while at < end.min(source.silent_from) {
        let time = at + chance.between(0, source.jitter_ms + 1);
        for sender in source.senders.iter_mut().filter(|s| (s.from..s.to).contains(&at)) {
            let value = value(chance, sender, faults);
            let mut later = |delay: i64, value: f64, time: i64| {
                if extras.len() < EXTRAS_MAX {
                    let samples = vec![(sender.series, time, value)];
                    let body = Body::Samples { v2: source.v2, samples };
                    extras.push(Sent { arrives: at + source.lag_ms + delay, source: source.name.clone(), body });
                }
            };
            if chance.with(faults.lost) {
                continue;
            }
            if chance.with(faults.repeated) {
                later(chance.between(0, 2 * lateness), value, time);
            }
            if chance.with(faults.conflict) {
                later(chance.between(0, lateness), sender.now + 1.0, time);
            }
            if chance.with(faults.future) {
                later(0, value, time + *chance.pick(&[60_000, 299_000, 400_000, 172_800_000]));
            }
            if chance.with(faults.out_of_order) {
                later(chance.between(0, lateness), value, time);
            } else if chance.with(faults.late) {
                later(lateness + chance.between(0, 600_000), value, time);
            } else {
                body.push((sender.series, time, value));
            }
        }
        scrapes += 1;
        if scrapes % source.scrapes_per_body == 0 && !body.is_empty() {
            let samples = std::mem::take(&mut body);
            send(chance, source, faults, at, Body::Samples { v2: source.v2, samples }, &mut out.sent);
        }
        at += source.every_ms;
    }
    if !body.is_empty() {
        send(chance, source, faults, at, Body::Samples { v2: source.v2, samples: body }, &mut out.sent);
    }
    out.sent.append(&mut extras);
}

fn send(chance: &mut Chance, source: &Source, faults: &Faults, at: i64, body: Body, out: &mut Vec<Sent>) {
    let mut arrives = at + source.lag_ms;
    if let Some((from, to, kept)) = source.outage
        && (from..to).contains(&at)
    {
        if !kept {
            return;
        }
        // It catches up in a hurry.
        arrives = to + (at - from) / 50;
    }
    let sent = Sent { arrives, source: source.name.clone(), body };
    if chance.with(faults.retried) {
        out.push(Sent { arrives: arrives + chance.between(0, 90_000), ..sent.clone() });
    }
    out.push(sent);
}
