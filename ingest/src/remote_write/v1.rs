//! Remote write 1.0: `prometheus.WriteRequest`. Labels are hashed as they lie on the wire and parsed only when that hash is not known.

use super::{Builder, Judge, Named, Outcome, Refusal, Stop, histogram, labels};
use crate::rejects::{DETAIL_BYTES_MAX, cut};
use crate::wire::{FIXED64, LEN, Malformed, VARINT, Walk, tag};
use afferent_engine::sample::{Exemplar, Metadata};
use afferent_engine::series::SeriesKey;
use std::ops::Range;

/// The message's full name.
pub(crate) const MESSAGE: &str = "prometheus.WriteRequest";

pub(crate) const REQUEST_TIMESERIES: u64 = tag(1, LEN);
pub(crate) const REQUEST_METADATA: u64 = tag(3, LEN);
const SERIES_LABEL: u64 = tag(1, LEN);
const SERIES_SAMPLE: u64 = tag(2, LEN);
const SERIES_EXEMPLAR: u64 = tag(3, LEN);
const SERIES_HISTOGRAM: u64 = tag(4, LEN);
const SAMPLE_VALUE: u64 = tag(1, FIXED64);
const SAMPLE_TIME: u64 = tag(2, VARINT);

/// Decodes a body. Labels that are canonical as they stand stay where they are; the inflated body becomes the batch's `label_bytes`.
pub(crate) fn decode(mut inflated: Vec<u8>, judge: Judge<'_>) -> Result<Outcome, Stop> {
    let mut builder = Builder::new(judge, expected_series(&inflated));
    let mut rewritten = Vec::new();
    let mut walk = Walk::over(&inflated);
    while let Some(next) = walk.tag()? {
        match next {
            REQUEST_TIMESERIES => {
                let range = walk.range()?;
                read_series(&inflated, range, &mut builder, &mut rewritten)?;
            }
            REQUEST_METADATA => {
                let metadata = metadata(walk.message()?)?;
                builder.metadata(metadata)?;
            }
            // Fields that only the other version has: its content type is wrong, and skipping them would acknowledge what is not taken.
            other if matches!(other >> 3, 4 | 5) => {
                return Err(Malformed { at: 0, wanted: "remote write 1.0, as the content type says, not 2.0" }.into());
            }
            other => walk.skip(other, &[1, 3])?,
        }
    }
    inflated.append(&mut rewritten);
    Ok(builder.finish(inflated))
}

/// A guess from the first series: senders' series are much of a size.
fn expected_series(body: &[u8]) -> usize {
    let mut walk = Walk::over(body);
    match (walk.tag(), walk.range()) {
        (Ok(Some(REQUEST_TIMESERIES)), Ok(range)) => body.len() / range.end.max(1) + body.len() / (4 * range.end.max(1)) + 1,
        _ => 0,
    }
}

/// Where a series' labels lie. They usually stand together, but protobuf does not promise it.
struct Region {
    together: Range<usize>,
    scattered: Vec<u8>,
}

impl Region {
    /// Takes in the label field that lies at `range`.
    #[inline]
    fn add(&mut self, body: &[u8], range: Range<usize>) {
        if self.scattered.is_empty() && self.together.end == range.start {
            self.together.end = range.end;
        } else if self.together.is_empty() {
            self.together = range;
        } else {
            self.gather(body, range);
        }
    }

    #[cold]
    fn gather(&mut self, body: &[u8], range: Range<usize>) {
        if self.scattered.is_empty() {
            self.scattered.extend_from_slice(body.get(self.together.clone()).unwrap_or_default());
        }
        self.scattered.extend_from_slice(body.get(range).unwrap_or_default());
    }
}

#[inline]
fn read_series(body: &[u8], range: Range<usize>, builder: &mut Builder<'_>, rewritten: &mut Vec<u8>) -> Result<(), Stop> {
    let mut region = Region { together: range.start..range.start, scattered: Vec::new() };
    let mut walk = Walk::part(body, range);
    builder.begin()?;
    loop {
        let at = walk.at();
        let Some(next) = walk.tag()? else { break };
        match next {
            SERIES_LABEL => {
                walk.range()?;
                region.add(body, at..walk.at());
            }
            SERIES_SAMPLE => {
                let (time, value) = sample(walk.message()?)?;
                builder.sample(time, value)?;
            }
            SERIES_EXEMPLAR => {
                let exemplar = exemplar(walk.message()?, builder)?;
                builder.exemplar(exemplar)?;
            }
            SERIES_HISTOGRAM => {
                let histogram = histogram::read(walk.message()?, builder)?;
                builder.histogram(histogram)?;
            }
            other => walk.skip(other, &[1, 2, 3, 4])?,
        }
    }
    let named = resolve(body, &region, builder, rewritten)?;
    builder.end(named, 0, || print(body, &region));
    Ok(())
}

#[inline]
fn sample(mut walk: Walk<'_>) -> Result<(i64, f64), Malformed> {
    let (mut time, mut value) = (0, 0.0);
    while let Some(next) = walk.tag()? {
        match next {
            SAMPLE_VALUE => value = walk.double()?,
            SAMPLE_TIME => time = walk.varint()? as i64,
            other => walk.skip(other, &[1, 2])?,
        }
    }
    Ok((time, value))
}

