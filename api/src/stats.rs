//! The statistics endpoints of the contract: read view rows, shape them, answer. No figure is computed here (invariant I4).

mod columns;
pub mod finops;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod read;
pub mod rows;
pub mod shape;

use crate::error::{ApiError, ApiResult, json_response};
use crate::state::AppState;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use serde::Deserialize;

/// Period of `/stats/mttr` where none is asked for.
pub const MTTR_PERIOD: &str = "7d";

/// The endpoints, with their full paths.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route("/api/v1/slo/status", get(slo_status))
        .route("/api/v1/finops/summary", get(finops_summary))
        .route("/api/v1/stats/mttr", get(mttr))
        .route("/api/v1/stats/autonomy", get(autonomy))
        .with_state(state)
}

#[derive(Debug, Deserialize)]
struct PeriodQuery {
    period: Option<String>,
}

async fn slo_status(State(state): State<AppState>) -> ApiResult {
    let rows = read::slo(&state).await?;
    Ok(json_response(StatusCode::OK, &shape::slo_status(&rows, &read::standing(&state, "slo_status"))))
}

async fn finops_summary(State(state): State<AppState>, Query(query): Query<PeriodQuery>) -> ApiResult {
    let month = query.period.as_deref().map(month).transpose()?;
    let rows = read::finops(&state, month).await?;
    Ok(json_response(StatusCode::OK, &finops::answer(&rows, month, &read::standing(&state, "finops_month"))))
}

async fn mttr(State(state): State<AppState>, Query(query): Query<PeriodQuery>) -> ApiResult {
    let period = mttr_period(query.period.as_deref())?;
    let rows = read::mttr(&state).await?;
    Ok(json_response(StatusCode::OK, &shape::mttr(&rows, period, &read::standing(&state, "mttr"))))
}

async fn autonomy(State(state): State<AppState>) -> ApiResult {
    let (rows, by) = (read::autonomy(&state).await?, read::autonomy_by(&state).await?);
    Ok(json_response(StatusCode::OK, &shape::autonomy(&rows, &by, &read::standing(&state, "autonomy"))))
}

/// Checks a month like `2026-03`.
///
/// # Errors
/// 400 with what a month looks like.
pub fn month(text: &str) -> Result<&str, ApiError> {
    let digits = |part: Option<&str>| part.filter(|p| p.bytes().all(|b| b.is_ascii_digit())).and_then(|p| p.parse::<u32>().ok());
    let number = digits(text.get(5..)).filter(|m| text.len() == 7 && (1..=12).contains(m));
    if digits(text.get(..4)).is_some() && text.get(4..5) == Some("-") && number.is_some() {
        Ok(text)
    } else {
        Err(ApiError::invalid(format!("period {text:?} is no month")).hint("a month looks like 2026-03"))
    }
}

/// Checks a period of resolution times.
///
/// # Errors
/// 400 with the periods there are.
pub fn mttr_period(text: Option<&str>) -> Result<&'static str, ApiError> {
    let Some(text) = text else { return Ok(MTTR_PERIOD) };
    shape::MTTR_PERIODS
        .into_iter()
        .find(|p| *p == text)
        .ok_or_else(|| ApiError::invalid(format!("period {text:?} is not kept")).hint(format!("one of {}", shape::MTTR_PERIODS.join(", "))))
}

#[cfg(test)]
mod tests;
