//! A partition's side of the views: partial states of its panes, kept until the owner of the views has them in a checkpoint, and notices of final
//! panes that were written again. What views make of them is not decided here.

use crate::error::{Error, ErrorKind, Result};
use crate::panes::Panes;
use crate::parts::{Order, Ordered, Part, Parts, Targets, Touched, ViewParts, Words, touched, words};
use crate::query::{Compiler, View, WindowProgram};
use crate::registry::Registry;
use crate::schema::TableName;
use crate::state::{decode_batches, encode_batches};
use crate::time::EventTime;
use crate::views::{FinalPanes, PaneInput, RowsByPane};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Final panes whose states wait for the owner, per view: a day. What is older is in the lake, where it is read after a notice.
pub(crate) const PANES_KEPT_MAX: usize = 1440;

/// See the module.
pub(crate) struct Emitter {
    partition: u32,
    run: u64,
    number: u64,
    version: u64,
    input: PaneInput,
    views: BTreeMap<TableName, Emitted>,
    notices: Arc<BTreeMap<u64, Touched>>,
    last_notice: u64,
    /// The newest one of this run. Before there is one nothing becomes final: what was would be missing in every view.
    order: Option<Arc<Order>>,
    targets: (u64, Arc<Targets>),
}

/// One view's states.
struct Emitted {
    ordered: Ordered,
    /// `None` where the statement does not compile here.
    view: Option<View>,
    parts: ViewParts,
}

/// What a checkpoint keeps besides the states.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct Kept {
    last_notice: u64,
    notices: BTreeMap<u64, Words>,
    views: Vec<KeptView>,
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct KeptView {
    ordered: Ordered,
    since: Option<i64>,
    /// Panes with a state, in the order of the states.
    panes: Vec<i64>,
}

impl Emitter {
    /// Nothing ordered; `run` differs from that of every run before.
    pub(crate) fn new(partition: u32, run: u64) -> Self {
        Self {
            partition,
            run,
            number: 0,
            version: 0,
            input: PaneInput::default(),
            views: BTreeMap::new(),
            notices: Arc::default(),
            last_notice: 0,
            order: None,
            targets: (0, Arc::default()),
        }
    }

    /// True of the order that was taken last, and of those of an owner that was superseded.
    pub(crate) fn is_over(&self, order: &Arc<Order>) -> bool {
        self.order.as_ref().is_some_and(|known| Arc::ptr_eq(known, order) || known.epoch > order.epoch)
    }

    /// How far it may go.
    pub(crate) fn frontier(&self) -> Option<EventTime> {
        self.order.as_ref().and_then(|order| order.frontier)
    }

    /// Takes an order; true where a view is new, so that every pane that is not final has to be looked at.
    pub(crate) fn take_order(&mut self, order: &Arc<Order>, compiler: &dyn Compiler, frontier: Option<EventTime>) -> bool {
        self.views.retain(|_, view| order.views.contains(&view.ordered));
        let mut fresh = false;
        for ordered in &order.views {
            if !self.views.contains_key(&ordered.table) {
                let parts = ViewParts { since: frontier.map(|f| f.0), ..ViewParts::default() };
                self.views.insert(ordered.table.clone(), Emitted::new(ordered.clone(), parts, compiler));
                fresh = true;
            }
        }
        if let Some(taken) = order.taken_until {
            for view in self.views.values_mut() {
                view.parts.panes = view.parts.panes.split_off(&taken.0);
            }
        }
        if let Some(taken) = order.notices_taken.get(&self.partition)
            && taken.run == self.run
            && self.notices.first_key_value().is_some_and(|(oldest, _)| *oldest <= taken.number)
        {
            Arc::make_mut(&mut self.notices).retain(|number, _| *number > taken.number);
        }
        self.order = Some(order.clone());
        fresh
    }

    /// Takes panes that became final.
    pub(crate) fn finalize(&mut self, panes: &FinalPanes, registry: &Registry) {
        if panes.is_empty() {
            return;
        }
        self.input.begin_final(panes, registry);
        let mut dropped = Touched::new();
        for view in self.views.values_mut() {
            view.put(&mut self.version, |metrics| self.input.final_rows(metrics, registry));
            let wanted = view.view.as_ref().and_then(View::over_panes).and_then(|(_, metrics)| metrics);
            let surplus = view.parts.panes.len().saturating_sub(PANES_KEPT_MAX);
            for _ in 0..surplus {
                let Some((pane, _)) = view.parts.panes.pop_first() else { break };
                let metrics = registry.metrics().iter().map(|m| m.name.clone());
                dropped.entry(pane).or_default().extend(metrics.filter(|m| wanted.is_none_or(|names| names.contains(m.as_ref()))));
            }
        }
        self.tell(dropped);
    }

    /// Looks again at panes that are not final.
    pub(crate) fn tick(&mut self, dirty: &BTreeSet<i64>, panes: &mut Panes, registry: &Registry) {
        self.input.begin_tick();
        for view in self.views.values_mut() {
            view.put(&mut self.version, |metrics| self.input.open_rows(dirty, metrics, panes, registry));
        }
    }

