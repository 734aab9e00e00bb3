use super::*;

#[test]
fn the_shipped_capture_holds_240_scrapes_of_507_series() {
    let capture = shipped().expect("readable");
    assert_eq!((capture.scrape_count, capture.series.len()), (240, 507));
    assert!(capture.series.iter().filter(|s| s.grows).count() > 50);
}

#[test]
fn labels_and_numbers_are_read_as_printed() {
    let text = "a{x=\"1\\\"2\",b=\"c,d\"} 1.5e+03\nz 0.25\n\n# HELP z a gauge\na{x=\"1\\\"2\",b=\"c,d\"} 1.75\nz 0.5\nonce 3\n";
    let capture = parse(text).expect("readable");
    assert_eq!(capture.series.len(), 2);
    let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
    assert_eq!(capture.series[0].labels, [pair("__name__", "a"), pair("b", "c,d"), pair("x", "1\"2")]);
    assert_eq!(capture.series[0].values, [1500.0, 1.75]);
    assert!(!capture.series[0].grows && capture.series[1].grows);
    assert_eq!((decimals_of("1.5e+03"), decimals_of("0.25"), decimals_of("1.25e-05"), decimals_of("NaN")), (0, 2, 7, 0));
}
