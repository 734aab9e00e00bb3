//! Real senders: Debian's node exporter and Prometheus, each on a free port and a folder of its own, and Prometheus' own account of what it scraped.

use crate::door::Door;
use crate::ledger::Key;
use crate::server::{Helper, free_port};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longest start of a helper.
const START_WAIT: Duration = Duration::from_secs(60);

/// A node exporter.
#[derive(Debug)]
pub struct NodeExporter {
    /// Where it answers, `127.0.0.1:9100`.
    pub address: String,
    _process: Helper,
}

/// A Prometheus server that scrapes and forwards.
#[derive(Debug)]
pub struct Prometheus {
    door: Door,
    process: Helper,
}

/// How a Prometheus forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Remote write 1.0.
    V1,
    /// Remote write 2.0, with exemplars and native histograms; needs Prometheus 3.
    V2,
}

/// The path of a program, if this machine has it.
pub fn installed(program: &str) -> Option<PathBuf> {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).stderr(Stdio::null()).output().ok()?;
    let path = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    (found.status.success() && !path.is_empty()).then(|| PathBuf::from(path))
}

impl NodeExporter {
    /// Starts it and waits for its first page.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start(program: &Path, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(program);
        command.arg(format!("--web.listen-address={address}"));
        let process = Helper::spawn(&mut command, &folder.join("node_exporter.log"))?;
        wait(&Door::new(format!("http://{address}")), "/metrics", &process)?;
        Ok(Self { address, _process: process })
    }
}

impl Prometheus {
    /// Starts it: scrapes `targets` and itself every second, forwards to `write_url`.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(program: &Path, folder: &Path, targets: &[&str], write_url: &str, source: &str, protocol: Protocol) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let config = folder.join("prometheus.yml");
        fs::write(&config, configuration(&address, targets, write_url, source, protocol))?;
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()));
        command.arg(format!("--web.listen-address={address}"));
        if protocol == Protocol::V2 {
            command.arg("--enable-feature=exemplar-storage,native-histograms,created-timestamp-zero-ingestion");
        }
        let process = Helper::spawn(&mut command, &folder.join("prometheus.log"))?;
        let door = Door::new(format!("http://{address}"));
        wait(&door, "/-/ready", &process)?;
        Ok(Self { door, process })
    }

    /// What it printed.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Every float sample it holds in `(end_ms - seconds, end_ms]`, by the text of its labels.
    ///
    /// # Errors
    /// When it does not answer as its API says.
    pub fn samples(&self, end_ms: i64, seconds: u64) -> Result<Vec<(Key, f64)>> {
        let (whole, millis) = (end_ms / 1000, end_ms % 1000);
        let path = format!("/api/v1/query?query=%7B__name__%3D~%22.%2B%22%7D%5B{seconds}s%5D&time={whole}.{millis:03}");
        let document = self.door.json(&path)?;
        let result = document.pointer("/data/result").and_then(Value::as_array).context("no result")?;
        let mut samples = Vec::new();
        for series in result {
            let metric = series["metric"].as_object().context("no labels")?;
            let labels = metric.iter().map(|(n, v)| (n.as_str(), v.as_str().unwrap_or_default()));
            let name = series_name(labels);
            for point in series["values"].as_array().into_iter().flatten() {
                samples.push(((name.clone(), milliseconds(&point[0])?), number(&point[1])?));
            }
        }
        Ok(samples)
    }
}

/// The text of a label set by which senders and tables are compared: sorted by name.
pub fn series_name<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<String> = labels.map(|(n, v)| format!("{n}={v:?}")).collect();
    pairs.sort();
    pairs.join(",")
}

/// Seconds with up to three decimals, which the API prints without rounding.
fn milliseconds(value: &Value) -> Result<i64> {
    let seconds = value.as_f64().context("no time")?;
    Ok((seconds * 1000.0).round() as i64)
}

fn number(value: &Value) -> Result<f64> {
    match value.as_str().context("no value")? {
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        text => text.parse().with_context(|| format!("no number: {text}")),
    }
}

fn configuration(own: &str, targets: &[&str], write_url: &str, source: &str, protocol: Protocol) -> String {
    let targets: Vec<String> = targets.iter().map(|t| format!("{t:?}")).collect();
    let message = match protocol {
        Protocol::V1 => "",
        Protocol::V2 => "\n    protobuf_message: io.prometheus.write.v2.Request\n    send_exemplars: true\n    send_native_histograms: true",
    };
    format!(
        r#"global:
  scrape_interval: 1s
  scrape_timeout: 1s
scrape_configs:
  - job_name: node
    static_configs: [{{targets: [{}]}}]
  - job_name: prometheus
    static_configs: [{{targets: [{own:?}]}}]
remote_write:
  - url: {write_url}
    headers: {{X-Afferent-Source: {source}}}{message}
    queue_config: {{batch_send_deadline: 1s, min_backoff: 30ms, max_backoff: 1s, min_shards: 1, max_shards: 4}}
"#,
        targets.join(", ")
    )
}

fn wait(door: &Door, path: &str, process: &Helper) -> Result<()> {
    let deadline = Instant::now() + START_WAIT;
    while Instant::now() < deadline {
        if door.get(path).is_ok_and(|answer| answer.status == 200) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    let log = process.log();
    ensure!(!log.is_empty(), "{}{path} does not answer, and nothing was printed", door.base());
    bail!("{}{path} does not answer:\n{log}", door.base())
}
