//! Names of this crate's own metrics, and what every metric of every crate means.

use afferent_engine::metrics::Metric as Engine;
use afferent_engine::status::{BackfillState, GenerationState, Status};
use afferent_engine::time::WallTime;
use afferent_ingest::metrics::Metric as Ingest;
use afferent_queries::metrics::Metric as Queries;
use afferent_storage::log::metrics::Metric as Log;
use afferent_storage::metrics::Metric as Lake;

/// Counters, gauges and histograms of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Requests that came in.
    RequestsIn,
    /// Requests answered, by `path`, `method` and `status`.
    RequestsOut,
    /// Requests answered 4xx or 5xx, by `path` and `reason` (the status).
    RequestsRejected,
    /// Seconds until the status line, by `path`.
    RequestSeconds,
    /// Requests being worked on.
    RequestsInFlight,
    /// 1 once this process answers completely, else 0.
    Ready,
    /// 1 while another process of the group works the log and this one waits.
    Standby,
    /// Statements answered without the rows in memory of the process that works.
    PartialAnswers,
    /// Milliseconds between now and the oldest sample that waits to be repaired.
    RepairOldestLag,
    /// Rounds of repair.
    RepairRounds,
    /// Backfills that run.
    BackfillsRunning,
    /// Generations of views whose history is being computed.
    ViewsFilling,
    /// Views that are not computed, and files that define none.
    ViewErrors,
    /// Milliseconds that the store is away.
    StoreAway,
    /// Milliseconds since the newest checkpoint was made.
    CheckpointAge,
}

/// Figures that the engine keeps anyway, taken over at the moment of the scrape.
pub fn observe(status: &Status, waits: bool, now: WallTime, wrong_files: usize) {
    let repair = status.repair;
    let count = |count: usize| count as f64;
    let lag_ms = repair.oldest_waiting.map_or(0.0, |oldest| now.0.saturating_sub(oldest.0) as f64);
    let generations = || status.views.values().flat_map(|view| &view.generations);
    let wrong_views = status.views.values().filter(|view| view.error.is_some() || view.generations.iter().any(|g| g.error.is_some()));
    metrics::gauge!(Metric::Ready.name()).set(if status.recovered { 1.0 } else { 0.0 });
    metrics::gauge!(Metric::Standby.name()).set(if waits { 1.0 } else { 0.0 });
    metrics::gauge!(Metric::RepairOldestLag.name()).set(lag_ms);
    metrics::counter!(Metric::RepairRounds.name()).absolute(repair.rounds);
    let running = status.backfills.values().filter(|backfill| backfill.state == BackfillState::Running);
    metrics::gauge!(Metric::BackfillsRunning.name()).set(count(running.count()));
    let filling = generations().filter(|generation| generation.state == GenerationState::Filling);
    metrics::gauge!(Metric::ViewsFilling.name()).set(count(filling.count()));
    let passed_ms = |at: Option<WallTime>| at.map_or(0.0, |at| now.0.saturating_sub(at.0) as f64);
    metrics::gauge!(Metric::StoreAway.name()).set(passed_ms(status.store.away_since));
    metrics::gauge!(Metric::CheckpointAge.name()).set(passed_ms(status.store.checkpoint_at));
    metrics::gauge!(Metric::ViewErrors.name()).set(count(wrong_views.count() + wrong_files));
}

impl Metric {
    /// The exported name.
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestsIn => "afferent_api_requests_in_total",
            Self::RequestsOut => "afferent_api_requests_out_total",
            Self::RequestsRejected => "afferent_api_requests_rejected_total",
            Self::RequestSeconds => "afferent_api_request_seconds",
            Self::RequestsInFlight => "afferent_api_requests_in_flight",
            Self::Ready => "afferent_api_ready",
            Self::Standby => "afferent_api_standby",
            Self::PartialAnswers => "afferent_api_partial_answers_total",
            Self::RepairOldestLag => "afferent_api_repair_oldest_lag_ms",
            Self::RepairRounds => "afferent_api_repair_rounds_total",
            Self::BackfillsRunning => "afferent_api_backfills_running",
            Self::ViewsFilling => "afferent_api_views_filling",
            Self::ViewErrors => "afferent_api_view_errors",
            Self::StoreAway => "afferent_api_store_away_ms",
            Self::CheckpointAge => "afferent_api_checkpoint_age_ms",
        }
    }
}

