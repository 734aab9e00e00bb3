//! Rows of views as a small platform would give them, for the tests of statistics and cards.

use super::rows::{AutonomyByRow, AutonomyRow, Burn, FinOpsRow, HealthRow, MttrRow, SloHealth, SloRow, Stamp, TierRow, TrafficRow};
use afferent_engine::time::EventTime;

/// 2026-11-22T10:00:00Z.
pub(crate) const AS_OF: EventTime = EventTime(1_795_341_600_000);

pub(crate) fn stamp() -> Stamp {
    Stamp { watermark: Some(AS_OF), coverage: Some(1.0), revision: 2, generation: 1 }
}

fn tier(tier: &'static str, long: &'static str, short: &'static str, fires: bool) -> TierRow {
    TierRow { tier, long, short, factor: Some(2.8), fires }
}

fn objective(slo: &str, service: &str, indicator: &str, target: f64, good: i64, total: i64, status: SloHealth) -> SloRow {
    let latency = indicator == "latency";
    let bad = total - good;
    let allowed = total as f64 * (1.0 - target);
    let known = (total > 0).then_some(());
    SloRow {
        slo: slo.to_owned(),
        service: service.to_owned(),
        indicator: indicator.to_owned(),
        target,
        period: "7d".to_owned(),
        window_end: known.map(|()| AS_OF),
        good: known.map(|()| good),
        bad: known.map(|()| bad),
        total: known.map(|()| total),
        sli: known.map(|()| good as f64 / total as f64),
        remaining_ratio: known.map(|()| 1.0 - bad as f64 / allowed),
        remaining_events: known.map(|()| allowed - bad as f64),
        remaining_minutes: known.map(|()| 4.5),
        burn: if total > 0 { Burn { m5: Some(0.0), h1: Some(0.5), d1: Some(3.25), ..Burn::default() } } else { Burn::default() },
        pace: known.map(|()| bad as f64 / allowed),
        exhausted_in_minutes: (bad > 0).then_some(90.0),
        tiers: [
            tier("page_quick", "1h", "5m", false),
            tier("page_slow", "6h", "30m", false),
            tier("ticket_quick", "1d", "2h", status == SloHealth::AtRisk),
            tier("ticket_slow", "3d", "6h", false),
        ],
        threshold_ms: latency.then_some(250.0),
        p95_ms: (latency && total > 0).then_some(161.25),
        window_coverage: if total > 0 { 1.0 } else { 0.25 },
        status,
        stamp: stamp(),
    }
}

/// One objective of each status, two of one service.
pub(crate) fn slo() -> Vec<SloRow> {
    vec![
        objective("awoooi-api-availability", "awoooi-api", "availability", 0.999, 999_400, 1_000_000, SloHealth::AtRisk),
        objective("awoooi-api-latency", "awoooi-api", "latency", 0.95, 990_000, 1_000_000, SloHealth::Healthy),
        objective("minio-availability", "minio", "availability", 0.99, 0, 0, SloHealth::NoData),
        objective("openclaw-availability", "openclaw", "availability", 0.99, 98_900, 100_000, SloHealth::Breached),
    ]
}

fn service(name: &str, layer: &str, status: &str, reason: &str) -> HealthRow {
    HealthRow {
        service: name.to_owned(),
        layer: Some(layer.to_owned()),
        status: status.to_owned(),
        reason: reason.to_owned(),
        since: (reason == "alert").then_some(AS_OF.plus_ms(-600_000)),
        targets: (reason != "silent").then_some(1),
        up_targets: (reason != "silent").then_some(1),
        firing_alerts: i64::from(reason == "alert"),
        anomalous_signals: 0,
        slo_status: None,
        top_alert: (reason == "alert").then(|| "ScanOverdue: rate(scans_total[5m]) == 0 <b>late</b>".to_owned()),
        top_signal: None,
        stamp: stamp(),
    }
}

/// One service of each health.
pub(crate) fn health() -> Vec<HealthRow> {
    vec![
        service("awoooi-api", "L1", "critical", "slo_breached"),
        service("harbor", "L1", "no_data", "silent"),
        service("kali-scanner", "L1", "warning", "alert"),
        service("redis", "L1", "healthy", "ok"),
    ]
}

