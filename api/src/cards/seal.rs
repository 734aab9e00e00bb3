//! Puts a card's own part into the envelope: identity, revision, state, expiry, ETag. Not what a single card says.

use super::envelope::{
    Accessibility, Action, CARD_VERSION, Card, Disposition, ENVELOPE, Fact, Link, LiveRegion, Provenance, REFRESH_AFTER_MS, Requires, Severity,
    Urgency,
};
use super::links::encoded;
use super::state::{CardState, Facts, STALE_AFTER_MS, decide};
use super::types::CardType;
use crate::locale::Locale;
use crate::stats::rows::Stamp;
use afferent_engine::error::{Error, Result};
use afferent_engine::time::{EventTime, WallTime};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What every card of one request shares.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Language.
    pub locale: Locale,
    /// Wall time of the answer.
    pub now: WallTime,
    /// Records of the last seconds may be missing in all of them.
    pub lacks: bool,
}

/// Where a card's rows were read, besides the rows themselves.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Source {
    /// View that was read.
    pub view: String,
    /// Hash of its statement.
    pub sql_sha256: Option<String>,
    /// Positions per log.
    pub positions: BTreeMap<String, u64>,
    /// Event time up to which the view's rows hold, also those that did not change since.
    pub as_of: Option<EventTime>,
    /// The rows could not be read.
    pub failed: bool,
}

/// What a card's figures stand on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Basis {
    /// Where they were read.
    pub source: Source,
    /// Least watermark and coverage of the rows; `None` without rows.
    pub stamp: Option<Stamp>,
    /// Corrections of the rows, summed.
    pub corrections: i64,
}

impl Basis {
    /// The basis of rows with these stamps.
    pub fn of(source: &Source, stamps: impl IntoIterator<Item = Stamp> + Clone) -> Self {
        Self {
            source: source.clone(),
            stamp: Stamp::of_all(stamps.clone()),
            corrections: stamps.into_iter().map(|s| s.revision.max(0)).fold(0, i64::saturating_add),
        }
    }

    /// Event time the figures are for: the view's watermark, else that of their rows.
    pub fn as_of(&self) -> Option<EventTime> {
        self.source.as_of.or(self.stamp.and_then(|s| s.watermark))
    }

    /// Whether the figures can be relied on.
    pub fn state(&self, setting: &Setting, has_figures: bool, has_gaps: bool) -> CardState {
        let coverage = self.stamp.and_then(|s| s.coverage);
        decide(&Facts {
            failed: self.source.failed,
            as_of: self.as_of(),
            now: setting.now,
            coverage,
            has_figures,
            has_gaps: has_gaps || setting.lacks,
        })
    }
}

/// The part of a card that is its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Body<D> {
    /// Kind of card.
    pub kind: CardType,
    /// What it is about, when there may be several of the kind.
    pub subject: Option<String>,
    /// Whether the figures can be relied on.
    pub state: CardState,
    /// How much it matters.
    pub severity: Severity,
    /// Headline.
    pub title: String,
    /// One sentence.
    pub summary: String,
    /// What the card shows, for screen readers.
    pub description: String,
    /// The figures.
    pub data: D,
    /// The figures that matter most.
    pub facts: Vec<Fact>,
    /// What can be done.
    pub actions: Vec<Action>,
    /// Where to look deeper.
    pub links: Vec<Link>,
}

/// RFC 3339 in UTC with milliseconds.
pub fn rfc3339(ms: i64) -> String {
    EventTime(ms).to_string()
}

/// Puts a card's own part into the envelope and seals it with its ETag.
///
/// # Errors
/// `Internal` where the card cannot be written as JSON.
pub fn close<D: Serialize>(body: Body<D>, basis: &Basis, setting: &Setting) -> Result<Card<D>> {
    let key = match &body.subject {
        Some(subject) => format!("{}/{}", body.kind, encoded(subject)),
        None => body.kind.to_string(),
    };
    let locale = setting.locale.tag();
    let fallback_text = fallback(&body);
    let as_of = basis.as_of();
    let mut card = Card {
        schema: ENVELOPE.to_owned(),
        kind: body.kind,
        schema_version: CARD_VERSION.to_owned(),
        id: hex(&Sha256::digest(format!("{key}\n{locale}")), 8),
        key,
        revision: as_of.map_or(0, |w| w.0.saturating_add(basis.corrections)).max(0).unsigned_abs(),
        etag: String::new(),
        state: body.state,
        severity: body.severity,
        urgency: if body.severity >= Severity::High { Urgency::Normal } else { Urgency::None },
        disposition: Disposition::Answer,
        generated_at: String::new(),
        data_as_of: as_of.map(|t| t.to_string()),
        expires_at: as_of.map(|t| rfc3339(t.0.saturating_add(STALE_AFTER_MS))),
        refresh_after_ms: REFRESH_AFTER_MS,
        coverage: basis.stamp.and_then(|s| s.coverage),
        locale: locale.to_owned(),
        title: body.title.clone(),
        summary: body.summary.clone(),
        fallback_text,
        a11y: Accessibility { label: body.title, live: LiveRegion::Polite, description: body.description },
        data: body.data,
        facts: body.facts,
        actions: body.actions,
        links: body.links,
        provenance: Provenance {
            view: basis.source.view.clone(),
            generation: basis.stamp.map(|s| s.generation),
            sql_sha256: basis.source.sql_sha256.clone(),
            positions: basis.source.positions.clone(),
            watermark: as_of.map(|t| t.to_string()),
        },
    };
    card.etag = etag(&card)?;
    card.generated_at = rfc3339(setting.now.0);
    Ok(card)
}

/// The strong ETag, quotes included: SHA-256 over the JSON without `etag` and `generated_at`.
fn etag<D: Serialize>(card: &Card<D>) -> Result<String> {
    let failed = |cause: serde_json::Error| Error::internal(format!("card {} cannot be written as JSON: {cause}", card.key));
    // Keys keep one order: that of the types or of the alphabet, depending on how serde_json was built; either is the same in every answer.
    let mut value = serde_json::to_value(card).map_err(failed)?;
    if let Some(object) = value.as_object_mut() {
        object.remove("etag");
        object.remove("generated_at");
    }
    let text = serde_json::to_vec(&value).map_err(failed)?;
    Ok(format!("\"{}\"", hex(&Sha256::digest(text), 16)))
}

/// The first `bytes` of a hash as hexadecimal digits.
pub fn hex(hash: &[u8], bytes: usize) -> String {
    hash.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

fn fallback<D>(body: &Body<D>) -> String {
    let facts = body.facts.iter().map(|fact| format!("\n{}: {}", fact.label, fact.display));
    [body.title.clone(), format!("\n{}", body.summary)].into_iter().chain(facts).collect()
}

/// The action that opens another card of this server.
pub fn open_card(kind: CardType, query: &str, label: String) -> Action {
    let id = if query.is_empty() { format!("open-{kind}") } else { format!("open-{kind}-{query}") };
    let href = if query.is_empty() { format!("/api/v1/cards/{kind}") } else { format!("/api/v1/cards/{kind}?{query}") };
    Action {
        id,
        kind: "open_card".to_owned(),
        label,
        style: "secondary".to_owned(),
        method: "GET".to_owned(),
        href,
        params_schema: None,
        requires: Requires { role: None, confirm: false, plan_hash: None },
        expires_at: None,
        idempotency_key: None,
    }
}
