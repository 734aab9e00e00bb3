//! Bytes on disk: of the live files of Delta tables, or of a whole folder for servers that keep something else.

use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes and files of the tables called `names` below `data`, without files that no reader sees any more.
///
/// # Errors
/// When a folder or a log entry cannot be read.
pub fn table_bytes(data: &Path, names: &[&str]) -> Result<BTreeMap<String, (u64, usize)>> {
    let mut out = BTreeMap::new();
    for log in folders(data)?.into_iter().filter(|folder| folder.ends_with("_delta_log")) {
        let name = log.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        if names.contains(&name.as_str()) {
            out.insert(name, live_bytes(&log)?);
        }
    }
    Ok(out)
}

/// Bytes of every file below a folder.
///
/// # Errors
/// When a folder cannot be read.
pub fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for folder in folders(folder)? {
        for entry in fs::read_dir(&folder)? {
            let meta = entry?.metadata()?;
            sum += if meta.is_file() { meta.len() } else { 0 };
        }
    }
    Ok(sum)
}

/// The folder and every folder below it.
fn folders(top: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![top.to_owned()];
    let mut next = 0;
    while let Some(folder) = found.get(next).cloned() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                found.push(path);
            }
        }
        next += 1;
    }
    Ok(found)
}

/// Replays a Delta log's JSON commits; a fresh table still has them all.
fn live_bytes(log: &Path) -> Result<(u64, usize)> {
    let mut commits: Vec<PathBuf> = fs::read_dir(log)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    commits.retain(|path| path.extension().is_some_and(|e| e == "json"));
    commits.sort();
    let mut live: BTreeMap<String, u64> = BTreeMap::new();
    for commit in commits {
        for line in fs::read_to_string(&commit)?.lines() {
            let action: Value = serde_json::from_str(line).with_context(|| commit.display().to_string())?;
            let path = |action: &Value| action["path"].as_str().unwrap_or_default().to_owned();
            if let Some(add) = action.get("add") {
                live.insert(path(add), add["size"].as_u64().unwrap_or(0));
            } else if let Some(remove) = action.get("remove") {
                live.remove(&path(remove));
            }
        }
    }
    Ok((live.values().sum(), live.len()))
}

#[cfg(test)]
mod tests;
