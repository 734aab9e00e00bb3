//! Real Kafka brokers: one or three, started by `servers/kafka.sh` on free ports and a folder of their own, killed and paused one by one.

use crate::prometheus::installed;
use crate::skip::skip;
use anyhow::{Context, Result, ensure};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long replicas may take to have everything again.
const IN_SYNC_WAIT: Duration = Duration::from_secs(120);

/// A running cluster; its brokers end when it is dropped, and when this process ends.
#[derive(Debug)]
pub struct Kafka {
    folder: tempfile::TempDir,
    /// Where it is, `127.0.0.1:19092,127.0.0.1:19093`.
    pub brokers: String,
    count: usize,
}

impl Kafka {
    /// Starts so many brokers; where the programs that takes are missing, says that `test` is skipped.
    ///
    /// # Panics
    /// When they do not start, and in CI when programs are missing.
    pub fn start_or_skip(test: &str, count: usize) -> Option<Self> {
        let missing: Vec<&str> = ["java", "mvn", "flock", "setsid"].into_iter().filter(|program| installed(program).is_none()).collect();
        if !missing.is_empty() {
            skip(test, &format!("{} not installed (Debian: openjdk-17-jre-headless, maven)", missing.join(", ")));
            return None;
        }
        Some(Self::start(count).unwrap_or_else(|error| panic!("{test}: {error:#}")))
    }

    /// Starts so many brokers and waits until they are ready.
    ///
    /// # Errors
    /// When they do not start; what they printed is part of the error.
    pub fn start(count: usize) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("afferent-kafka-").tempdir()?;
        let mut cluster = Self { folder, brokers: String::new(), count };
        let id = std::process::id().to_string();
        cluster.brokers = cluster.run("start", &[&count.to_string(), &id])?.trim().to_owned();
        Ok(cluster)
    }

    /// The address of a log on it.
    pub fn url(&self) -> String {
        format!("kafka://{}", self.brokers)
    }

    /// A prefix for topics that no other test uses.
    pub fn prefix(&self) -> String {
        static USED: AtomicU64 = AtomicU64::new(0);
        format!("test-{}", USED.fetch_add(1, Ordering::Relaxed))
    }

    /// The numbers of its brokers.
    pub fn numbers(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.count
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, number: usize) -> Result<()> {
        self.run("kill", &[&number.to_string()]).map(drop)
    }

    /// SIGSTOP: connections stay, nothing is answered.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self, number: usize) -> Result<()> {
        self.run("pause", &[&number.to_string()]).map(drop)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self, number: usize) -> Result<()> {
        self.run("resume", &[&number.to_string()]).map(drop)
    }

    /// Starts brokers that were killed, on their old ports and data, and waits until they are ready.
    ///
    /// # Errors
    /// When they do not get ready.
    pub fn restart(&self, numbers: impl IntoIterator<Item = usize>) -> Result<()> {
        let numbers: Vec<String> = numbers.into_iter().map(|number| number.to_string()).collect();
        let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
        self.run("restart", &numbers).map(drop)
    }

    /// Waits until every replica has what its leader has: a broker that was away is missing until then, so that another one that goes is the second.
    ///
    /// # Errors
    /// When they do not get there.
    pub fn wait_in_sync(&self) -> Result<()> {
        let deadline = Instant::now() + IN_SYNC_WAIT;
        loop {
            let lag = self.tool(&format!("kafka-topics.sh --bootstrap-server {} --describe --under-replicated-partitions", self.brokers), "");
            if lag.as_ref().is_ok_and(|lag| !lag.contains("Isr: ")) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "replicas lag for {} s: {lag:?}", IN_SYNC_WAIT.as_secs());
        }
    }

    /// What a broker has printed since it was started last.
    ///
    /// # Errors
    /// When it was never started.
    pub fn said(&self, number: usize) -> Result<String> {
        let output = self.folder.path().join(number.to_string()).join("output");
        std::fs::read_to_string(&output).with_context(|| output.display().to_string())
    }

    /// Runs a command line of Kafka's own tools, such as `kafka-topics.sh --bootstrap-server ... --list`, with this text as its input.
    ///
    /// # Errors
    /// When it fails; what it printed is part of the error.
    pub fn tool(&self, line: &str, input: &str) -> Result<String> {
        let mut command = Command::new(script());
        command.arg("tool").args(line.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().context("no input")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{line}: {printed}{}", String::from_utf8_lossy(&output.stderr));
        Ok(printed)
    }

    fn run(&self, what: &str, rest: &[&str]) -> Result<String> {
        let script = script();
        let mut command = Command::new(&script);
        let output = command.arg(what).arg(self.folder.path()).args(rest).stdin(Stdio::null()).output();
        let output = output.with_context(|| script.display().to_string())?;
        ensure!(output.status.success(), "{} {what} {rest:?}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Err(error) = self.run("stop", &[]) {
            eprintln!("the Kafka brokers could not be stopped: {error:#}");
        }
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers").join("kafka.sh")
}
