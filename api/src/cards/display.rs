//! Numbers and foreign words as people read them. Not the sentences around them (`locale/`).

use crate::locale::{Locale, Word};

/// Characters of a foreign text that are shown.
const FOREIGN_CHARS_MAX: usize = 120;

/// What stands where nothing is known.
pub(super) fn unknown(locale: Locale) -> String {
    locale.say(Word::Unknown, &[])
}

fn or_unknown<T>(value: Option<T>, locale: Locale, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| unknown(locale), show)
}

/// A ratio as percent.
pub(super) fn percent(ratio: Option<f64>, decimals: usize, locale: Locale) -> String {
    or_unknown(ratio, locale, |r| format!("{:.decimals$} %", r * 100.0))
}

/// Percentage points with their sign.
pub(super) fn points(pp: Option<f64>, locale: Locale) -> String {
    or_unknown(pp, locale, |pp| match locale {
        Locale::ZhTw => format!("{pp:+.1} 個百分點"),
        Locale::En => format!("{pp:+.1} pp"),
    })
}

/// Milliseconds, or seconds from one on.
pub(super) fn latency(ms: Option<f64>, locale: Locale) -> String {
    or_unknown(ms, locale, |ms| if ms >= 1000.0 { format!("{:.2} s", ms / 1000.0) } else { format!("{ms:.0} ms") })
}

/// US dollars: cents from one dollar on, four digits below.
pub(super) fn usd(amount: Option<f64>, locale: Locale) -> String {
    or_unknown(amount, locale, |a| if a != 0.0 && a.abs() < 1.0 { format!("US$ {a:.4}") } else { format!("US$ {}", grouped(&format!("{a:.2}"))) })
}

/// A number of things.
pub(super) fn count(n: Option<i64>, locale: Locale) -> String {
    or_unknown(n, locale, |n| grouped(&n.to_string()))
}

/// A rate per second.
pub(super) fn per_second(rate: Option<f64>, locale: Locale) -> String {
    or_unknown(rate, locale, |r| format!("{r:.2} /s"))
}

/// A span of time in its two largest units.
pub(super) fn duration(seconds: Option<f64>, locale: Locale) -> String {
    or_unknown(seconds, locale, |s| {
        let total = s.max(0.0).round() as u64;
        let (d, h, m, s) = (total / 86_400, total / 3_600 % 24, total / 60 % 60, total % 60);
        let (day, hour, minute, second) = match locale {
            Locale::ZhTw => (" 天", " 小時", " 分", " 秒"),
            Locale::En => (" d", " h", " min", " s"),
        };
        if d > 0 {
            format!("{d}{day} {h}{hour}")
        } else if h > 0 {
            format!("{h}{hour} {m}{minute}")
        } else if m > 0 {
            format!("{m}{minute} {s}{second}")
        } else {
            format!("{s}{second}")
        }
    })
}

/// Puts a comma between every three digits before the point.
fn grouped(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let mut out = String::from(sign);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// A text from outside without what could be read as HTML, markdown or a query: cards carry words only.
pub(super) fn plain(text: &str) -> String {
    let kept = text.chars().map(|c| if c.is_control() || "<>`*#[]{}()|\\~".contains(c) { ' ' } else { c });
    let words: String = kept.take(FOREIGN_CHARS_MAX * 4).collect();
    let joined = words.split_whitespace().collect::<Vec<_>>().join(" ");
    if joined.chars().count() > FOREIGN_CHARS_MAX { joined.chars().take(FOREIGN_CHARS_MAX - 1).chain(['…']).collect() } else { joined }
}

#[cfg(test)]
mod tests;
