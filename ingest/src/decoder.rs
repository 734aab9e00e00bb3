//! Turns a record into rows: the one function that the receivers and a replay share. It reads bodies; it neither fetches nor keeps them.

use crate::error::{Error, Result};
use crate::remote_write::known::KnownSeries;
use crate::remote_write::{Judge, Outcome, v1, v2};
use crate::snappy::{self, INFLATED_BYTES_CEILING};
use crate::spread::{Share, Spread, regroup};
use crate::webhook;
use afferent_engine::error::{Error as EngineError, ErrorKind, Result as EngineResult};
use afferent_engine::log::{Decoded, Decoder, Format, Record};

/// What decoding depends on besides the record. See the crate's page on changing them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest remote write body after inflating, bytes.
    pub inflated_bytes_max: usize,
    /// How far after its arrival a sample or event may lie, milliseconds.
    pub future_ms_max: i64,
    /// Labels one series may have.
    pub series_labels_max: usize,
    /// Bytes the labels of one series may have, encoded.
    pub label_bytes_max: usize,
    /// Series whose labels are remembered as valid.
    pub known_series_max: usize,
}

/// Reads every format there is.
pub struct Decoders {
    limits: Limits,
    /// For records that are in the log already: a limit lowered since must not make them unreadable.
    replay: Limits,
    known: KnownSeries,
}

impl Decoders {
    /// Decoders with these limits.
    pub fn new(limits: Limits) -> Self {
        let known = KnownSeries::new(limits.known_series_max);
        let replay = Limits { inflated_bytes_max: INFLATED_BYTES_CEILING, ..limits.clone() };
        Self { limits, replay, known }
    }

    /// The limits on new bodies.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Decodes a body that was just received.
    ///
    /// # Errors
    /// `Invalid` where nothing of the body can be used; a body with bad parts is not an error.
    pub fn read(&self, record: &Record) -> Result<Decoded> {
        self.read_within(record, &self.limits)
    }

    /// Decodes a body that was just received, and makes of it the records that it becomes in a log of several partitions: as few as there can be.
    /// What is delivered with each is what a replay reads from it; only what describes metrics is given with the first one.
    ///
    /// # Errors
    /// As [`Self::read`], and where one series alone is larger than a record may be.
    pub fn read_spread(&self, record: Record, spread: Spread) -> Result<Vec<Share>> {
        if spread.keeps_whole(&record) {
            let decoded = self.read(&record)?;
            return Ok(vec![Share::whole(0, record, decoded)]);
        }
        let inflated = snappy::inflate(&record.body, self.limits.inflated_bytes_max)?;
        let Outcome { decoded, checked, places } = self.inflated(&record, inflated.clone(), &self.limits, true)?;
        metrics::counter!(crate::metrics::Metric::SeriesChecked.name()).increment(checked);
        let parts = regroup(record.format, &inflated, &places, spread)?;
        if parts.bodies.len() <= 1 && record.body.len() <= spread.body_bytes_max {
            let partition = parts.bodies.first().map_or(0, |(partition, _)| *partition);
            return Ok(vec![Share::whole(partition, record, decoded)]);
        }
        // Which part a refused item stands in is told by reading the parts; that is rare.
        let mut dealt = if decoded.rejects.is_empty() { parts.deal(decoded, &places) } else { vec![] }.into_iter();
        let mut deflate = snappy::Deflate::new();
        let mut shares = Vec::with_capacity(parts.bodies.len());
        for (partition, inflated) in parts.bodies {
            let body = deflate.block(&inflated)?;
            let record = Record { body_hash: Record::hash_of(&body), body, ..record.clone() };
            let decoded = match dealt.next() {
                Some(decoded) => decoded,
                None => self.inflated(&record, inflated, &self.limits, false)?.decoded,
            };
            shares.push(Share::whole(partition, record, decoded));
        }
        Ok(shares)
    }

    fn read_within(&self, record: &Record, limits: &Limits) -> Result<Decoded> {
        match record.format {
            Format::RemoteWriteV1 | Format::RemoteWriteV2 => {
                let outcome = self.remote_write(record, limits)?;
                metrics::counter!(crate::metrics::Metric::SeriesChecked.name()).increment(outcome.checked);
                Ok(outcome.decoded)
            }
            Format::Alertmanager | Format::Incidents | Format::Approvals | Format::LlmUsage => webhook::decode(record, limits.future_ms_max),
        }
    }

    fn remote_write(&self, record: &Record, limits: &Limits) -> Result<Outcome, Error> {
        let inflated = snappy::inflate(&record.body, limits.inflated_bytes_max)?;
        self.inflated(record, inflated, limits, false)
    }

    fn inflated(&self, record: &Record, inflated: Vec<u8>, limits: &Limits, places: bool) -> Result<Outcome, Error> {
        let judge = Judge { limits, known: &self.known, received_at: record.received_at, places };
        match record.format {
            Format::RemoteWriteV2 => v2::decode(&inflated, judge).map_err(|stop| stop.of(v2::MESSAGE)),
            _ => v1::decode(inflated, judge).map_err(|stop| stop.of(v1::MESSAGE)),
        }
    }
}

impl Decoder for Decoders {
    fn decode(&self, record: &Record) -> EngineResult<Decoded> {
        self.read_within(record, &self.replay).map_err(|cause| {
            let message = format!("record of request {} from {} cannot be read: {cause}", record.request_id, record.source);
            EngineError::caused(ErrorKind::Corrupt, message, cause)
        })
    }
}

#[cfg(test)]
mod tests;
