//! Which form an answer takes: `?format=` first, then `Accept`, then JSON.

use crate::error::ApiError;
use axum::http::StatusCode;

/// The forms of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `{"columns":[...],"rows":[...],"stats":{...}}`.
    Json,
    /// RFC 4180 with a header line; null is an empty field, the empty string is `""`.
    Csv,
    /// Arrow IPC stream.
    Arrow,
    /// One Parquet file.
    Parquet,
}

impl Format {
    /// Every form with its word and its content type.
    pub const ALL: [(Format, &'static str, &'static str); 4] = [
        (Format::Json, "json", "application/json"),
        (Format::Csv, "csv", "text/csv; charset=utf-8; header=present"),
        (Format::Arrow, "arrow", "application/vnd.apache.arrow.stream"),
        (Format::Parquet, "parquet", "application/vnd.apache.parquet"),
    ];

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        Self::ALL.iter().find(|(f, _, _)| *f == self).map_or("application/json", |(_, _, content_type)| content_type)
    }

    /// The form a request asks for.
    ///
    /// # Errors
    /// 400 for an unknown word, 406 where `Accept` allows none of the forms.
    pub fn choose(word: Option<&str>, accept: Option<&str>) -> Result<Self, ApiError> {
        if let Some(word) = word {
            let known = Self::ALL.iter().find(|(_, w, _)| w.eq_ignore_ascii_case(word));
            return known
                .map(|(format, _, _)| *format)
                .ok_or_else(|| ApiError::invalid(format!("unknown format {word:?}")).hint("one of json, csv, arrow, parquet"));
        }
        let Some(accept) = accept.filter(|a| !a.trim().is_empty()) else {
            return Ok(Self::Json);
        };
        let mut ranges: Vec<(f32, &str)> = accept.split(',').map(quality).filter(|(q, _)| *q > 0.0).collect();
        // The sort is stable: among equals the first named wins.
        ranges.sort_by(|(left, _), (right, _)| right.total_cmp(left));
        ranges.iter().find_map(|(_, range)| Self::of_range(range)).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().filter_map(|(_, _, c)| c.split(';').next()).collect();
            ApiError::new(StatusCode::NOT_ACCEPTABLE, format!("no answer of type {accept:?}")).hint(known.join(", "))
        })
    }

    fn of_range(range: &str) -> Option<Self> {
        let range = range.to_ascii_lowercase();
        Some(match range.as_str() {
            "*/*" | "application/*" | "application/json" => Self::Json,
            "text/*" | "text/csv" => Self::Csv,
            "application/vnd.apache.arrow.stream" => Self::Arrow,
            "application/vnd.apache.parquet" | "application/parquet" => Self::Parquet,
            _ => return None,
        })
    }
}

/// Splits `type/sub;q=0.5` into its weight and its type.
fn quality(range: &str) -> (f32, &str) {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|p| p.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse::<f32>().ok());
    (weight.filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0), name)
}
