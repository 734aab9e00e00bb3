#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

#[test]
fn texts_become_whole_numbers() {
    let cases: [(&str, u32, i64, bool); 14] = [
        ("3.75e-08", 12, 37_500, true),
        ("1.25e-6", 12, 1_250_000, true),
        ("0", 12, 0, true),
        ("0.0", 3, 0, true),
        ("12", 2, 1_200, true),
        ("-0.5", 1, -5, true),
        ("+7", 0, 7, true),
        ("0.0004", 3, 0, false),
        ("0.0005", 3, 1, false),
        ("0.0015", 3, 2, false),
        ("-0.0015", 3, -2, false),
        ("1e3", 0, 1_000, true),
        (".5", 1, 5, true),
        ("0.00004", 3, 0, false),
    ];
    for (text, places, rounded, exact) in cases {
        assert_eq!(scaled(text, places).unwrap(), Scaled { rounded, exact }, "{text} in 10^-{places}");
    }
}

#[test]
fn what_is_no_number_or_too_big_is_refused() {
    for text in ["", "-", "abc", "1.2.3", "1e", "1e9999", "NaN", "inf", "0x10", "1,5", " 1", "1e30"] {
        assert!(scaled(text, 12).is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn a_number_written_out_reads_back(whole in 0..1_000_000_i64, fraction in 0..1_000_000_i64) {
        let text = format!("{whole}.{fraction:06}");
        prop_assert_eq!(scaled(&text, 6).unwrap(), Scaled { rounded: whole * 1_000_000 + fraction, exact: true });
        // With one place less, half goes up.
        prop_assert_eq!(scaled(&text, 5).unwrap().rounded, (whole * 1_000_000 + fraction + 5) / 10);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,20}", places in 0..20_u32) {
        let _read = scaled(&text, places);
    }
}