    /// Final panes were written again.
    pub(crate) fn tell(&mut self, touched: Touched) {
        if !touched.is_empty() {
            self.last_notice += 1;
            Arc::make_mut(&mut self.notices).insert(self.last_notice, touched);
        }
    }

    /// What all partitions together know of targets, where the newest order says something new.
    pub(crate) fn targets_told(&self) -> Arc<Targets> {
        self.order.as_ref().map(|order| order.targets.clone()).unwrap_or_default()
    }

    /// What is told, but for the instants.
    pub(crate) fn report(&mut self, registry: &Registry) -> Parts {
        if self.targets.0 != registry.targets_version() {
            let of = |(name, index): (&(String, String), u32)| Some((name.clone(), *registry.targets().get(index as usize)?));
            self.targets = (registry.targets_version(), Arc::new(registry.target_names().filter_map(of).collect()));
        }
        self.number += 1;
        Parts {
            run: self.run,
            number: self.number,
            views: self.views.iter().map(|(table, view)| (table.clone(), view.parts.clone())).collect(),
            notices: self.notices.clone(),
            targets: self.targets.1.clone(),
            targets_version: self.targets.0,
            ..Parts::default()
        }
    }

    /// The states by name, and what belongs to them as JSON.
    pub(crate) fn save(&self) -> Result<(Bytes, Vec<(String, Bytes)>)> {
        let view = |v: &Emitted| KeptView { ordered: v.ordered.clone(), since: v.parts.since, panes: v.parts.panes.keys().copied().collect() };
        let kept = Kept {
            last_notice: self.last_notice,
            notices: self.notices.iter().map(|(number, touched)| (*number, words(touched))).collect(),
            views: self.views.values().map(view).collect(),
        };
        let json = serde_json::to_vec(&kept).map_err(|e| Error::caused(ErrorKind::Internal, "state of what the owner of the views gets", e))?;
        let mut states = vec![];
        for (table, view) in self.views.iter().filter(|(_, v)| !v.parts.panes.is_empty()) {
            let batches: Vec<RecordBatch> = view.parts.panes.values().map(|p| p.state.clone()).collect();
            states.push((table.to_string(), encode_batches(&batches)?));
        }
        Ok((json.into(), states))
    }

    /// Puts back what [`Self::save`] gave.
    pub(crate) fn load(&mut self, json: &[u8], states: &BTreeMap<String, Bytes>, compiler: &dyn Compiler) -> Result<()> {
        let kept: Kept =
            serde_json::from_slice(json).map_err(|e| Error::caused(ErrorKind::Corrupt, "the state of what the owner of the views gets", e))?;
        self.last_notice = kept.last_notice;
        self.notices = Arc::new(kept.notices.into_iter().map(|(number, panes)| (number, touched(panes))).collect());
        for view in kept.views {
            let table = view.ordered.table.clone();
            let batches = states.get(table.as_str()).map(|bytes| decode_batches(bytes)).transpose()?.unwrap_or_default();
            if batches.len() != view.panes.len() {
                return Err(Error::corrupt(format!("{} states of {table} for {} panes", batches.len(), view.panes.len())));
            }
            let mut parts = ViewParts { since: view.since, ..ViewParts::default() };
            for (pane, state) in view.panes.into_iter().zip(batches) {
                self.version += 1;
                parts.panes.insert(pane, Part { version: self.version, state });
            }
            self.views.insert(table, Emitted::new(view.ordered, parts, compiler));
        }
        Ok(())
    }
}

impl Emitted {
    fn new(ordered: Ordered, parts: ViewParts, compiler: &dyn Compiler) -> Self {
        let compiled = compiler.compile(&ordered.sql, ordered.generation, &[]);
        let mut emitted = Self { ordered, view: None, parts };
        let fits = compiled.and_then(|view| match view.over_panes() {
            Some(_) => Ok(view),
            None => Err(Error::internal("states are given of views over panes only")),
        });
        match fits {
            Ok(view) => emitted.view = Some(view),
            Err(error) => note(&mut emitted.parts.error, &emitted.ordered, Err(error)),
        }
        emitted
    }

    /// Takes the states of panes in place of those before.
    fn put(&mut self, version: &mut u64, rows: impl FnOnce(Option<&BTreeSet<String>>) -> Result<RowsByPane>) {
        let Some((program, metrics)) = self.view.as_ref().and_then(View::over_panes) else { return };
        let done = rows(metrics).and_then(|rows| self.parts.put(program, rows, version));
        note(&mut self.parts.error, &self.ordered, done);
    }
}

/// Keeps the first error: final states that could not be computed are missing, whatever comes later.
fn note(kept: &mut Option<String>, ordered: &Ordered, done: Result<()>) {
    if let (Err(error), None) = (done, &kept) {
        tracing::error!(table = %ordered.table, %error, "a view's states could not be computed");
        *kept = Some(error.to_string());
    }
}

impl ViewParts {
    fn put(&mut self, program: &WindowProgram, rows: RowsByPane, version: &mut u64) -> Result<()> {
        for (pane, rows) in rows {
            if self.since.is_none_or(|since| pane >= since) {
                *version += 1;
                self.panes.insert(pane, Part { version: *version, state: program.query.partial(&rows)? });
            }
        }
        Ok(())
    }
}
