//! The card endpoints: read rows, hand them to the card's pure function, answer with ETag and language. What a card says stands in its own file.

pub mod autonomy_index;
mod display;
pub mod envelope;
mod facts;
pub mod fin_ops;
pub mod links;
pub mod mttr;
pub mod schema;
pub mod seal;
pub mod service_detail;
pub mod slo_dashboard;
pub mod state;
pub mod system_health;
pub mod types;

use crate::error::{ApiError, ApiResult, json_response};
use crate::locale::Locale;
use crate::nearest::ranked;
use crate::state::AppState;
use crate::stats::{self, read};
use afferent_engine::error::{Error, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::routing::get;
use envelope::{CARD_VERSION, Card};
use links::Template;
use seal::{Setting, Source};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service_detail::ServiceRows;
use sha2::{Digest, Sha256};
use std::time::Instant;
use types::CardType;

/// Characters a service's name may have in a query.
const SERVICE_CHARS_MAX: usize = 200;

/// The endpoints, with their full paths.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route("/api/v1/cards", get(list))
        .route("/api/v1/cards/{type}", get(one))
        .route("/schemas/cards/{type}/{file}", get(schema_file))
        .with_state(state)
}

/// What may be asked of a card.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct CardQuery {
    /// ServiceDetailCard: which service.
    pub service: Option<String>,
    /// FinOpsCard: which month (`2026-03`); MTTRCard: `24h`, `7d` or `30d`.
    pub period: Option<String>,
    /// `zh-TW` or `en`.
    pub locale: Option<String>,
}

async fn list(State(state): State<AppState>, Query(query): Query<CardQuery>, headers: HeaderMap) -> ApiResult {
    let setting = setting(&state, &query, &headers);
    let mut cards = Vec::new();
    // Details of a service are asked for by name; the list holds what needs no question.
    for kind in CardType::ALL.into_iter().filter(|kind| *kind != CardType::ServiceDetailCard) {
        cards.push(match make(&state, kind, &CardQuery::default(), &setting).await {
            Ok(card) => card,
            Err(error) => {
                tracing::warn!(card = %kind, kind = %error.kind, "a card cannot be filled: {}", error.message);
                empty(&state, kind, &setting)?
            }
        });
    }
    let etags: String = cards.iter().filter_map(|c| c.get("etag").and_then(Value::as_str)).collect();
    let etag = format!("\"{}\"", seal::hex(&Sha256::digest(etags), 16));
    let types: Vec<Value> =
        CardType::ALL.into_iter().map(|k| json!({ "type": k, "schema_version": CARD_VERSION, "schema": schema::path(k) })).collect();
    Ok(answer(&json!({ "cards": cards, "types": types }), &etag, setting.locale, &headers))
}

async fn one(State(state): State<AppState>, Path(name): Path<String>, Query(query): Query<CardQuery>, headers: HeaderMap) -> ApiResult {
    let kind = kind(&name)?;
    let setting = setting(&state, &query, &headers);
    let card = make(&state, kind, &query, &setting).await?;
    let etag = card.get("etag").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(answer(&card, &etag, setting.locale, &headers))
}

async fn schema_file(Path((name, file)): Path<(String, String)>) -> ApiResult {
    let kind = kind(&name)?;
    let Some(version) = file.strip_suffix(".json").filter(|v| *v == CARD_VERSION) else {
        return Err(ApiError::not_found(format!("{kind} has no schema {file:?}")).hint(format!("there is {}", schema::path(kind))));
    };
    let mut response = json_response(StatusCode::OK, &schema::of(kind));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/schema+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    tracing::trace!(card = %kind, version, "schema read");
    Ok(response)
}

/// The kind of a name; an unknown one is 404 and names the nearest.
fn kind(name: &str) -> ApiResult<CardType> {
    CardType::parse(name).ok_or_else(|| {
        let known = || CardType::ALL.into_iter().map(CardType::as_str);
        let near = ranked(name, known());
        let hint = if near.is_empty() {
            format!("there are {}", known().collect::<Vec<_>>().join(", "))
        } else {
            format!("did you mean {}?", near.join(" or "))
        };
        ApiError::not_found(format!("there is no card type {:?}", name.chars().take(64).collect::<String>())).hint(hint)
    })
}

fn setting(state: &AppState, query: &CardQuery, headers: &HeaderMap) -> Setting {
    let language = headers.get(ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok());
    let lacks = state.live.view().status.unread(Instant::now()).is_some();
    Setting { locale: Locale::negotiate(query.locale.as_deref(), language), now: state.clock.now(), lacks }
}

