//! What a commit changes, and the decision what to write given the table's state. Pure: no I/O.

use super::log::State;
use crate::layout::DATE_COLUMN;
use afferent_engine::checkpoint::{Epoch, GroupName};
use afferent_engine::table::{DataFile, TableFiles};
use deltalake_core::kernel::{Action, Add, Remove, Transaction};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use std::collections::{BTreeSet, HashMap};

/// A change to a table.
#[derive(Debug)]
pub(super) enum Change {
    /// An epoch's files come in, once.
    Append { group: GroupName, epoch: Epoch, added: Vec<DataFile> },
    /// Files are replaced by others that hold the same rows, or fewer: those that count.
    Replace { removed: BTreeSet<String>, added: Vec<DataFile>, fewer: bool },
    /// Files go, and their rows with them; those that are gone already are passed over.
    Remove { removed: BTreeSet<String> },
}

/// What to do about a change.
#[derive(Debug)]
pub(super) enum Decision {
    /// Write these actions as the next version.
    Write { actions: Vec<Action>, transaction: Option<Transaction> },
    /// The table has it already.
    Done,
    /// A file to be replaced is not part of the table.
    Superseded { path: String },
}

impl Change {
    /// Decides by the state; `now_ms` stands in the log for people and for vacuums of other programs.
    pub(super) fn decide(&self, state: &State, now_ms: i64) -> Decision {
        match self {
            Self::Append { group, epoch, added } => {
                let version = transaction_version(*epoch);
                if state.transactions.get(&group.0).is_some_and(|seen| *seen >= version) {
                    return Decision::Done;
                }
                let actions = added.iter().map(|f| Action::Add(add(f, now_ms, true))).collect();
                Decision::Write { actions, transaction: Some(Transaction::new(&group.0, version)) }
            }
            Self::Replace { removed, added, fewer } => {
                let live: HashMap<&str, &DataFile> = state.files.files.iter().map(|f| (f.path.as_str(), f)).collect();
                // No other writer makes files of these names: an earlier try, the answer to which was lost, brought them in.
                if !added.is_empty() && added.iter().all(|f| live.contains_key(f.path.as_str())) {
                    return Decision::Done;
                }
                let mut actions = Vec::with_capacity(removed.len() + added.len());
                for path in removed {
                    let Some(file) = live.get(path.as_str()) else { return Decision::Superseded { path: path.clone() } };
                    // Rows that are not in the added files are a change of the data; every added row was there before.
                    actions.push(Action::Remove(remove(file, now_ms, *fewer)));
                }
                actions.extend(added.iter().map(|f| Action::Add(add(f, now_ms, false))));
                Decision::Write { actions, transaction: None }
            }
            Self::Remove { removed } => {
                let live = state.files.files.iter().filter(|f| removed.contains(&f.path));
                let actions: Vec<Action> = live.map(|f| Action::Remove(remove(f, now_ms, true))).collect();
                if actions.is_empty() { Decision::Done } else { Decision::Write { actions, transaction: None } }
            }
        }
    }

    /// The table's files once the change is committed as `version`.
    pub(super) fn apply(&self, files: &TableFiles, version: i64) -> TableFiles {
        let mut next = TableFiles { version, files: Vec::with_capacity(files.files.len() + self.added().len()) };
        match self {
            Self::Append { .. } => next.files.extend(files.files.iter().cloned()),
            Self::Replace { removed, .. } | Self::Remove { removed } => {
                next.files.extend(files.files.iter().filter(|f| !removed.contains(&f.path)).cloned())
            }
        }
        next.files.extend(self.added().iter().cloned());
        next
    }

    /// What other programs read about the commit.
    pub(super) fn operation(&self) -> DeltaOperation {
        match self {
            Self::Append { .. } => DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None },
            Self::Replace { added, .. } => {
                let target_size = added.iter().map(|f| signed(f.size_bytes)).max().unwrap_or_default();
                DeltaOperation::Optimize { predicate: None, target_size }
            }
            Self::Remove { .. } => DeltaOperation::Delete { predicate: None },
        }
    }

    fn added(&self) -> &[DataFile] {
        match self {
            Self::Append { added, .. } | Self::Replace { added, .. } => added,
            Self::Remove { .. } => &[],
        }
    }
}

/// Delta's transaction versions are signed.
pub(super) fn transaction_version(epoch: Epoch) -> i64 {
    i64::try_from(epoch.0).unwrap_or(i64::MAX)
}

fn partition(file: &DataFile) -> HashMap<String, Option<String>> {
    HashMap::from([(DATE_COLUMN.to_owned(), Some(file.date.clone()))])
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn add(file: &DataFile, now_ms: i64, data_change: bool) -> Add {
    Add {
        path: file.path.clone(),
        partition_values: partition(file),
        size: signed(file.size_bytes),
        modification_time: now_ms,
        data_change,
        stats: Some(file.stats.clone()),
        ..Add::default()
    }
}

fn remove(file: &DataFile, now_ms: i64, data_change: bool) -> Remove {
    Remove {
        path: file.path.clone(),
        data_change,
        deletion_timestamp: Some(now_ms),
        extended_file_metadata: Some(true),
        partition_values: Some(partition(file)),
        size: Some(signed(file.size_bytes)),
        ..Remove::default()
    }
}
