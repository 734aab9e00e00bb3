//! One end-to-end load run against any server that takes remote write 1.0, with the server's own cost. See the README for how to run it.

use afferent_benches::fleet::{Body, Shape};
use afferent_benches::sender::Sent;
use afferent_benches::{capture, disk, fleet, peer, sender};
use afferent_engine::clock::{Clock, SystemClock};
use anyhow::{Context, Result, bail};
use clap::Parser;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// Sends a fleet of node_exporters to a remote-write server and reports what that cost the server.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to send to.
    #[arg(long, default_value = "http://127.0.0.1:9600/api/v1/write")]
    url: String,
    /// Machines, 507 series each.
    #[arg(long, default_value_t = 100)]
    hosts: usize,
    /// Scrapes of each machine.
    #[arg(long, default_value_t = 120)]
    scrapes: usize,
    /// Parallel connections.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Samples in one body.
    #[arg(long, default_value_t = 2000)]
    samples_per_body: usize,
    /// Event time between two scrapes; the last scrape is now.
    #[arg(long, default_value_t = 1000)]
    interval_ms: i64,
    /// Samples per second, or `half`: the first half of the scrapes at full speed, the second at half of the speed that gave.
    #[arg(long)]
    rate: Option<String>,
    /// Process of the server, for its CPU time and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// Data folder of the server, for bytes per sample.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Gauge of the server that is 0 when everything acknowledged is processed and on disk.
    #[arg(long, default_value = "afferent_engine_buffered_rows")]
    drained: String,
    /// How long to wait for that at most; a server without the gauge is given this time in full.
    #[arg(long, default_value_t = 90)]
    settle_seconds: u64,
    /// Wait before bytes on disk are read, so that compaction can end.
    #[arg(long, default_value_t = 0)]
    disk_after_seconds: u64,
    /// First part of every host's name: another name, other series.
    #[arg(long, default_value = "host")]
    run: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let capture = capture::shipped()?;
    let shape = Shape {
        hosts: arguments.hosts,
        scrapes: arguments.scrapes,
        connections: arguments.connections.clamp(1, arguments.hosts.max(1)),
        samples_per_body: arguments.samples_per_body.max(1),
        interval_ms: arguments.interval_ms,
        start_ms: SystemClock.now().0 - arguments.scrapes as i64 * arguments.interval_ms,
        run: arguments.run.clone(),
    };
    let bodies = fleet::bodies(&capture, &shape)?;
    let count: usize = bodies.iter().flatten().map(|b| b.samples).sum();
    say(&format!(
        "{} hosts x {} series x {} scrapes = {count} samples in {} bodies of {} bytes on average, {} connections",
        shape.hosts,
        capture.series.len(),
        shape.scrapes,
        bodies.iter().map(Vec::len).sum::<usize>(),
        bodies.iter().flatten().map(|b| b.bytes.len()).sum::<usize>() / bodies.iter().map(Vec::len).sum::<usize>().max(1),
        shape.connections,
    ))?;
    let cpu_before = arguments.pid.map(peer::cpu_seconds).transpose()?;
    let started = Instant::now();
    run(&arguments, &bodies)?;
    settle(&arguments)?;
    let settled = started.elapsed();
    if let (Some(pid), Some(before)) = (arguments.pid, cpu_before) {
        let cpu = peer::cpu_seconds(pid)? - before;
        let (now, peak) = peer::memory_bytes(pid)?;
        say(&format!(
            "server: {cpu:.2} CPU-seconds until settled after {:.1} s = {:.0} samples per CPU-second; resident {:.0} MB, peak {:.0} MB",
            settled.as_secs_f64(),
            count as f64 / cpu,
            now as f64 / 1e6,
            peak as f64 / 1e6,
        ))?;
    }
    report_disk(&arguments, count)
}

/// Sends everything, in one go or in the two of `--rate half`.
fn run(arguments: &Arguments, bodies: &[Vec<Body>]) -> Result<()> {
    let all: Vec<&[Body]> = bodies.iter().map(Vec::as_slice).collect();
    match arguments.rate.as_deref() {
        None => report("full speed", &sender::send(&arguments.url, &all, None)?),
        Some("half") => {
            let middle = arguments.scrapes / 2;
            let cut = |b: &&[Body]| b.partition_point(|body| body.scrape < middle);
            let first: Vec<&[Body]> = all.iter().map(|b| &b[..cut(b)]).collect();
            let second: Vec<&[Body]> = all.iter().map(|b| &b[cut(b)..]).collect();
            let full = sender::send(&arguments.url, &first, None)?;
            report("full speed", &full)?;
            settle(arguments)?;
            report("half of that", &sender::send(&arguments.url, &second, Some(full.rate() / 2.0))?)
        }
        Some(rate) => {
            let rate: f64 = rate.parse().context("--rate takes a number of samples per second, or `half`")?;
            if rate <= 0.0 {
                bail!("--rate takes a number above 0");
            }
            report("steady", &sender::send(&arguments.url, &all, Some(rate))?)
        }
    }
}

fn report(what: &str, sent: &Sent) -> Result<()> {
    say(&format!(
        "{what}: {} samples in {:.2} s = {:.0} samples/s, {:.1} bytes a sample on the wire; ack {}; {} retries; sent late by {:.1} ms at most",
        sent.samples,
        sent.elapsed.as_secs_f64(),
        sent.rate(),
        sent.bytes as f64 / sent.samples.max(1) as f64,
        sent.acks,
        sent.retries,
        sent.behind_max.as_secs_f64() * 1000.0,
    ))
}

/// Waits until the server has worked off everything it acknowledged.
fn settle(arguments: &Arguments) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(arguments.settle_seconds);
    // Twice in a row: the last acknowledged bodies may still be on their way from the receiver to the gauge.
    let mut zeros = 0;
    while Instant::now() < deadline && zeros < 2 {
        thread::sleep(Duration::from_millis(500));
        let page = peer::metrics_page(&arguments.url)?;
        zeros = if peer::metric(&page, &arguments.drained) == Some(0.0) { zeros + 1 } else { 0 };
    }
    Ok(())
}

fn report_disk(arguments: &Arguments, count: usize) -> Result<()> {
    let Some(data) = &arguments.data else { return Ok(()) };
    thread::sleep(Duration::from_secs(arguments.disk_after_seconds));
    let tables = disk::table_bytes(data, &["samples", "series"])?;
    for (name, (bytes, files)) in &tables {
        say(&format!("table {name}: {bytes} bytes in {files} files = {:.3} bytes a sample", *bytes as f64 / count as f64))?;
    }
    let sum = if tables.is_empty() { disk::folder_bytes(data)? } else { tables.values().map(|(bytes, _)| bytes).sum() };
    say(&format!("on disk: {sum} bytes = {:.3} bytes a sample", sum as f64 / count as f64))
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(stdout(), "{line}")?)
}
