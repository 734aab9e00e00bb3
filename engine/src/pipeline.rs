//! The stream semantics of one partition as one state machine: records in log order go in, rows and state come out. No I/O and no clock:
//! what it does depends on the records alone, so a replay does it again.

mod background;
mod cut;
mod emit;
mod inbox;
mod late;
mod outbox;
mod samples;
mod side;
mod slow;
mod view;

use crate::cell::Cell;
use crate::config::EngineConfig;
use crate::control::{Define, Defined};
use crate::error::Result;
use crate::event::{Event, EventKind};
use crate::log::{Decoded, DecodedBody, LogName, Position, Record, Reject, Topic};
use crate::metrics::Metric;
use crate::panes::Panes;
use crate::query::{Compiler, Inventory, View};
use crate::raw::{RawBuffer, RawChunk};
use crate::recompute::DAY_MS;
use crate::registry::{MetricInfo, Registry};
use crate::retries::{SeenBodies, SeenEvents};
use crate::rows::{DeadRow, EventRow, Origin, PaneRow};
use crate::schema::{self, TableName};
use crate::status::SourceStatus;
use crate::time::{EventTime, LOOKBACK_MS, WallTime};
use crate::views::{FinalPanes, Instants, Views};
use crate::watermark::Watermark;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub(crate) use background::{Backfill, Background, Changed, Purpose, Stored, earliest_pane};
pub(crate) use cut::InFlight;
pub use cut::{Cut, MakeRows};
#[cfg(test)]
pub(crate) use emit::PANES_KEPT_MAX;
pub use late::LATE_WAITING_MAX;
pub(crate) use late::Late;
use outbox::Outbox;
pub(crate) use side::Side;
pub(crate) use slow::{SlowRequest, SlowSample};

/// See the module.
pub struct Pipeline {
    pub(crate) config: EngineConfig,
    pub(crate) inventory: Arc<dyn Inventory>,
    pub(crate) registry: Registry,
    pub(crate) panes: Panes,
    pub(crate) watermark: Watermark,
    pub(crate) bodies: SeenBodies,
    pub(crate) events: SeenEvents,
    pub(crate) views: Views,
    /// The next record of each log.
    pub(crate) next: BTreeMap<LogName, Position>,
    /// The same as of the last tick: what readers see has every record before it.
    shown: BTreeMap<LogName, Position>,
    /// Order of the next event.
    pub(crate) sequence: i64,
    /// Newest event time taken, capped by the future guard of its record.
    pub(crate) as_of: Option<EventTime>,
    /// When the newest record of any log came in.
    pub(crate) newest_received: WallTime,
    /// Per series: time and hash of the newest native histogram.
    pub(crate) histograms_seen: HashMap<u32, (i64, u64)>,
    /// Per series: newest time its row in `series` tells.
    pub(crate) described_at: HashMap<u32, i64>,
    pub(crate) sources: BTreeMap<Arc<str>, SourceStatus>,
    raw: RawBuffer,
    slow: Vec<SlowSample>,
    pub(crate) late: Late,
    pub(crate) background: Background,
    /// Final panes not yet given to the views.
    finals: FinalPanes,
    /// Panes before this were final when the views were fed last.
    fed: Option<EventTime>,
    /// Final pane rows since the last cut.
    rollup: Vec<Arc<Vec<PaneRow>>>,
    /// Series whose description is new since the last cut.
    news: BTreeSet<u32>,
    outbox: Outbox,
    in_flight: Option<InFlight>,
    /// Records are read from the log that came in before the start.
    pub(crate) replays: bool,
    /// Everything that the log had a moment ago is taken.
    pub(crate) caught_up: bool,
    /// What it has of the whole stream.
    pub(crate) side: Side,
    /// Tables of generations that a published checkpoint has no more.
    pub(crate) forgotten: Arc<BTreeSet<TableName>>,
    /// The past was computed again since the last tick, so readers do not see all of it yet.
    unshown: bool,
    /// The same since the last cut.
    unsaved: bool,
    /// Closed panes as the last checkpoint has them; sharing the cells makes a change visible as another allocation.
    pub(crate) saved_panes: BTreeMap<i64, Arc<Vec<(u32, Cell)>>>,
    /// How many names of metrics and labels the last checkpoint has.
    pub(crate) saved_names: Option<(usize, usize)>,
    open_panes: BTreeMap<i64, Arc<view::OpenPane>>,
    /// The registry's metrics as readers have them, with the registry's generation.
    shown_metrics: (u64, Arc<Vec<MetricInfo>>),
}

