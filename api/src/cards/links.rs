//! Ways out to other tools, from the operator's templates with the card's own service and window. Not a free choice: nothing but http and https leaves.

use super::display::plain;
use super::envelope::Link;
use super::seal::rfc3339;
use crate::locale::{Locale, Word};

/// A template as the operator wrote it: `{service}`, `{from}` and `{to}` (epoch milliseconds) are filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The tool.
    pub rel: String,
    /// Where it leads.
    pub href: String,
}

/// Says which templates a service has.
pub type Templates<'a> = &'a dyn Fn(&str) -> Vec<Template>;

/// Links of one card.
const LINKS_MAX: usize = 8;

/// Fills the templates of these services; those that do not lead to http or https, or ask for a place there is none for, are left out.
pub fn fill<'a>(templates: Templates<'_>, services: impl IntoIterator<Item = &'a str>, from_ms: i64, to_ms: i64, locale: Locale) -> Vec<Link> {
    let (from, to) = (from_ms.to_string(), to_ms.to_string());
    let owned = services.into_iter().flat_map(|service| templates(service).into_iter().map(move |template| (service, template)));
    let filled = owned.filter_map(|(service, template)| {
        let href = href(&template.href, &[("service", service), ("from", &from), ("to", &to)])?;
        let tool = plain(&template.rel);
        Some(Link {
            rel: tool.clone(),
            label: locale.say(Word::OpenTool, &[("tool", &tool), ("service", &plain(service))]),
            icon: icon(&tool).to_owned(),
            href,
            target: "_blank".to_owned(),
            from: Some(rfc3339(from_ms)),
            to: Some(rfc3339(to_ms)),
        })
    });
    filled.take(LINKS_MAX).collect()
}

fn href(template: &str, places: &[(&str, &str)]) -> Option<String> {
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (name, tail) = after.split_once('}')?;
        let value = places.iter().find(|(n, _)| *n == name)?.1;
        out.push_str(&encoded(value));
        rest = tail;
    }
    out.push_str(rest);
    let scheme = out.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase())?;
    let is_clean = out.chars().all(|c| c.is_ascii_graphic() && !"<>\"`\\^|".contains(c));
    (is_clean && (scheme == "http" || scheme == "https")).then_some(out)
}

/// Percent-encodes everything but unreserved characters (RFC 3986 section 2.3).
pub fn encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn icon(tool: &str) -> &'static str {
    match tool.to_ascii_lowercase().as_str() {
        "grafana" => "chart",
        "signoz" => "trace",
        "sentry" => "bug",
        _ => "external",
    }
}

#[cfg(test)]
mod tests;
