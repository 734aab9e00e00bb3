//! Who may name whom: the seven edges between crates, the rooms each outside crate may enter, one version of the big ones.

use super::{OUTSIDE, ROOMS, Source, files, none, root};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use toml::{Table, Value};

/// The edges between our crates, all of them. A new one is the rarest kind of change and needs a decision row.
const EDGES: [(&str, &str); 7] = [
    ("ingest", "engine"),
    ("queries", "engine"),
    ("storage", "engine"),
    ("api", "engine"),
    ("api", "ingest"),
    ("api", "queries"),
    ("api", "storage"),
];

/// Outside crates that only some rooms may name; whatever is not listed is free.
///
/// `parquet` in api serves one thing: the Parquet answer of the SQL endpoint. `snap` in api: the demo sends real remote-write bodies.
const VISITORS: [(&str, &[&str]); 21] = [
    ("datafusion", &["queries", "storage", "api"]),
    ("datafusion-distributed", &["queries"]),
    ("hyper-util", &["api"]),
    ("deltalake-core", &["storage"]),
    ("deltalake", &["storage"]),
    ("object_store", &["storage"]),
    ("rdkafka", &["storage"]),
    ("crc32c", &["storage"]),
    ("parquet", &["storage", "api"]),
    ("prost", &["ingest", "tests", "benches"]),
    ("snap", &["ingest", "api", "tests", "benches"]),
    ("axum", &["ingest", "api"]),
    ("clap", &["api", "benches"]),
    ("toml", &["api", "tests"]),
    ("tracing-subscriber", &["api"]),
    ("metrics-exporter-prometheus", &["api"]),
    ("mimalloc", &["api", "tests"]),
    ("serde_yaml_ng", &["queries"]),
    ("anyhow", &["api", "tests", "benches"]),
    ("ureq", &["api", "tests", "benches"]),
    ("proptest", &[]),
];

/// Crates of which the lock file may hold one version only: their types cross our borders.
const SINGLE: [&str; 5] = ["arrow", "arrow-array", "parquet", "datafusion", "object_store"];

fn manifest(room: &str) -> Table {
    let path = root().join(room).join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The entries of one dependency table of a manifest.
fn entries(manifest: &Table, table: &str) -> Vec<(String, Value)> {
    let found = manifest.get(table).and_then(Value::as_table).cloned().unwrap_or_default();
    found.into_iter().collect()
}

fn names(manifest: &Table, table: &str) -> BTreeSet<String> {
    entries(manifest, table).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn dependencies_point_inward() {
    let mut edges = BTreeSet::new();
    let mut offenders = Vec::new();
    for room in ROOMS {
        let manifest = manifest(room);
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for name in names(&manifest, table).iter().filter_map(|n| n.strip_prefix("afferent-")) {
                if EDGES.contains(&(room, name)) {
                    edges.insert((room, name.to_owned()));
                } else {
                    offenders.push(format!("{room}/Cargo.toml [{table}] names afferent-{name}"));
                }
            }
        }
    }
    none("an edge that points outward or sideways", &offenders);
    let wanted: BTreeSet<_> = EDGES.iter().map(|(from, to)| (*from, (*to).to_owned())).collect();
    assert_eq!(edges, wanted, "the edges in the manifests and the list in this file differ");
}

#[test]
fn outside_crates_stay_in_their_rooms() {
    let visitors: BTreeMap<_, _> = VISITORS.into_iter().collect();
    let mut offenders = Vec::new();
    for room in ROOMS.iter().chain(&OUTSIDE) {
        for name in names(&manifest(room), "dependencies") {
            if visitors.get(name.as_str()).is_some_and(|rooms| !rooms.contains(room)) {
                offenders.push(format!("{room}/Cargo.toml names {name}, which may only be named in {:?}", visitors[name.as_str()]));
            }
        }
    }
    none("an outside crate in a room it may not enter", &offenders);
}

#[test]
fn versions_come_from_the_workspace_table() {
    let mut offenders = Vec::new();
    for room in ROOMS.iter().chain(&OUTSIDE) {
        let manifest = manifest(room);
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in entries(&manifest, table) {
                let inherited = value.as_table().is_some_and(|t| t.get("workspace").and_then(Value::as_bool) == Some(true));
                if !inherited {
                    offenders.push(format!("{room}/Cargo.toml [{table}] {name}: write `{name}.workspace = true`"));
                }
            }
        }
        if manifest.get("lints").and_then(|l| l.get("workspace")).and_then(Value::as_bool) != Some(true) {
            offenders.push(format!("{room}/Cargo.toml: take the workspace's lints"));
        }
    }
    none("a manifest that does not inherit", &offenders);
}

#[test]
fn nothing_unused_is_built() {
    let workspace: Table = fs::read_to_string(root().join("Cargo.toml")).expect("readable").parse().expect("valid");
    let offered = workspace["workspace"]["dependencies"].as_table().expect("a table").clone();
    let mut offenders = Vec::new();
    let mut taken = BTreeSet::new();
    for room in ROOMS.iter().chain(&OUTSIDE) {
        let manifest = manifest(room);
        let mut sources = files(&root().join(room), &[".rs"]);
        if *room == "tests" {
            // Its binary is the program's own source.
            sources.extend(files(&root().join("api").join("src"), &["main.rs"]));
        }
        for table in ["dependencies", "dev-dependencies"] {
            for name in names(&manifest, table) {
                if !is_named(&sources, &name.replace('-', "_")) {
                    offenders.push(format!("{room}/Cargo.toml [{table}] {name}: no source of that crate names it"));
                }
                taken.insert(name);
            }
        }
    }
    let idle = offered.keys().filter(|name| !taken.contains(*name) && !name.starts_with("afferent-"));
    offenders.extend(idle.map(|name| format!("Cargo.toml [workspace.dependencies] {name}: no crate takes it")));
    none("a dependency that is built and not used", &offenders);
}

fn is_named(sources: &[Source], name: &str) -> bool {
    let boundary = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    sources.iter().any(|source| {
        source.text.match_indices(name).any(|(at, found)| {
            let after = &source.text[at + found.len()..];
            boundary(source.text[..at].chars().next_back()) && (after.starts_with("::") || after.starts_with(" as ") || after.starts_with(';'))
        })
    })
}

#[test]
fn the_big_crates_come_in_one_version() {
    let lock: Table = fs::read_to_string(root().join("Cargo.lock")).expect("a lock file").parse().expect("valid");
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in lock["package"].as_array().expect("packages") {
        let (Some(name), Some(version)) = (package["name"].as_str(), package["version"].as_str()) else { continue };
        versions.entry(name).or_default().insert(version);
    }
    let offenders: Vec<_> = SINGLE.iter().filter_map(|name| versions.get(name).filter(|v| v.len() != 1).map(|v| format!("{name}: {v:?}"))).collect();
    none("two versions of a crate whose types cross borders", &offenders);
    for name in SINGLE {
        assert!(versions.contains_key(name), "{name} is not in Cargo.lock: the list in this file is out of date");
    }
}
