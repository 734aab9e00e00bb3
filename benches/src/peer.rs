//! What the server under load costs: CPU time and memory from `/proc`, figures from its `/metrics`. Linux only.

use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;

/// Clock ticks per second in `/proc/PID/stat`; Linux shows 100 to every program.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds (user and system) the process has used so far.
///
/// # Errors
/// When there is no such process.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    // The second field is the program's name in parentheses and may hold spaces.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
    let field = |n: usize| fields.split_whitespace().nth(n).and_then(|v| v.parse::<f64>().ok()).context("a short /proc/PID/stat");
    Ok((field(11)? + field(12)?) / TICKS_PER_SECOND)
}

/// Resident memory now and at its peak, in bytes.
///
/// # Errors
/// When there is no such process.
pub fn memory_bytes(pid: u32) -> Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name}"))?;
        let kib: u64 = line.split_whitespace().nth(1).and_then(|v| v.parse().ok()).with_context(|| format!("no number in {line}"))?;
        Ok::<_, anyhow::Error>(kib * 1024)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// Sum over all label sets of one metric on a page in the Prometheus text format.
pub fn metric(page: &str, name: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let starts = rest.starts_with(' ') || rest.starts_with('{');
        if starts { rest.rsplit(' ').next()?.parse::<f64>().ok() } else { None }
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// Fetches `/metrics` of the server behind a write URL.
///
/// # Errors
/// When it does not answer.
pub fn metrics_page(write_url: &str) -> Result<String> {
    let base = base_url(write_url);
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build().into();
    Ok(agent.get(format!("{base}/metrics")).call()?.body_mut().read_to_string()?)
}

/// `http://host:port` of a URL.
pub fn base_url(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |at| &url[..host + at])
}

#[cfg(test)]
mod tests;
