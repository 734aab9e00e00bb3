//! Starting again: newest checkpoint, its publication, its state, then the log from there on.

use super::Engine;
use super::merge::Merge;
use crate::commit::Chain;
use crate::error::Result;
use crate::log::{LogName, Position};
use crate::schema::{TableDef, fixed_tables};
use crate::table::TableFiles;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bodies read from the log at a time.
const REPLAY_BYTES: usize = 8 << 20;

/// What came in while a replay went on and takes less than this is left to the usual way.
const REPLAY_LITTLE: Duration = Duration::from_secs(1);

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
            // Not where its state stood: a chain that was moved to another log has the state of the one before.
            self.pipeline.next = Chain::positions(&checkpoint);
            self.checkpoint = Some(checkpoint);
        }
        self.show_files().await?;
        // A partition that there is no more is read to its end; one that is new begins with what it holds.
        let former: Vec<LogName> = self.pipeline.next.keys().filter(|log| !self.logs.contains(log)).copied().collect();
        self.logs.extend(former);
        for log in &self.logs {
            let (kept, _) = self.log.bounds(*log).await?;
            self.pipeline.next.entry(*log).or_insert(kept);
        }
        self.pipeline.replays = true;
        self.replay().await?;
        self.pipeline.replays = false;
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

    /// Takes every record of all logs from the next ones on. Others may go on appending: what came in meanwhile is taken as well, until that is little.
    async fn replay(&mut self) -> Result<()> {
        loop {
            let started = Instant::now();
            let mut ranges = Vec::with_capacity(self.logs.len());
            for log in &self.logs {
                ranges.push((*log, self.pipeline.next(*log)..self.log.bounds(*log).await?.1));
            }
            let stops = self.replay_part(ranges).await?;
            self.following.read_until = self.logs.iter().map(|log| (*log, started)).collect();
            if stops || started.elapsed() < REPLAY_LITTLE {
                return Ok(());
            }
        }
    }

    /// Takes these records, writing epochs when memory is full; true where it was told to stop.
    async fn replay_part(&mut self, ranges: Vec<(LogName, Range<Position>)>) -> Result<bool> {
        let mut merge = Merge::over(ranges, REPLAY_BYTES);
        while let Some((log, position, record)) = merge.next(&*self.log).await? {
            self.heed();
            self.take_read(log, position, record).await?;
            if self.is_enough() {
                self.finish_commit().await?;
                self.resolve_all().await?;
                self.begin_cut()?;
            }
            if self.cancel.is_cancelled() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
