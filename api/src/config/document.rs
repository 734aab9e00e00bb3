//! Reads a TOML text against the reference file: unknown keys, wrong types, and where each value came from. Not what values mean.

use super::error::ConfigError;
use crate::nearest::nearest;
use std::collections::BTreeMap;
use std::fmt;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// The manual and the defaults at once: every key that exists stands in it.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

/// Bytes a configuration file may have.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The reference file.
    Default,
    /// The user's file and line, from 1.
    File(String, usize),
    /// A command-line flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{path}:{line}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Sections of keys, each with its value and origin. Depth is two; a key whose default is `{}` takes any names (dots and
/// all) with strings, integers or booleans.
#[derive(Debug, Clone)]
pub struct Document {
    table: Table,
    origins: BTreeMap<String, Origin>,
}

impl Document {
    /// The reference file alone.
    ///
    /// # Errors
    /// Only if the built-in file does not parse, which a test excludes.
    pub fn reference() -> Result<Self, ConfigError> {
        let table = DEFAULT_TOML.parse::<Table>().map_err(|e| ConfigError::Syntax {
            path: "default.toml".into(),
            line: 0,
            message: e.message().to_owned(),
        })?;
        Ok(Self { table, origins: BTreeMap::new() })
    }

    /// Lays the user's file over the reference.
    ///
    /// # Errors
    /// Names file, line and key, and the nearest known key for an unknown one.
    pub fn overlay(&mut self, path: &str, text: &str) -> Result<(), ConfigError> {
        if text.len() > FILE_BYTES_MAX {
            return Err(ConfigError::TooLarge { path: path.into(), bytes_max: FILE_BYTES_MAX });
        }
        let parsed = DeTable::parse(text).map_err(|e| ConfigError::Syntax {
            path: path.into(),
            line: line_at(text, e.span().map_or(0, |s| s.start)),
            message: e.message().replace('\n', " "),
        })?;
        for (section, keys) in parsed.get_ref() {
            let section_line = line_at(text, section.span().start);
            let section = section.get_ref().as_ref();
            let Some(keys) = keys.get_ref().as_table() else {
                return Err(self.unknown(path, section_line, section.to_owned()));
            };
            if self.table.get(section).is_none() {
                return Err(self.unknown(path, section_line, section.to_owned()));
            }
            for (key, value) in keys {
                let line = line_at(text, key.span().start);
                self.put(path, line, &format!("{section}.{}", key.get_ref()), value.get_ref())?;
            }
        }
        Ok(())
    }

    /// Sets a key from the command line; the key is one of ours.
    pub fn set(&mut self, key: &'static str, flag: &'static str, value: impl Into<Value>) {
        if let Some(slot) = self.slot(key) {
            *slot = value.into();
            self.origins.insert(key.to_owned(), Origin::Flag(flag));
        }
    }

    /// The merged values.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Where a key's value came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Every key with its value, `section.key`.
    pub fn entries(&self) -> impl Iterator<Item = (String, &Value)> {
        self.table
            .iter()
            .flat_map(|(section, keys)| keys.as_table().into_iter().flatten().map(move |(key, value)| (format!("{section}.{key}"), value)))
    }

    fn put(&mut self, path: &str, line: usize, key: &str, value: &DeValue<'_>) -> Result<(), ConfigError> {
        let wrong = |expected: &'static str, found: String| ConfigError::WrongType { path: path.into(), line, key: key.into(), expected, found };
        let Some(slot) = self.slot(key) else {
            return Err(self.unknown(path, line, key.to_owned()));
        };
        let expected = slot.type_str();
        let value = convert(value).ok_or_else(|| wrong(expected, value.type_str().to_owned()))?;
        let value = match (expected, value) {
            ("float", Value::Integer(n)) => Value::Float(n as f64),
            ("table", Value::Table(items)) => Value::Table(flat(items)),
            (_, value) => value,
        };
        if !slot.same_type(&value) {
            return Err(wrong(expected, value.type_str().to_owned()));
        }
        let odd = match &value {
            Value::Array(items) => items.iter().find(|item| !item.is_str()),
            Value::Table(items) => items.values().find(|item| !item.is_str() && !item.is_integer() && !item.is_bool()),
            _ => None,
        };
        if let Some(odd) = odd {
            return Err(wrong("string or number inside", odd.type_str().to_owned()));
        }
        *slot = value;
        self.origins.insert(key.to_owned(), Origin::File(path.to_owned(), line));
        Ok(())
    }

    fn slot(&mut self, key: &str) -> Option<&mut Value> {
        let (section, key) = key.split_once('.')?;
        self.table.get_mut(section)?.as_table_mut()?.get_mut(key)
    }

    fn unknown(&self, path: &str, line: usize, key: String) -> ConfigError {
        let sections = self.table.keys().cloned();
        let known: Vec<String> = self.entries().map(|(key, _)| key).chain(sections).collect();
        let nearest = nearest(&key, known.iter().map(String::as_str)).map(str::to_owned);
        let same_name = || known.iter().find(|k| k.rsplit('.').next() == key.rsplit('.').next()).cloned();
        ConfigError::UnknownKey { path: path.into(), line, nearest: nearest.or_else(same_name), key }
    }
}

/// `a.b = 1` in a table of any names is the name `a.b`, whether or not it stands in quotes.
fn flat(items: Table) -> Table {
    let mut all = Table::new();
    for (name, value) in items {
        match value {
            Value::Table(inner) => all.extend(flat(inner).into_iter().map(|(rest, value)| (format!("{name}.{rest}"), value))),
            value => drop(all.insert(name, value)),
        }
    }
    all
}

/// The line of a byte, from 1.
fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|b| **b == b'\n').count() + 1
}

/// The value without its spans; `None` for what no key has (dates) and for numbers out of range.
fn convert(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Integer(n) => Value::Integer(i64::from_str_radix(&n.as_str().replace('_', ""), n.radix()).ok()?),
        DeValue::Float(x) => Value::Float(x.as_str().replace('_', "").parse().ok()?),
        DeValue::Boolean(b) => Value::Boolean(*b),
        DeValue::Array(items) => Value::Array(items.iter().map(|i| convert(i.get_ref())).collect::<Option<_>>()?),
        DeValue::Table(items) => {
            let entries = items.iter().map(|(k, v)| Some((k.get_ref().to_string(), convert(v.get_ref())?)));
            Value::Table(entries.collect::<Option<_>>()?)
        }
        DeValue::Datetime(_) => return None,
    })
}
