//! Who works the log: this process alone, or whichever of its group is named. The others take records in and send readers to the one that works.

use crate::standby::Standby;
use afferent_engine::checkpoint::{CheckpointStore, GroupName};
use afferent_engine::error::{Error, ErrorKind, Result};
use afferent_engine::supervisor::{self, EngineHandle, EngineParts};
use afferent_engine::time::WallTime;
use afferent_storage::log::kafka::group::{Lost, Membership};
use std::sync::Arc;
use std::time::Duration;

/// Time between two looks at who works the log, for those who wait.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The engine of this process, or its turn to have one.
pub(super) enum Work {
    Alone(EngineHandle),
    Turn(Box<(EngineParts, Option<Membership>)>),
}

/// The place of this process among those that share the log.
pub(super) enum Seat {
    /// It has the log for itself.
    Alone,
    /// It works when it is its turn.
    Member(Membership),
    /// It never works.
    Onlooker,
}

impl Work {
    /// Starts the engine, or waits for its turn where there is a group.
    ///
    /// # Errors
    /// As [`supervisor::start`].
    pub(super) fn begin(parts: EngineParts, seat: Seat, standby: &Standby) -> Result<Self> {
        let member = match seat {
            Seat::Alone => return Ok(Self::Alone(supervisor::start(parts)?)),
            Seat::Member(member) => Some(member),
            Seat::Onlooker => None,
        };
        standby.wait(None);
        Ok(Self::Turn(Box::new((EngineParts { takes_over: true, ..parts }, member))))
    }

    /// Ends when it is stopped, or with the error that ended it.
    ///
    /// # Errors
    /// As [`EngineHandle::join`]; `Conflict` where another process of the group has the log from now on.
    pub(super) async fn run(self, standby: Arc<Standby>) -> Result<()> {
        match self {
            Self::Alone(engine) => engine.join().await,
            Self::Turn(turn) => {
                let (mut parts, mut member) = *turn;
                let is_its_turn = wait(&mut parts, member.as_mut(), &standby).await?;
                let Some(mut member) = member.filter(|_| is_its_turn) else { return Ok(()) };
                standby.work();
                let (halt, own) = (parts.halt.clone(), parts.writer.clone());
                let (checkpoints, group) = (Arc::clone(&parts.checkpoints), parts.group.clone());
                let engine = supervisor::start(parts)?.join();
                tokio::pin!(engine);
                tokio::select! {
                    biased;
                    done = &mut engine => done,
                    kept = keep(&mut member, checkpoints.as_ref(), &group, &own) => {
                        // What this process knows grows old from now on: it answers nothing more.
                        standby.wait(None);
                        halt.cancel();
                        drop(engine.await);
                        member.let_go();
                        kept?;
                        Err(Error::new(ErrorKind::Conflict, "another process of the group works the log now; this one stops, and waits for its turn when it is started again"))
                    }
                }
            }
        }
    }
}

/// Returns when another process works the log. While the group is not heard of, which may as well be the brokers' fault, this one goes on: whoever
/// has taken over has written a checkpoint first, and this one can write none after that.
pub(super) async fn keep(member: &mut Membership, checkpoints: &dyn CheckpointStore, group: &GroupName, own: &str) -> Result<()> {
    loop {
        if member.lost().await == Lost::Surely {
            return Ok(());
        }
        tokio::select! {
            assigned = member.assigned() => assigned?,
            () = overtaken(checkpoints, group, own) => return Ok(()),
        }
    }
}

/// Returns when the newest checkpoint is another's.
async fn overtaken(checkpoints: &dyn CheckpointStore, group: &GroupName, own: &str) {
    watch(checkpoints, group, |newest| newest.is_some_and(|writer| writer != own)).await;
}

/// True when this process is to work; false when it is to stop.
async fn wait(parts: &mut EngineParts, mut member: Option<&mut Membership>, standby: &Standby) -> Result<bool> {
    let cancel = parts.cancel.clone();
    let look = look(Arc::clone(&parts.checkpoints), parts.group.clone(), address_of(&parts.writer).map(str::to_owned), standby);
    tokio::pin!(look);
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(false),
            assigned = assigned(member.as_deref_mut()) => return assigned.map(|()| true),
            // What is taken in here is read from the log by the one that works.
            Some(_) = parts.intake.recv() => {}
            () = &mut look => {}
        }
    }
}

/// Returns when it is the member's turn.
async fn assigned(member: Option<&mut Membership>) -> Result<()> {
    match member {
        Some(member) => member.assigned().await,
        None => std::future::pending().await,
    }
}

/// Keeps `standby` told who wrote the newest checkpoint; what this process wrote in an earlier life says nothing.
async fn look(checkpoints: Arc<dyn CheckpointStore>, group: GroupName, own: Option<String>, standby: &Standby) {
    let tell = |newest: Option<&str>| {
        standby.wait(newest.and_then(address_of).filter(|at| Some(*at) != own.as_deref()).map(str::to_owned));
        false
    };
    watch(checkpoints.as_ref(), &group, tell).await;
}

/// Looks again and again who wrote the newest checkpoint, until that is what was waited for.
async fn watch(checkpoints: &dyn CheckpointStore, group: &GroupName, mut found: impl FnMut(Option<&str>) -> bool) {
    loop {
        match checkpoints.latest(group).await {
            Ok(newest) if found(newest.as_ref().map(|c| c.writer.as_str())) => return,
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "who works the log cannot be looked up"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Names this process in checkpoints; the address, where there is one, is for those who wait.
pub(super) fn writer_name(started_at: WallTime, address: Option<&str>) -> String {
    let name = format!("pid-{}-at-{}", std::process::id(), started_at.0);
    address.map_or(name.clone(), |address| format!("{name} at {address}"))
}

/// The address in a writer's name.
pub(crate) fn address_of(writer: &str) -> Option<&str> {
    writer.split_once(" at ").map(|(_, address)| address)
}

#[cfg(test)]
mod tests;
