#![allow(clippy::unwrap_used)]

use super::*;
use crate::stats::finops;
use crate::stats::fixtures::{self, AS_OF};

fn standing() -> Standing {
    Standing { as_of: Some(AS_OF), watermark: Some(AS_OF), evaluated_at: Some(afferent_engine::time::WallTime(AS_OF.0 + 500)) }
}

#[test]
fn slo_status_has_the_contracts_keys_and_the_worst_of_all() {
    let answer = slo_status(&fixtures::slo(), &standing());
    assert_eq!(answer["overall"], "breached");
    assert_eq!(answer["as_of"], "2026-11-22T10:00:00.000Z");
    assert_eq!(answer["coverage"], 0.25);
    let api = &answer["awoooi-api"];
    assert_eq!(api["availability_7d"], 99.94);
    assert_eq!(api["target_availability"], 99.9);
    assert_eq!(api["latency_p95_7d"], 161.25);
    assert_eq!(api["target_latency_p95"], 250.0);
    assert_eq!(api["status"], "at_risk");
    assert_eq!(api["objectives"].as_array().unwrap().len(), 2);
    assert_eq!(api["objectives"][0]["alerts"][2]["state"], "firing");
    assert_eq!(api["objectives"][0]["burn"]["1d"], 3.25);
    assert_eq!(api["objectives"][0]["burn"]["6h"], Value::Null);
    assert_eq!(api["objectives"][0]["evaluated_at"], "2026-11-22T10:00:00.500Z");
}

#[test]
fn without_data_nothing_is_a_number_and_alerts_freeze() {
    let answer = slo_status(&fixtures::slo(), &standing());
    let minio = &answer["minio"];
    assert_eq!(minio["status"], "no_data");
    assert_eq!(minio["availability_7d"], Value::Null);
    assert_eq!(minio["latency_p95_7d"], Value::Null);
    assert_eq!(minio["target_availability"], 99.0);
    let objective = &minio["objectives"][0];
    assert_eq!(objective["budget"]["remaining_ratio"], Value::Null);
    assert_eq!(objective["alerts"][0]["state"], "frozen");
    let nothing = slo_status(&[], &Standing::default());
    assert_eq!(nothing["overall"], "no_data");
    for key in ["as_of", "watermark", "coverage", "revision", "generation"] {
        assert_eq!(nothing[key], Value::Null, "{key}");
    }
}

#[test]
fn the_total_is_the_sum_of_its_providers_and_what_is_unpriced_is_null() {
    let answer = finops::answer(&fixtures::finops(), None, &standing());
    assert_eq!(answer["period"], "2026-11");
    assert_eq!(answer["total_cost_usd"].to_string(), "1.257967891");
    assert_eq!(answer["claude_cost"].to_string(), "1.23456789");
    assert_eq!(answer["gemini_cost"].to_string(), "0.023400001");
    assert_eq!(answer["ollama_cost"], Value::Null);
    assert_eq!(answer["by_provider"][2]["cost_usd"], Value::Null);
    assert_eq!(answer["by_provider"][2]["unpriced_tokens"], 5500);
    assert_eq!(answer["top_cost_drivers"].as_array().unwrap().len(), 2);
    for key in ["realizable_savings", "freed_capacity", "realized_savings"] {
        assert_eq!(answer[key], Value::Null, "{key}");
    }
    let nothing = finops::answer(&[], Some("2025-01"), &Standing::default());
    assert_eq!((&nothing["period"], &nothing["status"], &nothing["total_cost_usd"]), (&json!("2025-01"), &json!("no_data"), &Value::Null));
}

#[test]
fn autonomy_names_the_rolling_day_and_today_apart() {
    let answer = autonomy(&fixtures::autonomy(), &fixtures::autonomy_by(), &standing());
    assert_eq!((&answer["rate"], &answer["auto_resolved_24h"], &answer["human_resolved_24h"]), (&json!(70.0), &json!(7), &json!(3)));
    assert_eq!(answer["today"]["rate"], Value::Null);
    assert_eq!(answer["by_severity"][0]["value"], "high");
    assert_eq!(answer["by_source"], json!([]));
    assert_eq!(autonomy(&[], &[], &Standing::default())["status"], "no_data");
    assert_eq!(autonomy(&[], &[], &Standing::default())["auto_resolved_24h"], Value::Null);
}

#[test]
fn mttr_shows_open_incidents_apart() {
    let answer = mttr(&fixtures::mttr(), "7d", &standing());
    assert_eq!((&answer["mttr_overall_s"], &answer["mttr_auto_s"], &answer["mttr_human_s"]), (&json!(1860.0), &json!(412.5), &json!(5400.0)));
    assert_eq!(answer["open"]["count"], 1);
    assert_eq!(answer["periods"]["24h"]["human"]["mean_s"], Value::Null);
    let day = mttr(&fixtures::mttr(), "30d", &standing());
    assert_eq!((&day["status"], &day["mttr_overall_s"]), (&json!("no_data"), &Value::Null));
}
