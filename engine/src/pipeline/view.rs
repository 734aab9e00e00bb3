//! What readers see of the stream: rows in memory, behind the ports that queries read.

use super::Pipeline;
use crate::cell::Cell;
use crate::error::Result;
use crate::live::{LiveFilter, LiveRows, ReadView, ViewInfo};
use crate::panes::Panes;
use crate::raw::{LiveSamples, metric_names};
use crate::registry::{Directory, MetricInfo, Registry, SeriesInfo};
use crate::rows::{self, PaneRow};
use crate::schema::{self, TableName};
use crate::status::{LogStatus, Status};
use crate::time::{EventTime, WallTime};
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// A pane that is not final, as readers see it.
pub(super) struct OpenPane {
    closed: Arc<Vec<(u32, Cell)>>,
    current: Vec<(u32, Cell)>,
    born: HashSet<u32>,
}

impl OpenPane {
    /// `None` where the pane holds nothing.
    pub(super) fn of(start: i64, panes: &Panes, registry: &Registry) -> Option<Self> {
        let (closed, current) = panes.cells(start);
        if closed.is_empty() && current.is_empty() {
            return None;
        }
        let born = closed.iter().chain(&current).filter(|(s, c)| panes.is_born(*s, c, registry)).map(|(s, _)| *s).collect();
        Some(Self { closed, current, born })
    }

    fn rows(&self) -> impl Iterator<Item = PaneRow> {
        self.closed.iter().chain(&self.current).map(|(series, cell)| PaneRow {
            series: *series,
            cell: *cell,
            born: self.born.contains(series),
            revision: 0,
        })
    }
}

/// Pane rows in memory: final ones not yet published, then those of open panes.
struct LivePanes {
    finals: Vec<Arc<Vec<PaneRow>>>,
    open: Vec<Arc<OpenPane>>,
    directory: Directory,
    metrics: Arc<Vec<MetricInfo>>,
}

impl LiveRows for LivePanes {
    fn scan(&self, filter: &LiveFilter) -> Result<Vec<RecordBatch>> {
        let metric = match &filter.metric {
            Some(name) => match self.metrics.iter().position(|m| m.name.as_ref() == name) {
                Some(index) => Some(index as u32),
                None => return Ok(vec![]),
            },
            None => None,
        };
        let wanted = |row: &PaneRow| {
            let info = self.directory.get(row.series as usize).and_then(Option::as_ref);
            info.is_some_and(|i| metric.is_none_or(|m| i.metric == m))
                && filter.micros.as_ref().is_none_or(|r| r.contains(&row.cell.start.saturating_mul(1000)))
        };
        let finals = self.finals.iter().flat_map(|rows| rows.iter().copied());
        let rows: Vec<PaneRow> = finals.chain(self.open.iter().flat_map(|p| p.rows())).filter(wanted).collect();
        let batches = rows.chunks(crate::raw::BATCH_ROWS).map(|rows| rows::rollup(rows, &self.directory, &self.metrics));
        batches.collect()
    }
}

/// Descriptions of series that no table has yet.
struct LiveSeries {
    rows: Vec<(Arc<SeriesInfo>, i64)>,
    in_flight: Vec<RecordBatch>,
    metrics: Arc<Vec<MetricInfo>>,
}

impl LiveRows for LiveSeries {
    fn scan(&self, _filter: &LiveFilter) -> Result<Vec<RecordBatch>> {
        let fresh = Some(rows::series(&self.rows, &self.metrics)?).filter(|b| b.num_rows() > 0);
        Ok(self.in_flight.iter().cloned().chain(fresh).collect())
    }
}

impl Pipeline {
    /// Series whose description no cut has taken yet, with when they were seen last.
    pub(super) fn news_rows(&self) -> Vec<(Arc<SeriesInfo>, i64)> {
        let seen = |series: &u32| self.panes.hot().get(*series as usize).map_or(0, |h| h.seen_time);
        let row = |series: &u32| self.registry.info(*series).map(|info| (info.clone(), seen(series).max(info.first_seen)));
        self.news.iter().filter_map(row).collect()
    }