/// Gives every metric its line of help. What it is follows from its name: `_total` counts up, `_seconds` is a histogram, the rest are gauges.
pub fn describe() {
    for (name, help) in descriptions() {
        if name.ends_with("_total") {
            metrics::describe_counter!(name, help);
        } else if name.ends_with("_seconds") {
            metrics::describe_histogram!(name, help);
        } else {
            metrics::describe_gauge!(name, help);
        }
    }
}

/// Every metric of the program with its help.
pub fn descriptions() -> Vec<(&'static str, &'static str)> {
    let api = [
        (Metric::RequestsIn.name(), "Requests that came in."),
        (Metric::RequestsOut.name(), "Requests answered, by path, method and status."),
        (Metric::RequestsRejected.name(), "Requests answered 4xx or 5xx, by path and reason (the status)."),
        (Metric::RequestSeconds.name(), "Seconds until the status line, by path."),
        (Metric::RequestsInFlight.name(), "Requests being worked on."),
        (Metric::Ready.name(), "1 once this process answers completely, else 0."),
        (Metric::Standby.name(), "1 while another process of the group works the log and this one waits, else 0."),
        (
            Metric::PartialAnswers.name(),
            "Answers that said what they lack: the process that works the log did not answer, or the log could not be read to its end.",
        ),
        (
            Metric::RepairOldestLag.name(),
            "Milliseconds between now and the event time of the oldest sample that waits to be repaired; 0 where none waits.",
        ),
        (Metric::RepairRounds.name(), "Rounds of repair since the start."),
        (Metric::BackfillsRunning.name(), "Backfills that run."),
        (Metric::ViewsFilling.name(), "Generations of views whose history is being computed."),
        (Metric::ViewErrors.name(), "Views that are not computed, and files that should define a view and do not."),
        (Metric::StoreAway.name(), "Milliseconds for which the store has not taken checkpoints or given rows; 0 while it does."),
        (Metric::CheckpointAge.name(), "Milliseconds since the newest checkpoint was made; 0 before the first."),
    ];
    api.into_iter().chain(ingest()).chain(engine()).chain(queries()).chain(log()).chain(lake()).collect()
}

fn ingest() -> Vec<(&'static str, &'static str)> {
    vec![
        (Ingest::RequestsIn.name(), "Requests by door."),
        (Ingest::RequestsRejected.name(), "Requests answered other than 2xx, by door and reason."),
        (Ingest::BodyBytesIn.name(), "Body bytes read, as sent, by door."),
        (Ingest::SamplesIn.name(), "Samples decoded, good or not."),
        (Ingest::SamplesOut.name(), "Samples acknowledged as durable."),
        (Ingest::HistogramsOut.name(), "Native histograms acknowledged as durable."),
        (Ingest::ExemplarsOut.name(), "Exemplars acknowledged as durable."),
        (Ingest::SamplesRejected.name(), "Samples, histograms, exemplars and metadata refused, by reason."),
        (Ingest::EventsIn.name(), "Events decoded, good or not, by door."),
        (Ingest::EventsOut.name(), "Events acknowledged as durable, by door."),
        (Ingest::EventsRejected.name(), "Events refused, by reason."),
        (Ingest::SeriesChecked.name(), "Series whose labels had to be parsed, not being known."),
        (Ingest::DecodeSeconds.name(), "Seconds a body took to decode."),
        (Ingest::AppendSeconds.name(), "Seconds from a decoded body to its durable record: the lag of this stage."),
        (Ingest::InFlightBytes.name(), "Bytes of requests being worked on."),
    ]
}

fn engine() -> Vec<(&'static str, &'static str)> {
    vec![
        (Engine::RecordsIn.name(), "Records taken from the log."),
        (Engine::SamplesIn.name(), "Samples taken, before any rule."),
        (Engine::SamplesAccepted.name(), "Samples counted once."),
        (
            Engine::SamplesSkipped.name(),
            "Samples by reason that were not counted: duplicate, conflict, late, non_finite (stored, not aggregated), body_duplicate.",
        ),
        (Engine::EventsAccepted.name(), "Events counted once."),
        (Engine::EventsSkipped.name(), "Events by reason that were not counted."),
        (Engine::PaneRowsOut.name(), "Pane rows written."),
        (Engine::Series.name(), "Live series."),
        (Engine::WatermarkLag.name(), "Milliseconds between now and the watermark."),
        (Engine::Epochs.name(), "Epochs published."),
        (Engine::CheckpointSeconds.name(), "Seconds a checkpoint took."),
        (Engine::BufferedRows.name(), "Rows in memory that no table has yet."),
        (Engine::SlowPathSamples.name(), "Out-of-order samples that took the exact slow path."),
        (Engine::TickSeconds.name(), "Seconds a tick took to evaluate the views."),
        (Engine::SamplesRepaired.name(), "Late samples that were counted where they belong after all."),
        (Engine::LateWaiting.name(), "Late samples that wait to be counted."),
        (Engine::BackgroundRowsIn.name(), "Rows that repairs, backfills and new generations of views read."),
        (Engine::BackgroundRowsOut.name(), "Rows they wrote."),
        (Engine::BackgroundSeconds.name(), "Seconds a step of them took."),
    ]
}

