#![allow(clippy::unwrap_used)]

use super::*;
use std::collections::BTreeSet;

/// A metric whose enum grew but that has no help here would be exported without a word; the enums' sources are the truth.
#[test]
fn every_metric_of_every_crate_is_described() {
    let sources = [
        include_str!("../metrics.rs"),
        include_str!("../../../engine/src/metrics.rs"),
        include_str!("../../../ingest/src/metrics.rs"),
        include_str!("../../../queries/src/metrics.rs"),
        include_str!("../../../storage/src/metrics.rs"),
        include_str!("../../../storage/src/log/metrics.rs"),
    ];
    let described: BTreeSet<_> = descriptions().into_iter().map(|(name, _)| name).collect();
    let named = sources.iter().flat_map(|text| text.split('"')).filter(|word| word.starts_with("afferent_") && !word.contains(' '));
    let missing: Vec<_> = named.filter(|name| !described.contains(name)).collect();
    assert!(missing.is_empty(), "without help: {missing:?}");
}

#[test]
fn help_is_a_sentence_and_names_are_unique() {
    let all = descriptions();
    let names: BTreeSet<_> = all.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), all.len());
    for (name, help) in all {
        assert!(help.ends_with('.') && help.len() > 8, "{name}: {help:?}");
    }
}
