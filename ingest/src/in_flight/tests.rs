#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn room_is_bounded_and_comes_back() {
    let room = InFlight::new(10 * 1024);
    let mut first = room.enter(4 * 1024).unwrap();
    let second = room.enter(5 * 1024).unwrap();
    assert!(matches!(room.enter(2 * 1024), Err(Error::Busy { .. })));
    assert!(matches!(room.grow(&mut first, 2 * 1024), Err(Error::Busy { .. })));
    drop(second);
    room.grow(&mut first, 2 * 1024).unwrap();
    room.enter(4 * 1024).unwrap();
}

#[test]
fn a_single_request_larger_than_all_room_still_runs() {
    let room = InFlight::new(10 * 1024);
    let mut hold = room.enter(1 << 30).unwrap();
    room.grow(&mut hold, 1 << 30).unwrap();
    assert!(room.enter(1).is_err());
}

#[test]
fn requests_are_counted_too() {
    let room = InFlight::new(1 << 30);
    let holds: Vec<_> = (0..REQUESTS_MAX).map(|_| room.enter(1).unwrap()).collect();
    assert!(room.enter(1).is_err());
    drop(holds);
    assert!(room.enter(1).is_ok());
}
