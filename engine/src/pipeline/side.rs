//! What a pipeline has of a stream that several of them share: all of it; the samples of one partition; or the views over all partitions.

use super::Pipeline;
use super::emit::Emitter;
use super::inbox::Inbox;
use crate::checkpoint::Epoch;
use crate::parts::{Order, Parts, touch};
use crate::query::Compiler;
use crate::status::PartitionStatus;
use crate::time::{EventTime, WallTime};
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
pub(crate) enum Side {
    /// Samples, events and views.
    Whole,
    /// Samples; states for the views of another pipeline.
    Partition(Box<Emitter>),
    /// Events and views; panes lie in partitions.
    Views(Box<Inbox>),
}

impl Pipeline {
    /// From now on it is one partition of several.
    pub(crate) fn become_partition(&mut self, partition: u32, run: u64) {
        self.side = Side::Partition(Box::new(Emitter::new(partition, run)));
    }

    /// From now on its panes lie in partitions.
    pub(crate) fn become_views(&mut self) {
        self.side = Side::Views(Box::default());
        self.views.read_parts();
    }

    /// The frontier to which panes may become final, if they may at all.
    pub(super) fn frontier_wanted(&self) -> Option<EventTime> {
        let own = || self.watermark.current().map(|watermark| self.panes.frontier_at(watermark));
        match &self.side {
            Side::Whole => own(),
            // What lies in the log is not late for having waited there.
            Side::Partition(emitter) if self.replays => emitter.frontier().min(own()),
            Side::Partition(emitter) => emitter.frontier(),
            Side::Views(inbox) => inbox.frontier(),
        }
    }

    /// A partition takes what the owner of the views wants.
    pub(crate) fn take_order(&mut self, order: &Arc<Order>, compiler: &dyn Compiler, now: WallTime) {
        match &self.side {
            Side::Partition(emitter) if !emitter.is_over(order) => {}
            _ => return,
        }
        // What is final by now is history of a view that is new.
        self.feed_views(now);
        let frontier = self.panes.frontier();
        let Side::Partition(emitter) = &mut self.side else { return };
        let known = emitter.targets_told();
        if emitter.take_order(order, compiler, frontier) {
            self.panes.touch_all();
        }
        if !Arc::ptr_eq(&known, &order.targets) {
            for ((job, instance), target) in order.targets.iter() {
                if let (index, Some(before)) = self.registry.observe_elsewhere(job, instance, *target) {
                    self.births_moved(index, before);
                }
            }
        }
    }

    /// The owner of the views takes what the partitions say, and gives what they are to be told.
    pub(crate) fn take_reports(&mut self, reports: BTreeMap<u32, Option<Arc<Parts>>>, epoch: Epoch) -> Option<Arc<Order>> {
        let (frontier, idle_ms) = (self.panes.frontier(), self.config.idle_ms);
        let Side::Views(inbox) = &mut self.side else { return None };
        inbox.take(reports, &mut self.views, frontier);
        let newest_received = inbox.newest_received();
        self.watermark.advance(inbox.watermark(idle_ms), newest_received);
        self.newest_received = self.newest_received.max(newest_received);
        self.as_of = self.as_of.max(inbox.as_of());
        self.settle();
        let frontier = self.panes.frontier();
        let Side::Views(inbox) = &mut self.side else { return None };
        let due = inbox.due(frontier);
        let order = inbox.order(&self.views, idle_ms, epoch);
        touch(&mut self.background.touched, &due);
        Some(order)
    }

    /// How far each partition is, where there are several.
    pub(super) fn partitions_status(&self) -> BTreeMap<u32, PartitionStatus> {
        match &self.side {
            Side::Views(inbox) => inbox.status(),
            Side::Whole | Side::Partition(_) => BTreeMap::new(),
        }
    }

    /// What a partition says.
    pub(super) fn parts(&mut self) -> Option<Arc<Parts>> {
        let (watermark, frontier, as_of, newest_received) = (self.watermark.current(), self.panes.frontier(), self.as_of, self.newest_received);
        let (wanted, caught_up) = (watermark.map(|watermark| self.panes.frontier_at(watermark)), self.caught_up);
        let Side::Partition(emitter) = &mut self.side else { return None };
        Some(Arc::new(Parts { watermark, frontier, wanted, caught_up, as_of, newest_received, ..emitter.report(&self.registry) }))
    }

    /// True where a cut would tell other pipelines more than the newest one did.
    pub(super) fn says_more(&self) -> bool {
        match &self.side {
            Side::Views(inbox) => inbox.has_news(self.panes.frontier()),
            Side::Whole | Side::Partition(_) => false,
        }
    }
}
