#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

#[test]
fn the_demos_files_are_accepted_and_agree() {
    let folder = tempfile::tempdir().unwrap();
    let config = configure(&DemoArgs::default(), folder.path()).unwrap();
    let dimensions =
        afferent_queries::dimensions::Dimensions::load(Some(&folder.path().join("services.yaml")), Some(&folder.path().join("slo")), None).unwrap();
    assert_eq!(dimensions.inventory.services().len(), 25);
    assert_eq!(dimensions.objectives.objectives.len(), 10);
    for (service, _) in traffic::TARGETS {
        assert!(dimensions.inventory.service(service).is_some(), "{service} is not in the inventory");
    }
    assert_eq!(config.data_dir, folder.path().join("data"));
}

#[test]
fn empty_cards_are_named() {
    let cards = [json!({ "type": "A", "state": "ready" }), json!({ "type": "B", "state": "no_data" }), json!({})];
    assert_eq!(empty(&cards), "B (no_data), ? (?)");
}
