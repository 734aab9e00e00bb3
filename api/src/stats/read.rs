//! Reads view rows through SQL, the same path as everybody's SQL (invariant I4: one number). Not what is made of them.

use super::columns::{Columns, Row};
use super::rows::{AutonomyByRow, AutonomyRow, Burn, FinOpsRow, HealthRow, MttrRow, SloHealth, SloRow, Stamp, Standing, TierRow, TrafficRow};
use crate::state::AppState;
use afferent_engine::error::{Error, ErrorKind, Result};
use afferent_engine::time::PANE_MS;
use afferent_queries::error::Error as QueryError;
use futures::TryStreamExt as _;

/// Rows read for one answer at most; an inventory or a set of objectives beyond it is cut with an error, not silently.
const ROWS_MAX: usize = 10_000;

async fn read<T>(state: &AppState, sql: String, make: impl Fn(&Row<'_>) -> Result<T>) -> Result<Vec<T>> {
    let mut answer = state.sql.query(&sql).await.map_err(ours)?;
    let mut out = Vec::new();
    while let Some(batch) = answer.try_next().await.map_err(ours)? {
        if out.len() + batch.num_rows() > ROWS_MAX {
            return Err(Error::unavailable(format!("more than {ROWS_MAX} rows for one answer; ask /api/v1/sql instead")));
        }
        let columns = Columns::new(&batch)?;
        for row in columns.rows() {
            out.push(make(&row)?);
        }
    }
    Ok(out)
}

/// The statements of this file are ours: where one is refused, its reader cannot change that.
fn ours(error: QueryError) -> Error {
    let (kind, message) = (error.kind(), format!("reading a view: {error}"));
    Error::caused(if kind == ErrorKind::Invalid { ErrorKind::Internal } else { kind }, message, error)
}

fn stamp(row: &Row<'_>) -> Result<Stamp> {
    Ok(Stamp {
        watermark: row.time("watermark")?,
        coverage: row.float("coverage")?,
        revision: row.count("revision")?,
        generation: row.count("generation")?,
    })
}

/// What an answer is for, and how far a view has come.
pub fn standing(state: &AppState, view: &str) -> Standing {
    let read = state.live.view();
    let status = read.status.views.get(view);
    Standing { as_of: read.status.as_of, watermark: status.and_then(|v| v.watermark), evaluated_at: status.map(|v| v.evaluated_at) }
}

/// Every row of `slo_status`, by service and objective.
///
/// # Errors
/// As the SQL engine says.
pub async fn slo(state: &AppState) -> Result<Vec<SloRow>> {
    read(state, "SELECT * FROM slo_status ORDER BY service, slo".to_owned(), |row| {
        let tier = |tier: &'static str, long, short| {
            Ok::<_, Error>(TierRow { tier, long, short, factor: row.float(&format!("{tier}_factor"))?, fires: row.flag(tier)? })
        };
        Ok(SloRow {
            slo: row.word("slo")?,
            service: row.text("service")?.unwrap_or_default(),
            indicator: row.word("indicator")?,
            target: row.float("target")?.unwrap_or_default(),
            period: row.word("period")?,
            window_end: row.time("window_end")?,
            good: row.int("good")?,
            bad: row.int("bad")?,
            total: row.int("total")?,
            sli: row.float("sli")?,
            remaining_ratio: row.float("remaining_ratio")?,
            remaining_events: row.float("remaining_events")?,
            remaining_minutes: row.float("remaining_minutes")?,
            burn: Burn {
                m5: row.float("burn_5m")?,
                m30: row.float("burn_30m")?,
                h1: row.float("burn_1h")?,
                h2: row.float("burn_2h")?,
                h6: row.float("burn_6h")?,
                d1: row.float("burn_1d")?,
                d3: row.float("burn_3d")?,
            },
            pace: row.float("pace")?,
            exhausted_in_minutes: row.float("exhausted_in_minutes")?,
            tiers: [
                tier("page_quick", "1h", "5m")?,
                tier("page_slow", "6h", "30m")?,
                tier("ticket_quick", "1d", "2h")?,
                tier("ticket_slow", "3d", "6h")?,
            ],
            threshold_ms: row.float("threshold_ms")?,
            p95_ms: row.float("p95_ms")?,
            window_coverage: row.float("window_coverage")?.unwrap_or_default(),
            status: SloHealth::parse(&row.word("status")?),
            stamp: stamp(row)?,
        })
    })
    .await
}

/// Every row of `service_health`, by service.
///
/// # Errors
/// As the SQL engine says.
pub async fn health(state: &AppState) -> Result<Vec<HealthRow>> {
    read(state, "SELECT * FROM service_health ORDER BY service".to_owned(), |row| {
        Ok(HealthRow {
            service: row.word("service")?,
            layer: row.text("layer")?,
            status: row.word("status")?,
            reason: row.word("reason")?,
            since: row.time("since")?,
            targets: row.int("targets")?,
            up_targets: row.int("up_targets")?,
            firing_alerts: row.int("firing_alerts")?.unwrap_or_default(),
            anomalous_signals: row.int("anomalous_signals")?.unwrap_or_default(),
            slo_status: row.text("slo_status")?,
            top_alert: row.text("top_alert")?,
            top_signal: row.text("top_signal")?,
            stamp: stamp(row)?,
        })
    })
    .await
}

