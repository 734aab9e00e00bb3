//! `afferent backfill`: asks a server to compute a range of a view again and follows it to its end. The work is the server's; this only watches.

use super::progress::{Progress, count, duration};
use super::remote::{Answer, Remote};
use super::{BackfillArgs, Exit};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// How long a server may be away before following it is given up; a backfill goes on after a restart.
const AWAY_MAX: Duration = Duration::from_secs(120);

/// Runs the command.
///
/// # Errors
/// Where the server cannot be reached.
pub fn run(args: &BackfillArgs) -> anyhow::Result<Exit> {
    let remote = Remote::new(&args.server);
    let asked = json!({ "view": args.view, "from": args.from, "to": args.to });
    let answer = remote.post("/api/v1/backfill", &[("Content-Type", "application/json")], asked.to_string().as_bytes())?;
    if !answer.is_success() {
        writeln!(std::io::stderr(), "{}", answer.message())?;
        return Ok(if (400..500).contains(&answer.status) && answer.status != 429 { Exit::Usage } else { Exit::Failed });
    }
    let begun = answer.json();
    let id = begun.get("id").and_then(Value::as_u64).context("the answer has no number; is this an afferent server?")?;
    let text = |key: &str| begun.get(key).and_then(Value::as_str).unwrap_or_default();
    writeln!(std::io::stderr(), "backfill {id}: {} from {} to {}", text("view"), text("from"), text("to"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exit = runtime.block_on(Watch { remote, id, progress: Progress::new(), away: None }.follow());
    // A thread may still wait for a line that nobody types.
    runtime.shutdown_background();
    exit
}

/// Follows one backfill.
struct Watch {
    remote: Remote,
    id: u64,
    progress: Progress,
    /// Since when the server does not answer.
    away: Option<Instant>,
}

/// What comes next.
enum Next {
    Look,
    End(Exit),
}

impl Watch {
    async fn follow(mut self) -> anyhow::Result<Exit> {
        let mut interrupts = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
        loop {
            let next = match self.ask(|remote, path| remote.get(path)).await {
                Ok(answer) => self.looked(&answer)?,
                Err(error) => self.missed(error)?,
            };
            if let Next::End(exit) = next {
                return Ok(exit);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = interrupts.recv() => {
                    if let Next::End(exit) = self.interrupted(&mut interrupts).await? {
                        return Ok(exit);
                    }
                }
            }
        }
    }

    async fn ask(&self, how: impl FnOnce(&Remote, &str) -> anyhow::Result<Answer> + Send + 'static) -> anyhow::Result<Answer> {
        let (remote, path) = (self.remote.clone(), format!("/api/v1/backfill/{}", self.id));
        tokio::task::spawn_blocking(move || how(&remote, &path)).await.context("asking the server failed")?
    }

    fn looked(&mut self, answer: &Answer) -> anyhow::Result<Next> {
        if answer.status == 503 {
            return self.missed(anyhow::anyhow!(answer.message()));
        }
        self.away = None;
        if !answer.is_success() {
            self.progress.clear();
            anyhow::bail!("backfill {} cannot be followed any more: {}", self.id, answer.message());
        }
        let report = answer.json();
        let state = report.get("state").and_then(Value::as_str).unwrap_or_default().to_owned();
        let share = report.get("percent").and_then(Value::as_f64).map(|percent| percent / 100.0);
        if state == "running" {
            self.progress.show(share, &words(&report));
            return Ok(Next::Look);
        }
        self.progress.note(&format!("backfill {}: {state}, {}", self.id, written(&report)));
        if let Some(error) = report.get("error").and_then(Value::as_str) {
            self.progress.note(error);
        }
        Ok(Next::End(if state == "done" { Exit::Done } else { Exit::Failed }))
    }

    fn missed(&mut self, error: anyhow::Error) -> anyhow::Result<Next> {
        let since = *self.away.get_or_insert_with(Instant::now);
        if since.elapsed() >= AWAY_MAX {
            self.progress.clear();
            return Err(error.context(format!("backfill {} cannot be followed; it goes on when the server is back", self.id)));
        }
        self.progress.show(None, "the server does not answer; waiting for it");
        Ok(Next::Look)
    }

    /// The first Ctrl-C asks, because people mean either; the second leaves the backfill alone, which loses nothing.
    async fn interrupted(&mut self, interrupts: &mut Signal) -> anyhow::Result<Next> {
        self.progress.clear();
        if !std::io::stdin().is_terminal() {
            return Ok(self.left_running());
        }
        write!(std::io::stderr(), "\ncancel backfill {}? [y/N] (Ctrl-C again leaves it running) ", self.id)?;
        let typed = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map(|_| line)
        });
        let line = tokio::select! {
            line = typed => line.context("reading the answer failed")??,
            _ = interrupts.recv() => return Ok(self.left_running()),
        };
        if !matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            return Ok(Next::Look);
        }
        let answer = self.ask(|remote, path| remote.delete(path)).await?;
        if !answer.is_success() {
            // It may have ended meanwhile; the next look tells.
            self.progress.note(&answer.message());
            return Ok(Next::Look);
        }
        self.progress.note(&format!("backfill {} is cancelled; what it wrote stays, since it is right", self.id));
        Ok(Next::End(Exit::Failed))
    }

    fn left_running(&mut self) -> Next {
        let place = format!("/api/v1/backfill/{}", self.id);
        self.progress.note(&format!("\nbackfill {} goes on in the server: GET {place} shows it, DELETE {place} cancels it", self.id));
        Next::End(Exit::Failed)
    }
}

fn words(report: &Value) -> String {
    let number = |key: &str| report.get(key).and_then(Value::as_f64);
    let rows = report.get("rows_read").and_then(Value::as_u64).unwrap_or(0);
    let mut words = format!("{} rows", count(rows));
    if let Some(rate) = number("rows_per_s") {
        words.push_str(&format!(", {}/s", count(rate as u64)));
    }
    if let Some(left) = number("left_s") {
        words.push_str(&format!(", {} left", duration(left)));
    }
    words
}

fn written(report: &Value) -> String {
    let rows = |key: &str| count(report.get(key).and_then(Value::as_u64).unwrap_or(0));
    format!("{} rows read, {} differed and were written again", rows("rows_read"), rows("rows_written"))
}
