//! Reading and checking native histograms; both versions of remote write carry the same message. Classic histograms are ordinary series.

use super::{Builder, Refusal, Stop};
use crate::wire::{FIXED64, LEN, Malformed, VARINT, Walk, tag, zigzag};
use afferent_engine::sample::{HistogramCounts, NativeHistogram, is_stale};

/// The schema of custom buckets.
const CUSTOM_SCHEMA: i32 = -53;
/// Exponential schemas that exist.
const EXPONENTIAL_SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;
/// Buckets one histogram may have on each side, and bounds.
const BUCKETS_MAX: usize = 1 << 14;
/// `ResetHint::GAUGE`: such histograms may be results of subtractions, whose sums cannot be compared.
const GAUGE: i32 = 3;
/// How far the buckets of a float histogram may exceed its count, relative: sums of floats depend on their order.
const FLOAT_EXCESS_MAX: f64 = 1e-6;

/// The message as it stands, before anything is believed.
#[derive(Default)]
struct Raw {
    count_int: Option<u64>,
    count_float: Option<f64>,
    zero_int: u64,
    zero_float: f64,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    negative: Side,
    positive: Side,
    reset_hint: i32,
    time: i64,
    custom_values: Vec<f64>,
    start_time: i64,
}

/// Negative or positive buckets.
#[derive(Default)]
struct Side {
    spans: Vec<(i32, u32)>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

/// Reads a histogram. The outer error ends the body, the inner one refuses this histogram only.
pub(super) fn read(walk: Walk<'_>, builder: &mut Builder<'_>) -> Result<Result<NativeHistogram, Refusal>, Stop> {
    let raw = raw(walk, builder)?;
    Ok(check(raw).map_err(|what| Refusal::new("histogram", what)))
}

/// Fields by number, the same in both versions; 17 is only in the newer one.
fn raw(mut walk: Walk<'_>, builder: &mut Builder<'_>) -> Result<Raw, Stop> {
    let mut raw = Raw::default();
    while let Some(next) = walk.tag()? {
        const KNOWN: &[u64] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17];
        match (next >> 3, next & 7) {
            (1, VARINT) => (raw.count_int, raw.count_float) = (Some(walk.varint()?), None),
            (2, FIXED64) => (raw.count_int, raw.count_float) = (None, Some(walk.double()?)),
            (3, FIXED64) => raw.sum = walk.double()?,
            (4, VARINT) => raw.schema = zigzag(walk.varint()?) as i32,
            (5, FIXED64) => raw.zero_threshold = walk.double()?,
            (6, VARINT) => (raw.zero_int, raw.zero_float) = (walk.varint()?, 0.0),
            (7, FIXED64) => (raw.zero_int, raw.zero_float) = (0, walk.double()?),
            (8, LEN) => raw.negative.spans.push(span(walk.message()?)?),
            (9, LEN | VARINT) => each_varint(&mut walk, next, |delta| raw.negative.deltas.push(zigzag(delta)), builder)?,
            (10, LEN | FIXED64) => each_double(&mut walk, next, &mut raw.negative.counts, builder)?,
            (11, LEN) => raw.positive.spans.push(span(walk.message()?)?),
            (12, LEN | VARINT) => each_varint(&mut walk, next, |delta| raw.positive.deltas.push(zigzag(delta)), builder)?,
            (13, LEN | FIXED64) => each_double(&mut walk, next, &mut raw.positive.counts, builder)?,
            (14, VARINT) => raw.reset_hint = walk.varint()? as i32,
            (15, VARINT) => raw.time = walk.varint()? as i64,
            (16, LEN | FIXED64) => each_double(&mut walk, next, &mut raw.custom_values, builder)?,
            (17, VARINT) => raw.start_time = walk.varint()? as i64,
            _ => walk.skip(next, KNOWN)?,
        }
    }
    builder.buckets(raw.negative.spans.len() + raw.positive.spans.len())?;
    Ok(raw)
}

fn span(mut walk: Walk<'_>) -> Result<(i32, u32), Malformed> {
    let (mut offset, mut length) = (0, 0);
    while let Some(next) = walk.tag()? {
        match next {
            OFFSET => offset = zigzag(walk.varint()?) as i32,
            LENGTH => length = walk.varint()? as u32,
            other => walk.skip(other, &[1, 2])?,
        }
    }
    Ok((offset, length))
}