    /// Puts what is in memory into a read view; its files stay as they are.
    pub(crate) fn show(&mut self, view: &mut ReadView) {
        let directory = self.registry.directory();
        let metrics = self.metrics_now();
        let mut live: BTreeMap<TableName, Arc<dyn LiveRows>> = BTreeMap::new();
        let mut batches: BTreeMap<TableName, Vec<RecordBatch>> = self.in_flight.as_ref().map(|f| f.tables.clone()).unwrap_or_default();
        let in_flight = batches.remove(&TableName::new(schema::SERIES)).unwrap_or_default();
        for (table, sealed) in self.outbox.sealed() {
            batches.entry(table.clone()).or_default().extend(sealed.iter().cloned());
        }
        for (table, rows) in self.views.live_rows() {
            batches.entry(table).or_default().extend(rows);
        }
        live.extend(batches.into_iter().map(|(table, rows)| (table, Arc::new(rows) as Arc<dyn LiveRows>)));
        let chunks = self.raw_chunks().cloned().collect();
        let samples = LiveSamples { chunks, directory: directory.clone(), names: metric_names(&metrics) };
        let finals = self.in_flight.iter().flat_map(|f| &f.rollup).chain(&self.rollup).cloned().collect();
        let panes = LivePanes { finals, open: self.open_panes.values().cloned().collect(), directory, metrics: metrics.clone() };
        live.insert(TableName::new(schema::SAMPLES), Arc::new(samples));
        live.insert(TableName::new(schema::ROLLUP_1M), Arc::new(panes));
        live.insert(TableName::new(schema::SERIES), Arc::new(LiveSeries { rows: self.news_rows(), in_flight, metrics }));
        view.live = live;
        view.forgotten = self.forgotten.clone();
        view.parts = self.parts();
        self.show_names(view);
    }

    fn show_names(&self, view: &mut ReadView) {
        let info = |(spec, schema): (&crate::query::ViewSpec, &arrow::datatypes::SchemaRef)| {
            let (key, sql, generation) = (spec.key.clone(), spec.sql.clone(), spec.generation);
            (spec.name.clone(), ViewInfo { schema: schema.clone(), key, sql, generation, table: spec.table() })
        };
        view.views = self.views.specs().map(info).collect();
        let known = (view.metrics.len(), view.metrics.values().map(|labels| labels.len()).sum());
        if known != self.registry.names_count() {
            let names = |m: &MetricInfo| m.label_names.iter().cloned().collect::<Vec<_>>().into();
            view.metrics = Arc::new(self.registry.metrics().iter().map(|m| (m.name.to_string(), names(m))).collect());
        }
    }

    /// A report of how fresh everything is.
    pub(crate) fn status(
        &self,
        now: WallTime,
        recovered: bool,
        epoch: u64,
        checkpointed: &BTreeMap<crate::log::LogName, crate::log::Position>,
    ) -> Status {
        let mut sources = self.sources.clone();
        for (name, clock) in self.watermark.sources() {
            let source = sources.entry(name.clone()).or_default();
            source.active = self.watermark.is_active(clock);
            source.event_time_max = source.event_time_max.max(Some(clock.event_time_max));
        }
        let log = |name: &crate::log::LogName| {
            let checkpointed = checkpointed.get(name).copied().unwrap_or_default();
            (name.to_string(), LogStatus { next: self.shown.get(name).copied().unwrap_or(checkpointed), checkpointed, read_until: None })
        };
        Status {
            recovered,
            watermark: self.watermark.current(),
            final_before: self.panes.frontier(),
            as_of: self.instants(now).as_of,
            sources,
            logs: self.next.keys().map(log).collect(),
            views: self.views.status(self.instants(now)),
            series_count: self.registry.len(),
            buffered_rows: self.buffered_rows(),
            epoch,
            partitions: self.partitions_status(),
            repair: self.repair_status(),
            backfills: self.backfill_status(),
            // The supervisor knows.
            store: crate::status::StoreStatus::default(),
            missing: vec![],
        }
    }

    /// The watermark, for gauges.
    pub(crate) fn watermark_time(&self) -> Option<EventTime> {
        self.watermark.current()
    }
}
