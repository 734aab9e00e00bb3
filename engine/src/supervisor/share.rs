//! An engine among others of the same stream: orders are taken, reports are taken, each tick. Who carries them never holds up a tick.

use super::{Engine, Share};
use crate::error::{Error, Result};
use crate::pipeline::{Stored, earliest_pane};
use crate::schema;

impl Engine {
    /// A partition does what the owner of the views wants; the owner takes what partitions say.
    pub(super) async fn agree(&mut self) -> Result<()> {
        match &self.share {
            Share::Whole => {}
            Share::Partition { .. } => {
                self.heed();
                if let Some(request) = self.pipeline.settle_request() {
                    self.resolve_if_there(request).await?;
                }
                self.pipeline.settle();
            }
            Share::Views(partitions) => {
                if let Some(order) = self.pipeline.take_reports(partitions.reports(), self.epoch()) {
                    partitions.tell(order);
                }
            }
        }
        Ok(())
    }

    /// A partition takes the newest order.
    pub(super) fn heed(&mut self) {
        let Share::Partition { orders, .. } = &self.share else { return };
        if let Some(order) = orders.newest() {
            self.pipeline.take_order(&order, self.compiler.as_ref(), self.clock.now());
        }
    }

    /// What is stored, for a step that computes the past again; `None` where partitions cannot be read now.
    pub(super) async fn stored(&self) -> Option<Stored> {
        let partitions = match &self.share {
            Share::Whole | Share::Partition { .. } => None,
            Share::Views(partitions) => match partitions.tables().await {
                Ok(tables) => Some(tables),
                Err(error) => {
                    tracing::debug!(%error, "what partitions have cannot be read; it is tried again");
                    return None;
                }
            },
        };
        let asked = partitions.clone();
        let earliest = self.writing.spawn_blocking(move || asked.map_or(Ok(None), |view| earliest_pane(&view))).await;
        let earliest_pane = match earliest.map_err(|e| Error::internal(e.to_string())).flatten() {
            Ok(earliest) => earliest,
            Err(error) => {
                tracing::debug!(%error, "what partitions have in memory cannot be read; it is tried again");
                return None;
            }
        };
        let mut files = self.live.view().files.clone();
        for (table, theirs) in partitions.iter().flat_map(|view| &view.files).filter(|(table, _)| schema::of_partitions(table)) {
            files.insert(table.clone(), theirs.clone());
        }
        Some(Stored { history: self.history.clone(), files, partitions, earliest_pane, runtime: self.writing.clone() })
    }
}
