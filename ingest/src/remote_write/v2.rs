//! Remote write 2.0: `io.prometheus.write.v2.Request`. Labels are references into a symbol table; the canonical encoding is put together per series.

use super::{Builder, Judge, Outcome, Refusal, Stop, histogram, labels};
use crate::wire::{FIXED64, LEN, Malformed, VARINT, Walk, tag};
use afferent_engine::sample::{Exemplar, Metadata};
use std::ops::Range;

mod symbols;
use symbols::{Encoder, Symbols};

/// The message's full name.
pub(crate) const MESSAGE: &str = "io.prometheus.write.v2.Request";

/// Symbols one body may hold.
const SYMBOLS_PER_BODY_MAX: usize = 1 << 20;

pub(crate) const REQUEST_SYMBOL: u64 = tag(4, LEN);
pub(crate) const REQUEST_TIMESERIES: u64 = tag(5, LEN);
const SERIES_REFS: u64 = tag(1, LEN);
const SERIES_REF: u64 = tag(1, VARINT);
const SERIES_SAMPLE: u64 = tag(2, LEN);
const SERIES_HISTOGRAM: u64 = tag(3, LEN);
const SERIES_EXEMPLAR: u64 = tag(4, LEN);
const SERIES_METADATA: u64 = tag(5, LEN);
/// Where senders from before 2.0-rc.4 say when all samples of the series started.
const SERIES_CREATED: u64 = tag(6, VARINT);
const SAMPLE_VALUE: u64 = tag(1, FIXED64);
const SAMPLE_TIME: u64 = tag(2, VARINT);
const SAMPLE_START: u64 = tag(3, VARINT);

/// Decodes a body.
pub(crate) fn decode(inflated: &[u8], judge: Judge<'_>) -> Result<Outcome, Stop> {
    let (symbols, series) = read_table(inflated)?;
    let mut builder = Builder::new(judge, series.len());
    let mut encoder = Encoder::new(symbols, series.len(), judge.limits);
    let mut scratch = Scratch::default();
    for range in series {
        read_series(inflated, range.start as usize..range.end as usize, &mut builder, &mut encoder, &mut scratch)?;
    }
    Ok(builder.finish(encoder.finish()))
}

/// The symbol table and where each series lies. Two passes, because protobuf does not promise that the symbols come first.
fn read_table(body: &[u8]) -> Result<(Symbols<'_>, Vec<Range<u32>>), Stop> {
    let mut walk = Walk::over(body);
    let (mut symbols, mut series) = (Vec::new(), Vec::new());
    while let Some(next) = walk.tag()? {
        match next {
            REQUEST_SYMBOL if symbols.len() >= SYMBOLS_PER_BODY_MAX => {
                return Err(Stop::Full { what: "the body", max: SYMBOLS_PER_BODY_MAX, unit: "symbols" });
            }
            REQUEST_SYMBOL => symbols.push(walk.field()?),
            REQUEST_TIMESERIES if series.len() >= super::SERIES_PER_BODY_MAX => {
                return Err(Stop::Full { what: "the body", max: super::SERIES_PER_BODY_MAX, unit: "series" });
            }
            REQUEST_TIMESERIES => {
                let range = walk.range()?;
                series.push(range.start as u32..range.end as u32);
            }
            // Fields that only the other version has: its content type is wrong, and skipping them would acknowledge what is not taken.
            other if matches!(other >> 3, 1..=3) => {
                return Err(Malformed { at: 0, wanted: "remote write 2.0, as the content type says, not 1.0" }.into());
            }
            other => walk.skip(other, &[4, 5])?,
        }
    }
    let symbols = Symbols::new(symbols);
    if !(symbols.is_empty() && series.is_empty()) {
        symbols.check_first()?;
    }
    Ok((symbols, series))
}

/// Room that is used again for every series.
#[derive(Default)]
struct Scratch {
    refs: Vec<u32>,
}

/// `Metadata` as references.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Described {
    kind: u32,
    help: u32,
    unit: u32,
}

fn read_series(body: &[u8], range: Range<usize>, builder: &mut Builder<'_>, encoder: &mut Encoder<'_>, scratch: &mut Scratch) -> Result<(), Stop> {
    let mut walk = Walk::part(body, range);
    let refs_max = 2 * builder.judge.limits.series_labels_max;
    scratch.refs.clear();
    let (mut created, mut described) = (0, Described::default());
    builder.begin()?;
    while let Some(next) = walk.tag()? {
        match next {
            SERIES_REFS | SERIES_REF => refs(&mut walk, next, &mut scratch.refs, refs_max)?,
            SERIES_SAMPLE => {
                let (time, value, start) = sample(walk.message()?)?;
                builder.sample(time, value)?;
                builder.start(start);
            }
            SERIES_HISTOGRAM => {
                let histogram = histogram::read(walk.message()?, builder)?;
                builder.histogram(histogram)?;
            }
            SERIES_EXEMPLAR => {
                let exemplar = exemplar(walk.message()?, builder, encoder)?;
                builder.exemplar(exemplar)?;
            }
            SERIES_METADATA => described = metadata(walk.message()?)?,
            SERIES_CREATED => created = walk.varint()? as i64,
            other => walk.skip(other, &[1, 2, 3, 4, 5, 6])?,
        }
    }
    let named = encoder.encode(&scratch.refs, builder)?;
    if named.is_ok() && described != Described::default() {
        describe(&scratch.refs, described, builder, encoder)?;
    }
    builder.end(named, created, || encoder.print(&scratch.refs));
    Ok(())
}

