//! What can be asked of a running engine besides records: views to define, drop or take back, ranges to compute again. Carried out by the engine's
//! thread between two records; durable before the answer.

use crate::error::{Error, Result};
use crate::schema::TableName;
use crate::time::EventTime;
use tokio::sync::{mpsc, oneshot};

/// Where a definition comes from, which is who may change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It comes with the program.
    Shipped,
    /// A file in the operator's folder of views: the file is the definition.
    File,
    /// A statement.
    Statement,
}

impl Origin {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::File => "file",
            Self::Statement => "statement",
        }
    }
}

/// A view to be defined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Define {
    /// Its name, as the statement has it.
    pub name: TableName,
    /// `CREATE MATERIALIZED VIEW name ... AS SELECT ...`, without `OR REPLACE`.
    pub sql: String,
    /// Start a new generation where the view exists with another statement (with the same statement, nothing happens).
    pub replace: bool,
    /// Where it comes from.
    pub origin: Origin,
}

/// What became of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defined {
    /// The generation that this statement is.
    pub generation: u64,
    /// False where the very same definition stood already.
    pub changed: bool,
}

/// A range of a view to be computed again from the lake; rows that differ get a higher revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillRange {
    /// The view.
    pub view: TableName,
    /// Windows that start at or after this.
    pub from: EventTime,
    /// Windows that start before this.
    pub to: EventTime,
}

/// Names a backfill in its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct BackfillId(pub u64);

/// One request.
#[derive(Debug)]
pub enum Command {
    /// See [`Control::define`].
    Define(Define, oneshot::Sender<Result<Defined>>),
    /// See [`Control::drop_view`].
    Drop(TableName, oneshot::Sender<Result<()>>),
    /// See [`Control::roll_back`].
    RollBack(TableName, oneshot::Sender<Result<u64>>),
    /// See [`Control::backfill`].
    Backfill(BackfillRange, oneshot::Sender<Result<BackfillId>>),
    /// See [`Control::cancel_backfill`].
    CancelBackfill(BackfillId, oneshot::Sender<Result<()>>),
}

/// The asking end.
#[derive(Debug, Clone)]
pub struct Control {
    sender: mpsc::Sender<Command>,
}

/// Requests that may wait.
const COMMANDS_MAX: usize = 16;

/// Makes the queue.
pub fn control() -> (Control, mpsc::Receiver<Command>) {
    let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
    (Control { sender }, receiver)
}

impl Control {
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command) -> Result<T> {
        let gone = || Error::unavailable("the engine is stopping");
        let (tell, told) = oneshot::channel();
        self.sender.send(command(tell)).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }

    /// Defines a view, or a new generation of it. Its history is computed in the background, beside what serves; progress stands in
    /// [`crate::status::ViewStatus`]. Durable on return.
    ///
    /// # Errors
    /// `Invalid`: the statement cannot run continuously, the name is taken (without `replace`) or reserved, or other views read it.
    ///
    /// # Cancel safety
    /// The request is carried out all the same.
    pub async fn define(&self, define: Define) -> Result<Defined> {
        self.ask(|tell| Command::Define(define, tell)).await
    }

    /// Removes a view; its table goes from the lake a while later.
    ///
    /// # Errors
    /// `Invalid` where there is none, other views read it, or it comes with the program.
    pub async fn drop_view(&self, name: TableName) -> Result<()> {
        self.ask(|tell| Command::Drop(name, tell)).await
    }

    /// Lets readers see the generation before the current one again, in one step; gives its number.
    ///
    /// # Errors
    /// `Invalid` where there is no view of that name or no earlier generation is kept.
    pub async fn roll_back(&self, name: TableName) -> Result<u64> {
        self.ask(|tell| Command::RollBack(name, tell)).await
    }

    /// Computes a range again in the background.
    ///
    /// # Errors
    /// `Invalid`: no such view, a range that is empty or not whole windows, or a view without history of its own (snapshot).
    pub async fn backfill(&self, range: BackfillRange) -> Result<BackfillId> {
        self.ask(|tell| Command::Backfill(range, tell)).await
    }

    /// Stops a backfill; what it has written stays, as revisions that were right anyway.
    ///
    /// # Errors
    /// `Invalid` where it is unknown or over.
    pub async fn cancel_backfill(&self, id: BackfillId) -> Result<()> {
        self.ask(|tell| Command::CancelBackfill(id, tell)).await
    }
}
