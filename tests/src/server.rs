//! The real program as a process: started on a free port, killed at any moment, started again on the same folder.

use crate::door::Door;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Longest start, replay of the log included.
const READY_WAIT: Duration = Duration::from_secs(120);

/// Longest graceful stop.
const STOP_WAIT: Duration = Duration::from_secs(60);

/// A server on a folder of its own.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    folder: PathBuf,
    config: String,
    port: u16,
    child: Option<Child>,
    flags: Vec<String>,
}

/// Ports of servers: below those that the system hands out by itself, one of which could be some client's when a server comes back.
const PORTS: Range<u16> = 10_000..15_000;

/// A port nobody listens on at the moment, and that no other call of this process was given of late.
///
/// # Errors
/// When the machine has none left.
pub fn free_port() -> Result<u16> {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(0) >> 1));
    for _ in PORTS {
        let port = PORTS.start + (NEXT.fetch_add(1, Ordering::Relaxed) % PORTS.len() as u64) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of {PORTS:?} is free")
}

/// How long [`wait_for`] waits.
const EVENT_WAIT: Duration = Duration::from_secs(60);

/// Waits until something has happened.
///
/// # Panics
/// When it does not within a minute.
pub fn wait_for(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + EVENT_WAIT;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

impl Server {
    /// Starts the program on `folder` with a configuration file of this text, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or does not get ready; the end of its log is part of the error.
    pub fn start(program: &Path, folder: &Path, config: &str) -> Result<Self> {
        let mut server = Self::prepared(program, folder, config, &[])?;
        server.spawn()?;
        server.wait_ready()?;
        Ok(server)
    }

    /// A server that does not run yet, with further flags of `serve`.
    ///
    /// # Errors
    /// When the machine has no port left.
    pub fn prepared(program: &Path, folder: &Path, config: &str, flags: &[&str]) -> Result<Self> {
        let flags = flags.iter().map(|f| (*f).to_owned()).collect();
        Ok(Self { program: program.to_owned(), folder: folder.to_owned(), config: config.to_owned(), port: free_port()?, child: None, flags })
    }

    /// A client of it.
    pub fn door(&self) -> Door {
        Door::new(self.base())
    }

    /// Its address.
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Runs the program as a client of it.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn ask(&self, arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(&self.program).args(arguments).args(["--url", &self.base()]).output()?)
    }

    /// Its folder of data.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What it logged so far, over all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Writes its configuration file, as a start does, and says where.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_config(&self) -> Result<PathBuf> {
        fs::create_dir_all(self.data())?;
        let config = self.folder.join("afferent.toml");
        fs::write(&config, &self.config)?;
        Ok(config)
    }

    /// Starts the process; it may not be ready yet.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn spawn(&mut self) -> Result<()> {
        self.spawn_with(|command| command)
    }

    /// The same with a command that is changed before it is run: other variables, or another program around it.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub fn spawn_with(&mut self, change: impl FnOnce(&mut Command) -> &mut Command) -> Result<()> {
        ensure!(self.child.is_none(), "the server runs already");
        let config = self.write_config()?;
        let log = OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(&config).arg("--data").arg(self.data());
        command.args(["--listen", &format!("127.0.0.1:{}", self.port)]).args(&self.flags);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(change(&mut command).spawn().with_context(|| self.program.display().to_string())?);
        Ok(())
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Errors
    /// When the process ended or takes too long.
    pub fn wait_ready(&mut self) -> Result<()> {
        match self.wait_ready_or_end()? {
            None => Ok(()),
            Some(status) => bail!("the server ended with {status}:\n{}", self.log_tail()),
        }
    }

    /// Waits until `/readyz` says 200, or the process ends by itself: then with what.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn wait_ready_or_end(&mut self) -> Result<Option<ExitStatus>> {
        let door = self.door();
        let deadline = Instant::now() + READY_WAIT;
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if door.get("/readyz").is_ok_and(|answer| answer.status == 200) {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("the server was not ready after {} s:\n{}", READY_WAIT.as_secs(), self.log_tail())
    }

    /// How the process ended, if it did.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { bail!("the server does not run") };
        let ended = child.try_wait()?;
        if ended.is_some() {
            self.child = None;
        }
        Ok(ended)
    }

    /// Waits for the process to end by itself; none if it still runs after `limit`.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn wait_end(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.ended()?;
            if ended.is_some() || Instant::now() >= deadline {
                return Ok(ended);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal by its name, `STOP` or `CONT`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, name: &str) -> Result<()> {
        let id = self.process_id()?;
        let sent = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status()?;
        ensure!(sent.success(), "kill -{name} {id} failed");
        Ok(())
    }

    /// The process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process_id(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("the server does not run")?.id())
    }

    /// One line of `/proc/<id>/status`, such as `VmHWM` (peak memory) or `State`; none once the process has ended.
    pub fn status_line(&self, name: &str) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process_id().ok()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().to_owned())
    }

    /// Peak of resident memory so far, bytes.
    pub fn memory_peak_bytes(&self) -> Option<u64> {
        let text = self.status_line("VmHWM")?;
        Some(text.split(' ').next()?.parse::<u64>().ok()? << 10)
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it did not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the server does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().context("the server does not run")?;
        Command::new("kill").arg("-TERM").arg(child.id().to_string()).status()?;
        let deadline = Instant::now() + STOP_WAIT;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(20));
        }
        child.kill()?;
        child.wait()?;
        bail!("the server did not stop within {} s:\n{}", STOP_WAIT.as_secs(), self.log_tail())
    }

    /// Starts again and waits until it is ready.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_ready()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The folder goes away with the test; nothing is left to be flushed for.
            child.kill().ok();
            child.wait().ok();
        }
        if thread::panicking() {
            eprintln!("the server's log ends with:\n{}", self.log_tail());
        }
    }
}

/// Any other program that a test runs: killed when it is dropped, its output in a file.
#[derive(Debug)]
pub struct Helper {
    child: Child,
    log: PathBuf,
}

impl Helper {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn spawn(command: &mut Command, log: &Path) -> Result<Self> {
        let out = File::create(log)?;
        let child = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn();
        Ok(Self { child: child.with_context(|| format!("{command:?}"))?, log: log.to_owned() })
    }

    /// What it printed.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for it to end by itself; none if it still runs after `limit`.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn wait_end(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() >= deadline {
                return Ok(ended);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
