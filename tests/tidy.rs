//! Rules about the sources that neither the compiler nor clippy can check: who may name whom, sizes, names, READMEs. Not a formatter.
//!
//! Every test lists all offenders at once, each with its path and what to do.

mod dependencies;
mod sources;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};

/// The crates a user runs, from the inside out.
const ROOMS: [&str; 5] = ["engine", "ingest", "queries", "storage", "api"];

/// The crates that only look at the others.
const OUTSIDE: [&str; 2] = ["tests", "benches"];

/// The folder that holds the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// One source file: its path below the root with forward slashes, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// True for code that only tests run.
    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/") || self.path.contains("/benches/")
    }
}

/// Every file below `folder` whose name ends in one of `endings`, sorted by path; build output is left out.
fn files(folder: &Path, endings: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" && name != "__pycache__" {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                let below = path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
                found.push(Source { path: below, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The Rust files of the workspace.
fn rust_files() -> Vec<Source> {
    ROOMS.iter().chain(&OUTSIDE).flat_map(|room| files(&root().join(room), &[".rs"])).collect()
}

/// Fails with all offenders, or passes.
fn none(rule: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{rule}:\n  {}", offenders.join("\n  "));
}
