#![allow(clippy::unwrap_used)]

use super::*;
use crate::stats::fixtures::{self, AS_OF};
use afferent_engine::time::WallTime;
use axum::response::IntoResponse as _;
use std::path::PathBuf;

fn setting(locale: Locale) -> Setting {
    Setting { locale, now: WallTime(AS_OF.0 + 1_500), lacks: false }
}

fn source(view: &str) -> Source {
    Source {
        view: view.to_owned(),
        sql_sha256: Some("ab".repeat(32)),
        positions: [("metrics/0".to_owned(), 42)].into(),
        as_of: Some(AS_OF),
        failed: false,
    }
}

fn templates(_service: &str) -> Vec<Template> {
    let template = |rel: &str, href: &str| Template { rel: rel.to_owned(), href: href.to_owned() };
    vec![
        template("grafana", "https://grafana.example/d/svc?var-service={service}&from={from}&to={to}"),
        template("evil", "javascript:alert({service})"),
    ]
}

/// Every kind of card, filled or without a single row.
fn card(kind: CardType, is_filled: bool, setting: &Setting, source: &Source) -> Value {
    fn rows<T>(is_filled: bool, rows: Vec<T>) -> Vec<T> {
        if is_filled { rows } else { Vec::new() }
    }
    let links = templates;
    match kind {
        CardType::SystemHealthCard => to_json(system_health::card(&rows(is_filled, fixtures::health()), &links, source, setting)).unwrap(),
        CardType::ServiceDetailCard => {
            let (health, traffic) = (fixtures::health(), fixtures::traffic());
            let objectives = rows(is_filled, fixtures::slo().into_iter().filter(|o| o.service == "awoooi-api").collect());
            let rows = ServiceRows {
                service: "awoooi-api",
                health: health.first().filter(|_| is_filled),
                traffic: Some(&traffic).filter(|_| is_filled),
                objectives: &objectives,
            };
            to_json(service_detail::card(&rows, &links, source, setting)).unwrap()
        }
        CardType::SLODashboardCard => to_json(slo_dashboard::card(&rows(is_filled, fixtures::slo()), &links, source, setting)).unwrap(),
        CardType::FinOpsCard => to_json(fin_ops::card(&rows(is_filled, fixtures::finops()), None, source, setting)).unwrap(),
        CardType::AutonomyIndexPanel => to_json(autonomy_index::card(&rows(is_filled, fixtures::autonomy()), source, setting)).unwrap(),
        CardType::MTTRCard => to_json(mttr::card(&rows(is_filled, fixtures::mttr()), "7d", source, setting)).unwrap(),
    }
}

fn all() -> impl Iterator<Item = (CardType, bool, Locale)> {
    CardType::ALL
        .into_iter()
        .flat_map(|kind| [true, false].into_iter().flat_map(move |filled| Locale::ALL.into_iter().map(move |locale| (kind, filled, locale))))
}

/// Compares with the stored card; `AFFERENT_BLESS=1` stores it instead.
#[test]
fn cards_are_as_their_goldens_say() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/cards/goldens");
    for (kind, filled, locale) in all() {
        let found = card(kind, filled, &setting(locale), &source("a_view"));
        let name = format!("{kind}.{}.{}.json", if filled { "ready" } else { "no_data" }, locale.tag());
        let path = folder.join(&name);
        if std::env::var_os("AFFERENT_BLESS").is_some() {
            std::fs::write(&path, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}; AFFERENT_BLESS=1 stores it"));
        let stored: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(found, stored, "{name} differs; look, then AFFERENT_BLESS=1 stores it");
    }
}

#[test]
fn every_card_is_valid_by_its_schema_and_a_broken_one_is_not() {
    for (kind, filled, locale) in all() {
        let schema = schema::of(kind);
        let mut found = card(kind, filled, &setting(locale), &source("a_view"));
        validate::check(&found, &schema).unwrap_or_else(|e| panic!("{kind} filled={filled}: {e}"));
        found["data"] = json!({});
        assert!(validate::check(&found, &schema).is_err(), "{kind}: an empty data passes");
        let mut other = card(kind, filled, &setting(locale), &source("a_view"));
        other["state"] = json!("fine");
        assert!(validate::check(&other, &schema).is_err(), "{kind}: an unknown state passes");
    }
}

#[test]
fn without_rows_a_card_says_no_data_and_shows_no_number() {
    for kind in CardType::ALL {
        let found = card(kind, false, &setting(Locale::En), &source("a_view"));
        assert_eq!(found["state"], "no_data", "{kind}");
        for fact in found["facts"].as_array().unwrap() {
            assert!(!fact["value"].is_number(), "{kind}: {fact}");
        }
        let failed = Source { failed: true, ..source("a_view") };
        assert_eq!(card(kind, false, &setting(Locale::En), &failed)["state"], "error", "{kind}");
    }
}

