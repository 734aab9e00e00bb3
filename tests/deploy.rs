//! The folder `deploy/`, checked by the tools that read such files and against the program that they run. Not run in containers: no image can be had here.

mod alerts;
mod by_hand;
mod containers;
mod moved_log;
mod stack;
mod tools;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").join("deploy")
}

/// One file of it.
fn text(path: &str) -> String {
    let path = folder().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A key of the manual of the configuration, `log.bytes_max`, as the number it defaults to.
fn default_of(key: &str) -> i64 {
    let manual: toml::Table = afferent_api::config::DEFAULT_TOML.parse().unwrap();
    let (section, name) = key.split_once('.').expect("a section and a name");
    manual[section][name].as_integer().unwrap_or_else(|| panic!("{key} is no number"))
}

/// The items of a list; anything else has none.
fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A value that must be text.
fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}