/// Reads the rows of a card and makes it.
async fn make(state: &AppState, kind: CardType, query: &CardQuery, setting: &Setting) -> ApiResult<Value> {
    let links = |service: &str| templates(state, service);
    match kind {
        CardType::SystemHealthCard => {
            let rows = read::health(state).await?;
            to_json(system_health::card(&rows, &links, &source(state, "service_health", "metrics"), setting))
        }
        CardType::ServiceDetailCard => service_detail(state, query, setting).await,
        CardType::SLODashboardCard => {
            let rows = read::slo(state).await?;
            to_json(slo_dashboard::card(&rows, &links, &source(state, "slo_status", "metrics"), setting))
        }
        CardType::FinOpsCard => {
            let month = query.period.as_deref().map(stats::month).transpose()?;
            let rows = read::finops(state, month).await?;
            to_json(fin_ops::card(&rows, month, &source(state, "finops_month", "events"), setting))
        }
        CardType::AutonomyIndexPanel => {
            let rows = read::autonomy(state).await?;
            to_json(autonomy_index::card(&rows, &source(state, "autonomy", "events"), setting))
        }
        CardType::MTTRCard => {
            let period = stats::mttr_period(query.period.as_deref())?;
            let rows = read::mttr(state).await?;
            to_json(mttr::card(&rows, period, &source(state, "mttr", "events"), setting))
        }
    }
}

async fn service_detail(state: &AppState, query: &CardQuery, setting: &Setting) -> ApiResult<Value> {
    let name = query.service.as_deref().map(str::trim).filter(|s| !s.is_empty());
    let health = read::health(state).await?;
    let known = || health.iter().map(|r| r.service.as_str());
    let Some(service) = name else {
        let hint = format!("for example ?service={}", known().next().unwrap_or("awoooi-api"));
        return Err(ApiError::invalid("the parameter service is missing").hint(hint));
    };
    if service.chars().count() > SERVICE_CHARS_MAX {
        return Err(ApiError::invalid(format!("the name of a service has at most {SERVICE_CHARS_MAX} characters")));
    }
    let row = health.iter().find(|r| r.service == service);
    let traffic = read::traffic(state, service).await?;
    if row.is_none() && traffic.is_none() {
        let near = ranked(service, known()).join(" or ");
        let error = ApiError::not_found(format!("there is no service {service:?}"));
        return Err(if near.is_empty() { error } else { error.hint(format!("did you mean {near}?")) });
    }
    let objectives: Vec<_> = read::slo(state).await?.into_iter().filter(|o| o.service == service).collect();
    let rows = ServiceRows { service, health: row, traffic: traffic.as_ref(), objectives: &objectives };
    to_json(service_detail::card(&rows, &|name| templates(state, name), &source(state, "service_traffic", "metrics"), setting))
}

/// A card whose rows could not be read.
fn empty(state: &AppState, kind: CardType, setting: &Setting) -> ApiResult<Value> {
    let failed = |view: &str, log: &str| Source { failed: true, ..source(state, view, log) };
    let none = |_: &str| Vec::new();
    match kind {
        CardType::SystemHealthCard => to_json(system_health::card(&[], &none, &failed("service_health", "metrics"), setting)),
        CardType::ServiceDetailCard => {
            let rows = ServiceRows { service: "", health: None, traffic: None, objectives: &[] };
            to_json(service_detail::card(&rows, &none, &failed("service_traffic", "metrics"), setting))
        }
        CardType::SLODashboardCard => to_json(slo_dashboard::card(&[], &none, &failed("slo_status", "metrics"), setting)),
        CardType::FinOpsCard => to_json(fin_ops::card(&[], None, &failed("finops_month", "events"), setting)),
        CardType::AutonomyIndexPanel => to_json(autonomy_index::card(&[], &failed("autonomy", "events"), setting)),
        CardType::MTTRCard => to_json(mttr::card(&[], stats::MTTR_PERIOD, &failed("mttr", "events"), setting)),
    }
}

fn to_json<D: Serialize>(card: Result<Card<D>>) -> ApiResult<Value> {
    Ok(serde_json::to_value(card?).map_err(|cause| Error::internal(format!("a card cannot be written as JSON: {cause}")))?)
}

/// Where the rows of a view come from: its statement, and the positions of the logs it is computed from.
fn source(state: &AppState, view: &str, log: &str) -> Source {
    let read = state.live.view();
    let statement = read.views.iter().find(|(name, _)| name.as_str() == view).map(|(_, info)| info.sql.as_str());
    let logs = read.status.logs.iter().filter(|(name, _)| name.starts_with(log));
    Source {
        view: view.to_owned(),
        sql_sha256: statement.map(|sql| seal::hex(&Sha256::digest(sql), 32)),
        positions: logs.map(|(name, log)| (name.clone(), log.checkpointed.0)).collect(),
        as_of: read.status.views.get(view).and_then(|v| v.watermark),
        failed: false,
    }
}

/// The link templates of a service of the inventory.
fn templates(state: &AppState, service: &str) -> Vec<Template> {
    let links = state.dimensions.inventory.service(service).map(|s| &s.links);
    links.into_iter().flatten().map(|(rel, href)| Template { rel: rel.clone(), href: href.clone() }).collect()
}

/// The answer, or 304 where the reader has it already.
fn answer(body: &Value, etag: &str, locale: Locale, request: &HeaderMap) -> Response<Body> {
    let mut response = if holds(request, etag) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        json_response(StatusCode::OK, body)
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(ETAG, etag);
    }
    headers.insert(VARY, HeaderValue::from_static("Accept-Language"));
    headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static(locale.tag()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Whether `If-None-Match` names this ETag (weak comparison, RFC 9110 section 13.1.2).
fn holds(request: &HeaderMap, etag: &str) -> bool {
    let given = request.get_all(IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    given.flat_map(|v| v.split(',')).map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests;
