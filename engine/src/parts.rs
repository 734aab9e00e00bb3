//! What the partitions of a stream give to the one that finishes the views: partial states by view and pane, how far they are, and which final
//! panes they wrote again. And what that one tells them. Plain data; who carries it is behind a port.
//!
//! A partition replaces what it said before under the same (view, pane), so saying it twice, late or again after a restart changes nothing. What is
//! final is so by the frontier alone: the owner says how far all of them may go, which is as far as the slowest wants to, and once every one has
//! gone there the states that stand for the panes before are whole.

mod local;
mod wire;

use crate::checkpoint::Epoch;
use crate::error::Result;
use crate::live::ReadView;
use crate::registry::Target;
use crate::schema::TableName;
use crate::time::{EventTime, WallTime};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

pub use local::{LocalPartition, LocalPartitions};
pub use wire::{Asked, Question};

/// Panes that changed, each with the metrics that did.
pub type Touched = BTreeMap<i64, BTreeSet<Arc<str>>>;

/// [`Touched`] as it is kept and sent.
pub(crate) type Words = BTreeMap<i64, BTreeSet<String>>;

pub(crate) fn words(touched: &Touched) -> Words {
    touched.iter().map(|(pane, metrics)| (*pane, metrics.iter().map(|metric| metric.to_string()).collect())).collect()
}

pub(crate) fn touched(words: Words) -> Touched {
    words.into_iter().map(|(pane, metrics)| (pane, metrics.into_iter().map(Arc::from).collect())).collect()
}

/// Adds panes to panes.
pub(crate) fn touch(into: &mut Touched, more: &Touched) {
    for (pane, metrics) in more {
        into.entry(*pane).or_default().extend(metrics.iter().cloned());
    }
}

/// A (job, instance) and the two earliest times at which it was scraped.
pub type Targets = BTreeMap<(String, String), Target>;

/// What the owner of the views tells every partition.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Order {
    /// Newest checkpoint of the owner: of two owners the one that writes them is heard.
    pub epoch: Epoch,
    /// The generations of views over panes whose states it wants.
    pub views: Vec<Ordered>,
    /// All partitions make panes before this final, and no others.
    pub frontier: Option<EventTime>,
    /// States of panes before this are in a published checkpoint of the owner; nobody asks for them again.
    pub taken_until: Option<EventTime>,
    /// Per partition: notices up to this one are in a published checkpoint of the owner.
    pub notices_taken: BTreeMap<u32, Noticed>,
    /// Earliest scrapes as all partitions together know them.
    #[serde(skip)]
    pub targets: Arc<Targets>,
}

/// A notice of a partition. Another run of it may give the same number to another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Noticed {
    /// Of which run it was heard.
    pub run: u64,
    /// Its number; 0 before the first.
    pub number: u64,
}

/// One generation of a view, by its definition.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ordered {
    /// The table of the generation.
    pub table: TableName,
    /// Its number.
    pub generation: u64,
    /// Its statement.
    pub sql: String,
}

/// What one partition says, as of one instant; shown together with its rows in memory.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Parts {
    /// Another one after each start: versions of two runs cannot be compared.
    pub run: u64,
    /// Grows with everything it says in a run.
    pub number: u64,
    /// Its watermark.
    pub watermark: Option<EventTime>,
    /// All panes before this are final in it.
    pub frontier: Option<EventTime>,
    /// All panes before this could be, for all that it knows.
    pub wanted: Option<EventTime>,
    /// It has taken everything that its log had a moment ago.
    pub caught_up: bool,
    /// Newest event time it took.
    pub as_of: Option<EventTime>,
    /// When its newest record came in.
    pub newest_received: WallTime,
    /// Its states, by table of the generation.
    #[serde(skip)]
    pub views: BTreeMap<TableName, ViewParts>,
    /// Final panes that were written again, by number of the notice, oldest first.
    #[serde(skip)]
    pub notices: Arc<BTreeMap<u64, Touched>>,
    /// Earliest scrapes of its targets.
    #[serde(skip)]
    pub targets: Arc<Targets>,
    /// Grows with each change of them within a run.
    pub targets_version: u64,
}

/// States of one view in one partition.
#[derive(Debug, Clone, Default)]
pub struct ViewParts {
    /// It gives states from this pane on; what is older is in the lake. `None`: from the first.
    pub since: Option<i64>,
    /// By pane start.
    pub panes: BTreeMap<i64, Part>,
    /// Why there are none.
    pub error: Option<String>,
}

/// The partial state of one pane.
#[derive(Debug, Clone)]
pub struct Part {
    /// Grows with each change within a run.
    pub version: u64,
    /// Columns of the view's partial state.
    pub state: RecordBatch,
}

/// The newest order, from whoever receives it to the engine of the partition.
#[derive(Debug, Default)]
pub struct OrderBook {
    newest: Mutex<Option<Arc<Order>>>,
}

impl OrderBook {
    /// Takes an order in place of the one before.
    pub fn put(&self, order: Arc<Order>) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(order);
    }

    /// The newest one.
    pub fn newest(&self) -> Option<Arc<Order>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The partitions, as the owner of the views reaches them.
#[async_trait]
pub trait Partitions: Send + Sync + 'static {
    /// Tells all of them; returns at once.
    fn tell(&self, order: Arc<Order>);

    /// What each said last, at once; `None` for one that has said nothing yet, or is being recovered. Every partition of the stream is named.
    fn reports(&self) -> BTreeMap<u32, Option<Arc<Parts>>>;

    /// One consistent state of the partitions' tables: every row that any of them took stands in it once. At least as new as any report that was given
    /// before.
    ///
    /// # Errors
    /// `Unavailable` where a partition does not answer.
    async fn tables(&self) -> Result<Arc<ReadView>>;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
