//! Logs and metrics of the program itself: where they go and in which form. Names of metrics stand in each crate's `metrics.rs`.

use crate::config::{LogFormat, TelemetryConfig};
use crate::metrics::describe;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Bounds of every histogram of seconds: from a sync of the disk to a long query.
const SECONDS_BOUNDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Libraries whose INFO is a tale of their inner life; `telemetry.log_level` can name them to hear it.
const QUIET: &str = "buoyant_kernel=error,deltalake_core=warn,datafusion=warn,object_store=warn";

/// Parses the directives of `telemetry.log_level`.
///
/// # Errors
/// Says which directive is wrong.
pub fn filter(directives: &str) -> Result<EnvFilter, ParseError> {
    // A later directive for the same target replaces the earlier one.
    EnvFilter::builder().parse(format!("{QUIET},{directives}"))
}

/// True where log lines are for people.
pub fn is_human(format: LogFormat) -> bool {
    match format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    }
}

/// Starts logging to standard error. A second call in one process (tests) changes nothing.
pub fn start_logs(config: &TelemetryConfig) {
    let filter = filter(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    // A line that cannot be written is lost: telling so on standard error would panic where that lies on a full disk.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let started = if is_human(config.log_format) {
        lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
    } else {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
}

/// A recorder for metrics with its reader, not yet installed.
///
/// # Errors
/// Only for wrong bounds, which are constants.
pub fn recorder() -> Result<metrics_exporter_prometheus::PrometheusRecorder, BuildError> {
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS_BOUNDS)?;
    Ok(builder.build_recorder())
}

/// Makes this process record metrics, once; every call returns a reader of the same figures.
///
/// # Errors
/// As [`recorder`].
pub fn start_metrics() -> Result<PrometheusHandle, BuildError> {
    static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut slot = HANDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = slot.as_ref() {
        return Ok(handle.clone());
    }
    let recorder = recorder()?;
    let handle = recorder.handle();
    match metrics::set_global_recorder(recorder) {
        Ok(()) => describe(),
        Err(error) => tracing::warn!(%error, "another recorder takes this process' metrics"),
    }
    *slot = Some(handle.clone());
    Ok(handle)
}