/// The newest minute of `service_traffic` that is over at `as_of`, of one service.
///
/// A minute that still runs would show a fraction of its requests per second.
///
/// # Errors
/// As the SQL engine says.
pub async fn traffic(state: &AppState, service: &str) -> Result<Option<TrafficRow>> {
    let Some(as_of) = state.live.view().status.as_of else { return Ok(None) };
    let newest = as_of.plus_ms(-PANE_MS);
    let sql = format!(
        "SELECT * FROM service_traffic WHERE service = {} AND window_start > TIMESTAMP '{}' AND window_start <= TIMESTAMP '{newest}' \
         ORDER BY window_start DESC LIMIT 1",
        quoted(service),
        newest.plus_ms(-afferent_engine::time::LOOKBACK_MS),
    );
    let rows = read(state, sql, |row| {
        Ok(TrafficRow {
            service: row.word("service")?,
            window_start: row.instant("window_start")?,
            requests: row.int("requests")?,
            errors: row.int("errors")?,
            error_ratio: row.float("error_ratio")?,
            rps: row.float("rps")?,
            p50_ms: row.float("p50_ms")?,
            p95_ms: row.float("p95_ms")?,
            p99_ms: row.float("p99_ms")?,
            stamp: stamp(row)?,
        })
    });
    Ok(rows.await?.into_iter().next())
}

/// The rows of `finops_month` of one month, else of the month that runs; the dearest first.
///
/// # Errors
/// As the SQL engine says.
pub async fn finops(state: &AppState, month: Option<&str>) -> Result<Vec<FinOpsRow>> {
    let month = month.map_or_else(|| "is_current".to_owned(), |month| format!("month = {}", quoted(month)));
    let sql = format!("SELECT * FROM finops_month WHERE {month} ORDER BY level, cost_nano_usd DESC NULLS LAST, provider, model");
    read(state, sql, |row| {
        Ok(FinOpsRow {
            month: row.word("month")?,
            level: row.word("level")?,
            provider: row.word("provider")?,
            model: row.word("model")?,
            calls: row.count("calls")?,
            input_tokens: row.count("input_tokens")?,
            cache_read_tokens: row.count("cache_read_tokens")?,
            cache_write_tokens: row.count("cache_write_tokens")?,
            output_tokens: row.count("output_tokens")?,
            unpriced_tokens: row.count("unpriced_tokens")?,
            cost_nano_usd: row.int("cost_nano_usd")?,
            priced_ratio: row.float("priced_ratio")?,
            price_map_version: row.text("price_map_version")?,
            stamp: stamp(row)?,
        })
    })
    .await
}

/// Both rows of `autonomy`.
///
/// # Errors
/// As the SQL engine says.
pub async fn autonomy(state: &AppState) -> Result<Vec<AutonomyRow>> {
    read(state, "SELECT * FROM autonomy ORDER BY scope".to_owned(), |row| {
        Ok(AutonomyRow {
            scope: row.word("scope")?,
            auto: row.count("auto")?,
            assisted: row.count("assisted")?,
            manual: row.count("manual")?,
            self_cleared: row.count("self_cleared")?,
            human: row.count("human")?,
            n: row.count("n")?,
            rate: row.float("rate")?,
            strict_rate: row.float("strict_rate")?,
            ci95_low: row.float("ci95_low")?,
            ci95_high: row.float("ci95_high")?,
            daily_trend_pp: row.float("daily_trend_pp")?,
            stamp: stamp(row)?,
        })
    })
    .await
}

/// Every row of `autonomy_by`.
///
/// # Errors
/// As the SQL engine says.
pub async fn autonomy_by(state: &AppState) -> Result<Vec<AutonomyByRow>> {
    read(state, "SELECT * FROM autonomy_by WHERE n > 0 ORDER BY dimension, n DESC, value".to_owned(), |row| {
        Ok(AutonomyByRow {
            dimension: row.word("dimension")?,
            value: row.word("value")?,
            auto: row.count("auto")?,
            human: row.count("human")?,
            n: row.count("n")?,
            rate: row.float("rate")?,
        })
    })
    .await
}

/// Every row of `mttr`.
///
/// # Errors
/// As the SQL engine says.
pub async fn mttr(state: &AppState) -> Result<Vec<MttrRow>> {
    read(state, "SELECT * FROM mttr ORDER BY period, scope".to_owned(), |row| {
        Ok(MttrRow {
            period: row.word("period")?,
            scope: row.word("scope")?,
            n: row.count("n")?,
            mean_s: row.float("mean_s")?,
            median_s: row.float("median_s")?,
            p90_s: row.float("p90_s")?,
            geometric_mean_s: row.float("geometric_mean_s")?,
            median_low_s: row.float("median_low_s")?,
            median_high_s: row.float("median_high_s")?,
            previous_n: row.count("previous_n")?,
            previous_median_s: row.float("previous_median_s")?,
            trend: row.text("trend")?,
            open_count: row.count("open_count")?,
            oldest_open_s: row.float("oldest_open_s")?,
            excluded_count: row.count("excluded_count")?,
            stamp: stamp(row)?,
        })
    })
    .await
}

/// A text literal of SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests;
