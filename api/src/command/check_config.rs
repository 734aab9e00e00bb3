//! `afferent check-config`: the effective configuration as a configuration file, with the origin of each value. Secrets are masked. What the files it
//! names define is checked as well.

use super::{ConfigArgs, Exit};
use crate::config::{self, Document, Files, Origin};
use crate::views;
use afferent_queries::dimensions::Dimensions;
use std::fmt::Write as _;
use std::io::Write as _;
use toml::Value;

/// What stands in place of a secret.
const MASK: &str = "********";

/// Runs the command.
///
/// # Errors
/// Where standard output is closed.
pub fn run(args: &ConfigArgs) -> anyhow::Result<Exit> {
    let mut document = Document::reference()?;
    let checked = config::read(&mut document, args.config.as_deref()).and_then(|()| config::Config::validate(&document));
    let errors = match checked {
        Ok(config) => definitions(&config.files),
        Err(error) => vec![error.to_string()],
    };
    if !errors.is_empty() {
        writeln!(std::io::stderr(), "{}", errors.join("\n"))?;
        return Ok(Exit::Usage);
    }
    std::io::stdout().write_all(render(&document).as_bytes())?;
    Ok(Exit::Done)
}

/// What is wrong with the files of definitions.
fn definitions(files: &Files) -> Vec<String> {
    let dimensions = match Dimensions::load(files.inventory.as_deref(), files.slo.as_deref(), files.prices.as_deref()) {
        Ok(dimensions) => dimensions,
        Err(error) => return vec![error.to_string()],
    };
    let Some(folder) = &files.views else { return Vec::new() };
    views::files::check(folder, &dimensions).unwrap_or_else(|error| vec![format!("{error:#}")])
}

/// Every key with its value and origin.
pub fn render(document: &Document) -> String {
    let mut out = String::from("# The effective configuration. The manual of every key: README of the api crate, default.toml.\n");
    let mut open = String::new();
    for (key, value) in document.entries() {
        let Some((section, name)) = key.split_once('.') else { continue };
        if section != open {
            open = section.to_owned();
            push(&mut out, format_args!("\n[{section}]\n"));
        }
        let origin = match document.origin(&key) {
            Origin::Default => String::new(),
            set => format!("  # {set}"),
        };
        push(&mut out, format_args!("{name} = {}{origin}\n", masked(&key, value)));
    }
    out
}

/// Writing into a string cannot fail, so its result says nothing.
fn push(out: &mut String, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).unwrap_or_default();
}

fn masked(key: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if config::is_secret(key) && !text.is_empty() => Value::String(MASK.to_owned()),
        Value::Array(items) => Value::Array(items.iter().map(|item| masked(key, item)).collect()),
        Value::Table(items) => {
            // In a table of secrets each is one; in any other, a name tells.
            let key_of = |name: &String| if config::is_secret(key) { key.to_owned() } else { name.clone() };
            Value::Table(items.iter().map(|(name, item)| (name.clone(), masked(&key_of(name), item))).collect())
        }
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests;
