//! How long a sample takes from its acknowledgement to a row of SQL, and to a figure of a card, while a fleet goes on sending. Not a load test.

use afferent_benches::fleet::Shape;
use afferent_benches::latency::Latency;
use afferent_benches::{capture, fleet, peer, sender, wire};
use afferent_engine::clock::{Clock, SystemClock};
use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::Value;
use std::io::{Write, stdout};
use std::thread;
use std::time::{Duration, Instant};

/// A sample that is not seen after this long is lost.
const SEEN_WAIT: Duration = Duration::from_secs(30);

/// Pause between two looks; it is part of what is measured.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The counter whose samples are looked for. With an SLO over it, its total is looked for in the card as well.
const PROBE_METRIC: &str = "afferent_freshness_probe_total";

/// Marks samples and waits until they are seen.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to send to.
    #[arg(long, default_value = "http://127.0.0.1:9600/api/v1/write")]
    url: String,
    /// Samples to look for.
    #[arg(long, default_value_t = 100)]
    probes: u32,
    /// Pause between two of them.
    #[arg(long, default_value_t = 250)]
    pause_ms: u64,
    /// Machines that send meanwhile, 507 series each.
    #[arg(long, default_value_t = 100)]
    hosts: usize,
    /// Samples per second they send together; 0 for none.
    #[arg(long, default_value_t = 50_000)]
    rate: u32,
    /// A JSON document below the server's base that shows the probe's total, `/api/v1/cards/SLODashboardCard` for example.
    #[arg(long)]
    card: Option<String>,
    /// JSON pointer of the figure in that document; it must rise by what the probe adds.
    #[arg(long, default_value = "/data/objectives/0/total")]
    figure: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let duration_s = u64::from(arguments.probes) * (arguments.pause_ms + 1000) / 1000 + 10;
    thread::scope(|scope| {
        let load = scope.spawn(|| background(&arguments, duration_s));
        let probes = watch(&arguments);
        let load = load.join().unwrap_or_else(|_| bail!("the load panicked"));
        probes.and(load)
    })
}

/// Sends the fleet at a steady rate; the data begin now, so they are as fresh as the probes.
fn background(arguments: &Arguments, duration_s: u64) -> Result<()> {
    if arguments.rate == 0 {
        return Ok(());
    }
    let capture = capture::shipped()?;
    let per_scrape = (arguments.hosts * capture.series.len()) as f64;
    let interval_ms = (per_scrape / f64::from(arguments.rate) * 1000.0).ceil() as i64;
    let scrapes = (duration_s as i64 * 1000 / interval_ms.max(1)) as usize;
    let shape = Shape {
        hosts: arguments.hosts,
        scrapes,
        connections: 4,
        samples_per_body: 2000,
        interval_ms,
        start_ms: SystemClock.now().0,
        run: "fresh".to_owned(),
    };
    let bodies = fleet::bodies(&capture, &shape)?;
    let all: Vec<_> = bodies.iter().map(Vec::as_slice).collect();
    let sent = sender::send(&arguments.url, &all, Some(f64::from(arguments.rate)))?;
    say(&format!("load meanwhile: {:.0} samples/s, ack {}", sent.rate(), sent.acks))
}

fn watch(arguments: &Arguments) -> Result<()> {
    let agent = sender::agent();
    let base = peer::base_url(&arguments.url);
    let run = SystemClock.now().0.to_string();
    let (mut acks, mut rows, mut cards) = (Latency::default(), Latency::default(), Latency::default());
    // The first sample of a counter only anchors what follows.
    send(&agent, &arguments.url, &run, 0)?;
    for probe in 1..=arguments.probes {
        let shown = arguments.card.as_deref().map(|path| figure(&agent, base, path, &arguments.figure)).transpose()?;
        let before = Instant::now();
        send(&agent, &arguments.url, &run, probe)?;
        acks.push(before.elapsed());
        let query = format!("SELECT count(*) FROM metrics.\"{PROBE_METRIC}\" WHERE run = '{run}' AND value = {probe}");
        rows.push(until(before, || Ok(count(&agent, base, &query)? == 1)).context("a row of SQL")?);
        if let (Some(path), Some(shown)) = (arguments.card.as_deref(), shown) {
            let seen = || Ok(figure(&agent, base, path, &arguments.figure)? > shown);
            cards.push(until(before, seen).context("a figure of the card")?);
        }
        thread::sleep(Duration::from_millis(arguments.pause_ms));
    }
    say(&format!("acknowledged after: {acks}"))?;
    say(&format!("a row of SQL after: {rows}"))?;
    if cards.count() > 0 {
        say(&format!("a figure of the card after: {cards}"))?;
    }
    Ok(())
}

/// Sends the probe's counter as it stands now.
fn send(agent: &ureq::Agent, url: &str, run: &str, value: u32) -> Result<()> {
    let labels = wire::label_bytes([("__name__", PROBE_METRIC), ("job", "freshness"), ("run", run)]);
    let mut request = Vec::new();
    wire::push_sample(&mut request, &labels, SystemClock.now().0, f64::from(value));
    sender::post(agent, url, &wire::compress(&request)?)?;
    Ok(())
}

/// Looks until it is there.
fn until(before: Instant, mut seen: impl FnMut() -> Result<bool>) -> Result<Duration> {
    while before.elapsed() < SEEN_WAIT {
        if seen()? {
            return Ok(before.elapsed());
        }
        thread::sleep(LOOK_PAUSE);
    }
    bail!("not seen within {} s", SEEN_WAIT.as_secs())
}

/// The one number a query gives; a metric that is not known yet gives 0.
fn count(agent: &ureq::Agent, base: &str, query: &str) -> Result<i64> {
    let mut answer = agent.post(format!("{base}/api/v1/sql")).header("Content-Type", "text/plain").send(query)?;
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string()?;
    match status {
        200 => {}
        400..=499 => return Ok(0),
        _ => bail!("the query was answered {status}: {text}"),
    }
    let document: Value = serde_json::from_str(&text)?;
    document.pointer("/rows/0/0").and_then(Value::as_i64).with_context(|| format!("no count in {text}"))
}

fn figure(agent: &ureq::Agent, base: &str, path: &str, pointer: &str) -> Result<f64> {
    let text = agent.get(format!("{base}{path}")).call()?.body_mut().read_to_string()?;
    let document: Value = serde_json::from_str(&text)?;
    Ok(document.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0))
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(stdout(), "{line}")?)
}
