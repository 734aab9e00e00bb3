#![allow(clippy::unwrap_used)]

use super::*;

fn load(text: &str) -> anyhow::Result<Samples> {
    let mut samples = Samples::new()?;
    read(text.as_bytes(), &mut samples, |_| {})?;
    Ok(samples)
}

fn error_of(text: &str) -> String {
    format!("{:#}", load(text).err().unwrap_or_else(|| panic!("taken: {text}")))
}

#[test]
fn columns_come_in_any_order_and_labels_in_two_forms() {
    let samples = load("job,value,metric,time\na,1,up,2026-11-22T10:00:00Z\n,2,up,1795341600000\r\na,3,up,2026-11-22T10:01:00.5+00:00\n\n").unwrap();
    assert_eq!((samples.count(), samples.series_count()), (3, 2));
    assert_eq!(samples.span(), Some((1_795_341_600_000, 1_795_341_660_500)));
    let samples = load("metric,time_s,value,labels\nup,1795341600.25,1,\"{\"\"job\"\": \"\"a,b\"\"}\"\nup,1795341600.25,1,\n").unwrap();
    assert_eq!((samples.series_count(), samples.span()), (2, Some((1_795_341_600_250, 1_795_341_600_250))));
    // What `afferent sql --format csv` prints comes back, staleness markers and all.
    assert_eq!(value("").unwrap().to_bits(), STALE_NAN_BITS);
    assert!(value("NaN").unwrap().is_nan() && value("-Inf").unwrap() == f64::NEG_INFINITY);
}

#[test]
fn fields_in_quotes_hold_anything() {
    let mut fields = Vec::new();
    assert!(split("a,\"b \"\"c\"\", d\",,\"\"\r\n", &mut fields).unwrap());
    assert_eq!(fields, ["a", "b \"c\", d", "", ""]);
    let samples = load("metric,time,value,note\nup,1795341600000,1,\"two\nlines\"\nup,1795341600000,1,x\n").unwrap();
    assert_eq!(samples.series_count(), 2);
}

#[test]
fn errors_name_the_line_and_what_is_wrong() {
    let head = "metric,time,value\nup,1795341600000,1\n";
    for (record, says) in [
        ("up,1795341600000", "2 fields where the header has 3"),
        ("up,yesterday,1", "neither RFC 3339"),
        ("up,1795341600,1", "call the column time_s"),
        ("up,1795341600000,one", "no number"),
        (",1795341600000,1", "no name"),
        ("up,1795341600000,\"1\"x", "behind a closing quote"),
        ("up,1795341600000,\"1", "closing quote is missing"),
    ] {
        let error = error_of(&format!("{head}{record}\n"));
        assert!(error.starts_with("line 3: ") && error.contains(says), "{record}: {error}");
    }
    for (header, says) in [
        ("", "a header is required"),
        ("metric,time\n", "no column \"value\""),
        ("metric,metric,time,value\n", "twice"),
        ("metric,time,time_s,value\n", "both"),
    ] {
        assert!(error_of(header).contains(says), "{header}: {}", error_of(header));
    }
    assert!(error_of("metric,time,value,labels\nup,1795341600000,1,[1]\n").starts_with("line 2: labels"));
}
