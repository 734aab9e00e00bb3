//! Which dates of a table have come to rest: no epoch wrote a file for a while. Not what to do about it (`choose`).

use crate::layout;
use afferent_engine::schema::TableName;
use afferent_engine::table::DataFile;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the worker saw so far. It forgets with the process: then a date waits anew.
#[derive(Debug, Default)]
pub(super) struct Settled(BTreeMap<TableName, BTreeMap<String, Seen>>);

#[derive(Debug)]
struct Seen {
    fresh: BTreeSet<String>,
    since: Duration,
}

impl Settled {
    /// Looks at a table's files at `now` of the worker's watch; gives the dates that had no new file for `wait`.
    pub(super) fn look(&mut self, table: &TableName, files: &[DataFile], now: Duration, wait: Duration) -> BTreeSet<String> {
        let mut dates: BTreeMap<&str, (BTreeSet<String>, usize)> = BTreeMap::new();
        for file in files {
            let (fresh, count) = dates.entry(&file.date).or_default();
            *count += 1;
            if !layout::is_compacted(&file.path) {
                fresh.insert(file.path.clone());
            }
        }
        // One merged file of a date can become no better, so nothing is remembered of it.
        dates.retain(|_, (fresh, count)| !fresh.is_empty() || *count > 1);
        let mut before = self.0.remove(table).unwrap_or_default();
        let mut settled = BTreeSet::new();
        let mut seen = BTreeMap::new();
        for (date, (fresh, _)) in dates {
            let since = match before.remove(date) {
                Some(earlier) if fresh.is_subset(&earlier.fresh) => earlier.since,
                _ => now,
            };
            if now.saturating_sub(since) >= wait {
                settled.insert(date.to_owned());
            }
            seen.insert(date.to_owned(), Seen { fresh, since });
        }
        if !seen.is_empty() {
            self.0.insert(table.clone(), seen);
        }
        settled
    }

    /// Forgets tables that are no longer there.
    pub(super) fn keep(&mut self, tables: &BTreeSet<TableName>) {
        self.0.retain(|table, _| tables.contains(table));
    }
}
