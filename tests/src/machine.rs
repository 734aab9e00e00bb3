//! A machine inside the machine: a network, processes and names of its own, so that fixed ports and names of hosts stand in nobody's way. Not a container:
//! files and programs are those of this machine.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What it takes, with Debian's packages.
pub const PROGRAMS: [(&str, &str); 4] = [("unshare", "util-linux"), ("nsenter", "util-linux"), ("ip", "iproute2"), ("curl", "curl")];

/// The first process: it brings the network up, lays its own names over those of the machine, tells its number as this machine counts, and stays
/// until its input ends. With it ends everything that runs inside.
const FIRST: &str = "ip link set lo up && mount --bind \"$0\" /etc/hosts && read -r id rest </proc/self/stat && echo \"$id\" && exec cat";

/// Longest end of everything inside.
const END_WAIT: Duration = Duration::from_secs(20);

/// Seconds that a request may take.
const REQUEST_S: &str = "20";

/// It ends, with every process inside, when it is dropped, and when this process ends.
#[derive(Debug)]
pub struct Machine {
    holder: Child,
    id: String,
    is_mapped: bool,
}

impl Machine {
    /// Makes one in which all of these names are its own address, `127.0.0.1`. `folder` holds its file of names.
    ///
    /// # Errors
    /// When this machine gives no namespaces.
    pub fn start(names: &[&str], folder: &Path) -> Result<Self> {
        let hosts = folder.join("hosts");
        // Java asks for the address of the machine's own name too.
        let own = fs::read_to_string("/proc/sys/kernel/hostname")?;
        fs::write(&hosts, format!("127.0.0.1 localhost {} {}\n", names.join(" "), own.trim()))?;
        // Who is not root becomes it inside.
        let is_mapped = fs::metadata("/proc/self")?.uid() != 0;
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--fork", "--kill-child"]).args(is_mapped.then_some("--map-root-user"));
        command.args(["--", "sh", "-c", FIRST]).arg(&hosts).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut machine = Self { holder: command.spawn().context("unshare")?, id: String::new(), is_mapped };
        let mut output = BufReader::new(machine.holder.stdout.take().context("no output")?);
        output.read_line(&mut machine.id)?;
        machine.id = machine.id.trim().to_owned();
        ensure!(!machine.id.is_empty(), "no network namespace can be made here");
        Ok(machine)
    }

    /// A program to be run inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.id, "--net", "--mount", "--pid"]);
        command.args(self.is_mapped.then_some(["--user", "--preserve-credentials"]).into_iter().flatten());
        command.arg("--").arg(program);
        command
    }

    /// What an address answers to curl with these flags.
    ///
    /// # Errors
    /// When it does not answer, or not with success.
    pub fn ask(&self, url: &str, flags: &[&str]) -> Result<String> {
        let mut command = self.command("curl");
        let output = command.args(["-sS", "--fail-with-body", "--max-time", REQUEST_S]).args(flags).arg(url).stdin(Stdio::null()).output()?;
        let (body, reason) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{url}: {} {body}", reason.trim());
        Ok(body.into_owned())
    }

    /// The same where the answer is JSON.
    ///
    /// # Errors
    /// As [`Self::ask`], and when it is none.
    pub fn json(&self, url: &str, flags: &[&str]) -> Result<Value> {
        let body = self.ask(url, flags)?;
        serde_json::from_str(&body).with_context(|| format!("{url} answered no JSON: {body}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let deadline = Instant::now() + END_WAIT;
        while matches!(self.holder.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                eprintln!("processes inside the machine did not end within {} s", END_WAIT.as_secs());
                self.holder.kill().ok();
                self.holder.wait().ok();
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
