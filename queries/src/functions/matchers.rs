//! Label matchers as text: `value`, `=value`, `!=value`, `=~pattern`, `!~pattern`. Patterns match the whole value; a missing label is empty, as in Prometheus.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Bytes one pattern may have.
pub const PATTERN_BYTES_MAX: usize = 1_024;

/// One matcher of one label.
#[derive(Clone)]
pub struct Matcher {
    /// As written.
    text: String,
    test: Test,
}

#[derive(Clone)]
enum Test {
    Is(String),
    IsNot(String),
    Like(Pattern),
    Unlike(Pattern),
}

type Pattern = Arc<dyn Fn(&str) -> bool + Send + Sync>;

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Matcher {
    /// Reads one matcher.
    ///
    /// # Errors
    /// Says what is wrong with the pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        let test = if let Some(rest) = text.strip_prefix("=~") {
            Test::Like(pattern(rest)?)
        } else if let Some(rest) = text.strip_prefix("!~") {
            Test::Unlike(pattern(rest)?)
        } else if let Some(rest) = text.strip_prefix("!=") {
            Test::IsNot(rest.to_owned())
        } else {
            Test::Is(text.strip_prefix('=').unwrap_or(text).to_owned())
        };
        Ok(Self { text: text.to_owned(), test })
    }

    /// Whether a label's value fits; a missing label is "".
    pub fn accepts(&self, value: &str) -> bool {
        match &self.test {
            Test::Is(expected) => value == expected,
            Test::IsNot(other) => value != other,
            Test::Like(pattern) => pattern(value),
            Test::Unlike(pattern) => !pattern(value),
        }
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(format!("the pattern has {} bytes; {PATTERN_BYTES_MAX} are allowed", text.len()));
    }
    let compiled = datafusion::functions::regex::compile_regex(&format!("^(?:{text})$"), None).map_err(|e| format!("pattern {text:?}: {e}"))?;
    Ok(Arc::new(move |value| compiled.is_match(value)))
}

/// Matchers of several labels; all must fit.
#[derive(Debug, Clone, Default)]
pub struct Matchers(Vec<(String, Matcher)>);

impl Matchers {
    /// Reads matchers by label name.
    ///
    /// # Errors
    /// Says which label's matcher is wrong.
    pub fn parse(texts: &BTreeMap<String, String>) -> Result<Self, String> {
        let read = |(name, text): (&String, &String)| match Matcher::parse(text) {
            Ok(matcher) => Ok((name.clone(), matcher)),
            Err(problem) => Err(format!("label {name:?}: {problem}")),
        };
        Ok(Self(texts.iter().map(read).collect::<Result<_, _>>()?))
    }

    /// Reads the JSON object that [`crate::slo`] writes into the relation `slo_rules`.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let texts: BTreeMap<String, String> = serde_json::from_str(text).map_err(|e| format!("matchers must be a JSON object of texts: {e}"))?;
        Self::parse(&texts)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether labels fit, given as a look-up by name.
    pub fn accept<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|(name, matcher)| matcher.accepts(get(name).unwrap_or_default()))
    }
}