/// The key of the labels: at once where their very bytes are known to be canonical and valid.
#[inline]
fn resolve(body: &[u8], region: &Region, builder: &mut Builder<'_>, rewritten: &mut Vec<u8>) -> Result<Named, Malformed> {
    if region.scattered.is_empty() {
        let key = SeriesKey::of(body.get(region.together.clone()).unwrap_or_default());
        if builder.steps.knows(key) {
            return Ok(Ok((key, region.together.start as u32..region.together.end as u32)));
        }
    }
    resolve_unknown(body, region, builder, rewritten)
}

/// Parses and checks labels; those that are not canonical as they stand are written anew behind the body.
#[cold]
fn resolve_unknown(body: &[u8], region: &Region, builder: &mut Builder<'_>, rewritten: &mut Vec<u8>) -> Result<Named, Malformed> {
    builder.checked();
    let limits = builder.judge.limits;
    let (wire, pairs) = if region.scattered.is_empty() {
        let walk = Walk::part(body, region.together.clone());
        (body.get(region.together.clone()).unwrap_or_default(), labels::region(walk, limits.series_labels_max)?)
    } else {
        let at_series = |malformed: Malformed| Malformed { at: region.together.start, ..malformed };
        let walk = Walk::over(&region.scattered);
        (region.scattered.as_slice(), labels::region(walk, limits.series_labels_max).map_err(at_series)?)
    };
    let valid = match labels::check(&pairs, limits) {
        Ok(valid) => valid,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let key = valid.key();
    builder.steps.learn(key);
    if region.scattered.is_empty() && valid.canonical() == wire {
        return Ok(Ok((key, region.together.start as u32..region.together.end as u32)));
    }
    let start = body.len() + rewritten.len();
    rewritten.extend_from_slice(valid.canonical());
    Ok(Ok((key, start as u32..(start + valid.canonical().len()) as u32)))
}

/// The series' name for a message; its labels were walked through before, so nothing here can fail to parse that is shown.
fn print(body: &[u8], region: &Region) -> String {
    let walk = match region.scattered.is_empty() {
        true => Walk::part(body, region.together.clone()),
        false => Walk::over(&region.scattered),
    };
    labels::print(labels::region(walk, usize::from(u8::MAX)).unwrap_or_default())
}

const EXEMPLAR_LABEL: u64 = tag(1, LEN);
const EXEMPLAR_VALUE: u64 = tag(2, FIXED64);
const EXEMPLAR_TIME: u64 = tag(3, VARINT);

fn exemplar(mut walk: Walk<'_>, builder: &Builder<'_>) -> Result<Result<Exemplar, Refusal>, Malformed> {
    let limits = builder.judge.limits;
    let (mut pairs, mut value, mut time): (Vec<labels::Pair<'_>>, _, _) = (Vec::new(), 0.0, 0);
    while let Some(next) = walk.tag()? {
        match next {
            EXEMPLAR_LABEL => {
                let pair = labels::label(walk.message()?)?;
                if pairs.len() <= limits.series_labels_max {
                    pairs.push(pair);
                }
            }
            EXEMPLAR_VALUE => value = walk.double()?,
            EXEMPLAR_TIME => time = walk.varint()? as i64,
            other => walk.skip(other, &[1, 2, 3])?,
        }
    }
    Ok(labels::exemplar(&pairs, limits).map(|labels| Exemplar { labels, value, time }))
}

const METADATA_TYPE: u64 = tag(1, VARINT);
const METADATA_FAMILY: u64 = tag(2, LEN);
const METADATA_HELP: u64 = tag(4, LEN);
const METADATA_UNIT: u64 = tag(5, LEN);

fn metadata(mut walk: Walk<'_>) -> Result<Result<Metadata, Refusal>, Malformed> {
    let (mut kind, mut metric, mut help, mut unit): (u64, &[u8], &[u8], &[u8]) = (0, &[], &[], &[]);
    while let Some(next) = walk.tag()? {
        match next {
            METADATA_TYPE => kind = walk.varint()?,
            METADATA_FAMILY => metric = walk.field()?,
            METADATA_HELP => help = walk.field()?,
            METADATA_UNIT => unit = walk.field()?,
            other => walk.skip(other, &[1, 2, 4, 5])?,
        }
    }
    let lossy = || cut(String::from_utf8_lossy(metric).into_owned(), DETAIL_BYTES_MAX);
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned);
    Ok(match (text(metric), text(help), text(unit)) {
        (Ok(metric), _, _) if metric.is_empty() => Err(Refusal::new("metadata", "it names no metric")),
        (Ok(metric), Ok(help), Ok(unit)) => Ok(Metadata { metric, kind: super::kind_of(kind), unit, help }),
        _ => Err(Refusal::new("metadata", format!("metric {}: name, help or unit is not valid UTF-8", lossy()))),
    })
}

#[cfg(test)]
pub(crate) mod tests;
