//! Prices of language models: LiteLLM's JSON shape, read into whole pico-USD per token. Not what a call costs: that is `llm_cost_nano`.
//!
//! Keys are `provider/model` or `model` (with `litellm_provider`); `provider/*` prices every model of a provider that has no entry. Fields read:
//! `input_cost_per_token`, `output_cost_per_token`, `cache_read_input_token_cost`, `cache_creation_input_token_cost`, and each with the suffix
//! `_above_<N>k_tokens` for calls with more input than that. Other fields are ignored: the public file moves.

use crate::error::{Error, Result};
use decimal::scaled;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub mod decimal;

/// Models one price file may have.
pub const MODELS_MAX: usize = 100_000;
/// Bytes a price file may have.
pub const PRICE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Pico-USD per token that no price may exceed: 1,000 USD per token.
pub const PRICE_PICO_MAX: i64 = 1_000_000_000_000_000;
/// Decimal places of a pico-USD.
const PICO_PLACES: u32 = 12;
/// The model that stands for every model of its provider.
pub const ANY_MODEL: &str = "*";
/// The file used where the operator gives none: an example to replace.
const EXAMPLE: &str = include_str!("prices/default.json");

/// The fields of one price, in the order of [`Price`]'s.
const FIELDS: [&str; 4] = ["input_cost_per_token", "cache_read_input_token_cost", "cache_creation_input_token_cost", "output_cost_per_token"];

/// Prices of one model for calls within a range of input tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// Canonical provider.
    pub provider: String,
    /// Model, lower case, without the provider; [`ANY_MODEL`] for all.
    pub model: String,
    /// Holds for calls with more input tokens than this; -1 from none on.
    pub input_tokens_above: i64,
    /// And at most this many.
    pub input_tokens_to: i64,
    /// Pico-USD per input token that no cache held.
    pub input_pico_usd: i64,
    /// Per token read from a cache.
    pub cache_read_pico_usd: Option<i64>,
    /// Per token written to a cache.
    pub cache_write_pico_usd: Option<i64>,
    /// Per output token.
    pub output_pico_usd: Option<i64>,
}

/// A price file, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceMap {
    /// Stands for the file's content; every computed cost keeps it.
    pub version: String,
    /// Prices, by provider, model and range.
    pub prices: Vec<Price>,
    /// Models left out, each with the reason: their calls are unpriced.
    pub skipped: Vec<(String, String)>,
}

/// The canonical name of a provider, for whatever name senders and price files use.
pub fn provider_of(name: &str) -> String {
    let name = name.trim().to_lowercase();
    let word = name.as_str();
    if word == "anthropic" || word == "claude" {
        "claude".to_owned()
    } else if word == "google" || word == "gemini" || word.starts_with("vertex_ai") || word == "google_ai_studio" || word == "gcp.gemini" {
        "gemini".to_owned()
    } else if word == "ollama_chat" || word == "ollama" {
        "ollama".to_owned()
    } else if word == "text-completion-openai" || word == "openai" {
        "openai".to_owned()
    } else {
        name
    }
}

impl PriceMap {
    /// The prices that come with the program: an example.
    ///
    /// # Errors
    /// Never with the file as shipped.
    pub fn example() -> Result<Self> {
        let map = Self::from_json(EXAMPLE, "the built-in example prices")?;
        Ok(Self { version: format!("example-{}", map.version), ..map })
    }

    /// Reads a price file; `path` names it in errors.
    ///
    /// # Errors
    /// `Invalid`, naming model and field, for what is not JSON, not a number, negative or absurdly high.
    pub fn from_json(text: &str, path: &str) -> Result<Self> {
        let wrong = |problem: String| Error::definition(path, problem);
        if text.len() > PRICE_BYTES_MAX {
            return Err(wrong(format!("{} bytes: a price file may have {PRICE_BYTES_MAX}", text.len())));
        }
        let models: BTreeMap<String, Value> = serde_json::from_str(text).map_err(|e| wrong(format!("must be a JSON object of models: {e}")))?;
        if models.len() > MODELS_MAX {
            return Err(wrong(format!("{} models: a price file may have {MODELS_MAX}", models.len())));
        }
        let version = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        let mut map = Self { version, prices: Vec::new(), skipped: Vec::new() };
        // The upstream file begins with a specimen that explains the fields in words.
        for (key, value) in models.iter().filter(|(key, _)| *key != "sample_spec" && !key.starts_with('_')) {
            let fields = value.as_object().ok_or_else(|| wrong(format!("model {key:?} must be an object")))?;
            map.add(key, fields).map_err(wrong)?;
        }
        map.prices.sort_by(|a, b| (&a.provider, &a.model, a.input_tokens_above).cmp(&(&b.provider, &b.model, b.input_tokens_above)));
        Ok(map)
    }

