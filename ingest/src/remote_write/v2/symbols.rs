//! The symbol table of one 2.0 body, and the encoder that turns references into canonical labels. Not shared between bodies.

use super::Described;
use crate::decoder::Limits;
use crate::rejects::cut;
use crate::remote_write::{Builder, Named, Refusal, SERIES_EXPECTED_MAX, Stop, labels};
use afferent_engine::series::{Labels, METRIC_LABEL, SeriesKey, push_label};
use std::ops::Range;

/// Bytes of a symbol shown in a message.
const SHOWN_BYTES_MAX: usize = 64;

/// Bytes of one series' labels for which room is made at the start.
const SERIES_LABEL_BYTES_EXPECTED: usize = 144;

/// One symbol.
#[derive(Clone, Copy)]
enum Symbol<'a> {
    Text(&'a str),
    /// Not UTF-8: whatever refers to it is refused.
    Bytes(&'a [u8]),
}

impl<'a> Symbol<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// The symbol table.
pub(super) struct Symbols<'a>(Vec<Symbol<'a>>);

impl<'a> Symbols<'a> {
    /// Checks each symbol once, however often it is referred to.
    pub(super) fn new(symbols: Vec<&'a [u8]>) -> Self {
        Self(symbols.into_iter().map(|bytes| std::str::from_utf8(bytes).map_or(Symbol::Bytes(bytes), Symbol::Text)).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first symbol must be the empty one: an unset reference means it.
    pub(super) fn check_first(&self) -> Result<(), Stop> {
        match self.0.first() {
            Some(first) if first.bytes().is_empty() => Ok(()),
            Some(first) => Err(Stop::Symbols(cut(String::from_utf8_lossy(first.bytes()).into_owned(), SHOWN_BYTES_MAX))),
            None => Err(Stop::Symbols("missing".to_owned())),
        }
    }

    /// The text of one symbol.
    pub(super) fn text(&self, number: u32) -> Result<&'a str, Refusal> {
        match self.0.get(number as usize) {
            Some(Symbol::Text(text)) => Ok(text),
            Some(Symbol::Bytes(_)) => Err(Refusal::new("labels_not_utf8", format!("symbol {number} is not valid UTF-8"))),
            None => Err(Refusal::new("symbols", format!("reference {number} is out of range: there are {} symbols", self.0.len()))),
        }
    }

    /// The pairs that references mean.
    pub(super) fn pairs(&self, numbers: &[u32]) -> Result<Vec<labels::Pair<'a>>, Refusal> {
        if !numbers.len().is_multiple_of(2) {
            return Err(odd(numbers.len()));
        }
        let bytes = |number: u32| self.text(number).map(str::as_bytes);
        numbers.chunks_exact(2).map(|pair| Ok((bytes(pair[0])?, bytes(pair[1])?))).collect()
    }
}

fn odd(count: usize) -> Refusal {
    Refusal::new("symbols", format!("labels_refs has {count} entries: they come in pairs"))
}

/// A label encoded before in this body, remembered at its value: series of one target share most of their labels.
#[derive(Clone, Copy, Default)]
struct Encoded {
    name: u32,
    start: u32,
    length: u32,
}

/// Writes canonical labels and remembers what it wrote.
pub(super) struct Encoder<'a> {
    symbols: Symbols<'a>,
    encoded: Vec<Encoded>,
    described: Vec<Option<Described>>,
    out: Vec<u8>,
    /// Bytes of descriptions, which live elsewhere but count against the same limit.
    expanded: usize,
    bytes_max: usize,
}

impl<'a> Encoder<'a> {
    /// An encoder over a symbol table; what it writes may take as much as an inflated 1.0 body may.
    pub(super) fn new(symbols: Symbols<'a>, series_expected: usize, limits: &Limits) -> Self {
        let encoded = vec![Encoded::default(); symbols.0.len()];
        let described = vec![None; symbols.0.len()];
        let out = Vec::with_capacity(series_expected.min(SERIES_EXPECTED_MAX) * SERIES_LABEL_BYTES_EXPECTED);
        Self { symbols, encoded, described, out, expanded: 0, bytes_max: limits.inflated_bytes_max }
    }

