//! Alertmanager's webhook, version 4: one event per alert and transition. Not Grafana's, which only looks alike.

use super::item::{Fault, Item, canonical, title};
use crate::error::{Error, Result};
use afferent_engine::event::{Event, EventKind};
use afferent_engine::time::{EventTime, WallTime};
use serde_json::{Map, Value};

/// Bytes of a text of the group that every one of its alerts carries.
const GROUP_TEXT_BYTES_MAX: usize = 8 * 1024;
/// Texts and numbers of the group that every one of its alerts carries.
const GROUP_FIELDS: [&str; 4] = ["groupKey", "receiver", "externalURL", "truncatedAlerts"];
/// An end before this is Go's zero time and means that the alert is open: 0001-01-02.
const OPEN_BEFORE_MS: i64 = -62_135_510_400_000;

/// A notification: its alerts, and what they have in common.
pub(super) struct Group<'v> {
    pub(super) alerts: &'v [Value],
    status: Option<&'v Value>,
    shared: Vec<(&'static str, &'v Value)>,
}

impl<'v> Group<'v> {
    /// Reads the outer object.
    pub(super) fn read(body: &'v Value) -> Result<Self> {
        let shape = |path: &str, wanted| Error::Shape { path: path.to_owned(), wanted };
        let fields = body.as_object().ok_or_else(|| shape("$", "must be an object"))?;
        let alerts = fields.get("alerts").and_then(Value::as_array).ok_or_else(|| shape("$.alerts", "must be an array"))?;
        let mut shared = Vec::new();
        for key in GROUP_FIELDS {
            match fields.get(key) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) if text.len() > GROUP_TEXT_BYTES_MAX => {
                    return Err(shape(&format!("$.{key}"), "must not be longer than 8192 bytes"));
                }
                Some(value @ (Value::String(_) | Value::Number(_))) => shared.push((key, value)),
                Some(_) => return Err(shape(&format!("$.{key}"), "must be a text or a number")),
            }
        }
        Ok(Self { alerts, status: fields.get("status"), shared })
    }

    /// One alert as an event.
    pub(super) fn event(&self, item: &Item<'_>, received_at: WallTime) -> Result<Event, Fault> {
        let fields = item.fields()?;
        let labels = item.object("labels")?.ok_or_else(|| item.missing("labels"))?;
        let annotations = item.object("annotations")?;
        let status = match (item.get("status"), self.status) {
            (None, Some(Value::String(group))) if is_status(group) => group.clone(),
            _ => item.one_of("status", &STATUSES)?,
        };
        let starts_at = item.time("startsAt")?;
        let fingerprint = match item.text("fingerprint")? {
            Some(fingerprint) => fingerprint,
            None => fingerprint(&labels)?,
        };
        let time = if status == "resolved" { ended(item, received_at)? } else { starts_at };
        let summary = annotations.as_ref().and_then(|a| a.get("summary")).and_then(Value::as_str);
        let name = summary.filter(|summary| !summary.is_empty()).or(labels.get("alertname").and_then(Value::as_str));
        Ok(Event {
            event_id: format!("{fingerprint}:{starts_at}:{status}"),
            time,
            kind: EventKind::Alert,
            severity: labels.text("severity")?,
            service: labels.text("service")?,
            title: title(name.unwrap_or("alert without a name")),
            attributes: self.attributes(fields),
            fingerprint: Some(fingerprint),
            status: Some(status),
        })
    }

    /// The alert with what its group adds.
    fn attributes(&self, fields: &Map<String, Value>) -> String {
        let mut all = fields.clone();
        for (key, value) in &self.shared {
            all.entry(*key).or_insert_with(|| (*value).clone());
        }
        canonical(&Value::Object(all))
    }
}

const STATUSES: [&str; 2] = ["firing", "resolved"];

fn is_status(text: &str) -> bool {
    STATUSES.contains(&text)
}

/// When a resolved alert ended. One that does not say was over at the latest when the notification came in.
fn ended(item: &Item<'_>, received_at: WallTime) -> Result<EventTime, Fault> {
    if item.get("endsAt").is_none() {
        return Ok(EventTime(received_at.0));
    }
    let ends_at = item.time("endsAt")?;
    Ok(if ends_at.0 < OPEN_BEFORE_MS { EventTime(received_at.0) } else { ends_at })
}

/// Alertmanager's own fingerprint: FNV-1a of names and values in order, each followed by a byte no UTF-8 text has.
///
/// # Source
/// `LabelSet.Fingerprint` of `prometheus/common/model`.
fn fingerprint(labels: &Item<'_>) -> Result<String, Fault> {
    let mut pairs = Vec::new();
    for (name, value) in labels.fields()? {
        let value = value.as_str().ok_or_else(|| labels.bad(name, "must be a text"))?;
        pairs.push((name.as_str(), value));
    }
    pairs.sort_unstable();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    for (name, value) in pairs {
        name.bytes().for_each(&mut add);
        add(0xff);
        value.bytes().for_each(&mut add);
        add(0xff);
    }
    Ok(format!("{hash:016x}"))
}
