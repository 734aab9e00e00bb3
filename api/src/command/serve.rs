//! `afferent serve`: runs the server until it is told to stop, and says in plain words where it is and what to point at it.

use super::{Exit, ServeArgs, block_on};
use crate::config::Config;
use crate::wire::{self, Server};
use crate::{shutdown, telemetry};
use afferent_storage::steps::Steps;
use anyhow::Context as _;
use std::io::Write as _;

/// Runs the command.
///
/// # Errors
/// A wrong configuration (exit code 2), or whatever kept the server from starting or stopping well (1).
pub fn run(args: &ServeArgs, steps: Steps) -> anyhow::Result<Exit> {
    let flags = [
        ("server.listen", "--listen", &args.listen),
        ("data.dir", "--data", &args.data),
        ("log.url", "--log", &args.log),
        ("store.url", "--store", &args.store),
        ("server.roles", "--roles", &args.roles),
    ];
    let config = Config::validate(&super::configured(args.config.config.as_deref(), &flags)?)?;
    telemetry::start_logs(&config.telemetry);
    block_on(serve(config, steps))
}

async fn serve(config: Config, steps: Steps) -> anyhow::Result<Exit> {
    let signals = shutdown::listen(&tokio::runtime::Handle::current()).context("cannot listen for signals")?;
    let human = telemetry::is_human(config.telemetry.log_format);
    let mut server = tokio::select! {
        server = wire::start_watched(config, steps) => server?,
        () = signals.at_once.cancelled() => return Ok(Exit::Failed),
    };
    announce(&server, human)?;
    let ended = tokio::select! {
        () = signals.graceful.cancelled() => None,
        result = server.failed() => Some(result),
        () = signals.at_once.cancelled() => return Ok(Exit::Failed),
    };
    if let Some(error) = &ended {
        tracing::error!(%error, "a part of the server failed; stopping");
    }
    tokio::select! {
        stopped = server.stop() => stopped?,
        () = signals.at_once.cancelled() => return Ok(Exit::Failed),
    }
    match ended {
        None => Ok(Exit::Done),
        Some(error) => Err(error.into()),
    }
}

fn announce(server: &Server, human: bool) -> anyhow::Result<()> {
    let (address, data) = (server.address(), server.state().config.data_dir.display().to_string());
    if human {
        std::io::stderr().write_all(banner(&address.to_string(), &data).as_bytes())?;
    } else {
        tracing::info!(%address, data, version = env!("CARGO_PKG_VERSION"), "serving");
    }
    Ok(())
}

/// What a newcomer needs once the server is up.
fn banner(address: &str, data: &str) -> String {
    format!(
        "\nafferent {version} is serving on http://{address}, data in {data}\n\n\
         Point Prometheus at it (prometheus.yml):\n  remote_write:\n    - url: http://{address}/api/v1/write\n\n\
         Point Alertmanager at it (a receiver's webhook_configs):\n    - url: http://{address}/api/v1/webhooks/alertmanager\n\n\
         Ask:\n  afferent sql --url http://{address} 'SELECT metric, count(*) FROM samples GROUP BY metric LIMIT 10'\n  \
         curl http://{address}/api/v1/freshness\n\n\
         Ctrl-C stops it gracefully.\n\n",
        version = env!("CARGO_PKG_VERSION"),
    )
}
