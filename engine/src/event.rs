//! An event as it stands in the `events` table, before the record it came in adds source and arrival. Not the webhooks' own shapes.

use crate::time::EventTime;

/// One event. `attributes` keeps everything the sender said, so that SQL can ask for what no column names.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Idempotency key within its source: the sender's delivery id, or a hash of what makes it the same event.
    pub event_id: String,
    /// When it happened.
    pub time: EventTime,
    /// `alert`, `incident`, `approval` or `llm_usage`.
    pub kind: EventKind,
    /// critical, high, medium, low, info, or as the sender says.
    pub severity: Option<String>,
    /// The service as the sender names it; the inventory may name it otherwise.
    pub service: Option<String>,
    /// What makes two events one matter (alert fingerprint, incident id).
    pub fingerprint: Option<String>,
    /// firing, resolved, opened, approved, ...
    pub status: Option<String>,
    /// One line for people.
    pub title: String,
    /// The whole item as JSON text, object at the top.
    pub attributes: String,
}

/// The kinds of events that have a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Alertmanager alerts.
    Alert,
    /// Incident life cycle.
    Incident,
    /// Approval life cycle.
    Approval,
    /// LLM usage.
    LlmUsage,
}

impl EventKind {
    /// The word in the `kind` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Incident => "incident",
            Self::Approval => "approval",
            Self::LlmUsage => "llm_usage",
        }
    }
}
