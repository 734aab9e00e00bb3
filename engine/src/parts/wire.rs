//! What partitions and the owner of the views say to each other, as bytes: JSON for the few numbers, columns for the states, and of both only what the
//! other one does not have yet. Nothing here is stored.

use super::{Order, Part, Parts, Targets, ViewParts, Words, touched, words};
use crate::commit::{pack, unpack};
use crate::error::{Error, ErrorKind, Result};
use crate::registry::Target;
use crate::schema::TableName;
use crate::state::{decode_batches, encode_batches};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// What the owner of the views asks of a partition: its order, and what it has of the partition's words already.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// What it wants.
    pub order: Arc<Order>,
    /// What the partition said last, as far as it came through.
    pub known: Option<Arc<Parts>>,
    /// The targets that the partition was told last, as far as it is known to have taken them.
    pub told: Option<Arc<Targets>>,
}

/// A question as a partition reads it.
#[derive(Debug, Clone)]
pub struct Question {
    /// What the owner of the views wants.
    pub order: Arc<Order>,
    known: Known,
}

/// What the other one has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Known {
    run: u64,
    /// Newest version of any state.
    version: u64,
    targets: u64,
}

/// What of a partition's words goes apart from the numbers.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct News {
    views: BTreeMap<TableName, ViewText>,
    notices: BTreeMap<u64, Words>,
    /// `None`: as said before.
    targets: Option<TargetsText>,
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct ViewText {
    since: Option<i64>,
    error: Option<String>,
    /// Every pane that has a state, with its version.
    panes: Vec<(i64, u64)>,
    /// Panes whose states follow, in this order.
    sent: Vec<i64>,
}

/// Job, instance, and when it was scraped.
type TargetsText = Vec<(String, String, Target)>;

fn text(targets: &Targets) -> TargetsText {
    targets.iter().map(|((job, instance), target)| (job.clone(), instance.clone(), *target)).collect()
}

/// What was said of targets, or what is known where nothing was.
fn targets(text: Option<TargetsText>, known: Option<&Arc<Targets>>) -> Option<Arc<Targets>> {
    match text {
        Some(text) => Some(Arc::new(text.into_iter().map(|(job, instance, target)| ((job, instance), target)).collect())),
        None => known.cloned(),
    }
}

/// Tells targets from other ones.
fn mark(targets: &Targets) -> u64 {
    let mut hasher = DefaultHasher::new();
    for ((job, instance), target) in targets {
        (job, instance, target.first, target.second).hash(&mut hasher);
    }
    hasher.finish()
}

/// The section with everything but states, which stand under the tables of their views.
const SAID: &str = "";

fn unreadable(what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{what} cannot be read: the other process may be of another version"))
}

impl Asked {
    /// As bytes.
    ///
    /// # Errors
    /// `Internal`.
    pub fn encode(&self) -> Result<Bytes> {
        let known = self.known.as_ref().map(|parts| Known { run: parts.run, version: parts.newest_version(), targets: parts.targets_version });
        let same = self.told.as_ref().is_some_and(|told| Arc::ptr_eq(told, &self.order.targets));
        let targets = (!same).then(|| text(&self.order.targets));
        let json = serde_json::to_vec(&(self.order.as_ref(), targets, mark(&self.order.targets), known.unwrap_or_default()));
        Ok(json.map_err(|e| Error::caused(ErrorKind::Internal, "an order", e))?.into())
    }
}

impl Question {
    /// Reads what [`Asked::encode`] wrote; `before` is the order that was taken last.
    ///
    /// # Errors
    /// `Unavailable` where it is of another version.
    pub fn decode(bytes: &[u8], before: Option<&Arc<Order>>) -> Result<Self> {
        let (order, told, marked, known): (Order, Option<TargetsText>, u64, Known) =
            serde_json::from_slice(bytes).map_err(|_| unreadable("an order"))?;
        // One that was started anew has no order yet, and must not take one without its targets.
        let targets = targets(told, before.map(|before| &before.targets))
            .ok_or_else(|| Error::unavailable("an order came without the targets that go with it"))?;
        if mark(&targets) != marked {
            return Err(Error::unavailable("an order came for other targets than were told last"));
        }
        let order = Order { targets, ..order };
        // Who takes orders asks whether it is the same one by its place.
        let order = before.filter(|before| ***before == order).cloned().unwrap_or_else(|| Arc::new(order));
        Ok(Self { order, known })
    }
}

