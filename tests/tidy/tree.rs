//! The folders of the workspace, the READMEs, and what must not stand in any text of it.

use super::{OUTSIDE, ROOMS, files, none, root};
use std::fs;

/// Everything that may lie at the top; tools may leave hidden files of their own.
const TOP: [&str; 9] = ["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "clippy.toml", "deploy", "rust-toolchain.toml", "rustfmt.toml", "target"];

/// Hidden files and folders at the top that are ours.
const TOP_HIDDEN: [&str; 4] = [".ci", ".git", ".gitignore", ".gitattributes"];

/// Sections of a crate's README, its rustdoc front page.
const SECTIONS: [&str; 5] = ["Purpose", "Invariants", "Absences", "Decisions", "Known gaps"];

/// Texts that only make sense on the machine where they were written. In two parts so that this file passes itself.
const MACHINE: [(&str, &str); 6] = [("/ro", "ot/"), ("/ho", "me/"), ("\"/wo", "rk/"), (" /wo", "rk/"), ("../sha", "red/"), ("static.", "crates.io")];

#[test]
fn the_top_holds_the_rooms_and_the_usual_files() {
    let mut offenders = Vec::new();
    for entry in fs::read_dir(root()).expect("a readable folder") {
        let name = entry.expect("a readable entry").file_name().to_string_lossy().into_owned();
        let known = [&ROOMS[..], &OUTSIDE[..], &TOP[..], &TOP_HIDDEN[..]].concat().contains(&name.as_str());
        if !known {
            offenders.push(format!("{name}: move it into the room it belongs to"));
        }
    }
    none("something at the top that is no room", &offenders);
}

#[test]
fn every_crate_has_its_readme() {
    let mut offenders = Vec::new();
    for room in ROOMS.iter().chain(&OUTSIDE) {
        let Ok(text) = fs::read_to_string(root().join(room).join("README.md")) else {
            offenders.push(format!("{room}/README.md is missing"));
            continue;
        };
        // What looks at the others promises nothing of its own.
        let wanted = if OUTSIDE.contains(room) { &SECTIONS[..1] } else { &SECTIONS[..] };
        let titles: Vec<_> = text.lines().filter(|l| l.starts_with('#')).map(str::to_lowercase).collect();
        let missing = wanted.iter().filter(|section| !titles.iter().any(|t| t.contains(&section.to_lowercase())));
        offenders.extend(missing.map(|section| format!("{room}/README.md has no section {section:?}")));
    }
    none("a crate without its front page", &offenders);
}

#[test]
fn texts_hold_on_any_machine() {
    let endings = [".rs", ".md", ".toml", ".sql", ".yaml", ".yml", ".json", ".sh", ".py", "run"];
    let mut offenders = Vec::new();
    for source in files(&root(), &endings) {
        for (a, b) in MACHINE {
            let place = format!("{a}{b}");
            let lines = source.text.lines().enumerate().filter(|(_, line)| line.contains(&place));
            offenders.extend(lines.map(|(n, line)| format!("{}:{}: {}", source.path, n + 1, line.trim())));
        }
    }
    none("a path or host of one machine", &offenders);
}