#[test]
fn the_etag_follows_the_figures_and_not_the_clock() {
    for kind in CardType::ALL {
        let etag = |setting: &Setting, source: &Source| card(kind, true, setting, source)["etag"].clone();
        let first = etag(&setting(Locale::En), &source("a_view"));
        let later = Setting { now: WallTime(AS_OF.0 + 9_000), ..setting(Locale::En) };
        assert_eq!(first, etag(&later, &source("a_view")), "{kind}: a second later");
        assert_ne!(first, etag(&setting(Locale::ZhTw), &source("a_view")), "{kind}: another language");
        assert_ne!(first, etag(&setting(Locale::En), &source("other_view")), "{kind}: another view");
        let stale = Setting { now: WallTime(AS_OF.0 + 400_000), ..setting(Locale::En) };
        assert_ne!(first, etag(&stale, &source("a_view")), "{kind}: gone stale");
        assert_eq!(card(kind, true, &stale, &source("a_view"))["state"], "stale", "{kind}");
        let lacks = Setting { lacks: true, ..setting(Locale::En) };
        assert_eq!(card(kind, true, &lacks, &source("a_view"))["state"], "partial", "{kind}: the log cannot be read");
        let text = first.as_str().unwrap();
        assert!(text.starts_with('"') && text.ends_with('"') && text.len() == 34, "{text}");
    }
}

fn strings<'a>(value: &'a Value, path: String, out: &mut Vec<(String, &'a str)>) {
    match value {
        Value::String(text) => out.push((path, text)),
        Value::Array(items) => items.iter().for_each(|v| strings(v, path.clone(), out)),
        Value::Object(fields) => fields.iter().for_each(|(k, v)| strings(v, format!("{path}/{k}"), out)),
        _ => {}
    }
}

#[test]
fn no_string_carries_markup_or_a_query() {
    for (kind, filled, locale) in all() {
        let found = card(kind, filled, &setting(locale), &source("a_view"));
        let mut texts = Vec::new();
        strings(&found, String::new(), &mut texts);
        for (path, text) in texts.iter().filter(|(path, _)| !path.ends_with("/href") && !path.ends_with("/etag")) {
            for mark in ["<", ">", "`", "**", "[", "](", "{", "rate("] {
                assert!(!text.contains(mark), "{kind} {path}: {text}");
            }
        }
    }
}

#[test]
fn links_carry_the_services_that_need_attention_the_window_and_only_http() {
    let expected = [
        (CardType::SystemHealthCard, vec!["awoooi-api", "kali-scanner"]),
        (CardType::ServiceDetailCard, vec!["awoooi-api"]),
        (CardType::SLODashboardCard, vec!["openclaw", "awoooi-api"]),
    ];
    for (kind, services) in expected {
        let found = card(kind, true, &setting(Locale::En), &source("a_view"));
        let links = found["links"].as_array().unwrap();
        assert_eq!(links.len(), services.len(), "{kind}: the javascript template must be gone");
        for (link, service) in links.iter().zip(services) {
            let href = format!("https://grafana.example/d/svc?var-service={service}&from={}&to={}", AS_OF.0 - 3_600_000, AS_OF.0);
            assert_eq!(link["href"].as_str().unwrap(), href);
            assert_eq!((&link["target"], &link["to"]), (&json!("_blank"), &json!("2026-11-22T10:00:00.000Z")));
        }
    }
}

#[test]
fn attention_comes_first_and_counts_add_up() {
    let found = card(CardType::SystemHealthCard, true, &setting(Locale::En), &source("a_view"));
    let order: Vec<&str> = found["data"]["services"].as_array().unwrap().iter().map(|s| s["status"].as_str().unwrap()).collect();
    assert_eq!(order, ["critical", "warning", "no_data", "healthy"]);
    assert_eq!(found["summary"], "4 SERVICES | 1 HEALTHY | 1 WARNING | 1 CRITICAL | 1 NO DATA");
    assert_eq!((&found["state"], &found["severity"]), (&json!("partial"), &json!("critical")));
}

