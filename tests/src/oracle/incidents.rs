//! Incidents from their events, and the two figures that follow: who resolved them, and how long it took.

use std::collections::BTreeMap;

/// One event of an incident or of its approval.
#[derive(Debug, Clone)]
pub struct Event {
    /// Which incident.
    pub incident: String,
    /// When it happened, milliseconds.
    pub at_ms: i64,
    /// opened, acknowledged, resolved, reopened, ...; for approvals `approval_` and its type.
    pub kind: String,
    /// ai, human or system.
    pub actor: String,
    /// The outcome of the action it tells of; `None` where it tells of none.
    pub outcome: Option<String>,
}

/// Who solved it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// The AI alone.
    Auto,
    /// The AI's plan, approved by a person.
    Assisted,
    /// A person.
    Manual,
    /// Nobody.
    SelfCleared,
}

/// One incident as its events tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// When it was detected.
    pub created_ms: i64,
    /// When it was resolved for good; `None` while it is open.
    pub resolved_ms: Option<i64>,
    /// Who solved it, as far as the events say.
    pub path: Path,
    /// Merged, cancelled: not in any figure.
    pub excluded: bool,
    /// It came back after it was resolved.
    pub reopened: bool,
}

/// The counts behind the autonomy index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Autonomy {
    /// By the AI alone.
    pub auto: i64,
    /// Approved by a person.
    pub assisted: i64,
    /// By a person.
    pub manual: i64,
    /// By nobody.
    pub self_cleared: i64,
}

impl Autonomy {
    /// Percent; `None` without any.
    pub fn rate(self) -> Option<f64> {
        let n = self.auto + self.assisted + self.manual;
        (n > 0).then(|| self.auto as f64 * 100.0 / n as f64)
    }
}

/// Every incident, by its id. Events may come in any order.
pub fn fold(events: &[Event]) -> BTreeMap<String, Incident> {
    let mut by_incident: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
    for event in events {
        by_incident.entry(event.incident.clone()).or_default().push(event);
    }
    by_incident.into_iter().filter_map(|(id, events)| Some((id, tell(events)?))).collect()
}

fn tell(mut events: Vec<&Event>) -> Option<Incident> {
    events.sort_by_key(|event| event.at_ms);
    let of = |kind: &str| events.iter().copied().filter(|e| e.kind == kind).collect::<Vec<_>>();
    let created_ms = of("opened").first()?.at_ms;
    let reopened = of("reopened");
    let last_reopened = reopened.last().map(|e| e.at_ms);
    let resolved = of("resolved").last().map(|e| e.at_ms).filter(|at| last_reopened.is_none_or(|reopened| *at > reopened));
    let human = |e: &&Event| e.actor == "human";
    let approved = of("approval_approved").iter().any(human);
    // Noticing, assigning and taking notes is no action, and who closes it does not decide unless nobody did anything else.
    let person_acted = events.iter().any(|e| human(e) && (e.outcome.is_some() || e.kind == "mitigated"));
    let person_closed = of("resolved").iter().any(human);
    let ai_succeeded = events.iter().any(|e| e.actor == "ai" && e.outcome.as_deref() == Some("succeeded"));
    let path = match (person_acted, approved, ai_succeeded, person_closed) {
        (true, _, _, _) => Path::Manual,
        (false, true, _, _) => Path::Assisted,
        (false, false, true, _) => Path::Auto,
        (false, false, false, true) => Path::Manual,
        (false, false, false, false) => Path::SelfCleared,
    };
    let excluded = !of("merged").is_empty() || !of("cancelled").is_empty();
    Some(Incident { created_ms, resolved_ms: resolved, path, excluded, reopened: !reopened.is_empty() })
}

/// Those resolved in `(after_ms, to_ms]` that count.
pub fn resolved(incidents: &BTreeMap<String, Incident>, after_ms: i64, to_ms: i64) -> Vec<&Incident> {
    let inside = |i: &&Incident| !i.excluded && i.resolved_ms.is_some_and(|at| at > after_ms && at <= to_ms);
    incidents.values().filter(inside).collect()
}

/// Counts by path.
pub fn autonomy(resolved: &[&Incident]) -> Autonomy {
    let count = |path: Path| resolved.iter().filter(|i| i.path == path).count() as i64;
    Autonomy { auto: count(Path::Auto), assisted: count(Path::Assisted), manual: count(Path::Manual), self_cleared: count(Path::SelfCleared) }
}

/// Milliseconds from detection to resolution, ascending.
pub fn durations_ms(resolved: &[&Incident]) -> Vec<i64> {
    let mut out: Vec<i64> = resolved.iter().filter_map(|i| Some(i.resolved_ms? - i.created_ms)).collect();
    out.sort_unstable();
    out
}

/// Mean in seconds; `None` without any.
pub fn mean_s(durations_ms: &[i64]) -> Option<f64> {
    (!durations_ms.is_empty()).then(|| durations_ms.iter().sum::<i64>() as f64 / durations_ms.len() as f64 / 1000.0)
}

/// Median in seconds, between the two in the middle; `None` without any.
pub fn median_s(durations_ms: &[i64]) -> Option<f64> {
    let n = durations_ms.len();
    (n > 0).then(|| (durations_ms[(n - 1) / 2] + durations_ms[n / 2]) as f64 / 2000.0)
}

#[cfg(test)]
mod tests;
