//! The envelope every card has, as types: what the JSON Schemas are generated from. Not how it is filled (`seal.rs`).

use super::state::CardState;
use super::types::CardType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The identifier of the envelope's own layout.
pub const ENVELOPE: &str = "afferent.card/1";

/// The version of every card type so far; minor versions only add.
pub const CARD_VERSION: &str = "1.0.0";

/// How often a reader should ask again: the engine evaluates open panes once a second.
pub const REFRESH_AFTER_MS: u64 = 5_000;

/// How much a card matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing to do.
    Info,
    /// Worth knowing.
    Low,
    /// Worth a look today.
    Medium,
    /// Worth a look now.
    High,
    /// Act now.
    Critical,
}

/// Whether a card may interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Urgency {
    /// Does not ask for attention.
    #[serde(rename = "none")]
    None,
    /// In its turn.
    #[serde(rename = "normal")]
    Normal,
    /// Interrupts.
    P0,
}

/// Why a card is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// Somebody asked.
    Answer,
    /// Pushed to the commander.
    Surfaced,
    /// Part of the daily digest.
    Digest,
}

/// For screen readers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Accessibility {
    /// Name of the card.
    pub label: String,
    /// How changes are announced: `off`, `polite` or `assertive`.
    pub live: LiveRegion,
    /// What the card shows.
    pub description: String,
}

/// How a screen reader announces changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LiveRegion {
    /// Not at all.
    Off,
    /// When idle.
    Polite,
    /// At once.
    Assertive,
}

/// The value of a fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FactValue {
    /// A number in the fact's unit.
    Number(f64),
    /// A word, such as a status.
    Text(String),
}

/// The unit of a fact's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// 0..1.
    Ratio,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
    /// US dollars.
    Usd,
    /// A number of things.
    Count,
    /// Percentage points.
    Pp,
    /// Per second.
    PerS,
    /// No unit: a word.
    None,
}

/// How a value compares with its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FactStatus {
    /// As it should be.
    Ok,
    /// Needs an eye.
    Warning,
    /// Not as it should be.
    Critical,
    /// Not known.
    NoData,
    /// Has no target.
    Neutral,
}

/// The comparison that holds when a target is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// value >= target.
    Gte,
    /// value <= target.
    Lte,
}

/// One figure, ready to be shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fact {
    /// Stable name.
    pub id: String,
    /// What it is.
    pub label: String,
    /// The value; null is unknown.
    pub value: Option<FactValue>,
    /// Its unit.
    pub unit: Unit,
    /// The value as people read it.
    pub display: String,
    /// How it compares with its target.
    pub status: FactStatus,
    /// The target in the same unit.
    pub target: Option<f64>,
    /// The comparison that should hold.
    pub op: Option<Op>,
}

/// What is needed before an action may be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requires {
    /// Role of the person.
    pub role: Option<String>,
    /// Ask once more.
    pub confirm: bool,
    /// Hash of the plan that is being decided on.
    pub plan_hash: Option<String>,
}

/// Something a reader can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Action {
    /// Stable name.
    pub id: String,
    /// `open_card`, ...
    pub kind: String,
    /// What it says.
    pub label: String,
    /// `primary` or `secondary`.
    pub style: String,
    /// HTTP method.
    pub method: String,
    /// Path on this server.
    pub href: String,
    /// JSON Schema of the parameters, if it takes any.
    pub params_schema: Option<serde_json::Value>,
    /// Conditions.
    pub requires: Requires,
    /// Until when, if it ends.
    pub expires_at: Option<String>,
    /// Key to send along, if it changes something.
    pub idempotency_key: Option<String>,
}

/// A way out to another tool, in a new tab, with the card's own subject and window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// What it leads to: the tool.
    pub rel: String,
    /// What it says.
    pub label: String,
    /// Name of an icon.
    pub icon: String,
    /// http or https.
    pub href: String,
    /// Always `_blank`.
    pub target: String,
    /// Start of the window.
    pub from: Option<String>,
    /// End of the window.
    pub to: Option<String>,
}

/// Where the figures come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Provenance {
    /// The view whose rows were read.
    pub view: String,
    /// Its definition's number.
    pub generation: Option<i64>,
    /// Hash of its statement.
    pub sql_sha256: Option<String>,
    /// Per log the position from which a replay would compute these rows again.
    pub positions: BTreeMap<String, u64>,
    /// Event time up to which the rows are complete.
    pub watermark: Option<String>,
}

/// A card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Card<D> {
    /// Layout of the envelope.
    pub schema: String,
    /// Kind of card.
    #[serde(rename = "type")]
    pub kind: CardType,
    /// Version of that kind.
    pub schema_version: String,
    /// Stable identity of this card in this language.
    pub id: String,
    /// What the card is about, the same in every language: `SLODashboardCard`, `ServiceDetailCard/redis`.
    pub key: String,
    /// Rises when the rows below move on: milliseconds of their watermark plus their corrections.
    pub revision: u64,
    /// Strong ETag of the canonical JSON without `etag` and `generated_at`.
    pub etag: String,
    /// Whether the figures can be relied on.
    pub state: CardState,
    /// How much it matters.
    pub severity: Severity,
    /// Whether it may interrupt.
    pub urgency: Urgency,
    /// Why it is shown.
    pub disposition: Disposition,
    /// When this answer was made.
    pub generated_at: String,
    /// Event time the figures are for.
    pub data_as_of: Option<String>,
    /// From when on the figures count as stale.
    pub expires_at: Option<String>,
    /// When to ask again.
    pub refresh_after_ms: u64,
    /// Share of expected panes seen, 0..1.
    pub coverage: Option<f64>,
    /// Language of all texts.
    pub locale: String,
    /// Headline.
    pub title: String,
    /// One sentence.
    pub summary: String,
    /// Everything as plain text.
    pub fallback_text: String,
    /// For screen readers.
    pub a11y: Accessibility,
    /// The figures.
    pub data: D,
    /// The figures that matter most, ready to be shown.
    pub facts: Vec<Fact>,
    /// What can be done.
    pub actions: Vec<Action>,
    /// Where to look deeper.
    pub links: Vec<Link>,
    /// Where the figures come from.
    pub provenance: Provenance,
}