impl Parts {
    fn newest_version(&self) -> u64 {
        self.views.values().flat_map(|view| view.panes.values()).map(|part| part.version).max().unwrap_or_default()
    }

    /// As bytes, without what the other one has.
    ///
    /// # Errors
    /// `Internal`.
    pub fn encode(&self, to: &Question) -> Result<Bytes> {
        let has = to.known;
        let news = |part: &Part| has.run != self.run || part.version > has.version;
        let mut states = vec![];
        let mut views = BTreeMap::new();
        for (table, view) in &self.views {
            let sent: Vec<(i64, RecordBatch)> =
                view.panes.iter().filter(|(_, part)| news(part)).map(|(pane, part)| (*pane, part.state.clone())).collect();
            let (sent, batches): (Vec<i64>, Vec<RecordBatch>) = sent.into_iter().unzip();
            if !batches.is_empty() {
                states.push((table.as_str(), encode_batches(&batches)?));
            }
            let panes = view.panes.iter().map(|(pane, part)| (*pane, part.version)).collect();
            views.insert(table.clone(), ViewText { since: view.since, error: view.error.clone(), panes, sent });
        }
        let known = has.run == self.run && has.targets == self.targets_version;
        let notices = self.notices.iter().map(|(number, touched)| (*number, words(touched))).collect();
        let news = News { views, notices, targets: (!known).then(|| text(&self.targets)) };
        let said = serde_json::to_vec(&(self, news)).map_err(|e| Error::caused(ErrorKind::Internal, "what a partition says", e))?.into();
        let sections: Vec<(&str, &Bytes)> = std::iter::once((SAID, &said)).chain(states.iter().map(|(table, state)| (*table, state))).collect();
        Ok(pack(&sections))
    }

    /// Reads what [`Parts::encode`] wrote; `before` is what the question said is known.
    ///
    /// # Errors
    /// `Unavailable` where it is of another version, or cut off.
    pub fn decode(bytes: &Bytes, before: Option<&Arc<Parts>>) -> Result<Self> {
        let cut_off = || unreadable("what a partition says");
        let sections = unpack(bytes).ok_or_else(cut_off)?;
        let said = sections.get(SAID).and_then(|said| serde_json::from_slice(said).ok());
        let (parts, news): (Parts, News) = said.ok_or_else(cut_off)?;
        let before = before.filter(|before| before.run == parts.run);
        let mut views = BTreeMap::new();
        for (table, view) in news.views {
            let known = before.and_then(|before| before.views.get(&table));
            let batches = sections.get(table.as_str()).map(|states| decode_batches(states)).transpose().map_err(|_| cut_off())?.unwrap_or_default();
            if batches.len() != view.sent.len() {
                return Err(cut_off());
            }
            let sent: BTreeMap<i64, RecordBatch> = view.sent.into_iter().zip(batches).collect();
            let part = |(pane, version): (i64, u64)| -> Result<(i64, Part)> {
                let kept = || known.and_then(|known| known.panes.get(&pane)).filter(|part| part.version == version).map(|part| part.state.clone());
                let state = sent.get(&pane).cloned().or_else(kept).ok_or_else(cut_off)?;
                Ok((pane, Part { version, state }))
            };
            let panes = view.panes.into_iter().map(part).collect::<Result<_>>()?;
            views.insert(table, ViewParts { since: view.since, panes, error: view.error });
        }
        let targets = targets(news.targets, before.map(|before| &before.targets)).ok_or_else(cut_off)?;
        let notices = Arc::new(news.notices.into_iter().map(|(number, words)| (number, touched(words))).collect());
        Ok(Self { views, notices, targets, ..parts })
    }
}
