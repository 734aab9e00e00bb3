//! Webhook bodies to events: reading JSON, walking its items, and naming what is wrong by its JSON path. Each payload's own rules are in its file.

mod alertmanager;
mod approvals;
mod incidents;
mod item;
mod llm_usage;
pub(crate) mod signature;

use crate::error::{Error, Result};
use crate::rejects::Rejects;
use crate::remote_write::{newest, time_fault};
use afferent_engine::event::Event;
use afferent_engine::log::{Decoded, DecodedBody, Format, Record};
use item::{Fault, Item};
use serde_json::Value;

/// Largest webhook body, in bytes: parsed JSON takes many times the room of its text.
pub(crate) const WEBHOOK_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Items one body may hold.
const ITEMS_MAX: usize = 10_000;
/// Bytes that the attributes of one body's events may take together.
const ATTRIBUTES_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Reads a webhook body.
pub(crate) fn decode(record: &Record, future_ms_max: i64) -> Result<Decoded> {
    let body: Value = serde_json::from_slice(&record.body).map_err(|cause| Error::Json { detail: cause.to_string() })?;
    let newest = newest(record.received_at, future_ms_max);
    let mut events = Vec::new();
    let mut rejects = Rejects::default();
    let mut attribute_bytes = 0;
    let mut take = |item: &Item<'_>, event: std::result::Result<Event, Fault>| {
        let event = event.and_then(|event| match time_fault(event.time.0, newest, record.received_at) {
            Some(refusal) => Err(Fault { reason: refusal.reason, path: item.path().to_owned(), what: refusal.what }),
            None => Ok(event),
        });
        match event {
            Ok(event) => {
                attribute_bytes += event.attributes.len();
                events.push(event);
            }
            Err(fault) => rejects.push(fault.reason, 1, || format!("{}: {}", fault.path, fault.what)),
        }
        match attribute_bytes > ATTRIBUTES_BYTES_MAX {
            true => Err(Error::TooLarge {
                what: "the attributes of the events in one body",
                size: attribute_bytes as u64,
                max: ATTRIBUTES_BYTES_MAX as u64,
                unit: "bytes",
            }),
            false => Ok(()),
        }
    };
    match record.format {
        Format::Alertmanager => {
            let group = alertmanager::Group::read(&body)?;
            for item in items(group.alerts, "$.alerts")? {
                take(&item, group.event(&item, record.received_at))?;
            }
        }
        Format::Incidents => each(&body, "events", |item| take(item, incidents::event(item)))?,
        Format::Approvals => each(&body, "events", |item| take(item, approvals::event(item)))?,
        Format::LlmUsage => each(&body, "usage", |item| take(item, llm_usage::event(item)))?,
        Format::RemoteWriteV1 | Format::RemoteWriteV2 => {
            return Err(Error::Shape { path: "$".to_owned(), wanted: "is remote write, not a webhook's body" });
        }
    }
    Ok(Decoded { body: DecodedBody::Events(events), rejects: rejects.finish() })
}

/// The items of a body that is one object, an array of them, or an object with an array of them under `key`.
fn each(body: &Value, key: &str, mut take: impl FnMut(&Item<'_>) -> Result<()>) -> Result<()> {
    match body {
        Value::Array(all) => items(all, "$")?.try_for_each(|item| take(&item)),
        Value::Object(fields) => match fields.get(key) {
            Some(Value::Array(all)) => items(all, &format!("$.{key}"))?.try_for_each(|item| take(&item)),
            _ => take(&Item::new(body, "$".to_owned())),
        },
        _ => Err(Error::Shape { path: "$".to_owned(), wanted: "must be an object or an array of objects" }),
    }
}

fn items<'v>(all: &'v [Value], path: &str) -> Result<impl Iterator<Item = Item<'v>>> {
    if all.len() > ITEMS_MAX {
        return Err(Error::TooLarge { what: "the body", size: all.len() as u64, max: ITEMS_MAX as u64, unit: "items" });
    }
    let path = path.to_owned();
    Ok(all.iter().enumerate().map(move |(n, value)| Item::new(value, format!("{path}[{n}]"))))
}

#[cfg(test)]
mod tests;
