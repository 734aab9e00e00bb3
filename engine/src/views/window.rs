//! State of one windowed view: partial aggregates per pane, and results of windows that may still change.

use super::input::RowsByPane;
use crate::error::Result;
use crate::query::WindowProgram;
use crate::time::{EventTime, PANE_MS};
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, BTreeSet};

/// See the module. Keys are pane starts and window starts in milliseconds.
#[derive(Default)]
pub(super) struct WindowState {
    /// Partial states of final panes whose window is not complete; only for windows longer than a pane.
    pub(super) finals: BTreeMap<i64, RecordBatch>,
    open: BTreeMap<i64, RecordBatch>,
    provisional: BTreeMap<i64, Provisional>,
}

struct Provisional {
    rows: RecordBatch,
    revision: i64,
    closed: bool,
}

/// Result rows with the revision they have.
pub(super) type Revised = Vec<(RecordBatch, i64)>;

fn window_of(pane: i64, window_ms: i64) -> i64 {
    pane - pane.rem_euclid(window_ms)
}

impl WindowState {
    /// Takes final panes and gives the rows of windows that are complete.
    pub(super) fn finalize(&mut self, program: &WindowProgram, rows: RowsByPane, frontier: EventTime) -> Result<Revised> {
        let mut out = vec![];
        if program.window_ms == PANE_MS {
            // Windows of one pane need no state: all of one revision are aggregated in one run.
            let mut by_revision: BTreeMap<i64, Vec<RecordBatch>> = BTreeMap::new();
            for (pane, rows) in rows {
                let revision = self.provisional.get(&pane).map_or(0, |p| p.revision);
                by_revision.entry(revision).or_default().extend(rows);
            }
            for (revision, rows) in by_revision {
                out.push((program.query.finish(&[program.query.partial(&rows)?])?, revision));
            }
        } else {
            for (pane, rows) in rows {
                self.finals.insert(pane, program.query.partial(&rows)?);
            }
            while let Some((pane, _)) = self.finals.first_key_value() {
                let start = window_of(*pane, program.window_ms);
                if start + program.window_ms > frontier.0 {
                    break;
                }
                let rest = self.finals.split_off(&(start + program.window_ms));
                let states: Vec<RecordBatch> = std::mem::replace(&mut self.finals, rest).into_values().collect();
                let revision = self.provisional.get(&start).map_or(0, |p| p.revision);
                out.push((program.query.finish(&[program.query.merge(&states)?])?, revision));
            }
        }
        self.open = self.open.split_off(&frontier.0);
        self.provisional.retain(|start, _| start + program.window_ms > frontier.0);
        Ok(out)
    }

    /// Computes the windows of changed panes anew. A window that changes after the watermark passed its end is a revision.
    pub(super) fn tick(&mut self, program: &WindowProgram, rows: RowsByPane, watermark: Option<EventTime>) -> Result<bool> {
        let mut windows = BTreeSet::new();
        for (pane, rows) in rows {
            self.open.insert(pane, program.query.partial(&rows)?);
            windows.insert(window_of(pane, program.window_ms));
        }
        let changed = !windows.is_empty();
        for start in windows {
            let end = start + program.window_ms;
            let states: Vec<RecordBatch> = self.finals.range(start..end).chain(self.open.range(start..end)).map(|(_, s)| s.clone()).collect();
            let rows = program.query.finish(&[program.query.merge(&states)?])?;
            let closed = watermark.is_some_and(|w| w.0 >= end);
            let revision = match self.provisional.get(&start) {
                Some(before) if before.closed && before.rows != rows => before.revision + 1,
                Some(before) => before.revision,
                None => 0,
            };
            self.provisional.insert(start, Provisional { rows, revision, closed });
        }
        Ok(changed)
    }

    /// Rows of windows that may still change, by window start.
    pub(super) fn provisional(&self) -> impl Iterator<Item = (&RecordBatch, i64)> {
        self.provisional.values().map(|p| (&p.rows, p.revision))
    }
}
