//! Pane rows as columns of the relation `panes`, built once per metric and pane however many views read them.

use crate::error::{Error, Result};
use crate::panes::Panes;
use crate::registry::{MetricInfo, Registry};
use crate::rows::{PaneRow, label_maps, pane_values, shown_labels, words};
use crate::schema;
use crate::views::FinalPanes;
use arrow::array::{Array, ArrayRef, DictionaryArray, Int32Array, Int64Array, StringArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Batches per pane start.
pub(crate) type RowsByPane = BTreeMap<i64, Vec<RecordBatch>>;

/// See the module.
#[derive(Default)]
pub(crate) struct PaneInput {
    described: HashMap<u32, Described>,
    finals: HashMap<(i64, u32), RecordBatch>,
    grouped: BTreeMap<i64, BTreeMap<u32, Vec<PaneRow>>>,
    tick: HashMap<(i64, u32), Option<RecordBatch>>,
}

/// The columns of a metric's series that do not change from pane to pane.
struct Described {
    series: Arc<Vec<u32>>,
    place: HashMap<u32, u32>,
    id: ArrayRef,
    service: ArrayRef,
    labels: ArrayRef,
}

impl PaneInput {
    /// Starts a round of final panes.
    pub(crate) fn begin_final(&mut self, panes: &FinalPanes, registry: &Registry) {
        self.finals.clear();
        self.grouped.clear();
        for (start, rows) in panes {
            let by_metric = self.grouped.entry(*start).or_default();
            for row in rows.iter() {
                if let Some(info) = registry.info(row.series) {
                    by_metric.entry(info.metric).or_default().push(*row);
                }
            }
        }
    }

    /// Rows of the final panes of this round.
    pub(crate) fn final_rows(&mut self, metrics: Option<&BTreeSet<String>>, registry: &Registry) -> Result<RowsByPane> {
        let mut out = RowsByPane::new();
        let panes: Vec<i64> = self.grouped.keys().copied().collect();
        for pane in panes {
            for metric in wanted(metrics, registry) {
                let Some(rows) = self.grouped.get(&pane).and_then(|p| p.get(&metric)) else { continue };
                let batch = match self.finals.get(&(pane, metric)) {
                    Some(batch) => batch.clone(),
                    None => {
                        let rows = rows.clone();
                        let batch = self.batch(metric, &rows, registry)?;
                        self.finals.insert((pane, metric), batch.clone());
                        batch
                    }
                };
                out.entry(pane).or_default().push(batch);
            }
        }
        Ok(out)
    }

    /// Starts a tick: what was built for the last one is stale.
    pub(crate) fn begin_tick(&mut self) {
        self.tick.clear();
    }

    /// Rows of panes that are not final.
    pub(crate) fn open_rows(
        &mut self,
        dirty: &BTreeSet<i64>,
        metrics: Option<&BTreeSet<String>>,
        panes: &mut Panes,
        registry: &Registry,
    ) -> Result<RowsByPane> {
        let mut out = RowsByPane::new();
        for pane in dirty {
            for metric in wanted(metrics, registry) {
                let batch = match self.tick.get(&(*pane, metric)) {
                    Some(batch) => batch.clone(),
                    None => {
                        let batch = self.open_batch(*pane, metric, panes, registry)?;
                        self.tick.insert((*pane, metric), batch.clone());
                        batch
                    }
                };
                if let Some(batch) = batch {
                    out.entry(*pane).or_default().push(batch);
                }
            }
        }
        Ok(out)
    }

    fn open_batch(&mut self, pane: i64, metric: u32, panes: &mut Panes, registry: &Registry) -> Result<Option<RecordBatch>> {
        let Some(info) = registry.metrics().get(metric as usize) else { return Ok(None) };
        let mut rows = Vec::with_capacity(info.series.len());
        for series in info.series.iter() {
            if let Some(cell) = panes.cell(*series, pane) {
                rows.push(PaneRow { series: *series, cell, born: panes.is_born(*series, &cell, registry), revision: 0 });
            }
        }
        if rows.is_empty() { Ok(None) } else { self.batch(metric, &rows, registry).map(Some) }
    }

    /// Columns of [`schema::panes`].
    fn batch(&mut self, metric: u32, rows: &[PaneRow], registry: &Registry) -> Result<RecordBatch> {
        let info = registry.metrics().get(metric as usize).ok_or_else(|| Error::internal("a pane row's metric is not registered"))?;
        let described = match self.described.get(&metric) {
            Some(known) if Arc::ptr_eq(&known.series, &info.series) => known,
            _ => {
                let fresh = Described::of(info, registry)?;
                self.described.insert(metric, fresh);
                self.described.get(&metric).ok_or_else(|| Error::internal("unreachable: just inserted"))?
            }
        };
        let places: Option<Vec<u32>> = rows.iter().map(|r| described.place.get(&r.series).copied()).collect();
        let places = places.ok_or_else(|| Error::internal("a pane row's series is not among its metric's"))?;
        let whole = places.len() == described.series.len() && places.iter().enumerate().all(|(i, p)| i as u32 == *p);
        let places = UInt32Array::from(places);
        let pick = |column: &ArrayRef| if whole { Ok(column.clone()) } else { take(column, &places, None) };
        let name: ArrayRef = Arc::new(StringArray::from_iter_values([info.name.as_ref()]));
        let name = DictionaryArray::<Int32Type>::try_new(Int32Array::from(vec![0; rows.len()]), name)?;
        let mut columns: Vec<ArrayRef> = vec![Arc::new(name), pick(&described.id)?];
        columns.extend(pane_values(rows));
        columns.extend([pick(&described.service)?, pick(&described.labels)?]);
        Ok(RecordBatch::try_new(schema::panes(), columns)?)
    }
}

impl Described {
    fn of(metric: &MetricInfo, registry: &Registry) -> Result<Self> {
        let infos: Option<Vec<_>> = metric.series.iter().map(|s| registry.info(*s)).collect();
        let infos = infos.ok_or_else(|| Error::internal("a metric lists a series that is not registered"))?;
        Ok(Self {
            series: metric.series.clone(),
            place: metric.series.iter().enumerate().map(|(i, s)| (*s, i as u32)).collect(),
            id: Arc::new(Int64Array::from_iter_values(infos.iter().map(|i| i.id.0))),
            service: words(infos.iter().map(|i| i.service.as_deref())),
            labels: Arc::new(label_maps(infos.iter().map(|i| shown_labels(i)))?) as Arc<dyn Array>,
        })
    }
}

fn wanted(metrics: Option<&BTreeSet<String>>, registry: &Registry) -> Vec<u32> {
    match metrics {
        Some(names) => names.iter().filter_map(|name| registry.metric_named(name)).collect(),
        None => (0..registry.metrics().len() as u32).collect(),
    }
}
