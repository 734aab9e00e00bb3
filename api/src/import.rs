//! Files of samples, from other systems or from here, sent through the same door as everything else. Not a second way into the tables.
//!
//! Samples are read from all files, put in the order of time in runs of bounded size (on disk where there are many), and sent as remote-write bodies. The
//! same files give the same bodies, and a sample that is there already is a duplicate: an import that broke off is simply done again.

pub mod bodies;
pub mod columns;
pub mod csv;
pub mod lines;
pub mod openmetrics;
pub mod send;
pub mod sort;

use afferent_engine::series::Labels;
use anyhow::{Context as _, bail};
use sort::{Row, Sorter};
use std::collections::HashMap;

/// Series that one import may have; each takes about 200 bytes of memory.
pub const SERIES_MAX: usize = 5_000_000;

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// OpenMetrics text with timestamps, as `promtool tsdb dump-openmetrics` prints it
    Openmetrics,
    /// Parquet with the columns metric, time, value, and labels as a map or one column each
    Parquet,
    /// CSV with a header and the same columns
    Csv,
}

impl Format {
    /// The form that a file's name tells.
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, ending) = name.rsplit_once('.')?;
        match ending.to_ascii_lowercase().as_str() {
            "om" | "openmetrics" | "prom" | "txt" => Some(Self::Openmetrics),
            "parquet" => Some(Self::Parquet),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// What was read so far: series by number, samples in runs.
pub struct Samples {
    labels: Vec<Labels>,
    by_labels: HashMap<Box<[u8]>, u32>,
    sorter: Sorter,
    /// Earliest and latest time, milliseconds.
    span: Option<(i64, i64)>,
}

impl Samples {
    /// Nothing yet; runs are kept in a temporary folder.
    ///
    /// # Errors
    /// Where there is no room for one.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { labels: Vec::new(), by_labels: HashMap::new(), sorter: Sorter::new()?, span: None })
    }

    /// The number of a series; its name stands beside its labels. Labels without a value are none.
    ///
    /// # Errors
    /// Where the metric has no name or a label stands twice.
    pub fn series<'a>(&mut self, metric: &'a str, labels: impl Iterator<Item = (&'a str, &'a str)>) -> anyhow::Result<u32> {
        if metric.is_empty() {
            bail!("the metric has no name");
        }
        let pairs = labels.filter(|(_, value)| !value.is_empty()).chain([("__name__", metric)]);
        let labels = Labels::from_unsorted(pairs).with_context(|| format!("labels of {metric}"))?;
        if let Some(known) = self.by_labels.get(labels.canonical()) {
            return Ok(*known);
        }
        if self.labels.len() >= SERIES_MAX {
            bail!("more than {SERIES_MAX} series in one import; import fewer files at once");
        }
        let number = u32::try_from(self.labels.len())?;
        self.by_labels.insert(labels.canonical().into(), number);
        self.labels.push(labels);
        Ok(number)
    }

    /// Takes one sample.
    ///
    /// # Errors
    /// Where the temporary folder is full.
    pub fn push(&mut self, series: u32, time_ms: i64, value: f64) -> anyhow::Result<()> {
        self.span = Some(self.span.map_or((time_ms, time_ms), |(from, to)| (from.min(time_ms), to.max(time_ms))));
        self.sorter.push(Row { time_ms, series, bits: value.to_bits() })
    }

    /// Samples taken.
    pub fn count(&self) -> u64 {
        self.sorter.count()
    }

    /// Series taken.
    pub fn series_count(&self) -> usize {
        self.labels.len()
    }

    /// Earliest and latest time, milliseconds.
    pub fn span(&self) -> Option<(i64, i64)> {
        self.span
    }

    /// The remote-write bodies of all samples, in the order of time.
    ///
    /// # Errors
    /// Where the runs cannot be read back.
    pub fn into_bodies(self) -> anyhow::Result<bodies::Bodies> {
        Ok(bodies::Bodies::new(self.labels, self.sorter.sorted()?))
    }
}

#[cfg(test)]
mod tests;