/// `BucketSpan.offset`.
const OFFSET: u64 = tag(1, VARINT);
/// `BucketSpan.length`.
const LENGTH: u64 = tag(2, VARINT);

/// Repeated numbers, packed or one by one.
fn each_varint(walk: &mut Walk<'_>, next: u64, mut take: impl FnMut(u64), builder: &mut Builder<'_>) -> Result<(), Stop> {
    if next & 7 == VARINT {
        builder.buckets(1)?;
        take(walk.varint()?);
        return Ok(());
    }
    let mut packed = walk.message()?;
    while !packed.is_done() {
        builder.buckets(1)?;
        take(packed.varint()?);
    }
    Ok(())
}

fn each_double(walk: &mut Walk<'_>, next: u64, out: &mut Vec<f64>, builder: &mut Builder<'_>) -> Result<(), Stop> {
    if next & 7 == FIXED64 {
        builder.buckets(1)?;
        out.push(walk.double()?);
        return Ok(());
    }
    let mut packed = walk.message()?;
    while !packed.is_done() {
        builder.buckets(1)?;
        out.push(packed.double()?);
    }
    Ok(())
}

/// Applies the rules of the native histogram's definition.
fn check(raw: Raw) -> Result<NativeHistogram, String> {
    if !(0..=GAUGE).contains(&raw.reset_hint) {
        return Err(format!("reset hint {} is unknown", raw.reset_hint));
    }
    check_schema(&raw)?;
    let is_float = raw.count_float.is_some() || raw.count_int.is_none() && !(raw.positive.counts.is_empty() && raw.negative.counts.is_empty());
    let counts = if is_float { float_counts(&raw)? } else { integer_counts(&raw)? };
    Ok(NativeHistogram {
        time: raw.time,
        start_time: raw.start_time,
        counts,
        sum: raw.sum,
        schema: raw.schema,
        zero_threshold: raw.zero_threshold,
        negative_spans: raw.negative.spans,
        positive_spans: raw.positive.spans,
        reset_hint: raw.reset_hint,
        custom_values: raw.custom_values,
    })
}

fn check_schema(raw: &Raw) -> Result<(), String> {
    if raw.schema == CUSTOM_SCHEMA {
        return check_custom(raw);
    }
    if !EXPONENTIAL_SCHEMAS.contains(&raw.schema) {
        return Err(format!("schema {} is unknown: there are -4 to 8, and -53 for custom buckets", raw.schema));
    }
    if !raw.custom_values.is_empty() {
        return Err(format!("schema {} has {} custom bounds, only -53 may have any", raw.schema, raw.custom_values.len()));
    }
    if raw.zero_threshold.is_nan() || raw.zero_threshold < 0.0 {
        return Err(format!("zero threshold {} is not a breadth", raw.zero_threshold));
    }
    Ok(())
}

fn check_custom(raw: &Raw) -> Result<(), String> {
    if !raw.negative.spans.is_empty() || !raw.negative.deltas.is_empty() || !raw.negative.counts.is_empty() {
        return Err("custom buckets have no negative side".to_owned());
    }
    if raw.zero_int != 0 || raw.zero_float != 0.0 || raw.zero_threshold != 0.0 {
        return Err("custom buckets have no zero bucket".to_owned());
    }
    if raw.custom_values.len() > BUCKETS_MAX {
        return Err(format!("{} custom bounds are more than {BUCKETS_MAX}", raw.custom_values.len()));
    }
    if let Some(bound) = raw.custom_values.iter().find(|bound| bound.is_nan() || **bound == f64::INFINITY) {
        return Err(format!("custom bound {bound} is not finite"));
    }
    if let Some(pair) = raw.custom_values.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(format!("custom bound {} comes after {}: bounds must rise", pair[1], pair[0]));
    }
    if raw.positive.spans.iter().any(|(offset, _)| *offset < 0) {
        return Err("a span of custom buckets has a negative offset".to_owned());
    }
    let last: u64 = raw.positive.spans.iter().map(|(offset, length)| u64::from(offset.unsigned_abs()) + u64::from(*length)).sum();
    // One bucket more than there are bounds: the last one reaches to infinity.
    if last > raw.custom_values.len() as u64 + 1 {
        return Err(format!("spans reach bucket {last}, but {} custom bounds make only {}", raw.custom_values.len(), raw.custom_values.len() + 1));
    }
    Ok(())
}