    pub(super) fn symbols(&self) -> &Symbols<'a> {
        &self.symbols
    }

    /// Every label written.
    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    /// Counts bytes that references were expanded to.
    pub(super) fn expand(&mut self, bytes: usize) -> Result<(), Stop> {
        self.expanded += bytes;
        match self.expanded + self.out.len() > self.bytes_max {
            true => Err(Stop::Full { what: "the body with its references expanded", max: self.bytes_max, unit: "bytes" }),
            false => Ok(()),
        }
    }

    /// Writes the canonical labels of a series and finds their key.
    #[inline]
    pub(super) fn encode(&mut self, numbers: &[u32], builder: &mut Builder<'_>) -> Result<Named, Stop> {
        let limits = builder.judge.limits;
        if numbers.len() > 2 * limits.series_labels_max {
            return Ok(Err(labels::too_many(limits)));
        }
        if !numbers.len().is_multiple_of(2) {
            return Ok(Err(odd(numbers.len())));
        }
        let start = self.out.len();
        for pair in numbers.chunks_exact(2) {
            match self.push(pair[0], pair[1], limits.label_bytes_max) {
                Ok(true) if self.out.len() - start <= limits.label_bytes_max => {}
                Ok(true) => return Ok(Err(labels::too_long(limits))),
                // Empty names and values are rare and need every rule.
                Ok(false) => return self.encode_checked(numbers, builder),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        self.expand(0)?;
        let range = start as u32..self.out.len() as u32;
        let written = self.out.get(start..).unwrap_or_default();
        let key = SeriesKey::of(written);
        if builder.steps.knows(key) {
            return Ok(Ok((key, range)));
        }
        builder.checked();
        Ok(match Labels::from_wire(written) {
            Ok(_) => {
                builder.steps.learn(key);
                Ok((key, range))
            }
            Err(error) => Err(labels::refusal(&error)),
        })
    }

    /// Writes one label; false where it has an empty part and was not written.
    #[inline]
    fn push(&mut self, name: u32, value: u32, bytes_max: usize) -> Result<bool, Refusal> {
        if let Some(Encoded { name: known, start, length }) = self.encoded.get(value as usize).copied()
            && known == name
            && length > 0
        {
            self.out.extend_from_within(start as usize..(start + length) as usize);
            return Ok(true);
        }
        self.push_new(name, value, bytes_max)
    }

    fn push_new(&mut self, name: u32, value: u32, bytes_max: usize) -> Result<bool, Refusal> {
        let (name_text, value_text) = (self.symbols.text(name)?, self.symbols.text(value)?);
        if name_text.is_empty() || value_text.is_empty() {
            return Ok(false);
        }
        if name_text.len() + value_text.len() > bytes_max {
            return Err(Refusal::new("labels_too_long", format!("one label takes more than {bytes_max} bytes")));
        }
        let start = self.out.len();
        push_label(&mut self.out, name_text, value_text);
        if let Some(slot) = self.encoded.get_mut(value as usize) {
            *slot = Encoded { name, start: start as u32, length: (self.out.len() - start) as u32 };
        }
        Ok(true)
    }

    /// The slow way: all rules on all pairs, empty values dropped.
    #[cold]
    fn encode_checked(&mut self, numbers: &[u32], builder: &mut Builder<'_>) -> Result<Named, Stop> {
        let limits = builder.judge.limits;
        builder.checked();
        let pairs = match self.symbols.pairs(numbers) {
            Ok(pairs) => pairs,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let valid = match labels::check(&pairs, limits) {
            Ok(valid) => valid,
            Err(refusal) => return Ok(Err(refusal)),
        };
        builder.steps.learn(valid.key());
        let start = self.out.len();
        self.out.extend_from_slice(valid.canonical());
        self.expand(0)?;
        let range: Range<u32> = start as u32..self.out.len() as u32;
        Ok(Ok((valid.key(), range)))
    }

    /// The symbol of the series' metric, if this description of it was not the last one given in this body.
    #[inline]
    pub(super) fn is_news(&mut self, numbers: &[u32], described: Described) -> Option<u32> {
        let is_metric = |number: u32| matches!(self.symbols.0.get(number as usize), Some(Symbol::Text(METRIC_LABEL)));
        let metric = numbers.chunks_exact(2).find(|pair| is_metric(pair[0]))?[1];
        let slot = self.described.get_mut(metric as usize)?;
        if *slot == Some(described) {
            return None;
        }
        *slot = Some(described);
        Some(metric)
    }

    /// The series' name for a message; what cannot be resolved is left out.
    pub(super) fn print(&self, numbers: &[u32]) -> String {
        let bytes = |number: u32| self.symbols.0.get(number as usize).map_or(b"?".as_slice(), |symbol| symbol.bytes());
        labels::print(numbers.chunks_exact(2).map(|pair| (bytes(pair[0]), bytes(pair[1]))))
    }
}
