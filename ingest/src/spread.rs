//! Spreads remote-write bodies over the partitions of the log, and over several records where the log takes none so large: whole series, byte for
//! byte as their sender wrote them. Series are found by the decoder; what they mean is not looked at here.

use crate::error::{Error, Result};
use crate::remote_write::{Place, v1, v2};
use crate::wire::{Malformed, Walk};
use afferent_engine::log::{Decoded, DecodedBody, Format, LogName, Record, Topic};
use afferent_engine::sample::{SampleBatch, SeriesSlice};
use std::ops::Range;

/// How bodies lie in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// Partitions of the log of metrics, at least 1.
    pub partitions: u32,
    /// Largest body of one record, bytes as they are logged.
    pub body_bytes_max: usize,
}

/// One partition, and records of any size.
impl Default for Spread {
    fn default() -> Self {
        Self { partitions: 1, body_bytes_max: usize::MAX }
    }
}

/// A record that a request becomes, and where it goes.
#[derive(Debug)]
pub struct Share {
    /// The log, with its partition.
    pub log: LogName,
    /// What is appended.
    pub record: Record,
    /// What it holds.
    pub decoded: Decoded,
}

impl Share {
    /// The whole request as one record of a partition.
    pub(crate) fn whole(partition: u32, record: Record, decoded: Decoded) -> Self {
        Self { log: LogName { topic: record.format.topic(), partition }, record, decoded }
    }
}

impl Spread {
    /// True where a body becomes one record as it stands.
    pub(crate) fn keeps_whole(self, record: &Record) -> bool {
        record.format.topic() != Topic::Metrics || (self.partitions <= 1 && record.body.len() <= self.body_bytes_max)
    }

    /// Inflated bytes that are no larger than a record may be, whatever snappy makes of them.
    fn inflated_bytes_max(self) -> usize {
        // snap's own bound, 32 + n + n / 6, the other way round.
        (self.body_bytes_max.saturating_sub(32) / 7).saturating_mul(6)
    }
}

/// The new bodies of one body: which series go into which.
pub(crate) struct Plan {
    /// Of each series, its part.
    part_of: Vec<usize>,
    parts: Vec<Part>,
}

/// One body to be.
struct Part {
    partition: u32,
    bytes: usize,
    /// The symbols that are referred to, by number; of 1.0 there are none.
    symbols: Vec<bool>,
    /// Number of the last one, plus one.
    symbols_end: usize,
}

/// The bytes of a body that are whole fields, in order.
struct Fields {
    series: Vec<Range<usize>>,
    /// Of 1.0.
    metadata: Vec<Range<usize>>,
    /// Of 2.0.
    symbols: Vec<Range<usize>>,
}

/// A symbol that nobody refers to, as a field: its number must stay taken.
const EMPTY_SYMBOL: [u8; 2] = [v2::REQUEST_SYMBOL as u8, 0];

impl Fields {
    fn of(format: Format, body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Self { series: vec![], metadata: vec![], symbols: vec![] };
        let mut walk = Walk::over(body);
        loop {
            let start = walk.at();
            let Some(tag) = walk.tag()? else { return Ok(fields) };
            // The decoder has read this body: what neither knows means nothing.
            walk.skip(tag, &[])?;
            let field = start..walk.at();
            match (format, tag) {
                (Format::RemoteWriteV2, v2::REQUEST_TIMESERIES) | (Format::RemoteWriteV1, v1::REQUEST_TIMESERIES) => fields.series.push(field),
                (Format::RemoteWriteV2, v2::REQUEST_SYMBOL) => fields.symbols.push(field),
                (Format::RemoteWriteV1, v1::REQUEST_METADATA) => fields.metadata.push(field),
                _ => {}
            }
        }
    }
}

/// A body in parts.
pub(crate) struct Parts {
    plan: Plan,
    /// Partition and inflated bytes of each.
    pub(crate) bodies: Vec<(u32, Vec<u8>)>,
}

/// Regroups an inflated body whose series are those of `places`.
///
/// # Errors
/// `TooLarge` where one series alone is larger than a record may be.
pub(crate) fn regroup(format: Format, body: &[u8], places: &[Place], spread: Spread) -> Result<Parts> {
    let message = if format == Format::RemoteWriteV2 { v2::MESSAGE } else { v1::MESSAGE };
    let malformed = |Malformed { at, wanted }| Error::Protobuf { message, at, wanted };
    let fields = Fields::of(format, body).map_err(malformed)?;
    let (mut open, mut plan) = (vec![None; spread.partitions.max(1) as usize], Plan { part_of: Vec::with_capacity(places.len()), parts: vec![] });
    let mut numbers = Vec::new();
    for (place, field) in places.iter().zip(&fields.series) {
        numbers.clear();
        if format == Format::RemoteWriteV2 {
            v2::references(body, field.clone(), &mut numbers).map_err(malformed)?;
        }
        let partition = place.key.map_or(0, |key| key.partition(spread.partitions));
        let part = plan.add(partition, field.len(), &numbers, &fields.symbols, &mut open, spread)?;
        plan.part_of.push(part);
    }
    let mut described = Vec::with_capacity(fields.metadata.len());
    for field in &fields.metadata {
        described.push(plan.add(0, field.len(), &[], &[], &mut open, spread)?);
    }
    let mut bodies: Vec<(u32, Vec<u8>)> = plan.parts.iter().map(|part| (part.partition, part.table(body, &fields.symbols))).collect();
    let placed = plan.part_of.iter().zip(&fields.series).chain(described.iter().zip(&fields.metadata));
    for (part, field) in placed {
        bodies[*part].1.extend_from_slice(body.get(field.clone()).unwrap_or_default());
    }
    Ok(Parts { plan, bodies })
}

