//! Real scrapes of one node_exporter, played as many hosts. Not a general parser of the exposition format: it reads the file beside it.

use anyhow::{Context, bail};

/// The scrapes: text exposition format, an empty line between two scrapes, zstd.
const SCRAPES: &[u8] = include_bytes!("node_exporter.scrapes.zst");

/// Inflated size above which the file is not ours.
const SCRAPES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Seconds between two scrapes.
const STEP_S: i64 = 1;

/// One series of the capture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CapturedSeries {
    /// Metric name.
    pub(super) metric: String,
    /// Labels without the name.
    pub(super) labels: Vec<(String, String)>,
    /// How it moves.
    nature: Nature,
    /// Its value in every scrape.
    values: Vec<f64>,
}

/// How a series goes on after the last scrape, and how a host's own size changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    /// Only rises: the next round adds to the last one.
    Counter,
    /// Moves freely and grows with the host: memory, disk, load.
    Sized,
    /// Moves freely.
    Gauge,
    /// Seconds since the epoch.
    Clock,
    /// The epoch second of an event in the past: moves with the moment of playing.
    Instant,
}

/// The whole capture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Capture {
    /// In the order of the first scrape.
    pub(super) series: Vec<CapturedSeries>,
    /// Epoch second of the first scrape.
    taken_at_s: f64,
}

impl Capture {
    /// Reads the capture that is part of the program.
    pub(super) fn load() -> anyhow::Result<Self> {
        let text = zstd::bulk::decompress(SCRAPES, SCRAPES_BYTES_MAX).context("inflating the node_exporter capture")?;
        Self::parse(std::str::from_utf8(&text).context("the node_exporter capture is not UTF-8")?)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut series: Vec<CapturedSeries> = Vec::new();
        for (number, scrape) in text.split("\n\n").map(str::trim).filter(|s| !s.is_empty()).enumerate() {
            let lines = scrape.lines().filter(|line| !line.starts_with('#'));
            let mut count = 0;
            for (i, line) in lines.enumerate() {
                let (name, value) = line.rsplit_once(' ').with_context(|| format!("scrape {number}: {line:?} has no value"))?;
                let value: f64 = value.parse().with_context(|| format!("scrape {number}: value of {line:?}"))?;
                if number == 0 {
                    series.push(describe(name).with_context(|| format!("scrape {number}: {line:?}"))?);
                }
                let Some(held) = series.get_mut(i) else { bail!("scrape {number} has more series than the first") };
                held.values.push(value);
                count = i + 1;
            }
            if count != series.len() {
                bail!("scrape {number} has {count} series, the first has {}", series.len());
            }
        }
        let taken_at_s = series
            .iter()
            .find(|s| s.nature == Nature::Clock)
            .and_then(|s| s.values.first().copied())
            .context("the capture does not say when it was taken")?;
        Ok(Self { series, taken_at_s })
    }
}

impl CapturedSeries {
    /// The value on host number `host`, `elapsed_s` after the host started playing at `now_s - elapsed_s`.
    ///
    /// Hosts start at different scrapes and have different sizes, so that no two repeat each other; counters never fall.
    pub(super) fn value(&self, capture: &Capture, host: usize, elapsed_s: i64, now_s: f64) -> f64 {
        let size = 1.0 + 0.125 * host as f64;
        let span = self.values.len().saturating_sub(1).max(1);
        let at = |step: usize| self.values.get(step).copied().unwrap_or(f64::NAN);
        let step = usize::try_from(elapsed_s.max(0) / STEP_S).unwrap_or(0) + host * 41;
        let (round, within) = (step / span, step % span);
        match self.nature {
            Nature::Counter => {
                // In whole millionths: a rounding error downwards would look like a reset.
                let millionths = |step: usize| (at(step) * 1e6).round() as i128;
                let total = millionths(within) + round as i128 * (millionths(span) - millionths(0));
                (total * (8 + host as i128)) as f64 / 8e6
            }
            // There and back again, so that a new round does not jump.
            Nature::Sized => size * at(if round % 2 == 0 { within } else { span - within }),
            Nature::Gauge => at(if round % 2 == 0 { within } else { span - within }),
            Nature::Clock => now_s,
            Nature::Instant => now_s - elapsed_s as f64 + (at(0) - capture.taken_at_s),
        }
    }
}

/// `name{a="b",c="d"}` without its values.
fn describe(text: &str) -> anyhow::Result<CapturedSeries> {
    let (metric, mut rest) = match text.split_once('{') {
        Some((metric, labels)) => (metric, labels.strip_suffix('}').context("labels are not closed")?),
        None => (text, ""),
    };
    let mut labels = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").context("a label has no value")?;
        let (value, after) = quoted(after).context("a label's value is not closed")?;
        labels.push((name.to_owned(), value));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Ok(CapturedSeries { nature: nature(metric), metric: metric.to_owned(), labels, values: Vec::new() })
}

/// The text up to the closing quote with `\\`, `\"` and `\n` resolved, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
    None
}

fn nature(metric: &str) -> Nature {
    let sized = ["node_memory_", "node_filesystem_", "node_load"];
    if metric == "node_time_seconds" {
        Nature::Clock
    } else if metric == "node_boot_time_seconds" || metric == "process_start_time_seconds" {
        Nature::Instant
    } else if ["_total", "_count", "_sum"].iter().any(|end| metric.ends_with(end)) {
        Nature::Counter
    } else if sized.iter().any(|start| metric.starts_with(start)) && !metric.ends_with("_readonly") {
        Nature::Sized
    } else {
        Nature::Gauge
    }
}

#[cfg(test)]
mod tests;
