//! Engines broken on purpose, by wrappers around their ports: a harness that does not find each of them proves nothing.

use afferent_engine::checkpoint::{Epoch, GroupName};
use afferent_engine::error::Result;
use afferent_engine::log::{Decoded, DecodedBody, Decoder, Record};
use afferent_engine::query::{Fold, FoldProgram, KeyedProgram, Program, View, WindowProgram, WindowQuery};
use afferent_engine::schema::{LATE_SAMPLES, TableDef, TableName};
use afferent_engine::supervisor::EngineParts;
use afferent_engine::table::{DataFile, History, Rows, Scanned, TableFiles, TableStore, Wanted};
use afferent_engine::time::PANE_MS;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    /// A merge of several states loses the last of them.
    BrokenMerge,
    /// A sample is judged without the rows that are stored, so one that came before counts again.
    SkippedSampleDedupe,
    /// An event that comes again has another identity.
    SkippedEventDedupe,
    /// The first late row of each batch is not written.
    LostLateRow,
    /// A fold starts empty after a restart.
    ForgetfulFold,
    /// Panes become final one pane too late.
    FrontierOffByOne,
    /// A table's files of one epoch are not published.
    LostFile,
}

impl Mutant {
    pub(super) const ALL: [Self; 7] = [
        Self::BrokenMerge,
        Self::SkippedSampleDedupe,
        Self::SkippedEventDedupe,
        Self::LostLateRow,
        Self::ForgetfulFold,
        Self::FrontierOffByOne,
        Self::LostFile,
    ];

    /// Breaks an engine before it starts.
    pub(super) fn apply(mutant: Option<Self>, mut parts: EngineParts) -> EngineParts {
        let Some(mutant) = mutant else { return parts };
        match mutant {
            Self::BrokenMerge | Self::ForgetfulFold => parts.views = parts.views.into_iter().map(|view| mutant.view(view)).collect(),
            Self::SkippedSampleDedupe => parts.history = Arc::new(EmptyHistory),
            Self::SkippedEventDedupe => {}
            Self::FrontierOffByOne => parts.config.lateness_ms += PANE_MS,
            Self::LostLateRow | Self::LostFile => parts.tables = Arc::new(Losing(parts.tables, mutant)),
        }
        parts
    }

    /// How an engine broken like that, and its receivers, read records.
    pub(super) fn decoder(mutant: Option<Self>, decoder: Arc<dyn Decoder>) -> Arc<dyn Decoder> {
        if mutant == Some(Self::SkippedEventDedupe) { Arc::new(Renaming(decoder, AtomicU64::new(0))) } else { decoder }
    }

    fn view(self, view: View) -> View {
        let program = match (self, view.program) {
            (Self::BrokenMerge, Program::Window(window)) => {
                Program::Window(WindowProgram { query: Arc::new(LastLost(window.query.clone())), ..window })
            }
            (Self::BrokenMerge, Program::Keyed(keyed)) => Program::Keyed(KeyedProgram { query: Arc::new(LastLost(keyed.query.clone())), ..keyed }),
            (Self::ForgetfulFold, Program::Fold(fold)) => {
                let make = fold.make.clone();
                Program::Fold(FoldProgram { make: Arc::new(move || Box::new(Forgetful(make()))), ..fold })
            }
            (_, other) => other,
        };
        View { spec: view.spec, program }
    }
}

struct LastLost(Arc<dyn WindowQuery>);

impl WindowQuery for LastLost {
    fn partial(&self, rows: &[RecordBatch]) -> Result<RecordBatch> {
        self.0.partial(rows)
    }

    fn merge(&self, states: &[RecordBatch]) -> Result<RecordBatch> {
        self.0.merge(if states.len() > 1 { &states[..states.len() - 1] } else { states })
    }

    fn finish(&self, states: &[RecordBatch]) -> Result<RecordBatch> {
        self.0.finish(states)
    }
}

struct Forgetful(Box<dyn Fold>);

impl Fold for Forgetful {
    fn advance(&mut self, rows: &[RecordBatch]) -> Result<()> {
        self.0.advance(rows)
    }

    fn evaluate(&self, rows: &[RecordBatch]) -> Result<RecordBatch> {
        self.0.evaluate(rows)
    }

    fn save(&self) -> Result<Vec<u8>> {
        self.0.save()
    }

    fn load(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

struct EmptyHistory;

#[async_trait]
impl History for EmptyHistory {
    async fn scan(&self, _table: &TableDef, _files: &TableFiles, _wanted: &Wanted) -> Result<Scanned> {
        Ok(tokio::sync::mpsc::channel(1).1)
    }
}

/// Gives every event an identity of its own.
struct Renaming(Arc<dyn Decoder>, AtomicU64);

impl Decoder for Renaming {
    fn decode(&self, record: &Record) -> Result<Decoded> {
        let mut decoded = self.0.decode(record)?;
        if let DecodedBody::Events(events) = &mut decoded.body {
            for event in events {
                event.event_id = format!("{}#{}", event.event_id, self.1.fetch_add(1, Ordering::SeqCst));
            }
        }
        Ok(decoded)
    }
}

struct Losing(Arc<dyn TableStore>, Mutant);

#[async_trait]
impl TableStore for Losing {
    async fn ensure(&self, table: &TableDef) -> Result<()> {
        self.0.ensure(table).await
    }

    async fn write(&self, table: &TableDef, epoch: Epoch, rows: Rows) -> Result<Vec<DataFile>> {
        let lost = self.1 == Mutant::LostLateRow && table.name.as_str() == LATE_SAMPLES;
        let rows: Rows = if lost { Box::new(rows.map(|batch| batch.slice(1, batch.num_rows() - 1))) } else { rows };
        self.0.write(table, epoch, rows).await
    }

    async fn publish(&self, group: &GroupName, epoch: Epoch, files: &BTreeMap<TableName, Vec<DataFile>>) -> Result<()> {
        let mut files = files.clone();
        if self.1 == Mutant::LostFile && epoch == Epoch(2) {
            files.pop_last();
        }
        self.0.publish(group, epoch, &files).await
    }

    async fn files(&self, table: &TableName) -> Result<Arc<TableFiles>> {
        self.0.files(table).await
    }
}
