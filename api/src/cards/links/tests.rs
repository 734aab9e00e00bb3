use super::*;

fn one(href: &str, service: &str) -> Option<String> {
    let template = |_: &str| vec![Template { rel: "grafana".to_owned(), href: href.to_owned() }];
    fill(&template, [service], 1000, 2000, Locale::En).pop().map(|l| l.href)
}

#[test]
fn service_and_window_are_filled_and_encoded() {
    let link = one("https://grafana.example/d/x?var-service={service}&from={from}&to={to}", "a&b=c d/../é");
    assert_eq!(link.as_deref(), Some("https://grafana.example/d/x?var-service=a%26b%3Dc%20d%2F..%2F%C3%A9&from=1000&to=2000"));
}

#[test]
fn nothing_but_http_leaves() {
    assert_eq!(one("javascript:alert(1)", "x"), None);
    assert_eq!(one("javascript://host/%0aalert(1)", "x"), None);
    assert_eq!(one("data://x", "x"), None);
    assert_eq!(one("//host/{service}", "x"), None);
    assert_eq!(one("https://host/{unknown}", "x"), None);
    assert_eq!(one("https://host/{service", "x"), None);
    assert_eq!(one("https://host/\"onclick=", "x"), None);
    assert_eq!(one("HTTP://host/", "x").as_deref(), Some("HTTP://host/"));
}
