//! One object of a webhook's body: fields read by name, faults named by JSON path, the canonical text. It knows no payload.

use afferent_engine::time::EventTime;
use serde_json::{Map, Value};

/// Bytes of an id, a status, a severity or another text that becomes a column.
const WORD_BYTES_MAX: usize = 1024;
/// Bytes of a title.
const TITLE_BYTES_MAX: usize = 512;
/// Numbers below this are seconds, the others milliseconds: in seconds it is the year 5138, in milliseconds March 1973.
const SECONDS_BELOW: f64 = 1e11;

/// What is wrong with one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: &'static str,
    /// JSON path.
    pub(super) path: String,
    pub(super) what: String,
}

/// One object and where it stands.
pub(super) struct Item<'v> {
    value: &'v Value,
    path: String,
}

impl<'v> Item<'v> {
    /// The value at a path.
    pub(super) fn new(value: &'v Value, path: String) -> Self {
        Self { value, path }
    }

    /// Its JSON path.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Its fields.
    pub(super) fn fields(&self) -> Result<&'v Map<String, Value>, Fault> {
        self.value.as_object().ok_or_else(|| Fault { reason: "bad_field", path: self.path.clone(), what: "must be an object".to_owned() })
    }

    /// A field, if it is there and not null.
    pub(super) fn get(&self, key: &str) -> Option<&'v Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    /// A field that holds an object, as an item of its own.
    pub(super) fn object(&self, key: &str) -> Result<Option<Item<'v>>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(value @ Value::Object(_)) => Ok(Some(Item::new(value, format!("{}.{key}", self.path)))),
            Some(_) => Err(self.bad(key, "must be an object")),
        }
    }

    /// A short text; numbers are taken as they print, for senders that number their ids.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() > WORD_BYTES_MAX => Err(self.bad(key, format!("is longer than {WORD_BYTES_MAX} bytes"))),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) if number.is_u64() || number.is_i64() => Ok(Some(number.to_string())),
            Some(_) => Err(self.bad(key, "must be a text")),
        }
    }

    /// A short text that must be there.
    pub(super) fn required(&self, key: &str) -> Result<String, Fault> {
        self.text(key)?.ok_or_else(|| self.missing(key))
    }

    /// A text that must be one of a few.
    pub(super) fn one_of(&self, key: &str, known: &[&str]) -> Result<String, Fault> {
        let text = self.required(key)?;
        match known.contains(&text.as_str()) {
            true => Ok(text),
            false => Err(self.bad(key, format!("is {text:?}, it must be one of {}", known.join(", ")))),
        }
    }

    /// An instant that must be there: RFC 3339, or a number of seconds or milliseconds since 1970.
    pub(super) fn time(&self, key: &str) -> Result<EventTime, Fault> {
        match self.get(key) {
            None => Err(self.missing(key)),
            Some(Value::String(text)) => match chrono::DateTime::parse_from_rfc3339(text) {
                Ok(time) => Ok(EventTime(time.timestamp_millis())),
                Err(cause) => Err(self.bad(key, format!("is not an RFC 3339 time: {cause}"))),
            },
            Some(Value::Number(number)) => match number.as_f64() {
                Some(seconds) if seconds.abs() < SECONDS_BELOW => Ok(EventTime((seconds * 1000.0).round() as i64)),
                Some(millis) => Ok(EventTime(number.as_i64().unwrap_or(millis as i64))),
                None => Err(self.bad(key, "is not a finite number")),
            },
            Some(_) => Err(self.bad(key, "must be an RFC 3339 time or a number of milliseconds since 1970")),
        }
    }

    /// A whole number of at least 0, if it is there.
    pub(super) fn count(&self, key: &str) -> Result<Option<u64>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64().filter(|count| i64::try_from(*count).is_ok()) {
                Some(count) => Ok(Some(count)),
                None => Err(self.bad(key, "must be a whole number from 0 to 9223372036854775807")),
            },
        }
    }

    /// A finite number of at least 0, if it is there.
    pub(super) fn amount(&self, key: &str) -> Result<Option<f64>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_f64().filter(|amount| amount.is_finite() && *amount >= 0.0) {
                Some(amount) => Ok(Some(amount)),
                None => Err(self.bad(key, "must be a number of at least 0")),
            },
        }
    }

    /// A field that must be there and is not.
    pub(super) fn missing(&self, key: &str) -> Fault {
        Fault { reason: "missing_field", path: format!("{}.{key}", self.path), what: "is missing".to_owned() }
    }

    /// A field that is not what it must be.
    pub(super) fn bad(&self, key: &str, what: impl Into<String>) -> Fault {
        Fault { reason: "bad_field", path: format!("{}.{key}", self.path), what: what.into() }
    }

    /// The item as canonical text.
    pub(super) fn canonical(&self) -> String {
        canonical(self.value)
    }
}

/// JSON with sorted keys and no blanks: the same content always gives the same text, whatever order it was sent in.
pub(super) fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(all) => {
            out.push('[');
            for (n, value) in all.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                write_canonical(value, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (n, (key, value)) in fields.into_iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// The idempotency key of an item that brings none: what it says is what it is.
pub(super) fn content_id(canonical: &str) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(canonical.as_bytes()))
}

/// One line for people: control characters become blanks, and it is cut short.
pub(super) fn title(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    crate::rejects::cut(line.trim().to_owned(), TITLE_BYTES_MAX)
}
