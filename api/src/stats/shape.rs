//! The shapes of the statistics endpoints, made from view rows by pure functions. Not their reading and not HTTP.
//!
//! Percent stands only where the contract asks for it; null is unknown and comes with the status `no_data`.

use super::rows::{AutonomyByRow, AutonomyRow, MttrRow, SloHealth, SloRow, Stamp, Standing};
use afferent_engine::time::EventTime;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Zone of calendar days and months.
pub const ZONE: &str = "Asia/Taipei";

/// What every answer carries besides its figures.
pub(super) fn stand(stamp: Option<Stamp>, standing: &Standing) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("as_of".to_owned(), json!(standing.as_of.map(|t| t.to_string())));
    out.insert("watermark".to_owned(), json!(standing.watermark.or(stamp.and_then(|s| s.watermark)).map(|t| t.to_string())));
    out.insert("coverage".to_owned(), json!(stamp.and_then(|s| s.coverage)));
    out.insert("revision".to_owned(), json!(stamp.map(|s| s.revision)));
    out.insert("generation".to_owned(), json!(stamp.map(|s| s.generation)));
    out
}

pub(super) fn merged(mut object: Value, more: Map<String, Value>) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.extend(more);
    }
    object
}

/// Percent of a ratio, freed of the noise that the multiplication adds.
pub fn percent(ratio: f64) -> f64 {
    (ratio * 1e8).round() / 1e6
}

/// `/slo/status`: one key per service, `overall`, and what the figures stand on.
pub fn slo_status(rows: &[SloRow], standing: &Standing) -> Value {
    let mut services: BTreeMap<&str, Vec<&SloRow>> = BTreeMap::new();
    for row in rows {
        services.entry(&row.service).or_default().push(row);
    }
    let mut out: Map<String, Value> = services.into_iter().map(|(name, rows)| (name.to_owned(), slo_service(&rows, standing))).collect();
    out.extend(stand(Stamp::of_all(rows.iter().map(|r| r.stamp)), standing));
    let coverage = rows.iter().map(|r| r.window_coverage).reduce(f64::min);
    out.insert("coverage".to_owned(), json!(coverage));
    out.insert("overall".to_owned(), json!(SloHealth::worst(rows.iter().map(|r| r.status))));
    Value::Object(out)
}

fn slo_service(rows: &[&SloRow], standing: &Standing) -> Value {
    // The contract names one objective of each kind over seven days; with several, the one with the least budget left speaks.
    let chosen = |indicator: &str| {
        let key = |row: &&&SloRow| (row.remaining_ratio.unwrap_or(f64::INFINITY), row.slo.clone());
        rows.iter()
            .filter(|r| r.indicator == indicator && r.period == "7d")
            .min_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal))
    };
    let (availability, latency) = (chosen("availability"), chosen("latency"));
    let known = |row: &&&&SloRow| row.status != SloHealth::NoData;
    json!({
        "availability_7d": availability.filter(|r| known(&r)).and_then(|r| r.sli).map(percent),
        "latency_p95_7d": latency.filter(|r| known(&r)).and_then(|r| r.p95_ms),
        "target_availability": availability.map(|r| percent(r.target)),
        "target_latency_p95": latency.and_then(|r| r.threshold_ms),
        "status": SloHealth::worst(rows.iter().map(|r| r.status)),
        "objectives": rows.iter().map(|row| objective(row, standing)).collect::<Vec<_>>(),
    })
}

fn objective(row: &SloRow, standing: &Standing) -> Value {
    let alerts = row.tiers.iter().map(|tier| {
        let state = match (tier.factor, row.status) {
            (None, _) => "off",
            (_, SloHealth::NoData) => "frozen",
            _ if tier.fires => "firing",
            _ => "ok",
        };
        json!({ "tier": tier.tier, "factor": tier.factor, "long": tier.long, "short": tier.short, "state": state, "since": null })
    });
    json!({
        "objective": row.slo,
        "indicator": row.indicator,
        "status": row.status,
        "sli": row.sli,
        "target": row.target,
        "window": row.period,
        "good": row.good,
        "bad": row.bad,
        "total": row.total,
        "budget": {
            "remaining_ratio": row.remaining_ratio,
            "remaining_events": row.remaining_events,
            "remaining_minutes": row.remaining_minutes,
        },
        "burn": row.burn,
        "pace": row.pace,
        "time_to_exhaustion_s": row.exhausted_in_minutes.map(|m| m * 60.0),
        "threshold_ms": row.threshold_ms,
        "p95_ms": row.p95_ms,
        "alerts": alerts.collect::<Vec<_>>(),
        "coverage": row.window_coverage,
        "watermark": row.stamp.watermark.map(|t| t.to_string()),
        "revision": row.stamp.revision,
        "generation": row.stamp.generation,
        "window_end": row.window_end.map(|t| t.to_string()),
        "evaluated_at": standing.evaluated_at.map(|t| EventTime(t.0).to_string()),
    })
}

