//! Samples in the order of time, whatever their number: sorted runs, on disk where there is more than one, merged as they are read. Not their encoding.

use anyhow::{Context as _, bail};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read as _, Seek as _, Write as _};
use tempfile::tempfile;

/// Rows of a run, 24 bytes each in memory.
const RUN_ROWS: usize = 2_000_000;

/// Runs of one import, each an open file: a billion samples in all.
const RUNS_MAX: usize = 500;

/// Bytes of a row on disk.
const ROW_BYTES: usize = 20;

/// One sample. The order is by time, then by series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// Number of the series.
    pub series: u32,
    /// The value's bits.
    pub bits: u64,
}

/// Takes rows in any order.
pub struct Sorter {
    run_rows: usize,
    rows: Vec<Row>,
    runs: Vec<File>,
    count: u64,
}

impl Sorter {
    /// Nothing yet.
    ///
    /// # Errors
    /// None; a full disk shows itself with the first run.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self::with_runs_of(RUN_ROWS))
    }

    fn with_runs_of(run_rows: usize) -> Self {
        Self { run_rows, rows: Vec::new(), runs: Vec::new(), count: 0 }
    }

    /// Takes one row.
    ///
    /// # Errors
    /// Where a run cannot be written, or there are too many.
    pub fn push(&mut self, row: Row) -> anyhow::Result<()> {
        if self.rows.len() >= self.run_rows {
            self.spill()?;
        }
        self.rows.push(row);
        self.count += 1;
        Ok(())
    }

    /// Rows taken.
    pub fn count(&self) -> u64 {
        self.count
    }

    fn spill(&mut self) -> anyhow::Result<()> {
        if self.runs.len() >= RUNS_MAX {
            bail!("more than {} samples in one import; import fewer files at once", RUNS_MAX * self.run_rows);
        }
        self.rows.sort_by_key(|row| (row.time_ms, row.series));
        let full = "cannot write a sorted run into the temporary folder (TMPDIR chooses another)";
        let mut out = BufWriter::new(tempfile().context(full)?);
        for row in self.rows.drain(..) {
            let mut bytes = [0; ROW_BYTES];
            let (time, rest) = bytes.split_at_mut(8);
            let (series, bits) = rest.split_at_mut(4);
            time.copy_from_slice(&row.time_ms.to_le_bytes());
            series.copy_from_slice(&row.series.to_le_bytes());
            bits.copy_from_slice(&row.bits.to_le_bytes());
            out.write_all(&bytes).context(full)?;
        }
        let mut file = out.into_inner().map_err(|e| e.into_error()).context(full)?;
        file.rewind().context(full)?;
        self.runs.push(file);
        Ok(())
    }

    /// All rows in order; of equal times and series, the one that was taken first comes first.
    ///
    /// # Errors
    /// Where a run cannot be written or read back.
    pub fn sorted(mut self) -> anyhow::Result<Sorted> {
        if self.runs.is_empty() {
            self.rows.sort_by_key(|row| (row.time_ms, row.series));
            return Ok(Sorted { heads: BinaryHeap::new(), runs: Vec::new(), memory: self.rows.into_iter() });
        }
        self.spill()?;
        let mut runs: Vec<BufReader<File>> = self.runs.into_iter().map(BufReader::new).collect();
        let mut heads = BinaryHeap::new();
        for (number, run) in runs.iter_mut().enumerate() {
            heads.extend(read(run)?.map(|row| head(row, number)));
        }
        Ok(Sorted { heads, runs, memory: Vec::new().into_iter() })
    }
}

/// The next row of a run: time, series, run, bits. The heap gives the smallest.
type Head = Reverse<(i64, u32, usize, u64)>;

fn head(row: Row, run: usize) -> Head {
    Reverse((row.time_ms, row.series, run, row.bits))
}

/// Rows in order.
pub struct Sorted {
    heads: BinaryHeap<Head>,
    runs: Vec<BufReader<File>>,
    /// The only run, where there was but one.
    memory: std::vec::IntoIter<Row>,
}

impl Sorted {
    /// The next row.
    ///
    /// # Errors
    /// Where a run cannot be read back.
    pub fn take(&mut self) -> anyhow::Result<Option<Row>> {
        let Some(Reverse((time_ms, series, run, bits))) = self.heads.pop() else { return Ok(self.memory.next()) };
        if let Some(file) = self.runs.get_mut(run) {
            self.heads.extend(read(file)?.map(|row| head(row, run)));
        }
        Ok(Some(Row { time_ms, series, bits }))
    }
}

fn read(run: &mut BufReader<File>) -> anyhow::Result<Option<Row>> {
    let (mut time, mut series, mut bits) = ([0; 8], [0; 4], [0; 8]);
    match run.read_exact(&mut time) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error).context("cannot read a sorted run back"),
    }
    run.read_exact(&mut series).and_then(|()| run.read_exact(&mut bits)).context("cannot read a sorted run back")?;
    Ok(Some(Row { time_ms: i64::from_le_bytes(time), series: u32::from_le_bytes(series), bits: u64::from_le_bytes(bits) }))
}

#[cfg(test)]
mod tests;
