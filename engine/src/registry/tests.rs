use super::*;
use crate::query::LabelInventory;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_unsorted(pairs.iter().copied()).expect("valid")
}

fn registry(max: usize) -> Registry {
    Registry::new(Arc::new(LabelInventory), max)
}

#[test]
fn a_series_keeps_its_index_until_it_is_evicted() {
    let mut registry = registry(10);
    let (a, b) = (labels(&[("__name__", "up"), ("job", "x")]), labels(&[("__name__", "up"), ("job", "y")]));
    let ia = registry.register(a.key(), a.canonical(), 5).expect("room");
    let ib = registry.register(b.key(), b.canonical(), 6).expect("room");
    assert_eq!((registry.find(a.key()), registry.find(b.key())), (Some(ia), Some(ib)));
    let before = registry.directory();
    registry.evict(&[ia]);
    assert_eq!(registry.find(a.key()), None);
    assert!(before[ia as usize].is_some(), "a reader's directory does not change under it");
    assert_eq!(*registry.metrics()[0].series, vec![ib]);
    let again = registry.register(a.key(), a.canonical(), 9).expect("room");
    assert_eq!(again, ia, "places are used again");
    assert!(registry.info(again).expect("there").returned);
    assert!(!registry.info(ib).expect("there").returned);
}

#[test]
fn a_full_registry_says_so() {
    let mut registry = registry(1);
    let (a, b) = (labels(&[("__name__", "a")]), labels(&[("__name__", "b")]));
    registry.register(a.key(), a.canonical(), 0).expect("room");
    assert_eq!(registry.register(b.key(), b.canonical(), 0), Err(RegisterError::Full(1)));
}

#[test]
fn the_two_earliest_times_of_a_target_do_not_depend_on_order() {
    for order in [[3, 1, 2, 1], [1, 1, 2, 3], [2, 3, 1, 1]] {
        let mut target = Target::UNSEEN;
        for time in order {
            target.observe(time);
        }
        assert_eq!(target, Target { first: 1, second: 2 }, "{order:?}");
    }
}

#[test]
fn metadata_reaches_the_suffixed_series() {
    let mut registry = registry(10);
    let a = labels(&[("__name__", "http_requests_total")]);
    registry.register(a.key(), a.canonical(), 0).expect("room");
    let told = Metadata { metric: "http_requests".into(), kind: "counter", unit: String::new(), help: "Requests.".into() };
    assert!(registry.describe(told.clone()));
    assert!(!registry.describe(told), "the same again is no news");
}
