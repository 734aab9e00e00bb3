//! `rollup_1m` of a running server against the panes that a naive oracle makes of its rows in `samples`.

use crate::door::Door;
use crate::oracle::counter::{self, Pane, Series};
use crate::rows::{self, Cell};
use std::collections::BTreeMap;

/// Panes whose windows are this far before the newest are final.
const FINAL_AFTER_MS: i64 = 120_000;

/// Compares every pane of these metrics, whose series are told apart by `instance` and `n`; says how many were compared.
///
/// # Panics
/// Where one differs, stands twice or is missing.
pub fn compare(door: &Door, metrics: &[&str]) -> usize {
    let mut series: BTreeMap<String, Series> = BTreeMap::new();
    let mut found: BTreeMap<(String, i64), Pane> = BTreeMap::new();
    for metric in metrics {
        read(door, metric, &mut series, &mut found);
    }
    let wanted = counter::panes(&series.into_values().collect::<Vec<_>>());
    let last = wanted.keys().map(|(_, start)| *start).max().expect("panes");
    let mut compared = 0;
    for (key, pane) in wanted.iter().filter(|((_, start), _)| *start < last - FINAL_AFTER_MS) {
        assert_eq!(found.get(key), Some(pane), "{key:?}");
        compared += 1;
    }
    let surplus: Vec<_> = found.keys().filter(|key| !wanted.contains_key(*key)).take(5).collect();
    assert!(surplus.is_empty(), "panes of no sample: {surplus:?}");
    compared
}

fn read(door: &Door, metric: &str, series: &mut BTreeMap<String, Series>, found: &mut BTreeMap<(String, i64), Pane>) {
    for row in rows::sql(door, &format!("SELECT instance, n, time, value FROM metrics.\"{metric}\"")).expect("rows of samples") {
        let name = format!("{metric}/{}/{}", row[0].text(), row[1].text());
        let target = Some(("job".to_owned(), row[0].text().to_owned()));
        let one = series.entry(name.clone()).or_insert(Series { name, target, samples: BTreeMap::new() });
        one.samples.insert(row[2].int() / 1000, row[3].float());
    }
    let columns = "instance, n, window_start, count, sum, min, max, first, last, increase, resets";
    for row in rows::sql(door, &format!("SELECT {columns} FROM rollup.\"{metric}\"")).expect("rows of panes") {
        let key = (format!("{metric}/{}/{}", row[0].text(), row[1].text()), row[2].int() / 1000);
        let value = |cell: &Cell| (*cell != Cell::Null).then(|| cell.float());
        let pane = Pane {
            count: row[3].int(),
            sum: row[4].float(),
            min: value(&row[5]),
            max: value(&row[6]),
            first: value(&row[7]),
            last: value(&row[8]),
            increase: row[9].float(),
            resets: row[10].int(),
        };
        assert!(found.insert(key.clone(), pane).is_none(), "{key:?} has two pane rows");
    }
}