pub(crate) fn traffic() -> TrafficRow {
    TrafficRow {
        service: "awoooi-api".to_owned(),
        window_start: AS_OF.plus_ms(-60_000),
        requests: Some(600),
        errors: Some(3),
        error_ratio: Some(0.005),
        rps: Some(10.0),
        p50_ms: Some(61.5),
        p95_ms: Some(161.25),
        p99_ms: Some(1240.0),
        stamp: stamp(),
    }
}

fn cost(level: &str, provider: &str, model: &str, calls: i64, nano: Option<i64>, unpriced_tokens: i64) -> FinOpsRow {
    FinOpsRow {
        month: "2026-11".to_owned(),
        level: level.to_owned(),
        provider: provider.to_owned(),
        model: model.to_owned(),
        calls,
        input_tokens: calls * 1000,
        cache_read_tokens: 10,
        cache_write_tokens: 0,
        output_tokens: calls * 100,
        unpriced_tokens,
        cost_nano_usd: nano,
        priced_ratio: Some(0.9),
        price_map_version: Some("demo-1".to_owned()),
        stamp: stamp(),
    }
}

/// Three providers, one of them without a price.
pub(crate) fn finops() -> Vec<FinOpsRow> {
    vec![
        cost("model", "claude", "claude-sonnet-4-5", 20, Some(1_234_567_890), 0),
        cost("model", "gemini", "gemini/gemini-2.5-flash", 30, Some(23_400_001), 0),
        cost("model", "openclaw", "openclaw/experimental-1", 5, None, 5500),
        cost("provider", "claude", "*", 20, Some(1_234_567_890), 0),
        cost("provider", "gemini", "*", 30, Some(23_400_001), 0),
        cost("provider", "openclaw", "*", 5, None, 5500),
        cost("total", "*", "*", 55, Some(1_257_967_891), 5500),
    ]
}

/// The last day, and the calendar day so far without a resolution.
pub(crate) fn autonomy() -> Vec<AutonomyRow> {
    let rolling = AutonomyRow {
        scope: "rolling_24h".to_owned(),
        auto: 7,
        assisted: 2,
        manual: 1,
        self_cleared: 2,
        human: 3,
        n: 10,
        rate: Some(70.0),
        strict_rate: Some(60.0),
        ci95_low: Some(39.678),
        ci95_high: Some(89.221),
        daily_trend_pp: Some(11.666_666_666_666_664),
        stamp: stamp(),
    };
    let today = AutonomyRow {
        scope: "today".to_owned(),
        auto: 0,
        assisted: 0,
        manual: 0,
        self_cleared: 0,
        human: 0,
        n: 0,
        rate: None,
        strict_rate: None,
        ci95_low: None,
        ci95_high: None,
        daily_trend_pp: None,
        ..rolling.clone()
    };
    vec![rolling, today]
}

pub(crate) fn autonomy_by() -> Vec<AutonomyByRow> {
    vec![AutonomyByRow { dimension: "severity".to_owned(), value: "high".to_owned(), auto: 1, human: 1, n: 2, rate: Some(50.0) }]
}

fn times(period: &str, scope: &str, n: i64, mean_s: Option<f64>) -> MttrRow {
    MttrRow {
        period: period.to_owned(),
        scope: scope.to_owned(),
        n,
        mean_s,
        median_s: mean_s.map(|m| m / 2.0),
        p90_s: mean_s.map(|m| m * 3.0),
        geometric_mean_s: mean_s.map(|m| m / 1.5),
        median_low_s: mean_s.map(|m| m / 4.0),
        median_high_s: mean_s,
        previous_n: 0,
        previous_median_s: None,
        trend: None,
        open_count: 1,
        oldest_open_s: Some(660.0),
        excluded_count: 2,
        stamp: stamp(),
    }
}

/// Two periods; people resolved nothing in the shorter one.
pub(crate) fn mttr() -> Vec<MttrRow> {
    vec![
        times("24h", "overall", 2, Some(360.0)),
        times("24h", "auto", 2, Some(360.0)),
        times("24h", "human", 0, None),
        times("7d", "overall", 28, Some(1860.0)),
        times("7d", "auto", 18, Some(412.5)),
        times("7d", "human", 8, Some(5400.0)),
    ]
}
