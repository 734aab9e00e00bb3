//! `afferent demo`: the server on a temporary folder, a small platform played through its real doors, the cards drawn. Not a second way in:
//! what the demo shows went through HTTP, log, engine, tables and SQL like anything else.
//!
//! The same program shows the same figures in every run, save for what depends on the hour at which it is run: which incidents and costs fall on
//! this calendar day and month, minutes that pass while the history is played, and live play.

mod capture;
mod client;
mod encode;
mod guide;
mod play;
mod seed;
mod story;
mod traffic;

use crate::command::{DemoArgs, Exit, block_on};
use crate::config::{Config, Document};
use crate::locale::Locale;
use crate::wire::{self, Server};
use crate::{shutdown, telemetry};
use afferent_engine::clock::Clock;
use anyhow::{Context, bail};
use client::Client;
use play::{Played, Player};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Minutes before the present that are played in full detail, hosts included; the anomaly detectors need an hour to warm up.
const BUSY_MIN: i64 = 90;

/// How long the cards may take to be filled once the history is played.
const CARDS_WAIT: Duration = Duration::from_secs(60);

/// The files the server is given.
const SERVICES: &str = include_str!("demo/services.yaml");
const OBJECTIVES: [(&str, &str); 5] = [
    ("awoooi-api.yaml", include_str!("demo/slo/awoooi-api.yaml")),
    ("awoooi-web.yaml", include_str!("demo/slo/awoooi-web.yaml")),
    ("llm-gateway.yaml", include_str!("demo/slo/llm-gateway.yaml")),
    ("ollama.yaml", include_str!("demo/slo/ollama.yaml")),
    ("openclaw.yaml", include_str!("demo/slo/openclaw.yaml")),
];

/// Runs the demo until Ctrl-C, or with `--once` until the cards are drawn.
///
/// # Errors
/// Where the server does not start or stop, refuses what is sent, or leaves a card empty.
pub fn run(args: DemoArgs) -> anyhow::Result<Exit> {
    let folder = tempfile::Builder::new().prefix("afferent-demo-").tempdir().context("making a temporary folder")?;
    let config = configure(&args, folder.path())?;
    telemetry::start_logs(&config.telemetry);
    block_on(demo(config, args.once))
}

/// Writes the definition files and points a configuration at them.
fn configure(args: &DemoArgs, folder: &Path) -> anyhow::Result<Config> {
    let (services, objectives) = (folder.join("services.yaml"), folder.join("slo"));
    std::fs::create_dir_all(&objectives).and_then(|()| std::fs::write(&services, SERVICES)).context("writing the demo's files")?;
    for (name, text) in OBJECTIVES {
        std::fs::write(objectives.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    let mut document = Document::reference()?;
    let path = |path: &Path| path.display().to_string();
    let keys = [
        ("data.dir", path(&folder.join("data"))),
        ("files.inventory", path(&services)),
        ("files.slo", path(&objectives)),
        ("telemetry.log_level", "error".to_owned()),
    ];
    for (key, value) in &keys {
        document.set(key, "demo", value.as_str());
    }
    if let Some(listen) = &args.listen {
        document.set("server.listen", "--listen", listen.as_str());
    }
    Ok(Config::validate(&document)?)
}

async fn demo(config: Config, once: bool) -> anyhow::Result<Exit> {
    let signals = shutdown::listen(&tokio::runtime::Handle::current()).context("cannot listen for signals")?;
    let folder = config.data_dir.display().to_string();
    let mut server = wire::start(config).await?;
    let stop = signals.graceful.child_token();
    let show = Show {
        client: Client::new(server.address()),
        clock: Arc::clone(&server.state().clock),
        stop: stop.clone(),
        locale: guide::locale(|name| std::env::var(name).ok()),
        folder,
        once,
    };
    let mut playing = tokio::task::spawn_blocking(move || show.run());
    let result = tokio::select! {
        played = &mut playing => played?,
        error = server.failed() => Err(error.into()),
        () = signals.at_once.cancelled() => return Ok(Exit::Failed),
    };
    stop.cancel();
    finish(server, &signals.at_once).await?;
    result?;
    Ok(Exit::Done)
}

async fn finish(server: Server, at_once: &CancellationToken) -> anyhow::Result<()> {
    tokio::select! {
        stopped = server.stop() => Ok(stopped?),
        () = at_once.cancelled() => Ok(()),
    }
}

/// One showing: history, cards, guide, live.
struct Show {
    client: Client,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    locale: Locale,
    folder: String,
    once: bool,
}

impl Show {
    fn run(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        guide::say_aside(&guide::opening(self.client.base(), &self.folder, self.locale));
        let mut player = Player::new(self.client.clone(), Arc::clone(&self.clock), self.stop.clone(), BUSY_MIN)?;
        let mut progress = guide::Progress::new(self.locale);
        if player.history(&mut |share| progress.at(share))? == Played::Stopped {
            return Ok(());
        }
        let mut cards = Vec::new();
        let asked = Instant::now();
        let played = player.live(|_| {
            cards = self.cards()?;
            let is_filled = cards.iter().all(is_filled);
            if !is_filled && asked.elapsed() > CARDS_WAIT {
                bail!("{} s after the history was played these cards are not filled: {}", CARDS_WAIT.as_secs(), empty(&cards));
            }
            Ok(is_filled)
        })?;
        if played == Played::Stopped {
            return Ok(());
        }
        guide::say(&guide::drawings(&cards))?;
        let seconds = began.elapsed().as_secs_f64();
        guide::say(&guide::closing(self.client.base(), player.tally(), seconds, !self.once, self.locale))?;
        if !self.once {
            player.live(|_| Ok(false))?;
        }
        Ok(())
    }

    /// The cards of the guide, as the server answers them.
    fn cards(&self) -> anyhow::Result<Vec<Value>> {
        guide::SHOWN.iter().map(|kind| self.client.get(&guide::path(*kind), self.locale.tag())).collect()
    }
}

/// Whether a card has something to say that can be relied on.
fn is_filled(card: &Value) -> bool {
    matches!(card.get("state").and_then(Value::as_str), Some("ready" | "partial"))
}

/// Types and states of the cards that are not filled.
fn empty(cards: &[Value]) -> String {
    let text = |card: &Value, name: &str| card.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    let names = cards.iter().filter(|card| !is_filled(card)).map(|card| format!("{} ({})", text(card, "type"), text(card, "state")));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
