//! Snapshots planned once, run over other rows and other instants, give what a plain run gives each time.
#![allow(clippy::unwrap_used)]

use crate::definition::Definition;
use crate::plan::Compiler;
use crate::run::fixture::{PANE, START, dimensions, same, times};
use crate::run::once::run_once;
use afferent_engine::query::{Program, SnapshotQuery, View};
use afferent_engine::schema::{TableName, view_envelope};
use afferent_engine::time::EventTime;
use arrow::array::{ArrayRef, Int64Array, StringArray, new_null_array};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;
use std::sync::Arc;

const SNAPSHOTS: [&str; 5] = [
    "SELECT service, SUM(n) AS n, as_of() AS at FROM traffic WHERE window_start > as_of() - INTERVAL '3 minutes' GROUP BY service",
    "SELECT s.service, s.layer, coalesce(t.n, -1) AS n, t.window_start FROM services s LEFT JOIN (SELECT *, row_number() OVER (PARTITION BY service ORDER BY window_start DESC) AS age FROM traffic WHERE window_start <= as_of()) t ON t.service = s.service AND t.age = 1",
    "SELECT service, n FROM traffic WHERE n >= (SELECT MAX(n) FROM traffic WHERE window_start < as_of()) ORDER BY n DESC, service LIMIT 2",
    "WITH x AS (SELECT 'a' AS scope, as_of() - INTERVAL '1 minute' AS t UNION ALL SELECT 'b' AS scope, as_of() AS t) SELECT x.scope AS service, COUNT(y.n) AS n FROM x LEFT JOIN traffic y ON y.window_start <= x.t GROUP BY 1",
    "SELECT service, n FROM (SELECT service, n FROM traffic WHERE n > 3 UNION ALL SELECT service, -n AS n FROM traffic) x ORDER BY n DESC, service LIMIT 3",
];

fn views() -> (View, Vec<View>) {
    let text = "CREATE MATERIALIZED VIEW traffic AS SELECT service, tumble(window_start, INTERVAL '1 minute') AS window_start, SUM(count) AS n FROM panes GROUP BY 1, 2";
    let traffic = || Compiler::new(&dimensions(), &[]).compile(&Definition::parse("test", text).unwrap()).unwrap();
    let compile = |select: &&str| {
        let text = format!("CREATE MATERIALIZED VIEW v WITH (key = 'service') AS {select}");
        Compiler::new(&dimensions(), &[traffic().spec])
            .compile(&Definition::parse("test", &text).unwrap())
            .unwrap_or_else(|e| panic!("{select}: {e}"))
    };
    (traffic(), SNAPSHOTS.iter().map(compile).collect())
}

fn rows(view: &View, minutes: i64) -> RecordBatch {
    let all: Vec<(&str, i64)> =
        (0..minutes).flat_map(|m| [("api", m), ("web", m), ("cron", m)]).filter(|(s, m)| (s.len() as i64 + m) % 5 != 0).collect();
    let mut fields: Vec<_> = view.spec.schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.extend(view_envelope());
    let zeros = || Arc::new(Int64Array::from(vec![0; all.len()])) as ArrayRef;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(all.iter().map(|r| r.0))),
        times(all.iter().map(|r| START + r.1 * PANE)),
        Arc::new(Int64Array::from_iter_values(all.iter().map(|r| r.1 * 7 % 11))),
        new_null_array(fields[3].data_type(), all.len()),
        new_null_array(fields[4].data_type(), all.len()),
        zeros(),
        zeros(),
        new_null_array(fields[7].data_type(), all.len()),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn query(view: &View) -> Arc<dyn SnapshotQuery> {
    let Program::Snapshot(s) = &view.program else { panic!() };
    Arc::clone(&s.query)
}

#[test]
fn snapshots_equal_one_run_at_every_instant() {
    let (traffic, snapshots) = views();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    for view in &snapshots {
        let query = query(view);
        for minutes in [0, 1, 4, 9] {
            for at in [0, 3, 20] {
                let (rows, as_of) = (rows(&traffic, minutes), EventTime(START / 1000 + at * 60_000));
                let inputs = BTreeMap::from([(TableName::new("traffic"), vec![rows.clone()])]);
                let got = query.evaluate(&inputs, as_of).unwrap();
                assert_eq!(got.schema(), view.spec.schema);
                let want = runtime.block_on(run_once(&view.spec.sql, vec![("traffic".to_owned(), vec![rows])], &dimensions(), as_of)).unwrap();
                same(&[got], &want).unwrap_or_else(|e| panic!("{}\n{e}", view.spec.sql));
            }
        }
        assert_eq!(query.evaluate(&BTreeMap::new(), EventTime(0)).unwrap().schema(), view.spec.schema);
    }
}

#[test]
fn runs_within_a_runtime_that_has_one_thread_only() {
    let (traffic, snapshots) = views();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let count = runtime.block_on(async move {
        let task = tokio::runtime::Handle::current().spawn(async move {
            let inputs = BTreeMap::from([(TableName::new("traffic"), vec![rows(&traffic, 3_000), rows(&traffic, 3_000)])]);
            snapshots.iter().map(|v| query(v).evaluate(&inputs, EventTime(START / 1000 + 60_000_000)).unwrap().num_rows()).sum::<usize>()
        });
        task.await.unwrap()
    });
    assert!(count > 5);
}