fn queries() -> Vec<(&'static str, &'static str)> {
    vec![
        (Queries::StatementsIn.name(), "Ad hoc statements taken."),
        (Queries::StatementsOut.name(), "Ad hoc statements answered to the end."),
        (Queries::StatementsRejected.name(), "Ad hoc statements refused or failed, by reason (the error kind, or the limit reached)."),
        (Queries::RowsOut.name(), "Rows handed to readers of ad hoc statements."),
        (Queries::StatementSeconds.name(), "Seconds an ad hoc statement took."),
        (Queries::StatementsRunning.name(), "Ad hoc statements running."),
        (Queries::StatementsSpread.name(), "Ad hoc statements answered by stages on several processes."),
        (
            Queries::StatementsAlone.name(),
            "Ad hoc statements that several processes were to answer and one computed alone, by reason (plan, failed, time).",
        ),
        (Queries::StagesRun.name(), "Parts of stages that this process took for statements of others."),
        (Queries::StagesRunning.name(), "Those of them that are there now."),
    ]
}

fn log() -> Vec<(&'static str, &'static str)> {
    vec![
        (Log::RecordsIn.name(), "Records made durable."),
        (Log::BytesIn.name(), "Bytes made durable, headers included."),
        (Log::RecordsOut.name(), "Records handed to readers."),
        (Log::Syncs.name(), "Groups synced to disk."),
        (Log::SyncSeconds.name(), "Seconds one sync took."),
        (Log::TornTails.name(), "Torn tails cut when opening."),
        (Log::CorruptFound.name(), "Places where a checksum or the order of positions failed."),
        (Log::WriteFailures.name(), "Writes or syncs that failed and made the writer rebuild itself."),
        (Log::BytesKept.name(), "Bytes on disk over all logs; no label."),
        (Log::FullRejections.name(), "Appends refused because bytes_max was reached; no label."),
    ]
}

fn lake() -> Vec<(&'static str, &'static str)> {
    vec![
        (Lake::TableRowsIn.name(), "Rows handed over to be written, by table."),
        (Lake::TableBytesOut.name(), "Bytes of Parquet written, by table."),
        (Lake::CommitsOut.name(), "Delta commits, by table."),
        (Lake::CommitsSkipped.name(), "Publications that were skipped because the table already had the epoch."),
        (Lake::CommitRetries.name(), "Commits that had to be tried again because another writer came first."),
        (Lake::TableFiles.name(), "Files a table consists of, by table."),
        (Lake::CompactionFilesIn.name(), "Files that compaction merged away."),
        (Lake::CompactionFilesOut.name(), "Files that compaction made."),
        (Lake::CompactionRows.name(), "Rows that compaction rewrote."),
        (Lake::CompactionRowsSuperseded.name(), "Rows that compaction left out because others supersede them."),
        (Lake::RetentionFilesOut.name(), "Files of dates past their table's retention that were taken out, by table."),
        (Lake::RetentionRowsOut.name(), "Rows of dates past their table's retention that were taken out, by table."),
        (Lake::TablesPurged.name(), "Dropped tables whose folder was removed."),
        (Lake::CompactionErrors.name(), "Compactions that failed, by reason."),
        (Lake::CompactionSeconds.name(), "Seconds a compaction of one date took."),
        (Lake::VacuumFilesOut.name(), "Unreferenced files removed."),
        (Lake::ScanFilesPruned.name(), "Files a scan could leave out."),
        (Lake::ScanFilesRead.name(), "Files a scan had to open."),
        (Lake::HistoryRowsOut.name(), "Rows read back from the lake for the exact slow path."),
    ]
}

#[cfg(test)]
mod tests;
