use super::*;

#[test]
fn the_terminal_names_the_language() {
    let with = |name: &'static str, value: &'static str| move |asked: &str| (asked == name).then(|| value.to_owned());
    assert_eq!(locale(with("LANG", "zh_TW.UTF-8")), Locale::ZhTw);
    assert_eq!(locale(with("LANG", "en_US.UTF-8")), Locale::En);
    assert_eq!(locale(with("LANG", "C")), Locale::En);
    assert_eq!(locale(with("LC_ALL", "zh")), Locale::ZhTw);
    assert_eq!(locale(|_| None), Locale::En);
}

#[test]
fn the_guide_names_the_server_everywhere() {
    for locale in Locale::ALL {
        let text = closing("http://127.0.0.1:1", Tally { samples: 5, calls: 6 }, 1.5, true, locale);
        assert!(text.lines().filter(|l| l.contains("curl") || l.contains("afferent sql")).all(|l| l.contains("http://127.0.0.1:1")));
    }
}
