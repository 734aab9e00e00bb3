use super::*;

#[test]
fn numbers_read_as_people_write_them() {
    let en = Locale::En;
    assert_eq!(percent(Some(0.998_765), 2, en), "99.88 %");
    assert_eq!(percent(None, 2, Locale::ZhTw), "未知");
    assert_eq!(points(Some(11.666), en), "+11.7 pp");
    assert_eq!(points(Some(-1.0), Locale::ZhTw), "-1.0 個百分點");
    assert_eq!(latency(Some(999.4), en), "999 ms");
    assert_eq!(latency(Some(1240.0), en), "1.24 s");
    assert_eq!(usd(Some(1234.5), en), "US$ 1,234.50");
    assert_eq!(usd(Some(0.0123), en), "US$ 0.0123");
    assert_eq!(usd(Some(0.0), en), "US$ 0.00");
    assert_eq!(count(Some(-1_234_567), en), "-1,234,567");
    assert_eq!(count(Some(123), en), "123");
    assert_eq!(duration(Some(59.6), en), "1 min 0 s");
    assert_eq!(duration(Some(93_784.0), Locale::ZhTw), "1 天 2 小時");
}

#[test]
fn foreign_text_loses_markup_and_queries() {
    let dirty = "rate(http_requests_total{job=\"x\"}[5m]) > 0 <b>bold</b> `code` **md**\n\u{7}";
    let clean = plain(dirty);
    assert!(!clean.contains(['<', '>', '`', '*', '[', '{', '(', '\n', '\u{7}']), "{clean}");
    assert!(plain(&"長".repeat(100_000)).chars().count() <= 120);
}