/// Adds references, packed or one by one; more than `refs_max` + 2 are not kept, so that the caller sees there are too many.
#[inline]
fn refs(walk: &mut Walk<'_>, next: u64, out: &mut Vec<u32>, refs_max: usize) -> Result<(), Malformed> {
    let mut keep = |number: u64| {
        if out.len() <= refs_max + 1 {
            out.push(u32::try_from(number).unwrap_or(u32::MAX));
        }
    };
    if next == SERIES_REF {
        keep(walk.varint()?);
        return Ok(());
    }
    let mut packed = walk.message()?;
    while !packed.is_done() {
        keep(packed.varint()?);
    }
    Ok(())
}

/// All references of a message are wanted.
const NO_LIMIT: usize = usize::MAX / 2;

/// The symbols that the field of a series refers to, in any order and some of them more than once.
pub(crate) fn references(body: &[u8], field: Range<usize>, out: &mut Vec<u32>) -> Result<(), Malformed> {
    let mut field = Walk::part(body, field);
    field.tag()?;
    let mut walk = field.message()?;
    let mut described = Described::default();
    while let Some(next) = walk.tag()? {
        match next {
            SERIES_REFS | SERIES_REF => refs(&mut walk, next, out, NO_LIMIT)?,
            SERIES_EXEMPLAR => {
                let mut exemplar = walk.message()?;
                while let Some(next) = exemplar.tag()? {
                    match next {
                        EXEMPLAR_REFS | EXEMPLAR_REF => refs(&mut exemplar, next, out, NO_LIMIT)?,
                        other => exemplar.skip(other, &[])?,
                    }
                }
            }
            SERIES_METADATA => described = metadata(walk.message()?)?,
            other => walk.skip(other, &[])?,
        }
    }
    out.extend([described.help, described.unit]);
    Ok(())
}

#[inline]
fn sample(mut walk: Walk<'_>) -> Result<(i64, f64, i64), Malformed> {
    let (mut time, mut value, mut start) = (0, 0.0, 0);
    while let Some(next) = walk.tag()? {
        match next {
            SAMPLE_VALUE => value = walk.double()?,
            SAMPLE_TIME => time = walk.varint()? as i64,
            SAMPLE_START => start = walk.varint()? as i64,
            other => walk.skip(other, &[1, 2, 3])?,
        }
    }
    Ok((time, value, start))
}

const EXEMPLAR_REFS: u64 = tag(1, LEN);
const EXEMPLAR_REF: u64 = tag(1, VARINT);
const EXEMPLAR_VALUE: u64 = tag(2, FIXED64);
const EXEMPLAR_TIME: u64 = tag(3, VARINT);

fn exemplar(mut walk: Walk<'_>, builder: &Builder<'_>, encoder: &Encoder<'_>) -> Result<Result<Exemplar, Refusal>, Malformed> {
    let limits = builder.judge.limits;
    let (mut numbers, mut value, mut time) = (Vec::new(), 0.0, 0);
    while let Some(next) = walk.tag()? {
        match next {
            EXEMPLAR_REFS | EXEMPLAR_REF => refs(&mut walk, next, &mut numbers, 2 * limits.series_labels_max)?,
            EXEMPLAR_VALUE => value = walk.double()?,
            EXEMPLAR_TIME => time = walk.varint()? as i64,
            other => walk.skip(other, &[1, 2, 3])?,
        }
    }
    let labels = encoder.symbols().pairs(&numbers).and_then(|pairs| labels::exemplar(&pairs, limits));
    Ok(labels.map(|labels| Exemplar { labels, value, time }))
}

const METADATA_TYPE: u64 = tag(1, VARINT);
const METADATA_HELP: u64 = tag(3, VARINT);
const METADATA_UNIT: u64 = tag(4, VARINT);

#[inline]
fn metadata(mut walk: Walk<'_>) -> Result<Described, Malformed> {
    let mut described = Described::default();
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    while let Some(next) = walk.tag()? {
        match next {
            METADATA_TYPE => described.kind = number(walk.varint()?),
            METADATA_HELP => described.help = number(walk.varint()?),
            METADATA_UNIT => described.unit = number(walk.varint()?),
            other => walk.skip(other, &[1, 3, 4])?,
        }
    }
    Ok(described)
}

/// Adds what a series says of its metric, once per body unless it says another thing.
#[inline]
fn describe(numbers: &[u32], described: Described, builder: &mut Builder<'_>, encoder: &mut Encoder<'_>) -> Result<(), Stop> {
    let Some(metric) = encoder.is_news(numbers, described) else { return Ok(()) };
    let symbols = encoder.symbols();
    let metadata = match (symbols.text(metric), symbols.text(described.help), symbols.text(described.unit)) {
        (Ok(metric), Ok(help), Ok(unit)) => {
            let kind = super::kind_of(u64::from(described.kind));
            Ok(Metadata { metric: metric.to_owned(), kind, unit: unit.to_owned(), help: help.to_owned() })
        }
        (Err(refusal), ..) | (_, Err(refusal), _) | (_, _, Err(refusal)) => Err(refusal),
    };
    if let Ok(metadata) = &metadata {
        encoder.expand(metadata.metric.len() + metadata.help.len() + metadata.unit.len())?;
    }
    builder.metadata(metadata)
}

#[cfg(test)]
pub(crate) mod tests;
