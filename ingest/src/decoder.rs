//! Turns a record into rows: the one function that the receivers and a replay share. It reads bodies; it neither fetches nor keeps them.

use crate::error::{Error, Result};
use crate::remote_write::known::KnownSeries;
use crate::remote_write::{Judge, Outcome, v1, v2};
use crate::snappy::{self, INFLATED_BYTES_CEILING};
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
        let judge = Judge { limits, known: &self.known, received_at: record.received_at };
        match record.format {
            Format::RemoteWriteV2 => v2::decode(inflated, judge).map_err(|stop| stop.of(v2::MESSAGE)),
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
