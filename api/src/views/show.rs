//! `SHOW VIEWS`: every kept generation of every view, how far it is filled, and how it differs from the one before. Not freshness (`status.rs`).

use super::rows;
use crate::error::ApiResult;
use crate::state::AppState;
use afferent_engine::live::ReadView;
use afferent_engine::schema::{EVENTS, ROLLUP_1M, TableName};
use afferent_engine::status::{Difference, GenerationState, GenerationStatus};
use afferent_engine::time::EventTime;
use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray, UInt64Array};
use arrow::record_batch::RecordBatch;
use chrono::NaiveDate;
use std::sync::Arc;

/// The state of a file that defines no view.
const WRONG_FILE: &str = "wrong file";

/// One line of the answer.
#[derive(Debug, Default, Clone, PartialEq)]
struct Line {
    name: String,
    generation: Option<u64>,
    state: &'static str,
    origin: &'static str,
    progress: Option<f64>,
    filled_until: Option<EventTime>,
    rows_read: Option<u64>,
    rows_written: Option<u64>,
    difference: Option<Difference>,
    error: Option<String>,
    sql: Option<String>,
}

/// The answer: views by name, generations from the oldest on.
pub(super) fn views(state: &AppState) -> ApiResult<RecordBatch> {
    batch(&lines(&state.live.view(), &state.view_files.errors()))
}

fn lines(read: &ReadView, wrong_files: &[(String, String)]) -> Vec<Line> {
    let mut lines = Vec::new();
    let begins = history_begins(read);
    for (name, view) in &read.status.views {
        for generation in &view.generations {
            let mut line = line(name, generation, begins);
            if generation.state == GenerationState::Serving {
                line.error = line.error.or_else(|| view.error.clone());
            }
            lines.push(line);
        }
    }
    for (name, error) in wrong_files {
        // The file wants to be the view's next generation, so its error stands with the newest one there is.
        match lines.iter_mut().rev().find(|line| line.name == *name) {
            Some(newest) => newest.error = Some(error.clone()),
            None => lines.push(Line { name: name.clone(), state: WRONG_FILE, origin: "file", error: Some(error.clone()), ..Line::default() }),
        }
    }
    lines.sort_by(|a, b| (&a.name, a.generation).cmp(&(&b.name, b.generation)));
    lines
}

fn line(name: &str, generation: &GenerationStatus, begins: Option<EventTime>) -> Line {
    let filling = generation.state == GenerationState::Filling;
    let progress = if filling { share(generation.filled, begins) } else { Some(1.0) };
    Line {
        name: name.to_owned(),
        generation: Some(generation.generation),
        state: generation.state.as_str(),
        origin: generation.origin.as_str(),
        progress,
        filled_until: generation.filled.and_then(|(until, _)| until),
        rows_read: Some(generation.rows_read),
        rows_written: Some(generation.rows_written),
        difference: generation.difference,
        error: generation.error.clone(),
        sql: Some(generation.sql.clone()),
    }
}

/// How much of the history is computed, 0 to 1. History begins with the day of the oldest published row.
fn share(filled: Option<(Option<EventTime>, EventTime)>, begins: Option<EventTime>) -> Option<f64> {
    let ((until, goal), begins) = (filled?, begins?);
    let until = until.unwrap_or(begins);
    let whole = goal.0.saturating_sub(begins.0);
    if whole <= 0 {
        return None;
    }
    Some((until.0.saturating_sub(begins.0) as f64 / whole as f64).clamp(0.0, 1.0))
}

/// The day of the oldest published row that views are computed from.
fn history_begins(read: &ReadView) -> Option<EventTime> {
    let files = [ROLLUP_1M, EVENTS].into_iter().filter_map(|table| read.files.get(&TableName::new(table)));
    let oldest = files.flat_map(|table| table.files.iter().map(|file| file.date.as_str())).min()?;
    let midnight = NaiveDate::parse_from_str(oldest, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?;
    Some(EventTime(midnight.and_utc().timestamp_millis()))
}

fn batch(lines: &[Line]) -> ApiResult<RecordBatch> {
    let texts = |get: &dyn Fn(&Line) -> Option<String>| Arc::new(lines.iter().map(get).collect::<StringArray>()) as ArrayRef;
    let counts = |get: &dyn Fn(&Line) -> Option<u64>| Arc::new(lines.iter().map(get).collect::<UInt64Array>()) as ArrayRef;
    let difference = |get: fn(&Difference) -> u64| counts(&|line| line.difference.as_ref().map(get));
    let until: TimestampMicrosecondArray = lines.iter().map(|line| line.filled_until.map(EventTime::micros)).collect();
    rows([
        ("name", texts(&|line| Some(line.name.clone()))),
        ("generation", counts(&|line| line.generation)),
        ("state", texts(&|line| Some(line.state.to_owned()))),
        ("origin", texts(&|line| Some(line.origin.to_owned()))),
        ("progress", Arc::new(lines.iter().map(|line| line.progress).collect::<Float64Array>())),
        ("filled_until", Arc::new(until.with_timezone("UTC"))),
        ("rows_read", counts(&|line| line.rows_read)),
        ("rows_written", counts(&|line| line.rows_written)),
        ("same", difference(|d| d.same)),
        ("changed", difference(|d| d.changed)),
        ("added", difference(|d| d.added)),
        ("gone", difference(|d| d.gone)),
        ("error", texts(&|line| line.error.clone())),
        ("sql", texts(&|line| line.sql.clone())),
    ])
}

#[cfg(test)]
mod tests;
