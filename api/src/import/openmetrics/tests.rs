#![allow(clippy::unwrap_used)]

use super::*;

fn load(text: &str) -> anyhow::Result<(Samples, Rest)> {
    let mut samples = Samples::new()?;
    let rest = read(text.as_bytes(), &mut samples, |_| {})?;
    Ok((samples, rest))
}

fn error_of(text: &str) -> String {
    format!("{:#}", load(text).err().unwrap_or_else(|| panic!("taken: {text}")))
}

#[test]
fn what_promtool_prints_is_read() {
    let text = "# HELP up x\n# TYPE up gauge\nup{instance=\"a:9100\", job=\"n\"} 1 1395066363.000\nup{instance=\"a:9100\", job=\"n\"} 1e+06 1395066423.125\n\
                up{instance=\"b\", job=\"n\"} NaN 1395066363\nplain_total 3 1395066363 # {trace_id=\"x\"} 0.5 1395066362\r\n\n# EOF\n";
    let (samples, rest) = load(text).unwrap();
    assert_eq!((samples.count(), samples.series_count()), (4, 3));
    assert_eq!(samples.span(), Some((1_395_066_363_000, 1_395_066_423_125)));
    assert_eq!(rest, Rest { exemplar_count: 1, complete: true });
    assert!(!load("up 1 1\n").unwrap().1.complete, "without # EOF it may be cut off");
}

#[test]
fn names_labels_and_escapes_are_those_of_the_format() {
    let pairs = |text: &str| {
        let (metric, labels) = series_of(text).unwrap();
        (metric.into_owned(), labels.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("|"))
    };
    assert_eq!(pairs("up"), ("up".to_owned(), String::new()));
    assert_eq!(pairs("up{}"), ("up".to_owned(), String::new()));
    assert_eq!(pairs(r#"a:b{x="1",y="}{,= ",}"#), ("a:b".to_owned(), "x=1|y=}{,= ".to_owned()));
    assert_eq!(pairs(r#"up{path="C:\\a\"b\nc\d"}"#), ("up".to_owned(), "path=C:\\a\"b\nc\\d".to_owned()));
    assert_eq!(pairs(r#"{"a metric.with/all", "a label"="1", b="2"}"#), ("a metric.with/all".to_owned(), "a label=1|b=2".to_owned()));
    assert_eq!(pairs(r#"{__name__="up", b="自治"}"#), ("up".to_owned(), "b=自治".to_owned()));
    assert_eq!(load("up{a=\"x y # z\"} 1 2\n# EOF").unwrap().0.count(), 1);
}

#[test]
fn times_are_seconds_or_what_can_only_be_milliseconds() {
    for (text, ms) in [
        ("1395066363.125", 1_395_066_363_125),
        ("0", 0),
        ("-1.5", -1_500),
        ("1.395066363e9", 1_395_066_363_000),
        ("1395066363125", 1_395_066_363_125),
    ] {
        assert_eq!(time_ms(text).unwrap(), ms, "{text}");
    }
    for text in ["x", "NaN", "1e300", "Inf", "2026-11-22"] {
        assert!(time_ms(text).is_err(), "{text}");
    }
}

#[test]
fn errors_name_the_line_and_what_is_wrong() {
    for (line, says) in [
        ("up 1", "no timestamp"),
        ("up", "no value"),
        ("up one 2", "\"one\" is no number"),
        ("up 1 two", "\"two\" is no timestamp"),
        ("up 1 2 3", "does not belong"),
        ("up{a=\"1\" 1 2", "no closing brace"),
        ("up{a=1} 1 2", "not in quotes"),
        ("up{a=\"1\" b=\"2\"} 1 2", "no comma"),
        ("up{a} 1 2", "has no value"),
        ("up{=\"1\"} 1 2", "label's name"),
        ("up{a=\"1\",a=\"2\"} 1 2", "labels of up"),
        ("{a=\"1\"} 1 2", "no name"),
    ] {
        let error = error_of(&format!("ok 1 1\n\n{line}\n# EOF\n"));
        assert!(error.starts_with("line 3: ") && error.contains(says), "{line}: {error}");
    }
    assert!(error_of("ok 1 1\n# EOF\nmore 1 1\n").starts_with("line 3: text after # EOF"));
    assert!(error_of(&format!("a 1 1\n{}", "x".repeat(super::super::lines::LINE_BYTES_MAX + 1))).starts_with("line 2: the line has more than"));
}

/// Promtool before 2.48 prints whole label sets and milliseconds, and no end.
#[test]
fn what_older_promtools_print_is_read() {
    let (samples, rest) = load("{__name__=\"up\", job=\"n\"} 1 1395066363125\n{__name__=\"up\", job=\"n\"} +Inf 1395066363126\n").unwrap();
    assert_eq!((samples.count(), samples.series_count(), samples.span()), (2, 1, Some((1_395_066_363_125, 1_395_066_363_126))));
    assert!(!rest.complete);
}