#[tokio::test]
async fn unknown_types_name_the_nearest_and_unknown_versions_the_right_one() {
    let error = kind("MTRCard").unwrap_err();
    assert_eq!(error.status, StatusCode::NOT_FOUND);
    assert!(error.hint.unwrap().contains("MTTRCard"));
    assert!(kind("").unwrap_err().hint.unwrap().contains("FinOpsCard"));
    let wrong = schema_file(Path(("MTTRCard".to_owned(), "9.0.0.json".to_owned()))).await.unwrap_err();
    assert!(wrong.hint.unwrap().contains("/schemas/cards/MTTRCard/1.0.0.json"));
    let right = schema_file(Path(("MTTRCard".to_owned(), "1.0.0.json".to_owned()))).await.into_response();
    assert_eq!(right.status(), StatusCode::OK);
}

#[test]
fn a_reader_who_has_it_gets_304() {
    let mut request = HeaderMap::new();
    let body = json!({ "x": 1 });
    assert_eq!(answer(&body, "\"a\"", Locale::En, &request).status(), StatusCode::OK);
    request.insert(IF_NONE_MATCH, HeaderValue::from_static("\"z\", W/\"a\""));
    let unchanged = answer(&body, "\"a\"", Locale::En, &request);
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(unchanged.headers()[ETAG], "\"a\"");
    assert_eq!(unchanged.headers()[VARY], "Accept-Language");
    assert_eq!(answer(&body, "\"b\"", Locale::En, &request).status(), StatusCode::OK);
}

/// As much of JSON Schema 2020-12 as the generated schemas use; an unknown keyword is an error, so that nothing is passed unseen.
mod validate {
    use serde_json::Value;

    pub(super) fn check(value: &Value, schema: &Value) -> Result<(), String> {
        at(value, schema, schema, "")
    }

    fn at(value: &Value, schema: &Value, root: &Value, path: &str) -> Result<(), String> {
        let Some(rules) = schema.as_object() else {
            return if schema == &Value::Bool(false) { Err(format!("{path}: nothing is allowed")) } else { Ok(()) };
        };
        for (keyword, rule) in rules {
            rule_holds(value, keyword, rule, schema, root, path)?;
        }
        Ok(())
    }

    fn rule_holds(value: &Value, keyword: &str, rule: &Value, schema: &Value, root: &Value, path: &str) -> Result<(), String> {
        let ok = |holds: bool| if holds { Ok(()) } else { Err(format!("{path}: {keyword} {rule} does not hold for {value}")) };
        let list = || rule.as_array().map(Vec::as_slice).unwrap_or_default();
        match keyword {
            "$schema" | "$id" | "$defs" | "title" | "description" | "format" => Ok(()),
            "$ref" => {
                let name = rule.as_str().and_then(|r| r.strip_prefix("#/$defs/")).ok_or_else(|| format!("{path}: {rule}"))?;
                at(value, root.get("$defs").and_then(|d| d.get(name)).ok_or_else(|| format!("{path}: no {name}"))?, root, path)
            }
            "type" => {
                let kinds: Vec<&str> = rule.as_str().into_iter().chain(list().iter().filter_map(Value::as_str)).collect();
                ok(kinds.into_iter().any(|kind| is(value, kind)))
            }
            "const" => ok(value == rule),
            "enum" => ok(list().contains(value)),
            "required" => ok(list().iter().filter_map(Value::as_str).all(|name| value.get(name).is_some())),
            "properties" => {
                let fields = rule.as_object().into_iter().flatten();
                fields
                    .filter_map(|(name, rule)| Some((value.get(name)?, name, rule)))
                    .try_for_each(|(v, name, rule)| at(v, rule, root, &format!("{path}/{name}")))
            }
            "additionalProperties" => {
                let named = |name: &str| schema.get("properties").is_some_and(|p| p.get(name).is_some());
                let others = value.as_object().into_iter().flatten().filter(|(name, _)| !named(name));
                others.into_iter().try_for_each(|(name, v)| at(v, rule, root, &format!("{path}/{name}")))
            }
            "items" => value.as_array().into_iter().flatten().try_for_each(|v| at(v, rule, root, &format!("{path}[]"))),
            "anyOf" | "oneOf" => {
                let fits = list().iter().filter(|rule| at(value, rule, root, path).is_ok()).count();
                ok(if keyword == "oneOf" { fits == 1 } else { fits > 0 })
            }
            "minimum" => ok(value.as_f64().zip(rule.as_f64()).is_none_or(|(v, least)| v >= least)),
            "minItems" => ok(value.as_array().zip(rule.as_u64()).is_none_or(|(v, least)| v.len() as u64 >= least)),
            "maxItems" => ok(value.as_array().zip(rule.as_u64()).is_none_or(|(v, most)| v.len() as u64 <= most)),
            other => Err(format!("{path}: this check does not know {other}")),
        }
    }

    fn is(value: &Value, kind: &str) -> bool {
        match kind {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            _ => false,
        }
    }
}
