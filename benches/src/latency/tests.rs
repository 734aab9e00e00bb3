use super::*;

#[test]
fn quantiles_are_members_of_the_list() {
    let mut latency = Latency::default();
    assert_eq!(latency.quantile(0.99), Duration::ZERO);
    for ms in (1..=100).rev() {
        latency.push(Duration::from_millis(ms));
    }
    assert_eq!(latency.quantile(0.5), Duration::from_millis(50));
    assert_eq!(latency.quantile(0.99), Duration::from_millis(99));
    assert_eq!(latency.quantile(1.0), Duration::from_millis(100));
}
