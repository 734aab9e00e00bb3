//! Every path and object name of the store, in one place. Not what lies in the objects.
//!
//! ```text
//! tables/<table>/_delta_log/...                         Delta's own log
//! tables/<table>/date=2026-11-22/<epoch>-<token>.parquet
//! tables/<table>/date=2026-11-22/<epoch>-<token>.<group>.parquet   where several engines write the same tables
//! tables/<table>/_dropped                               the table goes once nobody uses it
//! tables/<table>/_purging                               its files are being removed
//! checkpoints/<group>/<epoch>.json
//! checkpoints/<group>/state/<epoch>-<name>
//! processes/secret                                      what the processes of the deployment know each other by
//! processes/engines                                     how the log is worked: by one engine, or by one for each partition
//! trial/<token>                                         a bucket is tried out when it is opened
//! ```

use afferent_engine::checkpoint::{Epoch, GroupName};
use afferent_engine::schema::TableName;
use object_store::path::Path;

/// Name of the partition column of every table.
pub const DATE_COLUMN: &str = "date";

/// Digits of an epoch in an object name, so that names sort as numbers do.
const EPOCH_DIGITS: usize = 20;

/// What the processes of the deployment know each other by.
pub fn shared_secret() -> Path {
    Path::from("processes/secret")
}

/// How the log is worked.
pub fn engines() -> Path {
    Path::from("processes/engines")
}

/// The folder of all tables.
pub fn tables_root() -> Path {
    Path::from("tables")
}

/// The root of one table.
pub fn table_root(table: &TableName) -> Path {
    tables_root().join(table.as_str())
}

/// The log of one table; its first entry says that the table exists.
pub fn delta_log(table: &TableName) -> Path {
    table_root(table).join("_delta_log")
}

/// Says that a table was dropped: it has no rows, and goes once nobody uses it.
pub fn dropped_mark(table: &TableName) -> Path {
    table_root(table).join("_dropped")
}

/// Says that a table's folder is being emptied: what is left of it is no table.
pub fn purging_mark(table: &TableName) -> Path {
    table_root(table).join("_purging")
}

/// Whose data files are whose, by their names: where engines of several groups write the same tables, each has to do with its own alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// One engine writes everything.
    #[default]
    Sole,
    /// One of several.
    Group(GroupName),
}

impl Owner {
    /// True for a data file that this owner wrote, or its predecessors.
    pub fn has(&self, relative: &str) -> bool {
        match self {
            Self::Sole => true,
            Self::Group(_) => relative.ends_with(&self.ending()),
        }
    }

    /// True for the one that makes and drops the tables of views.
    pub fn drops_tables(&self) -> bool {
        match self {
            Self::Sole => true,
            Self::Group(group) => *group == GroupName::of_views(),
        }
    }

    fn ending(&self) -> String {
        match self {
            Self::Sole => ".parquet".to_owned(),
            Self::Group(group) => format!(".{group}.parquet"),
        }
    }

    /// A data file of an epoch, relative to the table's root; `token` makes the names of two writers of one epoch differ.
    pub fn epoch_file(&self, date: &str, epoch: Epoch, token: u64) -> String {
        format!("{DATE_COLUMN}={date}/{:0EPOCH_DIGITS$}-{token:016x}{}", epoch.0, self.ending())
    }

    /// A data file made by compaction, relative to the table's root.
    pub fn compacted_file(&self, date: &str, token: u64) -> String {
        format!("{DATE_COLUMN}={date}/{COMPACTED}{token:016x}{}", self.ending())
    }
}

/// Whether a data file was made by compaction.
pub fn is_compacted(relative: &str) -> bool {
    relative.rsplit('/').next().is_some_and(|name| name.starts_with(COMPACTED))
}

const COMPACTED: &str = "compacted-";

/// The store's path of a data file of a table.
pub fn data_file(table: &TableName, relative: &str) -> Path {
    Path::from(format!("{}/{relative}", table_root(table)))
}

/// Whether an object below a table's root is a data file that this crate wrote.
pub fn is_data_file(relative: &str) -> bool {
    relative.starts_with("date=") && relative.ends_with(".parquet")
}

/// Whether the store's path is that of a data file of some table.
pub fn is_table_data(path: &Path) -> bool {
    let parts: Vec<_> = path.parts().collect();
    let [tables, table, date, file] = parts.as_slice() else { return false };
    tables.as_ref() == tables_root().as_ref() && !table.as_ref().is_empty() && is_data_file(&format!("{}/{}", date.as_ref(), file.as_ref()))
}

/// The folder of what is put there to try out a bucket.
pub fn trials() -> Path {
    Path::from("trial")
}

/// One object to try out a bucket.
pub fn trial(token: u64) -> Path {
    trials().join(format!("{token:016x}"))
}

/// The folder of all checkpoints.
pub fn checkpoints_root() -> Path {
    Path::from("checkpoints")
}

/// The folder of a group's checkpoints.
pub fn checkpoints(group: &GroupName) -> Path {
    checkpoints_root().join(group.0.as_str())
}

/// One checkpoint.
pub fn checkpoint(group: &GroupName, epoch: Epoch) -> Path {
    checkpoints(group).join(format!("{:0EPOCH_DIGITS$}.json", epoch.0))
}

/// The epoch of a checkpoint by its object name, `None` for anything else.
pub fn checkpoint_epoch(location: &Path) -> Option<Epoch> {
    let digits = location.filename()?.strip_suffix(".json")?;
    (digits.len() == EPOCH_DIGITS).then(|| digits.parse().ok()).flatten().map(Epoch)
}

/// The folder of a group's state files.
pub fn states(group: &GroupName) -> Path {
    checkpoints(group).join("state")
}

/// One state file; `token` keeps apart two attempts at the same epoch.
pub fn state(group: &GroupName, epoch: Epoch, name: &str, token: u64) -> Path {
    states(group).join(format!("{:0EPOCH_DIGITS$}-{name}-{token:016x}", epoch.0))
}

/// The epoch in a state file's name, `None` for anything else.
pub fn state_epoch(location: &Path) -> Option<Epoch> {
    location.filename()?.get(..EPOCH_DIGITS)?.parse().ok().map(Epoch)
}

/// A number that no other writer has, now or before: it stands in object names.
pub fn fresh_token() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // `RandomState` is seeded by the operating system; the counter keeps numbers of one process apart.
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u64(COUNT.fetch_add(1, Ordering::Relaxed));
    hasher.finish()
}
