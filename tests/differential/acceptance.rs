//! What should be accepted of a stream, decided the slow, obvious way from what was sent and in which order it arrived. Shares nothing with the engine.

use super::stream::{Body, FUTURE_MS_MAX, Sent, Stream};
use afferent_tests::oracle::counter::{self, PANE_MS, Pane, Series};
use std::collections::{BTreeMap, BTreeSet};

/// The verdict on a stream.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    /// Per series: value bits by time.
    pub(super) samples: BTreeMap<usize, BTreeMap<i64, u64>>,
    /// (series, time, bits) of every sample that came after its pane was final and was the first of its time.
    pub(super) late: Vec<(usize, i64, u64)>,
    /// The same of those that repeat another's time.
    pub(super) late_again: BTreeSet<(usize, i64, u64)>,
    /// Per series: newest time that came in time.
    newest: BTreeMap<usize, i64>,
    /// Identities of events: (source, kind, id).
    pub(super) events: BTreeSet<(String, &'static str, String)>,
}

/// What is known of one sender.
struct Source {
    newest: i64,
    heard: i64,
}

/// Time as the senders tell it.
struct Watermark<'s> {
    stream: &'s Stream,
    sources: BTreeMap<String, Source>,
    heard: i64,
    now: Option<i64>,
}

impl Watermark<'_> {
    fn observe(&mut self, name: &str, newest: Option<i64>, arrives: i64) {
        let config = &self.stream.config;
        self.heard = self.heard.max(arrives);
        if let Some(known) = self.sources.get_mut(name) {
            known.heard = known.heard.max(arrives);
            known.newest = known.newest.max(newest.unwrap_or(i64::MIN));
        } else if let Some(newest) = newest {
            self.sources.insert(name.to_owned(), Source { newest, heard: arrives });
        }
        // Neither the silent nor those hopelessly behind hold the others back.
        let now = self.now;
        let active = self.sources.values().filter(|s| self.heard - s.heard <= config.idle_ms);
        let leading = active.filter(|s| now.is_none_or(|now| s.newest >= now - config.lateness_ms));
        if let Some(low) = leading.map(|s| s.newest).min() {
            self.now = self.now.max(Some(low - config.slack_ms));
        }
    }

    /// Everything before it is final.
    fn frontier(&self) -> i64 {
        self.now.map_or(i64::MIN, |now| {
            let edge = now - self.stream.config.lateness_ms;
            edge - edge.rem_euclid(PANE_MS)
        })
    }
}

/// Judges arrivals in their order.
pub(super) fn accept(stream: &Stream, arrivals: &[Sent]) -> Accepted {
    let mut out = Accepted::default();
    let mut bodies: BTreeMap<&str, Vec<(i64, &Sent)>> = BTreeMap::new();
    let mut time = Watermark { stream, sources: BTreeMap::new(), heard: i64::MIN, now: None };
    for sent in arrivals {
        let seen = bodies.entry(&sent.source).or_default();
        seen.retain(|(at, _)| *at >= sent.arrives - stream.config.retry_window_ms);
        let retry = seen.iter().any(|(_, other)| bytes_of(&other.body) == bytes_of(&sent.body));
        if !retry {
            seen.push((sent.arrives, sent));
        }
        match &sent.body {
            Body::Samples { .. } if retry => time.observe(&sent.source, None, sent.arrives),
            Body::Samples { samples, .. } => {
                let newest = take(&mut out, samples, time.frontier(), sent.arrives + FUTURE_MS_MAX);
                time.observe(&sent.source, newest, sent.arrives);
            }
            Body::Events { .. } if retry => {}
            Body::Events { kind, ids, .. } => out.events.extend(ids.iter().map(|id| (sent.source.clone(), *kind, id.clone()))),
        }
    }
    out
}

/// NaN differs from itself, so bodies are compared by bits.
fn bytes_of(body: &Body) -> (bool, Vec<(usize, i64, u64)>, &str) {
    match body {
        Body::Samples { v2, samples } => (*v2, samples.iter().map(|(s, t, v)| (*s, *t, v.to_bits())).collect(), ""),
        Body::Events { text, .. } => (false, vec![], text),
    }
}

/// Takes the samples of a body and gives the newest time of those that moved their series on.
fn take(out: &mut Accepted, samples: &[(usize, i64, f64)], frontier: i64, newest_allowed: i64) -> Option<i64> {
    let mut moved = None;
    // A body's series come one after the other, however their samples are mixed in it.
    let mut order: Vec<usize> = vec![];
    for (series, ..) in samples {
        if !order.contains(series) {
            order.push(*series);
        }
    }
    for wanted in order {
        for (series, time, value) in samples.iter().filter(|s| s.0 == wanted && s.1 <= newest_allowed) {
            let known = out.samples.entry(*series).or_default();
            let first = !known.contains_key(time);
            known.entry(*time).or_insert(value.to_bits());
            // What comes late counts as well: it is repaired. It does not move time.
            if *time < frontier {
                let sample = (*series, *time, value.to_bits());
                if first {
                    out.late.push(sample);
                } else {
                    out.late_again.insert(sample);
                }
            } else if out.newest.get(series).is_none_or(|newest| time > newest) {
                out.newest.insert(*series, *time);
                moved = moved.max(Some(*time));
            }
        }
    }
    moved
}

impl Accepted {
    /// The panes these samples make, by (series, start).
    pub(super) fn panes(&self, stream: &Stream) -> BTreeMap<(usize, i64), Pane> {
        let label = |series: usize, name: &str| stream.series[series].iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let all: Vec<Series> = self
            .samples
            .iter()
            .filter(|(_, samples)| !samples.is_empty())
            .map(|(series, samples)| Series {
                name: series.to_string(),
                target: label(*series, "job").zip(label(*series, "instance")),
                samples: samples.iter().map(|(time, bits)| (*time, f64::from_bits(*bits))).collect(),
            })
            .collect();
        counter::panes(&all).into_iter().filter_map(|((name, start), pane)| Some(((name.parse().ok()?, start), pane))).collect()
    }
}
