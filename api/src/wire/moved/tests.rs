use super::*;
use afferent_engine::checkpoint::{CHECKPOINT_VERSION, Epoch, GroupName};
use afferent_engine::log::Topic;
use afferent_engine::time::WallTime;

const METRICS: LogName = LogName { topic: Topic::Metrics, partition: 0 };
const EVENTS: LogName = LogName { topic: Topic::Events, partition: 0 };

/// Stands at record 40 of the metrics and 5 of the events.
fn checkpoint(log: Option<&str>) -> Checkpoint {
    Checkpoint {
        version: CHECKPOINT_VERSION,
        group: GroupName::of_partition(0),
        epoch: Epoch(3),
        writer: "one".to_owned(),
        created_at: WallTime(0),
        log: log.map(str::to_owned),
        positions: BTreeMap::from([(METRICS.to_string(), Position(40)), (EVENTS.to_string(), Position(5))]),
        tables: BTreeMap::new(),
        states: vec![],
    }
}

fn bounds(metrics: (u64, u64), events: (u64, u64)) -> Bounds {
    BTreeMap::from([(METRICS, (Position(metrics.0), Position(metrics.1))), (EVENTS, (Position(events.0), Position(events.1)))])
}

fn begins(log: Option<&str>, bounds: &Bounds, lost: bool) -> Result<Option<Vec<u64>>> {
    let found = positions(&checkpoint(log), &[EVENTS, METRICS], bounds, "ours", lost)?;
    Ok(found.map(|found| vec![found[&METRICS].0, found[&EVENTS].0]))
}

#[test]
fn a_state_goes_on_at_the_beginning_of_an_empty_log() {
    for log in [None, Some("theirs")] {
        assert_eq!(begins(log, &bounds((0, 0), (0, 0)), false).unwrap(), Some(vec![0, 0]));
        // Another store may stand at the end of one whose records were deleted.
        let refused = begins(log, &bounds((70, 70), (0, 0)), true).unwrap_err();
        assert!(refused.to_string().contains("ours held records of metrics/0"), "{refused}");
        let refused = begins(log, &bounds((0, 0), (2, 5)), true).unwrap_err();
        assert!(refused.kind() == ErrorKind::Invalid && refused.to_string().contains("ours holds 3 records of events/0"), "{refused}");
    }
}

#[test]
fn in_the_log_that_it_had_a_state_goes_on_where_it_stands_or_where_that_begins_now() {
    for lost in [false, true] {
        assert_eq!(begins(Some("ours"), &bounds((10, 90), (0, 9)), lost).unwrap(), None);
    }
    // A store that was put back to an earlier instant, whose log has been trimmed since.
    let trimmed = bounds((60, 90), (0, 9));
    assert_eq!(begins(Some("ours"), &trimmed, true).unwrap(), Some(vec![60, 5]));
    assert_eq!(begins(Some("ours"), &trimmed, false).unwrap(), None);
}
