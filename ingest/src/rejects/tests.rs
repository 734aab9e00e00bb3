#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn a_million_refusals_take_little_room_and_lose_no_count() {
    let mut rejects = Rejects::default();
    for n in 0..1_000_000u32 {
        rejects.push(if n % 2 == 0 { "even" } else { "odd" }, 3, || format!("item {n} {}", "x".repeat(2000)));
    }
    let all = rejects.finish();
    assert_eq!(all.len(), NAMED_MAX + 2);
    assert_eq!(all.iter().map(|r| u64::from(r.count)).sum::<u64>(), 3_000_000);
    assert!(all.iter().all(|r| r.detail.len() <= DETAIL_BYTES_MAX));
}

#[test]
fn texts_are_cut_between_characters() {
    assert_eq!(cut("錯誤預算".to_owned(), 8), "錯...");
    assert_eq!(cut("short".to_owned(), 8), "short");
}
