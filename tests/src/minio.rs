//! A real MinIO, by the project's own script: started on a free port and a folder of its own, and paused, killed and started again at will.

use crate::door::Door;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// User and password of the servers.
pub const ACCESS_KEY_ID: &str = "afferent";
/// See [`ACCESS_KEY_ID`].
pub const SECRET_ACCESS_KEY: &str = "afferent-secret";

/// The bucket that each server has.
pub const BUCKET: &str = "lake";

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Minio {
    folder: PathBuf,
    endpoint: String,
}

/// Whether connections are in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// `http://`.
    Plain,
    /// `https://`, with a certificate that an authority of the server's own signed.
    Tls,
}

/// Whether this machine has the program.
///
/// # Errors
/// Why it has not, and cannot get it.
pub fn installed() -> Result<()> {
    // Building it takes minutes: that is left to who sets the machine up.
    let output = script(&["where"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn script(arguments: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("servers").join("minio.sh"));
    command.args(arguments).env("MINIO_ROOT_USER", ACCESS_KEY_ID).env("MINIO_ROOT_PASSWORD", SECRET_ACCESS_KEY).stdin(Stdio::null());
    command
}

impl Minio {
    /// Starts a server with its data below `folder`, and makes [`BUCKET`].
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(folder: &Path, wire: Wire) -> Result<Self> {
        let mut minio = Self { folder: folder.join("minio"), endpoint: String::new() };
        let output = script(&["start"]).arg(&minio.folder).arg(BUCKET).env("MINIO_TLS", if wire == Wire::Tls { "1" } else { "" }).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        minio.endpoint = String::from_utf8(output.stdout)?.trim().to_owned();
        Ok(minio)
    }

    /// Where it answers, `http://127.0.0.1:9000`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The certificate of who signed the server's own.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("certs").join("CAs").join("ca.crt")
    }

    /// The `[store]` section of a configuration that lies in the folder `prefix` of [`BUCKET`].
    pub fn config(&self, prefix: &str) -> String {
        format!(
            "[store]\nurl = \"s3://{BUCKET}/{prefix}\"\nendpoint = \"{}\"\naccess_key_id = \"{ACCESS_KEY_ID}\"\nsecret_access_key = \"{SECRET_ACCESS_KEY}\"\n",
            self.endpoint
        )
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it did not run.
    pub fn kill(&self) -> Result<()> {
        self.run("kill")
    }

    /// Lets it stand still: connections stay, nobody answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.run("pause")
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.run("resume")
    }

    /// Starts it again on the same port and data.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn restart(&self) -> Result<()> {
        self.run("restart")
    }

    /// Requests it has answered since it was started, by the name of the call (`putobject`).
    ///
    /// # Errors
    /// When it does not tell.
    pub fn requests(&self) -> Result<Vec<(String, u64)>> {
        let page = Door::new(&self.endpoint).get("/minio/v2/metrics/cluster")?.text();
        let lines = page.lines().filter_map(|line| line.strip_prefix("minio_s3_requests_total{"));
        lines
            .map(|line| {
                let api = line.split("api=\"").nth(1).and_then(|rest| rest.split('"').next()).context("a call")?;
                let count = line.rsplit(' ').next().context("a count")?.parse::<f64>()?;
                Ok((api.to_owned(), count as u64))
            })
            .collect()
    }

    /// What it printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("minio.log")).unwrap_or_default()
    }

    fn run(&self, command: &str) -> Result<()> {
        let output = script(&[command]).arg(&self.folder).output()?;
        if !output.status.success() {
            bail!("minio.sh {command}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        if let Err(error) = self.run("stop") {
            eprintln!("{error:#}");
        }
    }
}
