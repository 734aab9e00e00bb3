//! `afferent move-log`: lets a store go on with another log, and says what it did.

use super::{Exit, MoveLogArgs, block_on};
use crate::config::{Config, Document, LogConfig};
use crate::{telemetry, wire};
use std::io::Write as _;

/// Runs the command.
///
/// # Errors
/// A wrong configuration, or logs and a store that are not as they have to be (exit code 2); whatever kept them from being read or written (1).
pub fn run(args: &MoveLogArgs) -> anyhow::Result<Exit> {
    let flags = [("data.dir", "--data", &args.data), ("log.url", "--log", &args.log), ("store.url", "--store", &args.store)];
    let config = Config::validate(&super::configured(args.config.config.as_deref(), &flags)?)?;
    let before = before(args)?;
    telemetry::start_logs(&config.telemetry);
    block_on(async move {
        let moved = wire::move_log(&config, before.as_ref()).await?;
        let end = if moved.already { " already.\n" } else { ".\nStart afferent with that log from now on.\n" };
        write!(std::io::stdout(), "The store at {} goes on with {}{end}", moved.store, moved.log)?;
        Ok(Exit::Done)
    })
}

/// The log that the store had; `None` where it is lost.
fn before(args: &MoveLogArgs) -> anyhow::Result<Option<LogConfig>> {
    if args.old_log_is_lost {
        return Ok(None);
    }
    let url = ("log.url", "--from", &args.from);
    let document: Document = match &args.from_config {
        Some(file) => super::configured(Some(file), &[url])?,
        None => super::configured(args.config.config.as_deref(), &[("data.dir", "--data", &args.data), url])?,
    };
    Ok(Some(Config::validate(&document)?.log))
}
