use super::*;

#[test]
fn a_bundle_is_read_back_and_a_cut_one_is_refused() {
    let (a, b) = (Bytes::from_static(b"hello"), Bytes::new());
    let packed = pack(&[("a", &a), ("b", &b)]);
    let parts = unpack(&packed).expect("whole");
    assert_eq!(parts.get("a"), Some(&a));
    assert_eq!(parts.get("b"), Some(&b));
    for end in 1..packed.len() {
        let cut = unpack(&packed.slice(..end));
        assert!(cut.is_none_or(|parts| parts.len() < 2), "cut at {end}");
    }
}
