//! `/api/v1/freshness`: how far every source, log, view, repair and backfill has come, and whether the store answers. Numbers the engine keeps; no judgement about health.

use crate::backfill;
use crate::config::Config;
use crate::error::{ApiResult, json_response};
use crate::replica::Missing;
use crate::state::AppState;
use crate::views::files::ViewFiles;
use afferent_engine::status::{GenerationStatus, LogStatus, PartitionStatus, RepairStatus, SourceStatus, Status, StoreStatus, ViewStatus};
use afferent_engine::time::{EventTime, WallTime};
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};
use std::time::Instant;

/// Answers with the report.
///
/// # Errors
/// None so far.
pub async fn freshness(State(state): State<AppState>) -> ApiResult {
    Ok(answer(&state, &state.live.view().status))
}

/// The report together with what this process knows besides.
fn answer(state: &AppState, status: &Status) -> Response<Body> {
    let mut report = report(status, state.clock.now());
    if let Some(report) = report.as_object_mut() {
        report.insert("settings".to_owned(), settings(&state.config));
        report.insert("view_files".to_owned(), view_files(&state.view_files));
    }
    json_response(StatusCode::OK, &report)
}

/// What the process that works the log told last, where it does not answer; of its store, backfills and partitions nothing is known here.
pub fn told_last(state: &AppState, status: &Status, missing: &Missing) -> Response<Body> {
    // Nobody answers completely.
    let status = Status { recovered: false, ..status.told_last(missing.to_string()) };
    answer(state, &status)
}

/// The report as JSON. Unknown is null; lags are seconds behind `now`.
pub fn report(status: &Status, now: WallTime) -> Value {
    let sources: serde_json::Map<_, _> = status.sources.iter().map(|(name, s)| (name.to_string(), source(s, now))).collect();
    let views: serde_json::Map<_, _> = status.views.iter().map(|(name, v)| (name.clone(), view(v, now))).collect();
    let at = Instant::now();
    let log = |log: &LogStatus| {
        let waiting = log.next.0.saturating_sub(log.checkpointed.0);
        let unread_s = log.unread(at).map_or(Value::Null, |unread| json!(unread.as_secs_f64()));
        json!({ "next_position": log.next.0, "checkpointed_position": log.checkpointed.0, "replay_records": waiting, "unread_s": unread_s })
    };
    json!({
        "generated_at": WallTimeText(now).to_string(),
        "recovered": status.recovered,
        "watermark": time(status.watermark),
        "lag_s": lag_s(status.watermark, now),
        "final_before": time(status.final_before),
        "as_of": time(status.as_of),
        "epoch": status.epoch,
        "series_count": status.series_count,
        "buffered_rows": status.buffered_rows,
        "late_count": status.sources.values().map(|s| s.late).sum::<u64>(),
        "coverage": coverage(status),
        "sources": sources,
        "logs": status.logs.iter().map(|(name, l)| (name.clone(), log(l))).collect::<serde_json::Map<_, _>>(),
        "views": views,
        "repair": repair(&status.repair, now),
        "store": store(&status.store, now),
        "backfills": backfill::reports(status, now),
        "partitions": status.partitions.iter().map(|(number, p)| (number.to_string(), partition(p, now))).collect::<serde_json::Map<_, _>>(),
        "missing": status.lacks(at),
    })
}

/// What the engine of the views knows of the engine of a partition.
fn partition(status: &PartitionStatus, now: WallTime) -> Value {
    json!({
        "known": status.known,
        "watermark": time(status.watermark),
        "lag_s": lag_s(status.watermark, now),
        "final_before": time(status.final_before),
        "silent_s": if status.known { seconds(now.0.saturating_sub(status.newest_received.0)) } else { Value::Null },
    })
}

/// What the operator set about time: how far sources may be out of step, how long one may be silent, what is late, and what lies too far ahead.
fn settings(config: &Config) -> Value {
    json!({
        "slack_ms": config.engine.slack_ms,
        "idle_ms": config.engine.idle_ms,
        "lateness_ms": config.engine.lateness_ms,
        "future_ms_max": config.ingest.future_ms_max,
    })
}

