//! The life cycle of incidents, our own shape: one event per transition. How transitions fold into an incident is a view's matter.

use super::item::{Fault, Item, content_id, title};
use afferent_engine::event::{Event, EventKind};

/// Transitions there are.
const TYPES: [&str; 10] = ["opened", "acknowledged", "assigned", "escalated", "mitigated", "resolved", "reopened", "merged", "cancelled", "note"];

/// Who can act.
const ACTORS: [&str; 3] = ["ai", "human", "system"];

/// One transition as an event.
pub(super) fn event(item: &Item<'_>) -> Result<Event, Fault> {
    item.fields()?;
    let incident_id = item.required("incident_id")?;
    let transition = item.one_of("type", &TYPES)?;
    let time = item.time("occurred_at")?;
    check_actor(item)?;
    if let Some(action) = item.object("action")? {
        action.text("type")?;
        action.text("outcome")?;
    }
    let said = [item.get("title"), item.get("reason")].into_iter().flatten().find_map(serde_json::Value::as_str);
    let attributes = item.canonical();
    Ok(Event {
        event_id: item.text("event_id")?.unwrap_or_else(|| content_id(&attributes)),
        time,
        kind: EventKind::Incident,
        severity: item.text("severity")?,
        service: item.text("service")?,
        title: match said {
            Some(said) => title(&format!("{incident_id} {transition}: {said}")),
            None => title(&format!("{incident_id} {transition}")),
        },
        fingerprint: Some(incident_id),
        status: Some(transition),
        attributes,
    })
}

/// An actor decides between automatic and human work, so one that is there must be readable.
pub(super) fn check_actor(item: &Item<'_>) -> Result<(), Fault> {
    if let Some(actor) = item.object("actor")? {
        actor.one_of("kind", &ACTORS)?;
        actor.text("id")?;
    }
    Ok(())
}
