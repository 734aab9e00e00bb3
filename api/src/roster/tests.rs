#![allow(clippy::unwrap_used)]

use super::*;

fn place(port: u16, version: &str) -> Place {
    Place { at: Url::parse(&format!("http://127.0.0.1:{port}")).unwrap(), version: version.to_owned() }
}

#[test]
fn who_was_not_heard_of_for_a_while_or_is_of_another_version_is_asked_nothing() {
    let (roster, start) = (Roster::new(Some(place(1, "a")), Key::new("k")), Instant::now());
    for other in [place(1, "a"), place(2, "a"), place(3, "b")] {
        roster.hear(other, start);
    }
    assert_eq!(roster.others(start), [place(2, "a").at]);
    assert_eq!(roster.told(start), [place(1, "a"), place(2, "a")]);
    roster.hear(place(4, "a"), start + HEARD_FOR);
    assert_eq!(roster.others(start + HEARD_FOR + Duration::from_millis(1)), [place(4, "a").at]);
    let outside = Roster::default();
    outside.hear(place(2, "a"), start);
    assert!(outside.others(start).is_empty() && outside.told(start).is_empty());
}

#[test]
fn a_process_without_the_key_is_a_stranger() {
    let roster = Roster::new(Some(place(1, "a")), Key::new("secret"));
    let with = |value: &str| HeaderMap::from_iter([(KEY, HeaderValue::from_str(value).unwrap())]);
    assert!(roster.knows(&with("secret")));
    assert!(!roster.knows(&with("secre")) && !roster.knows(&with("")) && !roster.knows(&HeaderMap::new()));
    assert!(!Roster::default().knows(&with("secret")), "a process that has none knows nobody");
    assert!(!format!("{roster:?}").contains("secret"));
}