/// Out-of-order samples waiting for the raw rows; more are resolved at once.
pub const SLOW_MAX: usize = 100_000;

/// Final pane rows that wait for the views at most.
const FINALS_ROWS_MAX: usize = 200_000;

impl Pipeline {
    /// An empty state machine.
    ///
    /// # Errors
    /// `Invalid` where views do not fit together or the configuration is out of range.
    pub fn new(config: EngineConfig, views: Vec<View>, inventory: Arc<dyn Inventory>) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            registry: Registry::new(inventory.clone(), config.series_max),
            panes: Panes::new(config.lateness_ms),
            watermark: Watermark::new(config.slack_ms, config.idle_ms, config.lateness_ms),
            bodies: SeenBodies::new(config.retry_window_ms),
            events: SeenEvents::default(),
            views: Views::new(views)?,
            next: BTreeMap::new(),
            shown: BTreeMap::new(),
            sequence: 0,
            as_of: None,
            newest_received: WallTime::default(),
            histograms_seen: HashMap::new(),
            described_at: HashMap::new(),
            sources: BTreeMap::new(),
            raw: RawBuffer::default(),
            slow: vec![],
            late: Late::default(),
            background: Background::default(),
            finals: vec![],
            fed: None,
            rollup: vec![],
            news: BTreeSet::new(),
            outbox: Outbox::default(),
            in_flight: None,
            replays: false,
            caught_up: false,
            side: Side::Whole,
            forgotten: Arc::default(),
            unshown: false,
            unsaved: false,
            saved_panes: BTreeMap::new(),
            saved_names: None,
            open_panes: BTreeMap::new(),
            shown_metrics: (0, Arc::default()),
            inventory,
            config,
        })
    }

    /// The next record it wants of a log.
    pub fn next(&self, log: LogName) -> Position {
        self.next.get(&log).copied().unwrap_or_default()
    }

    /// Takes the next record of a log. Afterwards [`Self::settle_request`] and [`Self::settle`] must be asked before the next record.
    pub fn apply(&mut self, log: LogName, position: Position, record: &Record, decoded: Decoded) {
        self.next.insert(log, position.next());
        metrics::counter!(Metric::RecordsIn.name()).increment(1);
        let origin = Origin { source: record.source.clone(), received_at: record.received_at.0, log: log.to_string().into(), position: position.0 };
        let retry = self.bodies.is_retry(&record.source, record.received_at.0, record.body_hash);
        self.newest_received = self.newest_received.max(record.received_at);
        let source = self.sources.entry(record.source.clone()).or_default();
        source.last_received = source.last_received.max(record.received_at);
        if retry {
            self.count_retry(&record.source, &decoded);
            // Only what is sent to the log of metrics tells how far metrics are: a replay reads one log after the other.
            if log.topic == Topic::Metrics {
                self.watermark.observe(&record.source, None, record.received_at);
            }
            return;
        }
        self.reject(&origin, &decoded.rejects);
        match decoded.body {
            DecodedBody::Samples(batch) => {
                let newest = self.take_samples(&origin, batch);
                self.watermark.observe(&record.source, newest.map(EventTime), record.received_at);
                if let Some(newest) = newest {
                    self.move_as_of(EventTime(newest));
                }
            }
            DecodedBody::Events(events) => self.take_events(&origin, events, record.received_at),
        }
    }

    fn move_as_of(&mut self, time: EventTime) {
        self.as_of = self.as_of.max(Some(time));
    }

    fn count_retry(&mut self, source: &Arc<str>, decoded: &Decoded) {
        let (name, n) = match &decoded.body {
            DecodedBody::Samples(batch) => (Metric::SamplesSkipped, batch.times.len() as u64),
            DecodedBody::Events(events) => (Metric::EventsSkipped, events.len() as u64),
        };
        metrics::counter!(name.name(), "reason" => "body_duplicate").increment(n);
        if let Some(status) = self.sources.get_mut(source) {
            status.duplicates += n.max(1);
        }
    }

    fn reject(&mut self, origin: &Origin, rejects: &[Reject]) {
        let mut total = 0;
        for reject in rejects {
            total += u64::from(reject.count);
            self.bury(origin, reject.reason, reject.detail.clone(), reject.count);
        }
        if total > 0
            && let Some(status) = self.sources.get_mut(&origin.source)
        {
            status.rejected += total;
        }
    }

    /// Notes a refused item as a row of `dead_letters`.
    fn bury(&mut self, origin: &Origin, reason: &'static str, detail: String, count: u32) {
        self.outbox.dead.push(DeadRow { reason, detail, count, origin: origin.clone() });
    }

    fn take_events(&mut self, origin: &Origin, events: Vec<Event>, received_at: WallTime) {
        let mut by_kind: BTreeMap<EventKind, Vec<EventRow>> = BTreeMap::new();
        let (mut accepted, mut repeated) = (0u64, 0u64);
        for mut event in events {
            if self.events.is_repeat(&origin.source, event.kind.as_str(), &event.event_id) {
                repeated += 1;
                continue;
            }
            accepted += 1;
            event.service = self.inventory.service_of_event(&event).map(|s| s.as_ref().to_owned()).or(event.service);
            self.move_as_of(EventTime(event.time.0.min(received_at.0)));
            let row = EventRow { sequence: self.sequence, event, origin: origin.clone() };
            self.sequence += 1;
            by_kind.entry(row.event.kind).or_default().push(row);
        }
        for (kind, rows) in by_kind {
            match crate::rows::events(&rows) {
                Ok(batch) => {
                    self.views.push_events(kind, &batch);
                    self.outbox.push(schema::events(), batch);
                }
                Err(error) => tracing::error!(%error, "events could not become rows"),
            }
        }
        metrics::counter!(Metric::EventsAccepted.name()).increment(accepted);
        metrics::counter!(Metric::EventsSkipped.name(), "reason" => "duplicate").increment(repeated);
        if let Some(status) = self.sources.get_mut(&origin.source) {
            status.accepted += accepted;
            status.duplicates += repeated;
            let newest = self.as_of;
            status.event_time_max = status.event_time_max.max(newest);
        }
    }

    /// True where the watermark lets panes become final.
    fn frontier_due(&self) -> Option<EventTime> {
        let due = self.frontier_wanted()?;
        self.panes.frontier().is_none_or(|now| due > now).then_some(due)
    }

    /// What raw rows must be read back before the next record: out-of-order samples that panes about to become final wait for, or too many
    /// of them.
    pub(crate) fn settle_request(&self) -> Option<SlowRequest> {
        if self.slow.is_empty() || (self.frontier_due().is_none() && self.slow.len() < SLOW_MAX) {
            return None;
        }
        self.slow_request()
    }

    /// Makes panes final as far as the watermark lets it; out-of-order samples were resolved before.
    pub(crate) fn settle(&mut self) {
        let Some(frontier) = self.frontier_due().filter(|_| self.slow.is_empty()) else { return };
        for (start, cells) in self.panes.finalize(frontier) {
            let rows: Vec<PaneRow> = cells
                .into_iter()
                .map(|(series, cell)| PaneRow { series, cell, born: self.panes.is_born(series, &cell, &self.registry), revision: 0 })
                .collect();
            metrics::counter!(Metric::PaneRowsOut.name()).increment(rows.len() as u64);
            let rows = Arc::new(rows);
            self.rollup.push(rows.clone());
            self.finals.push((start, rows));
        }
        self.open_panes = self.open_panes.split_off(&frontier.0);
        if self.finals.iter().map(|(_, rows)| rows.len()).sum::<usize>() >= FINALS_ROWS_MAX {
            self.feed_views(self.watermark.newest_received());
        }
    }

    fn instants(&self, now: WallTime) -> Instants {
        Instants { watermark: self.watermark.current(), frontier: self.panes.frontier(), as_of: self.as_of_at(now), now, kept_from: self.kept_from() }
    }

    /// Panes from here on can be computed again: what they need is not past its retention, whichever day the lake takes for today.
    fn kept_from(&self) -> EventTime {
        let (Some(days), Some(as_of)) = (self.config.kept_days, self.as_of) else { return EventTime(i64::MIN) };
        let tomorrow = as_of.0.div_euclid(DAY_MS) + 1;
        EventTime((tomorrow - i64::from(days)) * DAY_MS + LOOKBACK_MS)
    }

    /// What answers are for: the newest event time taken. After live data it goes on with the clock, so that an answer that stands on nothing new
    /// grows old; after history that was played in, it stays.
    fn as_of_at(&self, now: WallTime) -> Option<EventTime> {
        let (newest, received) = (self.as_of?, self.newest_received);
        let live = newest.0 >= received.0.saturating_sub(LOOKBACK_MS);
        Some(if live { newest.plus_ms(now.0.saturating_sub(received.0).max(0)) } else { newest })
    }

    /// Takes the definition of a view. What is final by now is its history: the views that were there have all of it before.
    pub(crate) fn define(&mut self, define: &Define, compiler: &dyn Compiler, now: WallTime) -> Result<Defined> {
        self.feed_views(now);
        self.views.define(define, compiler, self.panes.frontier())
    }

    fn feed_views(&mut self, now: WallTime) {
        let finals = std::mem::take(&mut self.finals);
        let frontier = self.panes.frontier();
        // Minutes without a row complete windows as well.
        if !finals.is_empty() || frontier > self.fed {
            self.fed = frontier;
            if let Side::Partition(emitter) = &mut self.side {
                emitter.finalize(&finals, &self.registry);
            }
            self.views.finalize(&finals, &self.registry, self.instants(now));
        }
    }

    /// Computes what is not final anew and seals what came, so that [`Self::show`] shows it.
    pub(crate) fn tick(&mut self, now: WallTime) {
        self.feed_views(now);
        self.shown.clone_from(&self.next);
        let dirty = self.panes.take_dirty();
        let at = self.instants(now);
        if let Side::Partition(emitter) = &mut self.side {
            emitter.tick(&dirty, &mut self.panes, &self.registry);
        }
        self.views.tick(&dirty, &mut self.panes, &self.registry, at);
        self.unshown = false;
        for start in dirty {
            match view::OpenPane::of(start, &self.panes, &self.registry) {
                Some(pane) => self.open_panes.insert(start, Arc::new(pane)),
                None => self.open_panes.remove(&start),
            };
        }
        self.raw.seal();
        self.outbox.seal();
        self.bodies.forget_idle(self.watermark.newest_received().0);
    }

    /// Samples in memory that no table has, those of the cut at work included.
    pub(crate) fn buffered_rows(&self) -> usize {
        self.raw.len() + self.in_flight.as_ref().map_or(0, InFlight::raw_rows)
    }

    /// Samples since the last cut.
    pub(crate) fn fresh_rows(&self) -> usize {
        self.raw.len()
    }

    /// True where a cut would write something.
    pub(crate) fn has_news(&self) -> bool {
        self.unsaved || self.says_more() || !self.raw.is_empty() || !self.rollup.is_empty() || !self.outbox.is_empty() || !self.news.is_empty()
    }

    /// The registry's metrics, shared with readers and copied only when they changed.
    fn metrics_now(&mut self) -> Arc<Vec<MetricInfo>> {
        if self.shown_metrics.0 != self.registry.generation() {
            self.shown_metrics = (self.registry.generation(), Arc::new(self.registry.metrics().to_vec()));
        }
        self.shown_metrics.1.clone()
    }

    /// Raw rows in memory, oldest first.
    fn raw_chunks(&self) -> impl Iterator<Item = &Arc<RawChunk>> {
        self.in_flight.iter().flat_map(|f| &f.chunks).chain(self.raw.chunks())
    }
}

#[cfg(test)]
mod tests;