    fn add(&mut self, key: &str, fields: &Map<String, Value>) -> Result<(), String> {
        let (provider, model) = names(key, fields)?;
        let skipped = |reason: &str| (key.to_owned(), reason.to_owned());
        if fields.get(FIELDS[0]).is_none_or(Value::is_null) {
            self.skipped.push(skipped("has no input_cost_per_token"));
            return Ok(());
        }
        if self.prices.iter().any(|p| p.provider == provider && p.model == model) {
            // Upstream lists some models under several keys; the first in order of keys stands.
            self.skipped.push(skipped("is priced by another key already"));
            return Ok(());
        }
        let mut above = vec![-1];
        above.extend(tiers(fields));
        let mut base: Option<[Option<i64>; 4]> = None;
        let mut rows = Vec::with_capacity(above.len());
        for (index, from) in above.iter().enumerate() {
            let suffix = if *from < 0 { String::new() } else { format!("_above_{}k_tokens", from / 1_000) };
            let mut prices = [None; 4];
            for (slot, field) in prices.iter_mut().zip(FIELDS) {
                *slot = match price(key, &format!("{field}{suffix}"), fields)? {
                    Read::Price(pico) => Some(pico),
                    Read::Nothing => None,
                    Read::TooFine => {
                        self.skipped.push(skipped("has a price finer than a pico-USD"));
                        return Ok(());
                    }
                };
            }
            // What a tier does not say stays as below it.
            let lower = base.unwrap_or_default();
            let [input, read, write, output]: [Option<i64>; 4] = std::array::from_fn(|i| prices[i].or(lower[i]));
            base = Some([input, read, write, output]);
            rows.push(Price {
                provider: provider.clone(),
                model: model.clone(),
                input_tokens_above: *from,
                input_tokens_to: above.get(index + 1).copied().unwrap_or(i64::MAX),
                input_pico_usd: input.unwrap_or_default(),
                cache_read_pico_usd: read,
                cache_write_pico_usd: write,
                output_pico_usd: output,
            });
        }
        self.prices.append(&mut rows);
        Ok(())
    }
}

fn names(key: &str, fields: &Map<String, Value>) -> Result<(String, String), String> {
    let stated = match fields.get("litellm_provider") {
        None | Some(Value::Null) => None,
        Some(Value::String(provider)) => Some(provider.as_str()),
        Some(_) => return Err(format!("model {key:?}: litellm_provider must be a text")),
    };
    let (provider, model) = match (stated, key.split_once('/')) {
        (Some(stated), Some((prefix, model))) if prefix == stated || provider_of(prefix) == provider_of(stated) => (stated, model),
        (Some(stated), _) => (stated, key),
        (None, Some((prefix, model))) => (prefix, model),
        (None, None) => return Err(format!("model {key:?}: write the key as provider/model, or give litellm_provider")),
    };
    Ok((provider_of(provider), model.to_lowercase()))
}

/// The token counts from which other prices hold, ascending.
fn tiers(fields: &Map<String, Value>) -> Vec<i64> {
    let count = |name: &String| {
        let rest = FIELDS.iter().find_map(|field| name.strip_prefix(field))?;
        let thousands: i64 = rest.strip_prefix("_above_")?.strip_suffix("k_tokens")?.parse().ok()?;
        (1..=1_000_000).contains(&thousands).then_some(thousands * 1_000)
    };
    let mut found: Vec<i64> = fields.keys().filter_map(count).collect();
    found.sort_unstable();
    found.dedup();
    found
}

enum Read {
    Price(i64),
    Nothing,
    TooFine,
}

fn price(key: &str, field: &str, fields: &Map<String, Value>) -> Result<Read, String> {
    let text = match fields.get(field) {
        None | Some(Value::Null) => return Ok(Read::Nothing),
        // The shortest text that reads back as the same float is the text of the file, up to 15 significant digits.
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err(format!("model {key:?}: {field} must be a number")),
    };
    let amount = scaled(&text, PICO_PLACES).map_err(|problem| format!("model {key:?}: {field} = {text}: {problem}"))?;
    if amount.rounded < 0 {
        return Err(format!("model {key:?}: {field} = {text} must not be negative"));
    }
    if amount.rounded > PRICE_PICO_MAX {
        return Err(format!("model {key:?}: {field} = {text} is more than 1000 USD per token"));
    }
    Ok(if amount.exact { Read::Price(amount.rounded) } else { Read::TooFine })
}

#[cfg(test)]
mod tests;
