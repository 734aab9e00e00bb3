use super::*;

#[test]
fn prices_are_read_exactly() {
    assert_eq!(pico_usd("3e-06"), 3_000_000);
    assert_eq!(pico_usd("0.0000025"), 2_500_000);
    assert_eq!(pico_usd("1.5e-07"), 150_000);
    assert_eq!(pico_usd("0.0"), 0);
}

#[test]
fn cached_tokens_are_part_of_the_input() {
    let prices = Prices { input: 3_000_000, cache_read: 300_000, cache_write: 3_750_000, output: 15_000_000 };
    let call = Call { input: 10_000, cache_read: 6_000, cache_write: 1_000, output: 500 };
    assert_eq!(nano_usd(call, prices), 9_000_000 + 1_800_000 + 3_750_000 + 7_500_000);
}
