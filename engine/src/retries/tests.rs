use super::*;

#[test]
fn the_same_body_is_a_retry_only_within_the_window_and_from_the_same_source() {
    let mut seen = SeenBodies::new(1_000);
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    assert!(!seen.is_retry(&a, 0, 7));
    assert!(seen.is_retry(&a, 1_000, 7));
    assert!(!seen.is_retry(&b, 1_000, 7));
    assert!(!seen.is_retry(&a, 1_001, 7), "the window has passed since it was first seen");
    seen.forget_idle(2_100);
    assert_eq!(seen.iter().count(), 0);
}

#[test]
fn memory_is_bounded() {
    let mut seen = SeenBodies::new(i64::MAX / 2);
    let a: Arc<str> = "a".into();
    for i in 0..BODIES_MAX as u128 + 5 {
        assert!(!seen.is_retry(&a, 0, i));
    }
    assert_eq!(seen.iter().count(), BODIES_MAX);
}

#[test]
fn event_ids_do_not_run_into_each_other() {
    let mut seen = SeenEvents::default();
    assert!(!seen.is_repeat("a", "bc", "d"));
    assert!(!seen.is_repeat("ab", "c", "d"));
    assert!(seen.is_repeat("a", "bc", "d"));
}
