//! Which language an answer speaks: chosen by `?locale=`, else by `Accept-Language`, else Traditional Chinese. Not the words themselves.

mod words;

pub use words::Word;

/// A language of cards and of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Locale {
    /// Traditional Chinese as written in Taiwan.
    #[default]
    ZhTw,
    /// English.
    En,
}

/// Ranges of an `Accept-Language` header that are looked at; the rest is ignored.
const LANGUAGE_RANGES_MAX: usize = 32;

impl Locale {
    /// Every language there is.
    pub const ALL: [Self; 2] = [Self::ZhTw, Self::En];

    /// The BCP 47 tag.
    pub fn tag(self) -> &'static str {
        match self {
            Self::ZhTw => "zh-TW",
            Self::En => "en",
        }
    }

    /// The language of a tag (`zh-TW`, `zh`, `zh_TW.UTF-8`, `en-GB`), if it is one of ours.
    pub fn parse(tag: &str) -> Option<Self> {
        let primary = tag.trim().split(['-', '_', '.']).next().unwrap_or_default();
        if primary.eq_ignore_ascii_case("zh") {
            Some(Self::ZhTw)
        } else if primary.eq_ignore_ascii_case("en") {
            Some(Self::En)
        } else {
            None
        }
    }

    /// The language of an answer. A parameter that names no language of ours counts as absent, so that a link never breaks over it.
    ///
    /// # Source
    /// RFC 9110 section 12.5.4; of equal weights the first in the header wins, `q=0` refuses.
    pub fn negotiate(parameter: Option<&str>, accept_language: Option<&str>) -> Self {
        if let Some(locale) = parameter.and_then(Self::parse) {
            return locale;
        }
        let mut best: Option<(f32, Self)> = None;
        for range in accept_language.unwrap_or_default().split(',').take(LANGUAGE_RANGES_MAX) {
            let mut parts = range.split(';');
            let tag = parts.next().unwrap_or_default().trim();
            let weight = parts.find_map(|p| p.trim().strip_prefix("q=")).map_or(Some(1.0), |q| q.trim().parse::<f32>().ok());
            let Some(weight) = weight.filter(|w| *w > 0.0 && *w <= 1.0) else { continue };
            let locale = if tag == "*" { Some(Self::default()) } else { Self::parse(tag) };
            if let Some(locale) = locale
                && best.is_none_or(|(held, _)| weight > held)
            {
                best = Some((weight, locale));
            }
        }
        best.map_or_else(Self::default, |(_, locale)| locale)
    }

    /// The sentence of `word` with its `{name}` places filled.
    pub fn say(self, word: Word, places: &[(&str, &str)]) -> String {
        let mut out = String::new();
        let mut rest = word.text(self);
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (name, tail) = after.split_once('}').unwrap_or((after, ""));
            out.push_str(places.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| *value));
            rest = tail;
        }
        out.push_str(rest);
        out
    }
}

#[cfg(test)]
mod tests;
