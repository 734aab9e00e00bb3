//! Aggregates give the same whatever the order and the partition their rows come in; incidents are told by hand-worked tables.

use super::{cells, query, run, session};
use afferent_engine::schema::timestamp;
use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::record_batch::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;
use std::sync::Arc;

type Row = (i64, i64, &'static str, String, f64, f64);

fn batch(rows: &[Row]) -> RecordBatch {
    let times: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0 * 1_000_000)));
    RecordBatch::try_from_iter([
        ("time", cast(&times, &timestamp()).unwrap()),
        ("sequence", Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1))) as ArrayRef),
        ("kind", Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.2)))),
        ("attributes", Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.3.as_str())))),
        ("le", Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.4)))),
        ("n", Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.5)))),
    ])
    .unwrap()
}

const ALL: &str = "SELECT sequence % 3 AS key, incident_story(time, sequence, kind, attributes) AS story, last_change(time, sequence, json_text(attributes, 'type')) AS change, \
    histogram_quantile(0.9, le, n) AS q, histogram_below(0.5, le, n) AS b, histogram_bound(0.5, le, n) AS t FROM t GROUP BY sequence % 3 ORDER BY key";

fn split(rows: &[Row], partitions: usize) -> Vec<Vec<String>> {
    let mut config = SessionConfig::new().with_target_partitions(partitions);
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    let context = SessionContext::new_with_config(config);
    super::register(&mut context.state_ref().write()).unwrap();
    let parts: Vec<Vec<RecordBatch>> =
        (0..partitions).map(|p| vec![batch(&rows.iter().skip(p).step_by(partitions).cloned().collect::<Vec<_>>())]).collect();
    context.register_table("t", Arc::new(MemTable::try_new(parts[0][0].schema(), parts).unwrap())).unwrap();
    cells(&run(async { context.sql(ALL).await?.collect().await }).unwrap())
}

fn row() -> impl Strategy<Value = Row> {
    let types = ["opened", "acknowledged", "mitigated", "resolved", "reopened", "cancelled", "note", "approved", "executed"];
    let actors = ["ai", "human", "system"];
    let bounds = [0.1, 0.5, 1.0, f64::INFINITY];
    (0..400_000_i64, 0..types.len(), 0..actors.len(), any::<bool>(), 0..bounds.len(), 0..50_u32).prop_map(
        move |(time, kind, actor, acted, bound, n)| {
            let action = if acted { r#", "action": {"type": "x", "outcome": "succeeded"}"# } else { "" };
            let attributes = format!(r#"{{"type": "{}", "actor": {{"kind": "{}"}}{action}}}"#, types[kind], actors[actor]);
            (time, 0, if kind > 6 { "approval" } else { "incident" }, attributes, bounds[bound], f64::from(n))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn order_and_partition_do_not_matter(rows in proptest::collection::vec(row(), 1..60), seed in any::<u64>()) {
        let rows: Vec<Row> = rows.into_iter().enumerate().map(|(i, r)| (r.0, i as i64, r.2, r.3, r.4, r.5)).collect();
        let mut shuffled = rows.clone();
        let mut state = seed | 1;
        for i in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(i, (state >> 33) as usize % (i + 1));
        }
        prop_assert_eq!(split(&rows, 1), split(&shuffled, 4));
    }
}

fn event(minute: i64, kind: &'static str, what: &str, actor: &str, more: &str) -> Row {
    (minute * 60, minute, kind, format!(r#"{{"type": "{what}", "actor": {{"kind": "{actor}"}}{more}}}"#), 0.0, 0.0)
}

/// State, path, minutes from creation to resolution, reopened, episode of a story.
fn story(rows: &[Row]) -> Vec<String> {
    let context = session();
    context.register_batch("t", batch(rows)).unwrap();
    let sql = "SELECT s['state'], s['path'], (CAST(s['resolved_at'] AS BIGINT) - CAST(s['created_at'] AS BIGINT)) / 60000000, s['reopened'], s['episode'], s['rolled_back'] FROM (SELECT incident_story(time, sequence, kind, attributes) AS s FROM t)";
    cells(&query(&context, sql).unwrap()).remove(0)
}

#[test]
fn the_path_decides_not_who_closed_it() {
    let success = r#", "action": {"type": "restart", "outcome": "succeeded"}"#;
    let failure = r#", "action": {"type": "restart", "outcome": "failed"}"#;
    let opened = || event(0, "incident", "opened", "system", "");
    let resolved = |actor| event(10, "incident", "resolved", actor, "");
    let cases: Vec<(&str, Vec<Row>)> = vec![
        ("auto", vec![opened(), event(5, "incident", "mitigated", "ai", success), resolved("ai")]),
        ("auto", vec![opened(), event(5, "incident", "note", "ai", success), resolved("human")]),
        ("auto", vec![opened(), event(2, "incident", "acknowledged", "human", ""), event(5, "incident", "note", "ai", success), resolved("ai")]),
        ("assisted", vec![opened(), event(4, "approval", "approved", "human", ""), event(5, "incident", "note", "ai", success), resolved("ai")]),
        ("manual", vec![opened(), event(5, "incident", "note", "ai", success), event(6, "incident", "note", "human", success), resolved("ai")]),
        ("manual", vec![opened(), event(4, "approval", "rejected", "human", ""), resolved("system")]),
        ("manual", vec![opened(), event(5, "incident", "note", "ai", failure), resolved("human")]),
        ("manual", vec![opened(), resolved("human")]),
        ("self_cleared", vec![opened(), event(5, "incident", "note", "ai", failure), resolved("system")]),
        ("self_cleared", vec![opened(), resolved("system")]),
        ("open", vec![opened(), event(5, "incident", "note", "ai", success)]),
    ];
    for (path, rows) in cases {
        assert_eq!(story(&rows)[1], path, "{rows:?}");
    }
}

#[test]
fn a_resolution_taken_back_within_a_day_moves() {
    let day = 24 * 60;
    let opened = event(0, "incident", "opened", "system", "");
    let resolved = event(10, "incident", "resolved", "system", "");
    let again = |from: i64| [event(from, "incident", "reopened", "system", ""), event(from + 30, "incident", "resolved", "human", "")];
    let [reopened, closed] = again(10 + day);
    assert_eq!(story(&[closed, opened.clone(), reopened, resolved.clone()]), ["resolved", "manual", &(10 + day + 30).to_string(), "1", "1", "false"]);
    // A minute later it is a new episode.
    let [reopened, closed] = again(11 + day);
    assert_eq!(story(&[opened.clone(), resolved.clone(), reopened.clone(), closed]), ["resolved", "manual", "30", "0", "2", "false"]);
    assert_eq!(story(&[opened.clone(), resolved.clone(), reopened]), ["open", "open", "null", "0", "2", "false"]);
    // Without an opening nobody knows how long it took.
    assert_eq!(story(std::slice::from_ref(&resolved))[2], "null");
    let rolled_back = event(12, "approval", "rolled_back", "ai", "");
    assert_eq!(story(&[opened, resolved, rolled_back])[5], "true");
}

#[test]
fn a_long_story_keeps_its_beginning_and_its_end() {
    let mut rows = vec![event(0, "incident", "opened", "system", "")];
    rows.extend((1..3_000).map(|n| event(n, "incident", "acknowledged", "human", "")));
    rows.push(event(3_000, "incident", "resolved", "ai", ""));
    assert_eq!(story(&rows)[..3], ["resolved", "self_cleared", "3000"]);
}
