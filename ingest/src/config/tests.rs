#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn the_default_is_valid_and_survives_serde() {
    let config = IngestConfig::default();
    config.validate().unwrap();
    let text = serde_json::to_string(&config).unwrap();
    let again: IngestConfig = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
}

#[test]
fn a_misspelt_key_is_refused() {
    let error = serde_json::from_str::<IngestConfig>(r#"{"body_byte_max": 1}"#).unwrap_err();
    assert!(error.to_string().contains("body_byte_max"), "{error}");
}

#[test]
fn values_out_of_range_are_named() {
    let error = IngestConfig { inflated_bytes_max: usize::MAX, ..IngestConfig::default() }.validate().unwrap_err();
    assert!(error.to_string().contains("inflated_bytes_max"), "{error}");
    let error = IngestConfig { future_ms_max: -1, ..IngestConfig::default() }.validate().unwrap_err();
    assert!(error.to_string().contains("future_ms_max"), "{error}");
    let webhook_secrets = BTreeMap::from([("pager".to_owned(), Secret::new("hunter2"))]);
    let error = IngestConfig { webhook_secrets, ..IngestConfig::default() }.validate().unwrap_err();
    assert!(error.to_string().contains("pager") && !error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn secrets_never_print() {
    let webhook_secrets = BTreeMap::from([("incidents".to_owned(), Secret::new("hunter2"))]);
    let write_tokens = BTreeMap::from([("alice".to_owned(), Secret::new("hunter2"))]);
    let config = IngestConfig { webhook_secrets, write_tokens, ..IngestConfig::default() };
    for text in [format!("{config:?}"), serde_json::to_string(&config).unwrap()] {
        assert!(!text.contains("hunter2") && text.contains("***"), "{text}");
    }
}
