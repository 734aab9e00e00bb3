//! Names of the receivers' metrics, all of them.

/// Counters, gauges and histograms of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Requests by `door`.
    RequestsIn,
    /// Requests answered other than 2xx, by `door` and `reason`.
    RequestsRejected,
    /// Body bytes read, as sent, by `door`.
    BodyBytesIn,
    /// Samples decoded, good or not.
    SamplesIn,
    /// Samples acknowledged as durable.
    SamplesOut,
    /// Native histograms acknowledged as durable.
    HistogramsOut,
    /// Exemplars acknowledged as durable.
    ExemplarsOut,
    /// Samples, histograms, exemplars and metadata refused, by `reason`.
    SamplesRejected,
    /// Events decoded, good or not, by `door`.
    EventsIn,
    /// Events acknowledged as durable, by `door`.
    EventsOut,
    /// Events refused, by `reason`.
    EventsRejected,
    /// Series whose labels had to be parsed, not being known.
    SeriesChecked,
    /// Seconds a body took to decode.
    DecodeSeconds,
    /// Seconds from a decoded body to its durable record: the lag of this stage.
    AppendSeconds,
    /// Bytes of requests being worked on.
    InFlightBytes,
}

impl Metric {
    /// The exported name.
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestsIn => "afferent_ingest_requests_in_total",
            Self::RequestsRejected => "afferent_ingest_requests_rejected_total",
            Self::BodyBytesIn => "afferent_ingest_body_bytes_in_total",
            Self::SamplesIn => "afferent_ingest_samples_in_total",
            Self::SamplesOut => "afferent_ingest_samples_out_total",
            Self::HistogramsOut => "afferent_ingest_histograms_out_total",
            Self::ExemplarsOut => "afferent_ingest_exemplars_out_total",
            Self::SamplesRejected => "afferent_ingest_samples_rejected_total",
            Self::EventsIn => "afferent_ingest_events_in_total",
            Self::EventsOut => "afferent_ingest_events_out_total",
            Self::EventsRejected => "afferent_ingest_events_rejected_total",
            Self::SeriesChecked => "afferent_ingest_series_checked_total",
            Self::DecodeSeconds => "afferent_ingest_decode_seconds",
            Self::AppendSeconds => "afferent_ingest_append_seconds",
            Self::InFlightBytes => "afferent_ingest_in_flight_bytes",
        }
    }
}
