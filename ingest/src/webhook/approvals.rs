//! The life cycle of approvals, our own shape: one event per transition. Deciding an approval is not done here.

use super::incidents::check_actor;
use super::item::{Fault, Item, content_id, title};
use afferent_engine::event::{Event, EventKind};

/// Transitions there are.
const TYPES: [&str; 7] = ["requested", "approved", "rejected", "expired", "executed", "failed", "rolled_back"];

/// One transition as an event.
pub(super) fn event(item: &Item<'_>) -> Result<Event, Fault> {
    item.fields()?;
    let approval_id = item.required("approval_id")?;
    let transition = item.one_of("type", &TYPES)?;
    let time = item.time("occurred_at")?;
    check_actor(item)?;
    item.text("incident_id")?;
    let action = item.text("action_type")?;
    let attributes = item.canonical();
    Ok(Event {
        event_id: item.text("event_id")?.unwrap_or_else(|| content_id(&attributes)),
        time,
        kind: EventKind::Approval,
        severity: item.text("risk_level")?,
        service: item.text("service")?,
        title: match action {
            Some(action) => title(&format!("{approval_id} {transition}: {action}")),
            None => title(&format!("{approval_id} {transition}")),
        },
        fingerprint: Some(approval_id),
        status: Some(transition),
        attributes,
    })
}