/// `/stats/autonomy`: the rolling 24 hours at the top, the calendar day under `today`.
pub fn autonomy(rows: &[AutonomyRow], by: &[AutonomyByRow], standing: &Standing) -> Value {
    let scope = |name: &str| rows.iter().find(|r| r.scope == name);
    let rolling = scope("rolling_24h");
    let interval = |row: &AutonomyRow| row.ci95_low.zip(row.ci95_high).map(|(low, high)| [low, high]);
    let today = scope("today").map(|row| {
        json!({
            "rate": row.rate,
            "strict_rate": row.strict_rate,
            "daily_trend_pp": row.daily_trend_pp,
            "auto_resolved": row.auto,
            "human_resolved": row.human,
            "self_cleared": row.self_cleared,
            "n": row.n,
            "ci95": interval(row),
        })
    });
    let split = |dimension: &str| -> Vec<Value> {
        let rows = by.iter().filter(|r| r.dimension == dimension);
        rows.map(|r| json!({ "value": r.value, "rate": r.rate, "auto_resolved": r.auto, "human_resolved": r.human, "n": r.n })).collect()
    };
    let count = |get: fn(&AutonomyRow) -> i64| rolling.map(get);
    let body = json!({
        "status": if rolling.is_some_and(|r| r.n > 0) { "ok" } else { "no_data" },
        "rate": rolling.and_then(|r| r.rate),
        "strict_rate": rolling.and_then(|r| r.strict_rate),
        "daily_trend_pp": rolling.and_then(|r| r.daily_trend_pp),
        "auto_resolved_24h": count(|r| r.auto),
        "human_resolved_24h": count(|r| r.human),
        "assisted_24h": count(|r| r.assisted),
        "manual_24h": count(|r| r.manual),
        "self_cleared_24h": count(|r| r.self_cleared),
        "n": count(|r| r.n),
        "ci95": rolling.and_then(interval),
        "today": today,
        "by_source": split("source"),
        "by_severity": split("severity"),
        "by_action_type": split("action_type"),
        "tz": ZONE,
    });
    merged(body, stand(Stamp::of_all(rows.iter().map(|r| r.stamp)), standing))
}

/// Periods of `/stats/mttr`, the longest last.
pub const MTTR_PERIODS: [&str; 3] = ["24h", "7d", "30d"];

/// `/stats/mttr`: the asked period at the top, all of them under `periods`.
pub fn mttr(rows: &[MttrRow], period: &str, standing: &Standing) -> Value {
    let find = |period: &str, scope: &str| rows.iter().find(|r| r.period == period && r.scope == scope);
    let mean = |scope: &str| find(period, scope).and_then(|r| r.mean_s);
    let overall = find(period, "overall");
    let periods: Map<String, Value> = MTTR_PERIODS.into_iter().map(|p| (p.to_owned(), mttr_period(rows, p))).collect();
    let body = json!({
        "status": if overall.is_some_and(|r| r.n > 0) { "ok" } else { "no_data" },
        "period": period,
        "mttr_overall_s": mean("overall"),
        "mttr_auto_s": mean("auto"),
        "mttr_human_s": mean("human"),
        "n": overall.map(|r| r.n),
        "open": { "count": overall.map(|r| r.open_count), "oldest_age_s": overall.and_then(|r| r.oldest_open_s) },
        "excluded": overall.map(|r| r.excluded_count),
        "periods": periods,
    });
    merged(body, stand(Stamp::of_all(rows.iter().map(|r| r.stamp)), standing))
}

fn mttr_period(rows: &[MttrRow], period: &str) -> Value {
    let scopes = rows.iter().filter(|r| r.period == period).map(|r| {
        let figures = json!({
            "n": r.n,
            "mean_s": r.mean_s,
            "median_s": r.median_s,
            "p90_s": r.p90_s,
            "geometric_mean_s": r.geometric_mean_s,
            "median_ci95_s": r.median_low_s.zip(r.median_high_s).map(|(low, high)| [low, high]),
            "previous_n": r.previous_n,
            "previous_median_s": r.previous_median_s,
            "trend": r.trend,
        });
        (r.scope.clone(), figures)
    });
    Value::Object(scopes.collect())
}

#[cfg(test)]
mod tests;
