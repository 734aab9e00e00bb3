//! What every source file must and must not hold.

use super::{Source, none, rust_files};

/// Lines a file may have, without its tests.
const LINES_MAX: usize = 500;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = ["utils", "util", "common", "helpers", "helper", "manager", "misc", "shared"];

/// Words the glossary replaces, with the word to use.
const GLOSSARY: [(&str, &str); 8] = [
    ("datapoint", "sample"),
    ("data_point", "sample"),
    ("DataPoint", "Sample"),
    ("offset_map", "positions"),
    ("OffsetMap", "Positions"),
    ("job_manager", "supervisor"),
    ("JobManager", "Supervisor"),
    ("metric_row", "sample"),
];

/// Marks of unfinished work; what is missing stands under "Known gaps" of a README. Spelt in two parts so that this file passes itself.
const UNFINISHED: [(&str, &str); 4] = [("TO", "DO"), ("FIX", "ME"), ("XX", "X:"), ("todo", "!(")];

fn offenders(check: impl Fn(&Source) -> Vec<String>) -> Vec<String> {
    rust_files().iter().flat_map(|source| check(source).into_iter().map(|what| format!("{}{what}", source.path))).collect()
}

/// Numbered lines of a source that `is_bad` says are wrong, as `:line: advice`.
fn lines(source: &Source, is_bad: impl Fn(&str) -> bool, advice: &str) -> Vec<String> {
    let numbered = source.text.lines().enumerate();
    numbered.filter(|(_, line)| is_bad(line)).map(|(n, line)| format!(":{}: {advice}: {}", n + 1, line.trim())).collect()
}

#[test]
fn files_stay_short() {
    let found = offenders(|source| {
        let count = source.text.lines().count();
        if source.path.ends_with("/tests.rs") || count < LINES_MAX { vec![] } else { vec![format!(": {count} lines, split it by noun")] }
    });
    none(&format!("a file of {LINES_MAX} lines or more"), &found);
}

#[test]
fn files_are_named_after_a_noun() {
    let found = offenders(|source| {
        let empty = source.path.split(['/', '.']).any(|part| EMPTY_NAMES.contains(&part));
        if empty { vec![": name it after what it holds".to_owned()] } else { vec![] }
    });
    none("a name that says nothing", &found);
}

#[test]
fn files_start_by_saying_what_they_are() {
    let found = offenders(|source| {
        let first = source.text.lines().next().unwrap_or_default();
        let says = first.starts_with("//! ") || first.starts_with("#![doc");
        if says || source.path.ends_with("/tests.rs") { vec![] } else { vec![": start with a `//!` line: what it is and what it is not".to_owned()] }
    });
    none("a file that does not introduce itself", &found);
}

#[test]
fn words_are_those_of_the_glossary() {
    let found = offenders(|source| {
        if source.path == "tests/tidy/sources.rs" {
            return vec![];
        }
        let found = GLOSSARY.iter().flat_map(|(bad, good)| lines(source, |line| line.contains(bad), &format!("say {good}, not {bad}")));
        found.collect()
    });
    none("a word with a better one in the glossary", &found);
}

#[test]
fn nothing_is_left_unfinished() {
    let found = offenders(|source| {
        let marks = UNFINISHED.iter().map(|(a, b)| format!("{a}{b}"));
        marks.flat_map(|mark| lines(source, |line| line.contains(&mark), "put it under known gaps")).collect()
    });
    none("unfinished work in the code", &found);
}

#[test]
fn tests_sit_in_sibling_files() {
    let found = offenders(|source| lines(source, |line| line.trim_start().starts_with("mod tests {"), "move it to tests.rs beside the file"));
    none("tests inside the file they test", &found);
}

#[test]
fn metrics_are_named_in_one_enum() {
    let found = offenders(|source| {
        let raw = |line: &str| ["counter!(\"", "gauge!(\"", "histogram!(\""].iter().any(|call| line.contains(call));
        if source.is_test() { vec![] } else { lines(source, raw, "name it in metrics.rs") }
    });
    none("a raw metric name", &found);
}

#[test]
fn stray_output_is_not_left_behind() {
    let found = offenders(|source| {
        let is_program = source.path.starts_with("api/") || source.path.starts_with("benches/") || source.is_test();
        if is_program { vec![] } else { lines(source, |line| line.trim_start().starts_with("eprintln!("), "use tracing") }
    });
    none("a library that prints", &found);
}
