//! Makes a failing case small: fewer views, a plainer schedule, fewer bodies and series, while it still fails; then tells it.

use super::engine::Ground;
use super::schedule::Schedule;
use super::stream::{Body, Stream};
use super::{Case, Difference, Failure, Plain, copied};
use afferent_engine::query::{Program, View, WindowSource};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Runs that shrinking may take.
const TRIES_MAX: usize = 150;

/// Runs of one attempt: what depends on timing does not fail each time.
const RUNS_PER_TRY: usize = 2;

/// Bodies that are told one by one.
const TOLD_MAX: usize = 15;

struct Shrinking<'s> {
    ground: &'s Arc<Ground>,
    views: Vec<View>,
    stream: Stream,
    schedule: Schedule,
    differences: Vec<Difference>,
    what: String,
    tries: usize,
}

/// The views whose rows a view reads.
pub(super) fn inputs(view: &View) -> Vec<String> {
    match &view.program {
        Program::Fold(f) => vec![f.input.to_string()],
        Program::Snapshot(s) => s.inputs.iter().map(ToString::to_string).collect(),
        Program::Window(w) => match &w.source {
            WindowSource::View(name) => vec![name.to_string()],
            WindowSource::Panes { .. } => vec![],
        },
        Program::Keyed(_) => vec![],
    }
}

impl Shrinking<'_> {
    /// Takes the smaller case if it fails too.
    async fn take(&mut self, views: &[View], stream: Stream, schedule: Schedule) -> bool {
        self.tries += 1;
        if self.tries > TRIES_MAX {
            return false;
        }
        for _ in 0..RUNS_PER_TRY {
            let case = Case { ground: self.ground, views, stream: &stream, schedule: &schedule, mutant: None, plain: &Plain::default() };
            let differences = case.differences().await;
            // Another difference is another case.
            if differences.iter().any(|d| d.what == self.what) {
                let views = views.iter().map(copied).collect();
                (self.views, self.stream, self.schedule, self.differences) = (views, stream, schedule, differences);
                return true;
            }
        }
        false
    }

    /// Only the view that differs, with those it reads; none where a table differs.
    async fn fewer_views(&mut self) {
        let mut wanted = BTreeSet::from([self.what.clone()]);
        for view in self.views.iter().rev() {
            if wanted.contains(view.spec.name.as_str()) {
                wanted.extend(inputs(view));
            }
        }
        let kept: Vec<View> = self.views.iter().filter(|v| wanted.contains(v.spec.name.as_str())).map(copied).collect();
        self.take(&kept, self.stream.clone(), self.schedule.clone()).await;
    }

    async fn plainer_schedule(&mut self) {
        let plain = Schedule { shuffle_ms: self.schedule.shuffle_ms, ..Schedule::straight(self.schedule.seed) };
        let views: Vec<View> = self.views.iter().map(copied).collect();
        if self.take(&views, self.stream.clone(), plain).await {
            return;
        }
        while !self.schedule.parts.is_empty() {
            let before = self.schedule.parts.len();
            for i in (0..before).rev() {
                let mut fewer = self.schedule.clone();
                fewer.parts.remove(i);
                if self.take(&views, self.stream.clone(), fewer).await {
                    break;
                }
            }
            if self.schedule.parts.len() == before {
                return;
            }
        }
    }

    /// Leaves out runs of bodies, first long ones, then short ones.
    async fn fewer_bodies(&mut self) {
        let views: Vec<View> = self.views.iter().map(copied).collect();
        let mut size = self.stream.sent.len() / 2;
        while size > 0 && self.tries < TRIES_MAX {
            let mut from = 0;
            while from < self.stream.sent.len() {
                let mut fewer = self.stream.clone();
                fewer.sent.drain(from..(from + size).min(fewer.sent.len()));
                let mut schedule = self.schedule.clone();
                for (at, _) in &mut schedule.parts {
                    *at = if *at > from { at.saturating_sub(size).max(from) } else { *at };
                }
                if !self.take(&views, fewer, schedule).await {
                    from += size;
                }
            }
            size /= 2;
        }
    }

    async fn fewer_series(&mut self) {
        let views: Vec<View> = self.views.iter().map(copied).collect();
        for series in 0..self.stream.series.len() {
            let mut fewer = self.stream.clone();
            let before: usize = fewer.sent.len();
            for sent in &mut fewer.sent {
                if let Body::Samples { samples, .. } = &mut sent.body {
                    samples.retain(|(s, ..)| *s != series);
                }
            }
            fewer.sent.retain(|sent| !matches!(&sent.body, Body::Samples { samples, .. } if samples.is_empty()));
            if fewer.sent.len() < before || fewer.sent != self.stream.sent {
                self.take(&views, fewer, self.schedule.clone()).await;
            }
        }
    }
}

/// The smallest failing case that was found, in words.
pub(super) async fn told(ground: &Arc<Ground>, failure: Failure) -> String {
    let Failure { set, views, stream, schedule, differences } = failure;
    let size = stream.sent.len();
    // The first difference is the nearest to the input: tables come before views, and views before those that read them.
    let what = differences.first().map(|d| d.what.clone()).unwrap_or_default();
    let mut shrinking = Shrinking { ground, what, views, stream, schedule, differences, tries: 0 };
    shrinking.fewer_views().await;
    shrinking.plainer_schedule().await;
    shrinking.fewer_bodies().await;
    shrinking.fewer_series().await;
    let mut out = format!("set {set}, {}: {:?}\n", shrinking.schedule.name, shrinking.schedule);
    out.push_str(&format!("{} bodies were shrunk to {}, {:?}\n", size, shrinking.stream.sent.len(), shrinking.stream.config));
    for view in &shrinking.views {
        out.push_str(&format!("  {}\n", view.spec.sql));
    }
    for (i, labels) in shrinking.stream.series.iter().enumerate() {
        let used = |s: &super::stream::Sent| matches!(&s.body, Body::Samples { samples, .. } if samples.iter().any(|(series, ..)| *series == i));
        if shrinking.stream.sent.iter().any(used) {
            out.push_str(&format!("  series {i} ({}): {labels:?}\n", shrinking.stream.id(i)));
        }
    }
    for sent in shrinking.stream.sent.iter().take(TOLD_MAX) {
        out.push_str(&format!("  {sent:?}\n"));
    }
    for difference in &shrinking.differences {
        out.push_str(&format!("{}: {}\n", difference.what, difference.how));
    }
    out
}
