use super::*;

#[test]
fn hash_is_a_contract() {
    let labels = Labels::from_pairs([("__name__", "up"), ("instance", "localhost:9100"), ("job", "node")]).expect("valid");
    assert_eq!(labels.key(), SeriesKey(xxhash_rust::xxh3::xxh3_128(labels.canonical())));
    assert_eq!(format!("{:032x}", labels.key().0), VECTOR_UP);
    assert_eq!(labels.key().id().0, u128::from_str_radix(VECTOR_UP, 16).expect("hex") as u64 as i64);
}

/// XXH3-128, seed 0, of `up{instance="localhost:9100",job="node"}` in canonical form.
const VECTOR_UP: &str = "d22d9fa351bf492aeba28e2f589f101f";

#[test]
fn wire_and_pairs_agree() {
    let labels = Labels::from_pairs([("__name__", "up"), ("a", "1"), ("b", "")]).expect("valid");
    assert_eq!(Labels::from_wire(labels.canonical()), Ok(labels.clone()));
    assert_eq!(labels.to_string(), "up{a=\"1\"}");
    assert_eq!(labels.get("a"), Some("1"));
}

#[test]
fn bad_label_sets_say_what_is_wrong() {
    let err = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).expect_err("refused");
    assert_eq!(err(&[("b", "1"), ("a", "1")]), LabelError::Unsorted { before: "b".into(), after: "a".into() });
    assert_eq!(err(&[("__name__", "x"), ("a", "1"), ("a", "2")]), LabelError::Duplicate("a".into()));
    assert_eq!(err(&[("a", "1")]), LabelError::NoMetric);
    assert_eq!(err(&[("", "1")]), LabelError::EmptyName);
    assert_eq!(Labels::from_wire(&[0x0a, 0x05, 0x0a]), Err(LabelError::Malformed(0)));
}
