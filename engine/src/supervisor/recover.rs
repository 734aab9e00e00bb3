//! Starting again: newest checkpoint, its publication, its state, then the log from there on.

use super::Engine;
use crate::commit::Chain;
use crate::error::Result;
use crate::intake::Delivery;
use crate::log::LogName;
use crate::schema::{TableDef, fixed_tables};
use crate::table::TableFiles;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Bodies read from the log at a time.
const REPLAY_BYTES: usize = 8 << 20;

impl Engine {
    pub(super) async fn recover(&mut self) -> Result<()> {
        let started = Instant::now();
        let found = loop {
            match self.chain.recover().await {
                Ok(found) => break found,
                Err(error) => self.wait_out(error).await?,
            }
        };
        if let Some((checkpoint, parts)) = found {
            while let Err(error) = self.chain.publish(&checkpoint).await {
                self.wait_out(error).await?;
            }
            self.pipeline.load(&parts, self.compiler.as_ref())?;
            for (log, at) in Chain::positions(&checkpoint) {
                self.pipeline.next.insert(log, at);
            }
            self.checkpoint = Some(checkpoint);
        }
        self.show_files().await?;
        for log in self.logs.clone() {
            let (kept, _) = self.log.bounds(log).await?;
            if self.checkpoint.is_none() {
                self.pipeline.next.insert(log, kept);
            }
            self.replay(log).await?;
        }
        while let Err(error) = self.resolve_all().await {
            self.wait_out(error).await?;
        }
        self.waited_out();
        self.pipeline.tick(self.clock.now());
        if self.takes_over {
            self.finish_commit().await?;
            self.begin_cut()?;
            self.finish_commit().await?;
        }
        self.replayed = Some(Instant::now());
        self.answer_if_whole();
        self.show(None);
        let records: u64 = self.pipeline.next.values().map(|p| p.0).sum();
        let series = self.pipeline.registry.len();
        tracing::info!(epoch = self.epoch().0, records, series, elapsed_ms = started.elapsed().as_millis() as u64, "recovered");
        Ok(())
    }

    /// Makes the tables that are missing and shows the files of every one, those of views included.
    async fn show_files(&mut self) -> Result<()> {
        let mut files = BTreeMap::new();
        for table in fixed_tables().into_iter().chain(self.pipeline.views.tables()) {
            let shown = loop {
                match self.files_of(&table).await {
                    Ok(shown) => break shown,
                    Err(error) => self.wait_out(error).await?,
                }
            };
            files.insert(table.name.clone(), shown);
        }
        self.live.update(|view| view.files = files);
        self.show(None);
        Ok(())
    }

    async fn files_of(&self, table: &TableDef) -> Result<Arc<TableFiles>> {
        self.chain.tables.ensure(table).await?;
        self.chain.tables.files(&table.name).await
    }

    /// Takes every record of a log from the next one on, writing epochs when memory is full.
    pub(super) async fn replay(&mut self, log: LogName) -> Result<()> {
        while self.take_some(log, REPLAY_BYTES).await? {
            if self.pipeline.fresh_rows() >= self.config.buffer_rows_max {
                self.finish_commit().await?;
                self.resolve_all().await?;
                self.begin_cut()?;
            }
            if self.cancel.is_cancelled() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes the next records of a log, about so many bytes of bodies; false where there are none.
    pub(super) async fn take_some(&mut self, log: LogName, bytes_max: usize) -> Result<bool> {
        let records = self.log.read(log, self.pipeline.next(log), bytes_max).await?;
        let some = !records.is_empty();
        for (position, record) in records {
            let decoded = self.decoder.decode(&record)?;
            self.take(Delivery { log, position, record, decoded }).await?;
        }
        Ok(some)
    }
}
