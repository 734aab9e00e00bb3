//! CSV with a header: `metric`, `time` (or `time_s`), `value`, and labels as one JSON object or one column each. RFC 4180, fields over lines included.

use super::Samples;
use super::lines::{LINE_BYTES_MAX, Lines};
use afferent_engine::sample::STALE_NAN_BITS;
use anyhow::{Context as _, anyhow, bail};
use chrono::DateTime;
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;

/// Whole milliseconds below this would lie before March 1973, and are seconds in all likelihood.
const MS_MIN: i64 = 100_000_000_000;

/// Which column is what.
struct Columns {
    metric: usize,
    time: usize,
    /// The time is in seconds.
    seconds: bool,
    value: usize,
    /// Labels as a JSON object.
    object: Option<usize>,
    labels: Vec<(usize, String)>,
    count: usize,
}

/// Reads a text to its end.
///
/// # Errors
/// The first record that is wrong, by its line.
pub fn read(input: impl BufRead, samples: &mut Samples, mut seen: impl FnMut(u64)) -> anyhow::Result<()> {
    let mut records = Records { lines: Lines::new(input), fields: Vec::new() };
    let Some(first) = records.take(&mut seen).context("line 1")? else { bail!("the file is empty; a header is required") };
    let columns = Columns::of_header(first).context("line 1")?;
    loop {
        let number = records.lines.number() + 1;
        let at = || format!("line {number}");
        let Some(fields) = records.take(&mut seen).with_context(at)? else { return Ok(()) };
        if fields.iter().all(String::is_empty) {
            continue;
        }
        columns.take(fields, samples).with_context(at)?;
    }
}

impl Columns {
    fn of_header(names: &[String]) -> anyhow::Result<Self> {
        let names: Vec<&str> = names.iter().map(|name| name.trim().trim_start_matches('\u{feff}')).collect();
        if names.iter().collect::<BTreeSet<_>>().len() != names.len() {
            bail!("a column stands twice in the header");
        }
        let find = |wanted: &str| names.iter().position(|name| *name == wanted);
        let need = |wanted: &str| {
            find(wanted).ok_or_else(|| anyhow!("the header has no column {wanted:?}; it needs metric, time and value, here: {}", names.join(", ")))
        };
        let (time, seconds) = match (find("time"), find("time_s")) {
            (Some(_), Some(_)) => bail!("the header has both time and time_s"),
            (None, Some(time)) => (time, true),
            _ => (need("time")?, false),
        };
        let (metric, value, object) = (need("metric")?, need("value")?, find("labels"));
        let taken = [Some(metric), Some(time), Some(value), object];
        let labels = names.iter().enumerate().filter(|(at, _)| !taken.contains(&Some(*at)));
        let labels = labels.map(|(at, name)| (at, (*name).to_owned())).collect();
        Ok(Self { metric, time, seconds, value, object, labels, count: names.len() })
    }

    fn take(&self, fields: &[String], samples: &mut Samples) -> anyhow::Result<()> {
        if fields.len() != self.count {
            bail!("{} fields where the header has {}", fields.len(), self.count);
        }
        let field = |at: usize| fields.get(at).map(String::as_str).unwrap_or_default();
        let object = self.object.map(|at| object(field(at))).transpose()?.unwrap_or_default();
        let own = self.labels.iter().map(|(at, name)| (name.as_str(), field(*at)));
        let labels = object.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(own);
        let series = samples.series(field(self.metric).trim(), labels)?;
        samples.push(series, self.time_ms(field(self.time).trim())?, value(field(self.value).trim())?)
    }

    fn time_ms(&self, text: &str) -> anyhow::Result<i64> {
        if self.seconds {
            let seconds: f64 = text.parse().map_err(|_| anyhow!("time_s {text:?} is no number of seconds since 1970"))?;
            let ms = (seconds * 1000.0).round();
            return if ms.is_finite() { Ok(ms as i64) } else { Err(anyhow!("time_s {text:?} is no time")) };
        }
        if let Ok(ms) = text.parse::<i64>() {
            if (0..MS_MIN).contains(&ms) {
                bail!("time {text} would lie before March 1973 as milliseconds; if it is seconds, call the column time_s");
            }
            return Ok(ms);
        }
        let instant = DateTime::parse_from_rfc3339(text);
        instant
            .map(|t| t.timestamp_millis())
            .map_err(|_| anyhow!("time {text:?} is neither RFC 3339 (2026-11-22T10:00:00Z) nor milliseconds since 1970"))
    }
}

/// A number; nothing is a staleness marker, as in the table `samples`.
fn value(text: &str) -> anyhow::Result<f64> {
    if text.is_empty() {
        return Ok(f64::from_bits(STALE_NAN_BITS));
    }
    text.parse().map_err(|_| anyhow!("value {text:?} is no number"))
}

/// Labels as a JSON object of texts.
pub(super) fn object(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    if text.trim().is_empty() {
        return Ok(BTreeMap::new());
    }
    serde_json::from_str(text).with_context(|| format!("labels {text:?} are no JSON object of texts"))
}

/// Records of fields.
struct Records<R> {
    lines: Lines<R>,
    fields: Vec<String>,
}

impl<R: BufRead> Records<R> {
    /// The next record; a field in quotes may go on over several lines.
    fn take(&mut self, seen: &mut impl FnMut(u64)) -> anyhow::Result<Option<&[String]>> {
        self.fields.clear();
        let Some(line) = self.lines.take()? else { return Ok(None) };
        seen(line.len() as u64);
        let mut text = line.to_owned();
        while !split(&text, &mut self.fields)? {
            let Some(line) = self.lines.take()? else { bail!("a closing quote is missing at the end of the file") };
            seen(line.len() as u64);
            text.push_str(line);
            if text.len() > LINE_BYTES_MAX {
                bail!("the record has more than {LINE_BYTES_MAX} bytes; is a closing quote missing?");
            }
        }
        Ok(Some(&self.fields))
    }
}

/// Splits a record; false where it ends within quotes.
fn split(text: &str, fields: &mut Vec<String>) -> anyhow::Result<bool> {
    fields.clear();
    let mut rest = text.strip_suffix('\n').map_or(text, |t| t.strip_suffix('\r').unwrap_or(t));
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, more) = rest.split_once(',').map_or((rest, None), |(field, more)| (field, Some(more)));
            fields.push(field.to_owned());
            match more {
                Some(more) => rest = more,
                None => return Ok(true),
            }
            continue;
        };
        let mut field = String::new();
        let mut inside = quoted;
        rest = loop {
            // A record that goes on keeps the line break that was cut off above, because the whole text is split anew.
            let Some((part, after)) = inside.split_once('"') else { return Ok(false) };
            field.push_str(part);
            match after.strip_prefix('"') {
                Some(more) => {
                    field.push('"');
                    inside = more;
                }
                None => break after,
            }
        };
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.trim().is_empty() => return Ok(true),
            None => bail!("text behind a closing quote: {rest:?}"),
        }
    }
}

#[cfg(test)]
mod tests;