/// Files that should define a view and do not, with the reason.
fn view_files(files: &ViewFiles) -> Value {
    let wrong = files.errors().into_iter().map(|(view, error)| (view, Value::String(error)));
    json!({ "errors": wrong.collect::<serde_json::Map<_, _>>() })
}

fn repair(status: &RepairStatus, now: WallTime) -> Value {
    json!({
        "waiting_count": status.waiting,
        "oldest_waiting": time(status.oldest_waiting),
        "oldest_lag_s": lag_s(status.oldest_waiting, now),
        "repaired_count": status.repaired,
        "rounds": status.rounds,
        "corrections_waiting_count": status.corrections,
    })
}

/// Null times: the store answers; no checkpoint was made yet.
fn store(status: &StoreStatus, now: WallTime) -> Value {
    let text = |at: Option<WallTime>| at.map_or(Value::Null, |at| Value::String(WallTimeText(at).to_string()));
    let passed = |at: Option<WallTime>| at.map_or(Value::Null, |at| seconds(now.0.saturating_sub(at.0)));
    json!({
        "away_since": text(status.away_since),
        "away_s": passed(status.away_since),
        "reason": status.reason,
        "checkpoint_at": text(status.checkpoint_at),
        "checkpoint_age_s": passed(status.checkpoint_at),
    })
}

fn source(status: &SourceStatus, now: WallTime) -> Value {
    json!({
        "watermark": time(status.event_time_max),
        "lag_s": lag_s(status.event_time_max, now),
        "last_received": WallTimeText(status.last_received).to_string(),
        "silent_s": seconds(now.0.saturating_sub(status.last_received.0)),
        "active": status.active,
        "accepted_count": status.accepted,
        "duplicate_count": status.duplicates,
        "late_count": status.late,
        "rejected_count": status.rejected,
        "coverage": share(status.accepted, status.late.saturating_add(status.rejected)),
    })
}

fn view(status: &ViewStatus, now: WallTime) -> Value {
    json!({
        "watermark": time(status.watermark),
        "lag_s": lag_s(status.watermark, now),
        "evaluated_at": WallTimeText(status.evaluated_at).to_string(),
        "provisional_rows": status.provisional_rows,
        "generation": status.generation,
        "error": status.error,
        "generations": status.generations.iter().map(generation).collect::<Vec<_>>(),
    })
}

fn generation(status: &GenerationStatus) -> Value {
    let difference = status.difference.map(|d| json!({ "same": d.same, "changed": d.changed, "added": d.added, "gone": d.gone }));
    json!({
        "generation": status.generation,
        "state": status.state.as_str(),
        "origin": status.origin.as_str(),
        "filled_until": time(status.filled.and_then(|(until, _)| until)),
        "fill_to": time(status.filled.map(|(_, to)| to)),
        "rows_read": status.rows_read,
        "rows_written": status.rows_written,
        "difference": difference,
        "error": status.error,
    })
}

/// The share of what came in that counts, over all sources; null before anything came.
fn coverage(status: &Status) -> Value {
    let accepted = status.sources.values().map(|s| s.accepted).sum();
    let lost = status.sources.values().map(|s| s.late.saturating_add(s.rejected)).sum();
    share(accepted, lost)
}

fn share(counted: u64, lost: u64) -> Value {
    let total = counted.saturating_add(lost);
    if total == 0 { Value::Null } else { json!(counted as f64 / total as f64) }
}

fn time(at: Option<EventTime>) -> Value {
    at.map_or(Value::Null, |at| Value::String(at.to_string()))
}

fn lag_s(at: Option<EventTime>, now: WallTime) -> Value {
    at.map_or(Value::Null, |at| seconds(now.0.saturating_sub(at.0)))
}

fn seconds(ms: i64) -> Value {
    json!(ms as f64 / 1000.0)
}

/// Wall time as RFC 3339, in the form that event time has.
struct WallTimeText(WallTime);

impl std::fmt::Display for WallTimeText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&EventTime(self.0.0), f)
    }
}

#[cfg(test)]
mod tests;
