//! Labels of a series, their canonical encoding, and the hash that is stored. Not the registry of live series.
//!
//! # Stability contract
//! [`SeriesKey`] and [`SeriesId`] are written into tables and decide partitions, so they never change: XXH3-128 with
//! seed 0 over the canonical encoding. The canonical encoding of a label set is the Prometheus remote write 1.0 wire form of its labels sorted by
//! name in byte order, without empty values: per label `0x0a <len> 0x0a <len> name 0x12 <len> value`, lengths as minimal varints.
//! A series id is the low 64 bits of the key as a signed integer. Test vectors stand in `series/tests.rs`.

use std::fmt::{self, Write as _};
use std::sync::Arc;

/// 128-bit hash of a series' canonical label encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey(pub u128);

/// The stored identity of a series: the low 64 bits of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub i64);

impl SeriesKey {
    /// The key of a canonical encoding.
    pub fn of(canonical: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_128(canonical))
    }

    /// The stored identity.
    pub fn id(self) -> SeriesId {
        SeriesId(self.0 as u64 as i64)
    }

    /// The partition that owns this series; `partitions` is at least 1.
    pub fn partition(self, partitions: u32) -> u32 {
        ((self.0 >> 64) as u64 % u64::from(partitions.max(1))) as u32
    }
}

/// Why a label set cannot name a series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// The bytes are not a sequence of label messages.
    #[error("labels are not valid protobuf at byte {0}")]
    Malformed(usize),
    /// A name or value is not UTF-8.
    #[error("label {0} is not valid UTF-8")]
    NotUtf8(usize),
    /// Names are out of order.
    #[error("label {after:?} comes after {before:?}: labels must be sorted by name")]
    Unsorted {
        /// The greater name, which came first.
        before: String,
        /// The lesser name, which came second.
        after: String,
    },
    /// A name stands twice.
    #[error("label {0:?} stands twice")]
    Duplicate(String),
    /// A name is empty.
    #[error("a label has an empty name")]
    EmptyName,
    /// There is no `__name__`.
    #[error("__name__ is missing")]
    NoMetric,
}

/// A validated label set: sorted by name, no duplicates, no empty values, with `__name__`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels {
    canonical: Arc<[u8]>,
}

impl Labels {
    /// Validates sorted pairs; drops empty values.
    ///
    /// # Errors
    /// Says which label breaks which rule.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, LabelError> {
        let mut canonical = Vec::with_capacity(192);
        let mut previous: Option<&str> = None;
        let mut named = false;
        for (name, value) in pairs {
            if name.is_empty() {
                return Err(LabelError::EmptyName);
            }
            if let Some(before) = previous {
                if before == name {
                    return Err(LabelError::Duplicate(name.to_owned()));
                }
                if before > name {
                    return Err(LabelError::Unsorted { before: before.to_owned(), after: name.to_owned() });
                }
            }
            previous = Some(name);
            if !value.is_empty() {
                named |= name == METRIC_LABEL;
                push_label(&mut canonical, name, value);
            }
        }
        if !named {
            return Err(LabelError::NoMetric);
        }
        Ok(Self { canonical: canonical.into() })
    }

    /// Validates pairs in any order.
    ///
    /// # Errors
    /// Says which label breaks which rule.
    pub fn from_unsorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, LabelError> {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by_key(|(name, _)| *name);
        Self::from_pairs(pairs)
    }

    /// Validates the label region of a remote write 1.0 time series: repeated field 1, each with fields 1 and 2.
    ///
    /// # Errors
    /// Says where the bytes or which label breaks which rule.
    pub fn from_wire(wire: &[u8]) -> Result<Self, LabelError> {
        Self::from_pairs(parse_wire(wire)?)
    }

    /// The canonical encoding (see the module's stability contract).
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// The key of this label set.
    pub fn key(&self) -> SeriesKey {
        SeriesKey::of(&self.canonical)
    }

    /// Name and value of each label, sorted by name, `__name__` among them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        // The canonical form was validated when it was made, so the parse cannot fail here.
        parse_wire(&self.canonical).unwrap_or_default().into_iter()
    }

    /// The value of one label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// The metric's name.
    pub fn metric(&self) -> &str {
        self.get(METRIC_LABEL).unwrap_or_default()
    }
}

/// The label that names the metric.
pub const METRIC_LABEL: &str = "__name__";

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Labels {
    /// `name{a="1",b="2"}`, as Prometheus prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric())?;
        let mut open = false;
        for (name, value) in self.iter().filter(|(n, _)| *n != METRIC_LABEL) {
            f.write_char(if open { ',' } else { '{' })?;
            open = true;
            write!(f, "{name}={value:?}")?;
        }
        if open { f.write_char('}') } else { Ok(()) }
    }
}

/// Appends one label in canonical form.
pub fn push_label(out: &mut Vec<u8>, name: &str, value: &str) {
    let inner = 2 + varint_len(name.len()) + name.len() + varint_len(value.len()) + value.len();
    out.push(0x0a);
    push_varint(out, inner);
    out.push(0x0a);
    push_varint(out, name.len());
    out.extend_from_slice(name.as_bytes());
    out.push(0x12);
    push_varint(out, value.len());
    out.extend_from_slice(value.as_bytes());
}

fn varint_len(n: usize) -> usize {
    ((usize::BITS - (n | 1).leading_zeros()) as usize).div_ceil(7)
}

fn push_varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn take_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take_bytes<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let len = usize::try_from(take_varint(bytes, at)?).ok()?;
    let end = at.checked_add(len)?;
    let out = bytes.get(*at..end)?;
    *at = end;
    Some(out)
}

/// Splits label messages into pairs, in the order they stand; the last of a repeated inner field wins, as in protobuf.
fn parse_wire(wire: &[u8]) -> Result<Vec<(&str, &str)>, LabelError> {
    let mut pairs = Vec::with_capacity(12);
    let mut at = 0;
    while at < wire.len() {
        let start = at;
        if wire.get(at) != Some(&0x0a) {
            return Err(LabelError::Malformed(start));
        }
        at += 1;
        let label = take_bytes(wire, &mut at).ok_or(LabelError::Malformed(start))?;
        let (mut name, mut value) = ("", "");
        let mut inner = 0;
        while inner < label.len() {
            let tag = label[inner];
            inner += 1;
            let field = take_bytes(label, &mut inner).ok_or(LabelError::Malformed(start))?;
            let text = std::str::from_utf8(field).map_err(|_| LabelError::NotUtf8(pairs.len()))?;
            match tag {
                0x0a => name = text,
                0x12 => value = text,
                _ => return Err(LabelError::Malformed(start)),
            }
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests;
