//! A fleet made of one capture: every host its own `instance`, its own phase and its own shift, so that no two series are alike.
//!
//! Shifted values keep the number of decimals the exporter printed: a store that profits from decimal numbers profits here as it would outside.

use crate::capture::{Capture, Series};
use crate::wire;
use anyhow::Result;

/// What to send.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Machines.
    pub hosts: usize,
    /// Scrapes of each.
    pub scrapes: usize,
    /// Connections; a host always uses the same one, so that its samples stay in order.
    pub connections: usize,
    /// Samples in one body.
    pub samples_per_body: usize,
    /// Time between two scrapes.
    pub interval_ms: i64,
    /// Time of the first scrape.
    pub start_ms: i64,
    /// Part of every host's name: another run, other series.
    pub run: String,
}

/// One body, ready to be sent.
#[derive(Debug)]
pub struct Body {
    /// Compressed bytes.
    pub bytes: Vec<u8>,
    /// Samples inside.
    pub samples: usize,
    /// The scrape its last sample belongs to.
    pub scrape: usize,
}

/// The bodies of each connection, in the order they are to be sent.
///
/// # Errors
/// When a body is larger than a snappy block can be.
pub fn bodies(capture: &Capture, shape: &Shape) -> Result<Vec<Vec<Body>>> {
    let connections = 0..shape.connections;
    connections.map(|connection| bodies_of(capture, shape, connection)).collect()
}

fn bodies_of(capture: &Capture, shape: &Shape, connection: usize) -> Result<Vec<Body>> {
    let hosts: Vec<usize> = (connection..shape.hosts).step_by(shape.connections).collect();
    let labels: Vec<Vec<Vec<u8>>> = hosts.iter().map(|host| host_labels(capture, shape, *host)).collect();
    let mut out = Vec::new();
    let mut request = Vec::new();
    let mut samples = 0;
    for scrape in 0..shape.scrapes {
        let time = shape.start_ms + scrape as i64 * shape.interval_ms;
        for (host, labels) in hosts.iter().zip(&labels) {
            for (series, labels) in capture.series.iter().zip(labels) {
                wire::push_sample(&mut request, labels, time, value(series, *host, scrape));
                samples += 1;
                if samples == shape.samples_per_body {
                    out.push(Body { bytes: wire::compress(&request)?, samples, scrape });
                    request.clear();
                    samples = 0;
                }
            }
        }
    }
    if samples > 0 {
        out.push(Body { bytes: wire::compress(&request)?, samples, scrape: shape.scrapes.saturating_sub(1) });
    }
    Ok(out)
}

fn host_labels(capture: &Capture, shape: &Shape, host: usize) -> Vec<Vec<u8>> {
    let instance = format!("{}-{host:03}:9100", shape.run);
    let of_series = |series: &Series| {
        let own = [("instance", instance.as_str()), ("job", "node")];
        let mut labels: Vec<_> = series.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain(own).collect();
        labels.sort_unstable();
        wire::label_bytes(labels)
    };
    capture.series.iter().map(of_series).collect()
}

/// What `host` reads at its `scrape`-th scrape.
fn value(series: &Series, host: usize, scrape: usize) -> f64 {
    let count = series.values.len();
    // Hosts start at different places of the capture, and one that comes to its end goes on from its beginning.
    let at = host * 7 + scrape;
    let raw = series.values[at % count];
    if !raw.is_finite() || series.magnitude == 0.0 {
        return raw;
    }
    let round = if series.grows { (at / count) as f64 * (series.values[count - 1] - series.values[0]) } else { 0.0 };
    let step = if series.magnitude < 65_536.0 { 1.0 } else { 4096.0 };
    rounded(raw + round + host as f64 * step, series.decimals)
}

/// The double nearest to `value` printed with so many decimals.
fn rounded(value: f64, decimals: i32) -> f64 {
    if decimals > 15 {
        return value;
    }
    let scale = 10f64.powi(decimals);
    let scaled = (value * scale).round();
    if scaled.abs() < 9.0e15 { scaled / scale } else { value }
}

#[cfg(test)]
mod tests;
