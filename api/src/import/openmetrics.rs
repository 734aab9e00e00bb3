//! OpenMetrics text with timestamps: samples; comments and exemplars are passed over. Not a scrape, where the time is that of the scrape.

use super::Samples;
use super::lines::Lines;
use anyhow::{Context as _, anyhow, bail};
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::BufRead;

/// Series texts that are remembered with their number, so that their labels are not parsed again.
const KNOWN_MAX: usize = 1_000_000;

/// From here on a whole number must be milliseconds, as Prometheus' own text format has them: as seconds it would be the year 5138.
const SECONDS_MAX: f64 = 1e11;

/// Largest distance from 1970, milliseconds, that a time may have: beyond, tables have no timestamps.
const TIME_MS_MAX: f64 = 8e15;

/// What was read besides samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rest {
    /// Exemplars, which are left out.
    pub exemplar_count: u64,
    /// The text ended as it must, with `# EOF`.
    pub complete: bool,
}

/// Reads a text to its end.
///
/// # Errors
/// The first line that is wrong, by its number.
pub fn read(input: impl BufRead, samples: &mut Samples, mut seen: impl FnMut(u64)) -> anyhow::Result<Rest> {
    let (mut lines, mut known, mut rest) = (Lines::new(input), HashMap::new(), Rest::default());
    loop {
        let number = lines.number() + 1;
        let at = || format!("line {number}");
        let Some(line) = lines.take().with_context(at)? else { return Ok(rest) };
        seen(line.len() as u64);
        let line = line.trim_end_matches(['\n', '\r']);
        if line.trim().is_empty() {
            continue;
        }
        if rest.complete {
            return Err(anyhow!("text after # EOF; import files one by one, not joined")).with_context(at);
        }
        if line.starts_with('#') {
            rest.complete = line.trim_end() == "# EOF";
            continue;
        }
        let sample = parse(line).with_context(at)?;
        rest.exemplar_count += u64::from(sample.has_exemplar);
        let series = match known.get(sample.series) {
            Some(series) => *series,
            None => {
                let (metric, labels) = series_of(sample.series).with_context(at)?;
                let pairs = labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
                let series = samples.series(&metric, pairs).with_context(at)?;
                if known.len() >= KNOWN_MAX {
                    known.clear();
                }
                known.insert(sample.series.to_owned(), series);
                series
            }
        };
        samples.push(series, sample.time_ms, sample.value).with_context(at)?;
    }
}

/// One sample line, its series not parsed yet.
struct Line<'a> {
    series: &'a str,
    value: f64,
    time_ms: i64,
    has_exemplar: bool,
}

fn parse(line: &str) -> anyhow::Result<Line<'_>> {
    let end = series_end(line)?;
    let (series, rest) = line.split_at(end);
    let (figures, exemplar) = rest.split_once(" # ").map_or((rest, false), |(figures, _)| (figures, true));
    let mut figures = figures.split_ascii_whitespace();
    let (value, time, more) = (figures.next(), figures.next(), figures.next());
    let value = value.ok_or_else(|| anyhow!("there is no value after {series:?}"))?;
    let time = time.ok_or_else(|| anyhow!("there is no timestamp: an import needs the time of every sample, and a scraped page has none"))?;
    if let Some(more) = more {
        bail!("{more:?} does not belong behind the timestamp");
    }
    let value = value.parse().map_err(|_| anyhow!("{value:?} is no number"))?;
    Ok(Line { series: series.trim_end(), value, time_ms: time_ms(time)?, has_exemplar: exemplar })
}

/// Where the series ends: behind its labels, or at the first blank.
fn series_end(line: &str) -> anyhow::Result<usize> {
    let mut quoted = false;
    let mut escaped = false;
    let mut braces = false;
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if braces => quoted = !quoted,
            b'{' if !quoted && !braces => braces = true,
            b'}' if !quoted && braces => return Ok(at + 1),
            b' ' | b'\t' if !braces => return Ok(at),
            _ => {}
        }
    }
    if braces { bail!("the labels have no closing brace") } else { bail!("there is no value after {line:?}") }
}

/// Seconds with a fraction, or whole milliseconds where seconds would lie beyond all time.
fn time_ms(text: &str) -> anyhow::Result<i64> {
    let number: f64 = text.parse().map_err(|_| anyhow!("{text:?} is no timestamp"))?;
    let ms = if number.abs() >= SECONDS_MAX && number.fract() == 0.0 { number } else { (number * 1000.0).round() };
    if ms.is_nan() || ms.abs() > TIME_MS_MAX {
        bail!("the timestamp {text} lies beyond all time");
    }
    Ok(ms as i64)
}

type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// `name{label="value", ...}`, or the newer `{"name", label="value"}`; metric and labels.
fn series_of(text: &str) -> anyhow::Result<(Cow<'_, str>, Pairs<'_>)> {
    let (name, inside) = match text.split_once('{') {
        None => return Ok((Cow::Borrowed(text), Vec::new())),
        Some((name, rest)) => (name.trim(), rest.strip_suffix('}').unwrap_or(rest)),
    };
    let mut metric = Cow::Borrowed(name);
    let mut labels = Vec::new();
    let mut rest = inside.trim_start();
    while !rest.is_empty() {
        let (word, after) = word(rest)?;
        let after = after.trim_start();
        if let Some(value) = after.strip_prefix('=') {
            let value = value.trim_start();
            let quoted = value.strip_prefix('"').ok_or_else(|| anyhow!("the value of label {word} is not in quotes"))?;
            let (value, after) = unquoted(quoted)?;
            if word == "__name__" {
                metric = value
            } else {
                labels.push((word, value))
            }
            rest = after;
        } else if metric.is_empty() && labels.is_empty() {
            metric = word;
            rest = after;
        } else {
            bail!("label {word} has no value");
        }
        rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None if rest.is_empty() => {}
            None => bail!("there is no comma before {rest:?}"),
        }
    }
    Ok((metric, labels))
}

/// A name, in quotes or not, and what follows.
fn word(text: &str) -> anyhow::Result<(Cow<'_, str>, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        return unquoted(quoted);
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.'))).unwrap_or(text.len());
    if end == 0 {
        bail!("a label's name was expected at {text:?}");
    }
    let (word, rest) = text.split_at(end);
    Ok((Cow::Borrowed(word), rest))
}

/// The text up to the closing quote, escapes undone, and what follows.
fn unquoted(text: &str) -> anyhow::Result<(Cow<'_, str>, &str)> {
    let mut out: Option<String> = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let (inside, rest) = text.split_at(at);
                let value = out.map_or(Cow::Borrowed(inside), Cow::Owned);
                return Ok((value, rest.get(1..).unwrap_or_default()));
            }
            '\\' => {
                let before = text.get(..at).unwrap_or_default();
                let out = out.get_or_insert_with(|| before.to_owned());
                match chars.next().map(|(_, c)| c) {
                    Some('n') => out.push('\n'),
                    Some(c @ ('"' | '\\')) => out.push(c),
                    Some(c) => out.extend(['\\', c]),
                    None => bail!("a backslash stands at the end"),
                }
            }
            c => {
                if let Some(out) = &mut out {
                    out.push(c);
                }
            }
        }
    }
    bail!("a closing quote is missing")
}

#[cfg(test)]
mod tests;
