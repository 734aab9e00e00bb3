//! Lets a store go on with another log: everything of the one before is in its tables, and its state begins at the first record of the new one. Nothing
//! runs meanwhile.

use super::chains::chains;
use super::log::Log;
use super::partitions::check_engines;
use crate::config::{Config, LogConfig};
use afferent_engine::checkpoint::Checkpoint;
use afferent_engine::commit::Chain;
use afferent_engine::error::{Error, ErrorKind, Result};
use afferent_engine::log::{LogName, Position};
use afferent_storage::object_store::Store;
use afferent_storage::steps::Steps;
use std::collections::BTreeMap;
use std::time::Duration;

/// Between two looks at the log before, which must be the same: whoever still writes to it is to be seen.
const STILL_FOR: Duration = Duration::from_secs(3);

/// What came of it.
pub(crate) struct Moved {
    /// Where the store is.
    pub(crate) store: String,
    /// The log that it goes on with.
    pub(crate) log: String,
    /// It did before.
    pub(crate) already: bool,
}

/// An engine's chain, and its newest checkpoint.
struct Link {
    chain: Chain,
    newest: Option<Checkpoint>,
    /// The logs that it reads of the new one.
    logs: Vec<LogName>,
}

/// Lets the store of `config` go on with the log of `config`, which must be empty. Everything in the log `before` must be in the store; without one that
/// cannot be looked at.
///
/// # Errors
/// `Invalid` where the logs or the store are not as they have to be, `Conflict` where a process has one of them, `Unavailable`: again is right.
pub(crate) async fn move_log(config: &Config, before: Option<&LogConfig>) -> Result<Moved> {
    if let Some(LogConfig::Embedded { dir, .. }) = before
        && !dir.is_dir()
    {
        return Err(Error::invalid(format!("there is no log in {}", dir.display())));
    }
    let store = super::open_store(&config.store, Steps::default()).await?;
    let before = match before {
        Some(before) => Some(Log::open(before, Steps::default()).await?),
        None => None,
    };
    let log = Log::open(&config.log, Steps::default()).await?;
    let done = between(config, &store, before.as_ref(), &log).await;
    for log in before.iter().chain([&log]) {
        log.close().await?;
    }
    done
}

async fn between(config: &Config, store: &Store, before: Option<&Log>, log: &Log) -> Result<Moved> {
    let shown = store.shown().to_owned();
    let name = log.reader().identity().ok_or_else(|| Error::invalid("the new log has no name of its own: its brokers are too old"))?;
    if before.and_then(|before| before.reader().identity()).as_ref() == Some(&name) {
        return Err(Error::invalid(format!("the log before and the one from now on are the same: {name}")));
    }
    for (log, which) in before.iter().map(|before| (*before, "before")).chain([(log, "from now on")]) {
        if log.is_worked().await? {
            return Err(Error::new(ErrorKind::Conflict, format!("a process works the log {which}: stop all of them, and try again")));
        }
    }
    let links = newest(chains(config, store, log)).await?;
    if links.iter().all(|link| link.newest.is_none()) {
        return Err(Error::invalid(format!("the store at {shown} has no checkpoint: there is nothing to move, start with the new log")));
    }
    check_engines(config, log, store).await?;
    let mut bounds = BTreeMap::new();
    for at in log.names() {
        bounds.insert(at, log.reader().bounds(at).await?);
    }
    let mut left = vec![];
    for link in &links {
        if let Some(newest) = &link.newest
            && let Some(positions) = positions(newest, &link.logs, &bounds, &name, before.is_none())?
        {
            left.push((&link.chain, newest, positions));
        }
    }
    let moved = Moved { store: shown, log: name, already: left.is_empty() };
    if let (Some(before), false) = (before, moved.already) {
        let newest: Vec<&Checkpoint> = left.iter().map(|(_, newest, _)| *newest).collect();
        // Where it was broken off, the logs of those that have moved were looked at then.
        let first_time = newest.len() == links.iter().filter(|link| link.newest.is_some()).count();
        let begun = if first_time { before.names() } else { vec![] };
        check_before(before, &begun, &newest).await?;
        tokio::time::sleep(STILL_FOR).await;
        check_before(before, &begun, &newest).await?;
    }
    for (chain, newest, positions) in left {
        chain.begin_log(newest, &positions).await?;
    }
    Ok(moved)
}

/// Where a chain goes on in the log of this name; `None` where it does already.
fn positions(newest: &Checkpoint, logs: &[LogName], bounds: &Bounds, name: &str, lost: bool) -> Result<Option<BTreeMap<LogName, Position>>> {
    let of = |log: &LogName| bounds.get(log).copied().unwrap_or_default();
    if newest.log.as_deref() == Some(name) {
        // The log that it had, but for what was trimmed since: a store that was put back to an earlier instant.
        let stands = Chain::positions(newest);
        let begins: BTreeMap<LogName, Position> = stands.iter().map(|(log, at)| (*log, (*at).max(of(log).0))).collect();
        return Ok((lost && begins != stands).then_some(begins));
    }
    for log in logs {
        let (first, next) = of(log);
        if next > Position::default() {
            let held = if next > first { format!("holds {} records of {log}", next.0 - first.0) } else { format!("held records of {log}") };
            return Err(Error::invalid(format!("{name} {held} already; a store goes on with an empty log only, one that was never used")));
        }
    }
    Ok(Some(logs.iter().map(|log| (*log, Position::default())).collect()))
}

/// First and next position of each log.
type Bounds = BTreeMap<LogName, (Position, Position)>;

/// Chains with their newest checkpoints.
async fn newest(chains: Vec<(Chain, Vec<LogName>)>) -> Result<Vec<Link>> {
    let mut links = vec![];
    for (chain, logs) in chains {
        let newest = chain.newest().await?;
        links.push(Link { chain, newest, logs });
    }
    Ok(links)
}

/// These checkpoints stand at the end of the log before; of `begun`, at least nothing is there that none of them knows.
async fn check_before(before: &Log, begun: &[LogName], newest: &[&Checkpoint]) -> Result<()> {
    let reader = before.reader();
    let name = reader.identity().unwrap_or_default();
    let mut stands: BTreeMap<LogName, Position> = begun.iter().map(|log| (*log, Position::default())).collect();
    for newest in newest {
        if let Some(theirs) = newest.log.as_ref().filter(|theirs| **theirs != name) {
            return Err(Error::invalid(format!("the state of {} goes on in {theirs}, and the log given as the one before is {name}", newest.group)));
        }
        stands.extend(Chain::positions(newest));
    }
    for (log, at) in stands {
        let (first, next) = reader.bounds(log).await?;
        if at < first {
            let (at, first) = (at.0, first.0);
            return Err(Error::invalid(format!(
                "the store's state stands at record {at} of {log}, and {name} begins at {first}: what lies between is in neither, as after a restore of an \
                 older store; --old-log-is-lost gives it up"
            )));
        }
        if at < next {
            let n = next.0 - at.0;
            return Err(Error::invalid(format!(
                "{name} holds {n} records of {log} that the store does not have: start afferent with it once more, stop it gracefully, and try again"
            )));
        }
        if at > next {
            let at = at.0;
            return Err(Error::invalid(format!(
                "the store's state stands at record {at} of {log}, and {name} ends at {}: it had another log",
                next.0
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
