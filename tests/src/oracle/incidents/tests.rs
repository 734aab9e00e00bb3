use super::*;

fn event(at_s: i64, kind: &str, actor: &str, outcome: Option<&str>) -> Event {
    Event { incident: "i".into(), at_ms: at_s * 1000, kind: kind.into(), actor: actor.into(), outcome: outcome.map(str::to_owned) }
}

#[test]
fn who_acted_decides_and_not_who_closed() {
    let path = |events: &[Event]| fold(events)["i"].path;
    let opened = event(0, "opened", "system", None);
    let ai = event(5, "mitigated", "ai", Some("succeeded"));
    let closed = event(9, "resolved", "system", None);
    assert_eq!(path(&[opened.clone(), closed.clone()]), Path::SelfCleared);
    assert_eq!(path(&[opened.clone(), ai.clone(), closed.clone()]), Path::Auto);
    assert_eq!(path(&[closed.clone(), opened.clone(), ai.clone(), event(3, "approval_approved", "human", None)]), Path::Assisted);
    assert_eq!(path(&[opened.clone(), ai.clone(), event(6, "acknowledged", "human", None), closed.clone()]), Path::Auto);
    assert_eq!(path(&[opened.clone(), ai, event(6, "note", "human", Some("succeeded")), closed]), Path::Manual);
    assert_eq!(path(&[opened, event(9, "resolved", "human", None)]), Path::Manual);
}

#[test]
fn a_reopened_incident_moves_its_resolution() {
    let story = [event(0, "opened", "system", None), event(9, "resolved", "ai", Some("succeeded")), event(20, "reopened", "system", None)];
    assert_eq!(fold(&story)["i"].resolved_ms, None);
    let ended = [&story[..], &[event(60, "resolved", "ai", Some("succeeded"))]].concat();
    let all = fold(&ended);
    assert_eq!((all["i"].resolved_ms, all["i"].reopened), (Some(60_000), true));
    let seen = resolved(&all, 0, 60_000);
    assert_eq!((durations_ms(&seen), mean_s(&[1000, 3000]), median_s(&[1000, 2000, 9000])), (vec![60_000], Some(2.0), Some(2.0)));
}
