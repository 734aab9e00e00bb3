//! Calls of language models: one event per call. Prices are not known here.

use super::item::{Fault, Item, title};
use afferent_engine::event::{Event, EventKind};

/// Token counts a call may carry.
const TOKENS: [&str; 5] = ["input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"];

/// One call as an event.
pub(super) fn event(item: &Item<'_>) -> Result<Event, Fault> {
    item.fields()?;
    let event_id = item.required("id")?;
    let time = item.time("ts")?;
    let provider = item.required("provider")?;
    let model = item.required("model")?;
    for key in TOKENS {
        item.count(key)?;
    }
    item.amount("duration_ms")?;
    item.amount("cost_usd")?;
    let operation = item.text("operation")?;
    Ok(Event {
        event_id,
        time,
        kind: EventKind::LlmUsage,
        severity: None,
        service: item.text("service")?,
        fingerprint: None,
        status: item.text("status")?,
        title: match operation {
            Some(operation) => title(&format!("{provider} {model} {operation}")),
            None => title(&format!("{provider} {model}")),
        },
        attributes: item.canonical(),
    })
}
