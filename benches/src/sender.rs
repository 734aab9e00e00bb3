//! Sends bodies over several connections, as fast as they are acknowledged or at a steady rate. Not a measuring device for one request.

use crate::fleet::Body;
use crate::latency::Latency;
use anyhow::{Context, Result, bail};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How far one connection may run ahead of the slowest, in scrapes: a real sender reads all its queues from one log.
const SCRAPES_AHEAD_MAX: usize = 10;

/// Wait before a body that was refused for now is sent again.
const RETRY_WAIT: Duration = Duration::from_millis(100);

/// Refusals of one body after which the run is given up.
const RETRIES_MAX: u32 = 600;

/// How a run went.
#[derive(Debug, Default)]
pub struct Sent {
    /// Samples acknowledged.
    pub samples: usize,
    /// Compressed bytes acknowledged.
    pub bytes: usize,
    /// From the first byte to the last answer.
    pub elapsed: Duration,
    /// Per body: from sending it to its answer.
    pub acks: Latency,
    /// Bodies that had to be sent again after a 429 or 5xx.
    pub retries: usize,
    /// At a steady rate: how late a body was sent at worst.
    pub behind_max: Duration,
}

impl Sent {
    /// Samples acknowledged per second.
    pub fn rate(&self) -> f64 {
        self.samples as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Sends each connection's bodies in order; with `rate`, so many samples a second over all connections.
///
/// # Errors
/// The first body that is refused for good, or that was refused for now too often.
pub fn send(url: &str, connections: &[&[Body]], rate: Option<f64>) -> Result<Sent> {
    let started = Instant::now();
    let progress: Vec<AtomicUsize> = connections.iter().map(|_| AtomicUsize::new(0)).collect();
    let share = rate.map(|rate| rate / connections.len().max(1) as f64);
    let parts: Vec<Result<Sent>> = thread::scope(|scope| {
        let progress = &progress;
        let mut threads = Vec::new();
        for (index, bodies) in connections.iter().copied().enumerate() {
            threads.push(scope.spawn(move || {
                let sent = send_one(url, bodies, share, progress, index);
                progress[index].store(usize::MAX, Ordering::Relaxed);
                sent
            }));
        }
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| bail!("a sender panicked"))).collect()
    });
    let mut total = Sent { elapsed: started.elapsed(), ..Sent::default() };
    for part in parts {
        let part = part?;
        total.samples += part.samples;
        total.bytes += part.bytes;
        total.retries += part.retries;
        total.behind_max = total.behind_max.max(part.behind_max);
        total.acks.merge(&part.acks);
    }
    Ok(total)
}

fn send_one(url: &str, bodies: &[Body], rate: Option<f64>, progress: &[AtomicUsize], index: usize) -> Result<Sent> {
    let agent = agent();
    let mut sent = Sent::default();
    let mut due = Instant::now();
    for body in bodies {
        wait_for_others(progress, index, body.scrape);
        if let Some(rate) = rate {
            let now = Instant::now();
            thread::sleep(due.saturating_duration_since(now));
            sent.behind_max = sent.behind_max.max(now.saturating_duration_since(due));
            due += Duration::from_secs_f64(body.samples as f64 / rate);
        }
        let before = Instant::now();
        sent.retries += post(&agent, url, &body.bytes)?;
        sent.acks.push(before.elapsed());
        sent.samples += body.samples;
        sent.bytes += body.bytes.len();
    }
    Ok(sent)
}

/// Waits until no other connection is more than [`SCRAPES_AHEAD_MAX`] scrapes behind.
fn wait_for_others(progress: &[AtomicUsize], index: usize, scrape: usize) {
    progress[index].store(scrape, Ordering::Relaxed);
    while progress.iter().any(|other| other.load(Ordering::Relaxed).saturating_add(SCRAPES_AHEAD_MAX) < scrape) {
        thread::sleep(Duration::from_micros(200));
    }
}

/// A connection that is kept open between requests and hands every status back.
pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60))).build().into()
}

/// Posts one remote write 1.0 body until it is taken; says how often it had to be sent again.
///
/// # Errors
/// A status that says that sending again is no use.
pub fn post(agent: &ureq::Agent, url: &str, bytes: &[u8]) -> Result<usize> {
    for attempt in 0..RETRIES_MAX {
        let request = agent
            .post(url)
            .header("Content-Type", "application/x-protobuf")
            .header("Content-Encoding", "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0")
            .header("User-Agent", "afferent-load/0.1");
        let mut answer = request.send(bytes).with_context(|| format!("POST {url}"))?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().unwrap_or_default();
        match status {
            200..=299 => return Ok(attempt as usize),
            429 | 500..=599 => thread::sleep(RETRY_WAIT),
            _ => bail!("{url} answered {status}: {text}"),
        }
    }
    bail!("{url} refused a body {RETRIES_MAX} times")
}
