#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn a_name_tells_the_form() {
    for (name, form) in [
        ("dump.om", Some(Format::Openmetrics)),
        ("a/b.c/DUMP.TXT", Some(Format::Openmetrics)),
        ("x.parquet", Some(Format::Parquet)),
        ("x.CSV", Some(Format::Csv)),
        ("x.json", None),
        ("x", None),
    ] {
        assert_eq!(Format::of_name(name), form, "{name}");
    }
}

#[test]
fn a_series_has_one_number_however_its_labels_come() {
    let mut samples = Samples::new().unwrap();
    let first = samples.series("up", [("job", "a"), ("instance", "b")].into_iter()).unwrap();
    let same = samples.series("up", [("instance", "b"), ("none", ""), ("job", "a")].into_iter()).unwrap();
    let other = samples.series("down", [("job", "a"), ("instance", "b")].into_iter()).unwrap();
    assert!(first == same && first != other && samples.series_count() == 2);
    for (metric, labels) in [("", vec![]), ("up", vec![("a", "1"), ("a", "2")]), ("up", vec![("__name__", "x")])] {
        assert!(samples.series(metric, labels.clone().into_iter()).is_err(), "{metric} {labels:?}");
    }
}