/// Spans must describe exactly the buckets that are there.
fn check_spans(side: &Side, buckets: usize, which: &str) -> Result<(), String> {
    if buckets > BUCKETS_MAX || side.spans.len() > BUCKETS_MAX {
        return Err(format!("{which} buckets or spans are more than {BUCKETS_MAX}"));
    }
    if side.spans.iter().skip(1).any(|(offset, _)| *offset < 0) {
        return Err(format!("a {which} span after the first has a negative offset"));
    }
    let described: u64 = side.spans.iter().map(|(_, length)| u64::from(*length)).sum();
    if described != buckets as u64 {
        return Err(format!("{which} spans describe {described} buckets, but {buckets} are there"));
    }
    Ok(())
}

fn integer_counts(raw: &Raw) -> Result<HistogramCounts, String> {
    if !raw.negative.counts.is_empty() || !raw.positive.counts.is_empty() || raw.zero_float != 0.0 {
        return Err("an integer histogram carries float counts".to_owned());
    }
    check_spans(&raw.negative, raw.negative.deltas.len(), "negative")?;
    check_spans(&raw.positive, raw.positive.deltas.len(), "positive")?;
    let negative = absolute(&raw.negative.deltas, "negative")?;
    let positive = absolute(&raw.positive.deltas, "positive")?;
    let count = raw.count_int.unwrap_or(0);
    let observed = u128::from(raw.zero_int) + negative.iter().chain(&positive).map(|n| u128::from(n.unsigned_abs())).sum::<u128>();
    // Observations of NaN are in the count and in no bucket, and make the sum NaN. A staleness marker carries no counts at all.
    let adds_up = if raw.sum.is_nan() { observed <= u128::from(count) } else { observed == u128::from(count) };
    if !adds_up && !is_stale(raw.sum) {
        return Err(format!("buckets hold {observed} observations, but the count is {count}"));
    }
    Ok(HistogramCounts::Integer { count, zero: raw.zero_int, negative, positive })
}

/// Sums up deltas; every bucket must come out at 0 or more.
fn absolute(deltas: &[i64], which: &str) -> Result<Vec<i64>, String> {
    let mut counts = Vec::with_capacity(deltas.len());
    let mut count = 0i64;
    for (n, delta) in deltas.iter().enumerate() {
        count = match count.checked_add(*delta) {
            Some(sum) if sum >= 0 => sum,
            _ => return Err(format!("{which} bucket {n} would hold fewer than 0 observations or overflow")),
        };
        counts.push(count);
    }
    Ok(counts)
}

fn float_counts(raw: &Raw) -> Result<HistogramCounts, String> {
    if !raw.negative.deltas.is_empty() || !raw.positive.deltas.is_empty() || raw.zero_int != 0 {
        return Err("a float histogram carries integer counts".to_owned());
    }
    check_spans(&raw.negative, raw.negative.counts.len(), "negative")?;
    check_spans(&raw.positive, raw.positive.counts.len(), "positive")?;
    let count = raw.count_float.unwrap_or(0.0);
    let buckets = || raw.negative.counts.iter().chain(&raw.positive.counts);
    if let Some(wrong) = buckets().chain([&raw.zero_float, &count]).find(|n| **n < 0.0) {
        return Err(format!("a count of {wrong} is less than 0"));
    }
    let observed = raw.zero_float + buckets().sum::<f64>();
    if raw.reset_hint != GAUGE && observed > count * (1.0 + FLOAT_EXCESS_MAX) {
        return Err(format!("buckets hold {observed} observations, but the count is {count}"));
    }
    Ok(HistogramCounts::Float { count, zero: raw.zero_float, negative: raw.negative.counts.clone(), positive: raw.positive.counts.clone() })
}

#[cfg(test)]
mod tests;
