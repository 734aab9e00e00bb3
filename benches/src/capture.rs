//! The real scrapes that all load is made of: 240 seconds of one machine's node_exporter. Not a general parser of the exposition format.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::io::Read;

/// One file for the demo and the benches: zstd over the text scrapes, an empty line between two.
const SCRAPES: &[u8] = include_bytes!("../../api/src/demo/node_exporter.scrapes.zst");

/// Inflated bytes that are read at most.
const INFLATED_BYTES_MAX: u64 = 64 << 20;

/// One series over all scrapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Label pairs sorted by name, `__name__` among them.
    pub labels: Vec<(String, String)>,
    /// One value per scrape.
    pub values: Vec<f64>,
    /// Digits after the decimal point that the exporter printed at most.
    pub decimals: i32,
    /// The largest finite magnitude among its values.
    pub magnitude: f64,
    /// True where the values only grow, so that a longer run goes on growing.
    pub grows: bool,
}

/// Every series that stands in every scrape.
#[derive(Debug, Clone)]
pub struct Capture {
    /// Series in the order of the exporter.
    pub series: Vec<Series>,
    /// Scrapes of each.
    pub scrape_count: usize,
}

/// Reads the capture that lies in the project.
///
/// # Errors
/// When the file is damaged.
pub fn shipped() -> Result<Capture> {
    let mut text = String::new();
    let reader = zstd::stream::read::Decoder::new(SCRAPES)?;
    reader.take(INFLATED_BYTES_MAX).read_to_string(&mut text)?;
    parse(&text)
}

/// Reads scrapes in text form.
///
/// # Errors
/// Names the line that cannot be read.
pub fn parse(text: &str) -> Result<Capture> {
    let mut series: Vec<Series> = Vec::new();
    let mut index: BTreeMap<&str, usize> = BTreeMap::new();
    let scrapes = text.split("\n\n").filter(|scrape| !scrape.trim().is_empty());
    let scrape_count = scrapes.clone().count();
    ensure!(scrape_count > 0, "the text holds no scrape");
    for line in scrapes.flat_map(str::lines).filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, value) = line.rsplit_once(' ').with_context(|| format!("no value in {line:?}"))?;
        let at = match index.get(name) {
            Some(at) => *at,
            None => {
                series.push(Series { labels: labels_of(name)?, values: Vec::new(), decimals: 0, magnitude: 0.0, grows: true });
                index.insert(name, series.len() - 1);
                series.len() - 1
            }
        };
        let number: f64 = value.parse().with_context(|| format!("no number in {line:?}"))?;
        let one = &mut series[at];
        one.grows &= one.values.last().is_none_or(|last| number >= *last);
        one.decimals = one.decimals.max(decimals_of(value));
        if number.is_finite() {
            one.magnitude = one.magnitude.max(number.abs());
        }
        one.values.push(number);
    }
    series.retain(|one| one.values.len() == scrape_count);
    for one in &mut series {
        one.grows &= one.values.first() != one.values.last();
    }
    Ok(Capture { series, scrape_count })
}

/// Digits after the point in a printed number; an exponent moves the point.
fn decimals_of(text: &str) -> i32 {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let printed = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let exponent: i32 = exponent.parse().unwrap_or(0);
    (i32::try_from(printed).unwrap_or(0) - exponent).max(0)
}

/// `name{a="1",b="2"}` as sorted pairs.
fn labels_of(text: &str) -> Result<Vec<(String, String)>> {
    let (name, rest) = text.split_once('{').unwrap_or((text, "}"));
    let mut labels = vec![("__name__".to_owned(), name.to_owned())];
    let mut rest = rest.strip_suffix('}').with_context(|| format!("no closing brace in {text:?}"))?;
    while let Some((label, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next() {
                Some((_, '\\')) => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c)) => value.push(c),
                    None => bail!("an open escape in {text:?}"),
                },
                Some((at, '"')) => break at,
                Some((_, c)) => value.push(c),
                None => bail!("an open quote in {text:?}"),
            }
        };
        labels.push((label.to_owned(), value));
        rest = after[end + 1..].trim_start_matches(',');
    }
    labels.sort();
    Ok(labels)
}

#[cfg(test)]
mod tests;