impl Plan {
    /// Finds room for a field in the open part of its partition, or opens another one.
    fn add(
        &mut self,
        partition: u32,
        bytes: usize,
        numbers: &[u32],
        symbols: &[Range<usize>],
        open: &mut [Option<usize>],
        spread: Spread,
    ) -> Result<usize> {
        let bytes_max = spread.inflated_bytes_max();
        let slot = &mut open[partition as usize];
        if let Some(at) = *slot {
            let part = &mut self.parts[at];
            if part.take(bytes, numbers, symbols, bytes_max) {
                return Ok(at);
            }
        }
        let mut part = Part { partition, bytes: 0, symbols: vec![false; symbols.len()], symbols_end: 0 };
        if !part.take(bytes, numbers, symbols, bytes_max) {
            let (what, size, max) = ("one series of the body", part.with(bytes, numbers, symbols).0 as u64, bytes_max as u64);
            return Err(Error::TooLarge { what, size, max, unit: "bytes with its labels, and the log takes no larger record" });
        }
        *slot = Some(self.parts.len());
        self.parts.push(part);
        Ok(self.parts.len() - 1)
    }

    /// Deals the rows of the body out to its parts. What describes metrics is given with the first one.
    fn deal(&self, batch: SampleBatch, places: &[Place]) -> Vec<SampleBatch> {
        let mut out: Vec<SampleBatch> = self.parts.iter().map(|_| SampleBatch::default()).collect();
        let mut moved: Vec<(usize, u32)> = Vec::with_capacity(batch.series.len());
        let mut from = 0;
        for (place, part) in places.iter().zip(&self.part_of) {
            let slices = batch.series.get(from..place.slices_end as usize).unwrap_or_default();
            from = place.slices_end as usize;
            for slice in slices {
                let to = &mut out[*part];
                moved.push((*part, to.series.len() as u32));
                to.take(&batch, slice);
            }
        }
        for (series, histogram) in batch.histograms {
            let (part, at) = moved[series as usize];
            out[part].histograms.push((at, histogram));
        }
        for (series, exemplar) in batch.exemplars {
            let (part, at) = moved[series as usize];
            out[part].exemplars.push((at, exemplar));
        }
        if let Some(first) = out.first_mut() {
            first.metadata = batch.metadata;
        }
        out
    }
}

impl Parts {
    /// What each part holds, of what the whole body holds.
    pub(crate) fn deal(&self, decoded: Decoded, places: &[Place]) -> Vec<Decoded> {
        let DecodedBody::Samples(batch) = decoded.body else { return vec![] };
        let rows = |batch| Decoded { body: DecodedBody::Samples(batch), rejects: vec![] };
        self.plan.deal(batch, places).into_iter().map(rows).collect()
    }
}

/// Copies one series' slice of another batch behind what is there.
trait Take {
    fn take(&mut self, from: &SampleBatch, slice: &SeriesSlice);
}

impl Take for SampleBatch {
    fn take(&mut self, from: &SampleBatch, slice: &SeriesSlice) {
        let samples = slice.samples.start as usize..slice.samples.end as usize;
        let (labels, first) = (self.label_bytes.len() as u32, self.times.len() as u32);
        self.label_bytes.extend_from_slice(from.labels_of(slice));
        self.times.extend_from_slice(from.times.get(samples.clone()).unwrap_or_default());
        self.values.extend_from_slice(from.values.get(samples).unwrap_or_default());
        let (labels, samples) = (labels..self.label_bytes.len() as u32, first..self.times.len() as u32);
        self.series.push(SeriesSlice { labels, samples, ..slice.clone() });
    }
}

impl Part {
    /// Bytes and end of the symbols with a field that refers to these.
    fn with(&self, bytes: usize, numbers: &[u32], symbols: &[Range<usize>]) -> (usize, usize) {
        let (mut bytes, mut end) = (self.bytes + bytes, self.symbols_end.max(usize::from(!symbols.is_empty())));
        for number in numbers.iter().map(|n| *n as usize).filter(|n| *n < symbols.len()) {
            end = end.max(number + 1);
            if !self.symbols[number] {
                // One that stands twice among the numbers counts twice: the bound is an upper one.
                bytes += symbols[number].len();
            }
        }
        (bytes + (end - self.symbols_end) * EMPTY_SYMBOL.len(), end)
    }

    /// Takes a field in if there is room.
    fn take(&mut self, bytes: usize, numbers: &[u32], symbols: &[Range<usize>], bytes_max: usize) -> bool {
        let (bytes, end) = self.with(bytes, numbers, symbols);
        if bytes > bytes_max {
            return false;
        }
        (self.bytes, self.symbols_end) = (bytes, end);
        for number in numbers {
            if let Some(used) = self.symbols.get_mut(*number as usize) {
                *used = true;
            }
        }
        true
    }

    /// The beginning of its body: the symbol table up to the last one in use.
    fn table(&self, body: &[u8], symbols: &[Range<usize>]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes);
        for (used, symbol) in self.symbols.iter().zip(symbols).take(self.symbols_end) {
            out.extend_from_slice(if *used { body.get(symbol.clone()).unwrap_or_default() } else { &EMPTY_SYMBOL });
        }
        out
    }
}

#[cfg(test)]
mod tests;
