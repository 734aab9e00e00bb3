#![allow(clippy::unwrap_used)]

use super::*;
use afferent_engine::log::Position;
use afferent_engine::status::LogStatus;
use std::sync::Arc;

fn at(ms: i64) -> Option<EventTime> {
    Some(EventTime(ms))
}

#[test]
fn before_anything_came_everything_is_unknown_and_nothing_is_zero() {
    let report = report(&Status::default(), WallTime(1_000));
    for key in ["watermark", "lag_s", "final_before", "as_of", "coverage"] {
        assert_eq!(report[key], Value::Null, "{key}");
    }
    assert_eq!(report["generated_at"], "1970-01-01T00:00:01.000Z");
    assert_eq!(report["recovered"], false);
}

#[test]
fn lags_counts_and_positions_are_what_the_engine_says() {
    let mut status = Status { recovered: true, watermark: at(50_000), epoch: 4, ..Status::default() };
    let source =
        SourceStatus { event_time_max: at(58_500), last_received: WallTime(59_000), active: true, accepted: 90, duplicates: 3, late: 6, rejected: 4 };
    status.sources.insert(Arc::from("a"), source);
    status.sources.insert(Arc::from("b"), SourceStatus { accepted: 100, ..SourceStatus::default() });
    status.logs.insert("metrics/0".into(), LogStatus { next: Position(12), checkpointed: Position(10), read_until: None });
    status.views.insert(
        "v".into(),
        ViewStatus { watermark: at(40_000), provisional_rows: 2, generation: 1, error: Some("no".into()), ..ViewStatus::default() },
    );
    let report = report(&status, WallTime(60_000));
    assert_eq!(report["lag_s"], 10.0);
    assert_eq!(report["late_count"], 6);
    assert_eq!(report["coverage"], 0.95);
    assert_eq!(report["sources"]["a"]["lag_s"], 1.5);
    assert_eq!(report["sources"]["a"]["silent_s"], 1.0);
    assert_eq!(report["sources"]["a"]["coverage"], 0.9);
    assert_eq!(report["sources"]["b"]["watermark"], Value::Null);
    assert_eq!(report["logs"]["metrics/0"], json!({ "next_position": 12, "checkpointed_position": 10, "replay_records": 2, "unread_s": null }));
    assert_eq!(report["views"]["v"]["lag_s"], 20.0);
    assert_eq!(report["views"]["v"]["error"], "no");
}

#[test]
fn a_log_that_cannot_be_read_is_missing_after_some_seconds() {
    let read = |seconds: u64| {
        let mut status = Status { missing: vec!["a partition".to_owned()], ..Status::default() };
        let read_until = Instant::now().checked_sub(std::time::Duration::from_secs(seconds));
        for name in ["events/0", "metrics/0"] {
            status.logs.insert(name.into(), LogStatus { read_until, ..LogStatus::default() });
        }
        status.logs.insert("metrics/1".into(), LogStatus { read_until: Some(Instant::now()), ..LogStatus::default() });
        report(&status, WallTime(60_000))
    };
    assert_eq!(read(2)["missing"], json!(["a partition"]));
    assert_eq!(
        read(7)["missing"],
        json!(["a partition", "records of the last 7 s may be missing: events/0, metrics/0 could not be read to the end since"])
    );
    assert!(read(7)["logs"]["metrics/0"]["unread_s"].as_f64().unwrap() >= 7.0);
}

#[test]
fn generations_repairs_and_backfills_are_told() {
    use afferent_engine::control::{BackfillId, BackfillRange, Origin};
    use afferent_engine::schema::TableName;
    use afferent_engine::status::{BackfillState, BackfillStatus, Difference, GenerationState};
    let mut status =
        Status { repair: RepairStatus { waiting: 3, oldest_waiting: at(30_000), repaired: 9, rounds: 2, corrections: 4 }, ..Status::default() };
    let generation = GenerationStatus {
        generation: 2,
        state: GenerationState::Filling,
        origin: Origin::File,
        sql: "CREATE".into(),
        filled: Some((Some(EventTime(0)), EventTime(60_000))),
        rows_read: 1,
        rows_written: 2,
        difference: Some(Difference { same: 1, changed: 2, added: 3, gone: 4 }),
        error: None,
    };
    status.views.insert("v".into(), ViewStatus { generation: 1, generations: vec![generation], ..ViewStatus::default() });
    let range = BackfillRange { view: TableName::new("v"), from: EventTime(0), to: EventTime(60_000) };
    let backfill = BackfillStatus {
        range,
        state: BackfillState::Failed,
        done_until: EventTime(15_000),
        rows_read: 8,
        rows_written: 1,
        started_at: WallTime(0),
        error: Some("no".into()),
    };
    status.backfills.insert(BackfillId(7), backfill);
    let report = report(&status, WallTime(60_000));
    assert_eq!(
        report["repair"],
        json!({ "waiting_count": 3, "oldest_waiting": "1970-01-01T00:00:30.000Z", "oldest_lag_s": 30.0, "repaired_count": 9, "rounds": 2, "corrections_waiting_count": 4 })
    );
    let generation = &report["views"]["v"]["generations"][0];
    assert_eq!((generation["state"].as_str(), generation["origin"].as_str()), (Some("filling"), Some("file")));
    assert_eq!(generation["difference"], json!({ "same": 1, "changed": 2, "added": 3, "gone": 4 }));
    assert_eq!((&generation["filled_until"], &generation["fill_to"]), (&json!("1970-01-01T00:00:00.000Z"), &json!("1970-01-01T00:01:00.000Z")));
    let backfill = &report["backfills"][0];
    assert_eq!((backfill["id"].as_u64(), backfill["percent"].as_f64(), backfill["error"].as_str()), (Some(7), Some(25.0), Some("no")));
    assert_eq!(backfill["rows_per_s"], Value::Null, "only a running one has a rate");
}
