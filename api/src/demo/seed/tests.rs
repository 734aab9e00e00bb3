use super::*;

#[test]
fn numbers_are_pinned_and_spread() {
    assert_eq!(unit("a", 1), unit("a", 1));
    assert_ne!(unit("a", 1), unit("a", 2));
    assert_ne!(unit("a", 1), unit("b", 1));
    let mean = (0..10_000).map(|step| unit("spread", step)).sum::<f64>() / 10_000.0;
    assert!((mean - 0.5).abs() < 0.02, "{mean}");
    let total: u64 = (0..10_000).map(|step| about(2.3, "count", step)).sum();
    assert!((22_500..23_500).contains(&total), "{total}");
    assert_eq!(about(-1.0, "count", 0), 0);
}
