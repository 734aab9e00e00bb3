#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn key(n: u64) -> SeriesKey {
    SeriesKey::of(&n.to_le_bytes())
}

fn keys(numbers: impl IntoIterator<Item = u64>) -> Vec<SeriesKey> {
    numbers.into_iter().map(key).collect()
}

/// Takes a body through the table and says how many of its keys were known and how many of those needed a jump.
fn pass(known: &KnownSeries, body: &[SeriesKey]) -> (usize, usize) {
    let mut steps = Steps::over(known);
    let mut found = 0;
    for key in body {
        if steps.knows(*key) {
            found += 1;
        } else {
            steps.learn(*key);
        }
    }
    let jumps = steps.jumps;
    steps.finish(body.iter().copied());
    (found, jumps)
}

#[test]
fn a_body_that_comes_again_is_known_in_one_jump() {
    let known = KnownSeries::new(1024);
    assert_eq!(pass(&known, &keys(0..300)), (0, 0));
    assert_eq!(pass(&known, &keys(0..300)), (300, 0));
    assert_eq!(pass(&known, &keys(100..200)), (100, 1), "a part of it as well");
    assert_eq!(pass(&known, &keys(200..400)), (100, 1), "and one that adds to it");
}

#[test]
fn another_order_is_learnt() {
    let known = KnownSeries::new(4096);
    pass(&known, &keys(0..1000));
    let shuffled = keys((0..1000).map(|n| n * 7 % 1000));
    assert!(pass(&known, &shuffled).1 > 900);
    assert_eq!(pass(&known, &shuffled), (1000, 1));
}

#[test]
fn it_stays_bounded_and_never_knows_what_was_not_learnt() {
    let known = KnownSeries::new(1024);
    for n in 0..1000 {
        pass(&known, &keys(n * 100..n * 100 + 100));
        // A full line of the index may drop one of its own.
        assert!(pass(&known, &keys(n * 100..n * 100 + 100)).0 >= 95, "the newest are there");
    }
    let kept = (0..100_000).filter(|n| Steps::over(&known).knows(key(*n))).count();
    assert!((700..=1024).contains(&kept), "{kept} kept");
    assert!((100_000..200_000).all(|n| !Steps::over(&known).knows(key(n))));
}

#[test]
fn a_table_without_room_knows_nothing() {
    let known = KnownSeries::new(7);
    assert_eq!(pass(&known, &keys(0..100)), (0, 0));
    assert_eq!(pass(&known, &keys(0..100)), (0, 0));
    assert!(!Steps::over(&KnownSeries::new(64)).knows(SeriesKey(0)));
}

#[test]
fn writers_at_once_break_nothing() {
    let known = KnownSeries::new(512);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let known = &known;
            scope.spawn(move || {
                for round in 0..200u64 {
                    let from = (thread * 31 + round * 17) % 1000;
                    pass(known, &keys(from..from + 80));
                }
            });
        }
    });
    assert!((2000..20_000).all(|n| !Steps::over(&known).knows(key(n))));
}

proptest! {
    #[test]
    fn only_what_was_learnt_is_known(bodies in prop::collection::vec(prop::collection::vec(0u64..500, 0..120), 1..30), room in 0usize..600) {
        let known = KnownSeries::new(room);
        let mut learnt = std::collections::BTreeSet::new();
        for body in bodies {
            for n in &body {
                prop_assert!(!Steps::over(&known).knows(key(*n)) || learnt.contains(n));
            }
            pass(&known, &keys(body.iter().copied()));
            learnt.extend(body);
        }
    }
}
