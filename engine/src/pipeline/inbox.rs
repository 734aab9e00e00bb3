//! The owner's side of the views over several partitions: how far all of them together are, and which of their final panes were written again.

use crate::checkpoint::Epoch;
use crate::error::{Error, ErrorKind, Result};
use crate::parts::{Noticed, Order, Parts, Targets, Touched, Words, touch, touched, words};
use crate::schema::TableName;
use crate::status::PartitionStatus;
use crate::time::{EventTime, PANE_MS, WallTime};
use crate::views::Views;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
#[derive(Default)]
pub(crate) struct Inbox {
    reports: BTreeMap<u32, Option<Arc<Parts>>>,
    /// Every partition said something just now.
    all_there: bool,
    /// Run and version of the newest state taken, by partition, table and pane.
    seen: BTreeMap<(u32, TableName, i64), (u64, u64)>,
    /// From which pane on each partition gives states of each view.
    since: BTreeMap<(u32, TableName), Option<i64>>,
    /// Panes that were written again and are not final everywhere yet.
    early: Touched,
    /// Newest notice taken, by partition.
    notices: BTreeMap<u32, Noticed>,
    targets: Arc<Targets>,
    order: Arc<Order>,
    /// Frontier and notices of the cut at work, and of the newest published one.
    cut: (Option<EventTime>, BTreeMap<u32, Noticed>),
    published: (Option<EventTime>, BTreeMap<u32, Noticed>),
}

/// What a checkpoint keeps.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct Kept {
    notices: BTreeMap<u32, Noticed>,
    early: Words,
}

impl Inbox {
    /// Takes what the partitions said last: their states go to the views, of panes that are not final here.
    pub(crate) fn take(&mut self, reports: BTreeMap<u32, Option<Arc<Parts>>>, views: &mut Views, frontier: Option<EventTime>) {
        for (partition, report) in &reports {
            let Some(report) = report else { continue };
            let known = self.reports.get(partition).cloned().flatten();
            if known.is_some_and(|known| Arc::ptr_eq(&known, report)) {
                continue;
            }
            for (table, parts) in &report.views {
                for (pane, part) in &parts.panes {
                    let version = (report.run, part.version);
                    if self.seen.insert((*partition, table.clone(), *pane), version) == Some(version) {
                        continue;
                    }
                    if frontier.is_none_or(|f| *pane >= f.0) {
                        views.take_part(table, *pane, *partition, part.state.clone());
                    } else if let Some(metrics) = views.metrics_of(table) {
                        // It was final here already: the view reads it again from the lake.
                        self.early.entry(*pane).or_default().extend(metrics);
                    }
                }
                views.note_part(table, parts.error.as_deref());
                self.take_since(*partition, table, parts.since, views, frontier);
            }
            let said = |table: &TableName, pane: &i64| report.views.get(table).is_some_and(|parts| parts.panes.contains_key(pane));
            self.seen.retain(|(of, table, pane), _| of != partition || said(table, pane));
            self.take_notices(*partition, report);
            self.take_targets(&report.targets);
        }
        self.all_there = reports.values().all(Option::is_some);
        // One that answers no more, or was moved, is as far as it said last.
        for (partition, report) in reports {
            let slot = self.reports.entry(partition).or_default();
            *slot = report.or_else(|| slot.take());
        }
        for table in views.waiting_for_parts() {
            let said = self.reports.values().map(|r| r.as_ref().and_then(|r| r.views.get(&table)).map(|v| v.since));
            let Some(since) = said.collect::<Option<Vec<Option<i64>>>>() else { continue };
            // What is final here is history too, though partitions that were started anew give it again.
            views.begin_parts(&table, since.into_iter().flatten().chain(frontier.map(|f| f.0)).max());
        }
    }

    /// A partition that was told otherwise meanwhile begins a view anew: what it does not give any more is read from the lake once it is final.
    fn take_since(&mut self, partition: u32, table: &TableName, since: Option<i64>, views: &Views, frontier: Option<EventTime>) {
        let before = self.since.insert((partition, table.clone()), since);
        let (Some(since), Some(from)) = (since, views.stream_from(table)) else { return };
        if before == Some(Some(since)) {
            return;
        }
        let from = frontier.map_or(from, |f| f.0.max(from));
        // Where nothing was ever final there is nothing before the first pane that anybody spoke of.
        let oldest = || self.seen.keys().filter(|(_, of, _)| of == table).map(|(_, _, pane)| *pane).min();
        let from = if from == i64::MIN { oldest().unwrap_or(since) } else { from };
        let metrics = views.metrics_of(table).unwrap_or_default();
        for pane in (from..since).step_by(PANE_MS as usize) {
            self.early.entry(pane).or_default().extend(metrics.iter().cloned());
        }
    }

    fn take_notices(&mut self, partition: u32, report: &Parts) {
        let taken = self.notices.entry(partition).or_default();
        if taken.run != report.run {
            // It gives numbers anew that it gave before it crashed, maybe to other panes.
            *taken = Noticed { run: report.run, number: 0 };
        }
        for (number, touched) in report.notices.range(taken.number + 1..) {
            touch(&mut self.early, touched);
            taken.number = *number;
        }
    }

