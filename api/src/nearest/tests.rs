#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

/// The textbook recursion, far too slow for anything but short words.
fn naive(left: &[char], right: &[char]) -> usize {
    match (left.split_first(), right.split_first()) {
        (None, _) => right.len(),
        (_, None) => left.len(),
        (Some((l, left_rest)), Some((r, right_rest))) => {
            let replaced = naive(left_rest, right_rest) + usize::from(l != r);
            replaced.min(naive(left_rest, right) + 1).min(naive(left, right_rest) + 1)
        }
    }
}

proptest! {
    #[test]
    fn edits_equal_the_textbook_recursion(left in "[abc]{0,6}", right in "[abc]{0,6}") {
        let (l, r): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
        prop_assert_eq!(edits(&left, &right), naive(&l, &r));
    }
}

#[test]
fn a_misspelt_word_finds_its_neighbour_and_nonsense_finds_none() {
    let known = ["server.listen", "sql.timeout_s", "engine.lateness_s"];
    assert_eq!(nearest("server.lisen", known), Some("server.listen"));
    assert_eq!(nearest("xyz", known), None);
}
