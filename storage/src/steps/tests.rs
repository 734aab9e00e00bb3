use super::{Step, Steps};
use std::sync::{Arc, Mutex};

#[test]
fn every_step_has_a_name_of_its_own_that_is_read_back() {
    for step in Step::ALL {
        assert_eq!(Step::parse(&step.to_string()), Some(step));
    }
    assert_eq!(Step::parse("tablewritten"), None);
    let distinct: std::collections::BTreeSet<Step> = Step::ALL.into_iter().collect();
    assert_eq!(distinct.len(), Step::ALL.len());
}

#[test]
fn a_watcher_is_told_in_order_and_nobody_is_needed() {
    let seen = Arc::new(Mutex::new(vec![]));
    let told = seen.clone();
    let steps = Steps::watched(move |step| told.lock().unwrap().push(step));
    steps.reached(Step::TableBegun);
    steps.clone().reached(Step::TableWritten);
    Steps::default().reached(Step::Pruned);
    assert_eq!(*seen.lock().unwrap(), [Step::TableBegun, Step::TableWritten]);
}