    fn take_targets(&mut self, targets: &Arc<Targets>) {
        for (name, target) in targets.iter() {
            let mut whole = self.targets.get(name).copied().unwrap_or(*target);
            whole.observe(target.first);
            whole.observe(target.second);
            if self.targets.get(name) != Some(&whole) {
                Arc::make_mut(&mut self.targets).insert(name.clone(), whole);
            }
        }
    }

    /// What those have said that ever said something.
    fn known(&self) -> impl Iterator<Item = &Arc<Parts>> {
        self.reports.values().flatten()
    }

    /// True once every partition has said something, an empty one too.
    fn is_whole(&self) -> bool {
        !self.reports.is_empty() && self.reports.values().all(Option::is_some)
    }

    /// When the newest record of any partition came in.
    pub(crate) fn newest_received(&self) -> WallTime {
        self.known().map(|r| r.newest_received).max().unwrap_or_default()
    }

    /// Newest event time that any of them took.
    pub(crate) fn as_of(&self) -> Option<EventTime> {
        self.known().filter_map(|r| r.as_of).max()
    }

    /// Every partition is final up to here.
    pub(crate) fn frontier(&self) -> Option<EventTime> {
        self.known().map(|r| r.frontier).min().flatten().filter(|_| self.is_whole())
    }

    /// The watermark of all of them; one that got nothing for `idle_ms`, while others did, holds nobody's back.
    pub(crate) fn watermark(&self, idle_ms: i64) -> Option<EventTime> {
        let newest = self.newest_received();
        let active = self.known().filter(|r| newest.0.saturating_sub(r.newest_received.0) <= idle_ms);
        active.filter_map(|r| r.watermark).min().filter(|_| self.is_whole())
    }

    /// Panes written again that are final by now, everywhere.
    pub(crate) fn due(&mut self, frontier: Option<EventTime>) -> Touched {
        let Some(frontier) = frontier else { return Touched::new() };
        let later = self.early.split_off(&frontier.0);
        std::mem::replace(&mut self.early, later)
    }

    /// What each said last.
    pub(crate) fn status(&self) -> BTreeMap<u32, PartitionStatus> {
        let one = |report: &Option<Arc<Parts>>| {
            let said = |r: &Arc<Parts>| PartitionStatus {
                known: true,
                said: (r.run, r.number),
                watermark: r.watermark,
                final_before: r.frontier,
                newest_received: r.newest_received,
            };
            report.as_ref().map(said).unwrap_or_default()
        };
        self.reports.iter().map(|(partition, report)| (*partition, one(report))).collect()
    }

    /// As far as the slowest partition wants to go; one that has gone through its log and got nothing for so long, while others did, goes along.
    fn may_be_final(&self, idle_ms: i64) -> Option<EventTime> {
        let newest = self.newest_received();
        let idle = |r: &Parts| r.caught_up && newest.0.saturating_sub(r.newest_received.0) > idle_ms;
        let slowest = self.known().filter(|r| !idle(r)).map(|r| r.wanted).min().flatten();
        // One that is being moved has what nobody knows.
        slowest.filter(|_| self.all_there)
    }

    /// What the partitions are to be told; the same allocation for as long as it is the same.
    pub(crate) fn order(&mut self, views: &Views, idle_ms: i64, epoch: Epoch) -> Arc<Order> {
        let frontier = self.order.frontier.max(self.frontier()).max(self.may_be_final(idle_ms));
        let order = Order {
            epoch,
            views: views.ordered(),
            frontier,
            taken_until: self.published.0,
            notices_taken: self.published.1.clone(),
            targets: self.targets.clone(),
        };
        if *self.order != order {
            self.order = Arc::new(order);
        }
        self.order.clone()
    }

    /// A cut is made with this frontier.
    pub(crate) fn cut(&mut self, frontier: Option<EventTime>) {
        self.cut = (frontier, self.notices.clone());
    }

    /// It is published.
    pub(crate) fn published(&mut self) {
        self.published = self.cut.clone();
    }

    /// True where a cut would tell the partitions more than the newest one.
    pub(crate) fn has_news(&self, frontier: Option<EventTime>) -> bool {
        frontier > self.published.0 || self.notices != self.published.1
    }

    /// For a checkpoint.
    pub(crate) fn save(&self) -> Result<Bytes> {
        let kept = Kept { notices: self.notices.clone(), early: words(&self.early) };
        let json = serde_json::to_vec(&kept).map_err(|e| Error::caused(ErrorKind::Internal, "state of what partitions said", e))?;
        Ok(json.into())
    }

    /// Puts it back, as of a published checkpoint with this frontier.
    pub(crate) fn load(&mut self, json: &[u8], frontier: Option<EventTime>) -> Result<()> {
        let kept: Kept = serde_json::from_slice(json).map_err(|e| Error::caused(ErrorKind::Corrupt, "the state of what partitions said", e))?;
        (self.early, self.notices) = (touched(kept.early), kept.notices);
        self.published = (frontier, self.notices.clone());
        Ok(())
    }
}
