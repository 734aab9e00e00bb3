//! The cut: everything one epoch consists of, taken out of the stream at one point between two records.

use super::{Pipeline, Side};
use crate::error::{Error, Result};
use crate::log::{LogName, Position};
use crate::raw::{RawChunk, SortedSamples};
use crate::rows::{self, PaneRow};
use crate::schema::{self, TableDef, TableName};
use crate::state::StatePart;
use crate::table::Rows;
use crate::time::{EventTime, WallTime};
use crate::views::tables_of;
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What an epoch writes.
pub struct Cut {
    /// Per log: where a replay on top of this cut starts.
    pub positions: BTreeMap<LogName, Position>,
    /// Rows per table, each in its table's order; made anew for each try.
    pub tables: Vec<(TableDef, MakeRows)>,
    /// State to be loaded before the replay.
    pub states: Vec<StatePart>,
}

/// Gives the rows of a table; writing may have to be tried again.
pub type MakeRows = Box<dyn Fn() -> Rows + Send + Sync>;

fn again(batches: Vec<RecordBatch>) -> MakeRows {
    Box::new(move || Box::new(batches.clone().into_iter()))
}

/// What readers still see in memory while the cut is written.
pub(crate) struct InFlight {
    pub(crate) chunks: Vec<Arc<RawChunk>>,
    pub(crate) rollup: Vec<Arc<Vec<PaneRow>>>,
    pub(crate) tables: BTreeMap<TableName, Vec<RecordBatch>>,
    idle: Vec<u32>,
    forgotten: BTreeSet<TableName>,
}

impl InFlight {
    /// Earliest window start of a view's rows, milliseconds.
    pub(crate) fn earliest(&self, table: &TableName) -> Option<i64> {
        self.tables.get(table)?.iter().filter_map(|rows| crate::recompute::window_starts(rows).first().copied()).min()
    }

    pub(crate) fn raw_rows(&self) -> usize {
        self.chunks.iter().map(|c| c.series.len()).sum()
    }
}

/// A series' row in `series` is written again when it was seen this much later than its last row says.
const SEEN_AGAIN_MS: i64 = 3_600_000;

/// Pane rows per batch of a cut.
const PANE_BATCH_ROWS: usize = 65_536;

impl Pipeline {
    /// Takes an epoch out. Out-of-order samples were resolved before, and no other cut is in flight.
    ///
    /// # Errors
    /// `Internal`; the epoch is then tried again with the next cut only after a restart, since rows have left the stream.
    pub(crate) fn cut(&mut self, now: WallTime) -> Result<Cut> {
        if !self.slow.is_empty() || self.in_flight.is_some() {
            return Err(Error::internal("a cut needs out-of-order samples resolved and no other cut in flight"));
        }
        self.tick(now);
        self.unsaved = false;
        let directory = self.registry.directory();
        let chunks = self.raw.take();
        let mut tables: Vec<(TableDef, MakeRows)> = vec![];
        let mut shown = BTreeMap::new();
        if !chunks.is_empty() {
            let (chunks, metrics) = (chunks.clone(), self.metrics_now());
            let make = move || -> Rows {
                let (chunks, directory, metrics) = (chunks.clone(), directory.clone(), metrics.clone());
                // Sorting waits until the first row is asked for, on the thread that writes.
                Box::new(std::iter::once_with(move || SortedSamples::new(chunks, directory, &metrics)).flatten())
            };
            tables.push((schema::samples(), Box::new(make)));
        }
        let rollup = std::mem::take(&mut self.rollup);
        if !rollup.is_empty() {
            tables.push((schema::rollup_1m(), again(self.rollup_rows(&rollup)?)));
        }
        let described = self.described_rows()?;
        if described.num_rows() > 0 {
            shown.insert(TableName::new(schema::SERIES), vec![described.clone()]);
            tables.push((schema::series(), again(vec![rows::sorted(&schema::series(), &[described])?])));
        }
        let at = self.instants(now);
        for (table, batches) in self.outbox.take().into_iter().chain(self.views.cut(at)) {
            let sorted = rows::sorted(&table, &batches)?;
            shown.insert(table.name.clone(), batches);
            tables.push((table, again(vec![sorted])));
        }
        self.late.cut();
        let horizon = self.panes.frontier().unwrap_or(EventTime(i64::MIN)).plus_ms(-self.config.series_idle_ms);
        let idle = self.panes.idle_since(horizon.0);
        self.in_flight = Some(InFlight { chunks, rollup, tables: shown, idle, forgotten: tables_of(self.views.gone()) });
        let frontier = self.panes.frontier();
        if let Side::Views(inbox) = &mut self.side {
            inbox.cut(frontier);
        }
        // State is taken last: it says that the rows above are written.
        Ok(Cut { positions: self.next.clone(), tables, states: self.save()? })
    }

    /// The cut is published: what was in flight is in the tables now. Series that stayed idle since the cut leave memory.
    pub(crate) fn published(&mut self) {
        let Some(done) = self.in_flight.take() else { return };
        if let Side::Views(inbox) = &mut self.side {
            inbox.published();
        }
        self.late.retain(&done.chunks);
        if *self.forgotten != done.forgotten {
            self.forgotten = Arc::new(done.forgotten);
        }
        let held = self.late.holds();
        let still_idle = |series: &u32| {
            !held.contains(series) && self.panes.hot().get(*series as usize).is_some_and(|h| h.cell.count == 0 && h.seen_time < self.horizon())
        };
        let gone: Vec<u32> = done.idle.iter().copied().filter(still_idle).collect();
        self.panes.evict(&gone);
        self.registry.evict(&gone);
        for series in &gone {
            self.histograms_seen.remove(series);
            self.described_at.remove(series);
            self.news.remove(series);
        }
    }

    fn horizon(&self) -> i64 {
        self.panes.frontier().map_or(i64::MIN, |f| f.plus_ms(-self.config.series_idle_ms).0)
    }

    /// Pane rows in the table's order, batch by batch.
    fn rollup_rows(&mut self, pane_rows: &[Arc<Vec<PaneRow>>]) -> Result<Vec<RecordBatch>> {
        let (directory, metrics) = (self.registry.directory(), self.metrics_now());
        let key = |row: &PaneRow| {
            let info = directory.get(row.series as usize).and_then(Option::as_ref);
            info.map(|i| (metrics.get(i.metric as usize).map(|m| m.name.clone()), i.id.0, row.cell.start))
        };
        let mut order: Vec<PaneRow> = pane_rows.iter().flat_map(|rows| rows.iter().copied()).collect();
        order.sort_by_cached_key(key);
        order.chunks(PANE_BATCH_ROWS).map(|rows| rows::rollup(rows, &directory, &metrics)).collect()
    }

    /// Rows of `series` for what is new and for what was seen again long after its last row.
    fn described_rows(&mut self) -> Result<RecordBatch> {
        let hot = self.panes.hot();
        for (series, told) in &self.described_at {
            if hot.get(*series as usize).is_some_and(|h| h.seen_time.saturating_sub(*told) >= SEEN_AGAIN_MS) {
                self.news.insert(*series);
            }
        }
        let rows = self.news_rows();
        for series in std::mem::take(&mut self.news) {
            let seen = self.panes.hot().get(series as usize).map_or(0, |h| h.seen_time);
            self.described_at.insert(series, seen);
        }
        rows::series(&rows, self.registry.metrics())
    }
}
