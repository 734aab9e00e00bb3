//! Views over panes that lie in several partitions: each gives its states, and what stands here is merged from them.

use super::Views;
use super::entry::{Entry, State};
use crate::parts::Ordered;
use crate::query::Program;
use crate::schema::TableName;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

impl Views {
    /// States of views over panes are given by partitions from now on.
    pub(crate) fn read_parts(&mut self) {
        self.by_parts = true;
    }

    /// Every generation of a view over panes.
    pub(crate) fn ordered(&self) -> Vec<Ordered> {
        let ordered = |e: &Entry| Ordered { table: e.view.spec.table(), generation: e.view.spec.generation, sql: e.view.spec.sql.clone() };
        self.entries.iter().filter(|e| e.view.over_panes().is_some()).map(ordered).collect()
    }

    /// Takes what one partition says of a pane that is not final.
    pub(crate) fn take_part(&mut self, table: &TableName, pane: i64, partition: u32, part: RecordBatch) {
        let Some(entry) = self.entries.iter_mut().find(|e| e.view.spec.table() == *table) else { return };
        let history = entry.fill.as_ref().is_some_and(|fill| !fill.waits && pane < fill.to);
        let view = entry.view.clone();
        if let (Program::Window(program), State::Window(state), false) = (&view.program, &mut entry.state, history) {
            state.take_part(program, pane, partition, part);
        }
    }

    /// Panes from here on come from partitions; `None` while that is not known.
    pub(crate) fn stream_from(&self, table: &TableName) -> Option<i64> {
        let entry = self.entries.iter().find(|e| e.view.spec.table() == *table)?;
        match &entry.fill {
            Some(fill) => (!fill.waits).then_some(fill.to),
            None => Some(i64::MIN),
        }
    }

    /// The metrics that a view over panes reads; none where it reads all.
    pub(crate) fn metrics_of(&self, table: &TableName) -> Option<Vec<Arc<str>>> {
        let entry = self.entries.iter().find(|e| e.view.spec.table() == *table && e.fill.as_ref().is_none_or(|f| !f.waits))?;
        let (_, metrics) = entry.view.over_panes()?;
        Some(metrics.into_iter().flatten().map(|name| Arc::from(name.as_str())).collect())
    }

    /// Takes why a partition gives nothing of a view.
    pub(crate) fn note_part(&mut self, table: &TableName, error: Option<&str>) {
        if let (Some(entry), Some(error)) = (self.entries.iter_mut().find(|e| e.view.spec.table() == *table), error) {
            entry.lost.get_or_insert_with(|| error.to_owned());
        }
    }

    /// Generations whose partitions have not all said from where on they give states.
    pub(crate) fn waiting_for_parts(&self) -> Vec<TableName> {
        let waits = |e: &&Entry| e.fill.as_ref().is_some_and(|fill| fill.waits) && e.view.over_panes().is_some();
        self.entries.iter().filter(waits).map(|e| e.view.spec.table()).collect()
    }

    /// Every partition gives states from `since` on; what is older is history.
    pub(crate) fn begin_parts(&mut self, table: &TableName, since: Option<i64>) {
        let Some(entry) = self.entries.iter_mut().find(|e| e.view.spec.table() == *table) else { return };
        let Some(fill) = &mut entry.fill else { return };
        (fill.waits, fill.to) = (false, since.map_or(fill.to, |since| since.max(fill.to)));
        let to = fill.to;
        if let (Program::Window(program), State::Window(state)) = (&entry.view.program, &mut entry.state) {
            state.begin_parts(program, to);
        }
        if to == i64::MIN {
            // Nothing was final anywhere: there is no history.
            self.serve(table);
        }
    }
}
