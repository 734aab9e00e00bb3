#![allow(clippy::unwrap_used)]

use super::*;
use std::collections::BTreeSet;

fn places(text: &str) -> BTreeSet<String> {
    text.split('{').skip(1).map(|part| part.split_once('}').unwrap().0.to_owned()).collect()
}

#[test]
fn every_word_stands_in_both_languages_with_the_same_places() {
    for word in Word::ALL {
        let (zh, en) = (word.text(Locale::ZhTw), word.text(Locale::En));
        assert!(!zh.is_empty() && !en.is_empty(), "{word:?}");
        assert_eq!(places(zh), places(en), "{word:?}");
        assert!(en.is_ascii(), "{word:?}: {en}");
    }
}

#[test]
fn no_word_carries_markup_or_query_syntax() {
    for word in Word::ALL {
        for locale in Locale::ALL {
            let text = word.text(locale);
            for mark in ['<', '>', '`', '*', '#', '['] {
                assert!(!text.contains(mark), "{word:?}: {text}");
            }
        }
    }
}

#[test]
fn fixed_terms_are_used() {
    let all: String = Word::ALL.iter().map(|w| w.text(Locale::ZhTw)).collect();
    for term in ["統帥", "自治率", "錯誤預算"] {
        assert!(all.contains(term), "{term}");
    }
}

#[test]
fn the_parameter_beats_the_header_and_the_header_beats_the_default() {
    assert_eq!(Locale::negotiate(None, None), Locale::ZhTw);
    assert_eq!(Locale::negotiate(Some("en"), Some("zh-TW")), Locale::En);
    assert_eq!(Locale::negotiate(Some("fr"), Some("en-GB,en;q=0.9")), Locale::En);
    assert_eq!(Locale::negotiate(None, Some("fr, en;q=0.5, zh;q=0.7")), Locale::ZhTw);
    assert_eq!(Locale::negotiate(None, Some("fr, de")), Locale::ZhTw);
    assert_eq!(Locale::negotiate(None, Some("zh;q=0, en;q=0.1")), Locale::En);
    assert_eq!(Locale::negotiate(None, Some("en;q=x, *;q=0.1")), Locale::ZhTw);
}

#[test]
fn places_are_filled_and_unknown_ones_vanish() {
    assert_eq!(Locale::En.say(Word::FinOpsEmpty, &[("period", "2026-03")]), "There is no usage in 2026-03.");
    assert_eq!(Locale::En.say(Word::FinOpsEmpty, &[]), "There is no usage in .");
}
