#![allow(clippy::unwrap_used)]

use super::*;

fn references<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            out.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| references(member, out));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, out)),
        _ => {}
    }
}

#[test]
fn the_description_is_3_1_and_every_reference_leads_somewhere() {
    assert_eq!(DOCUMENT["openapi"], "3.1.0");
    assert_eq!(DOCUMENT["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut found = Vec::new();
    references(&DOCUMENT, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        assert!(DOCUMENT.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[test]
fn every_operation_has_a_summary_and_a_success() {
    for (path, method, operation) in operations() {
        assert!(operation["summary"].as_str().is_some_and(|s| !s.is_empty()), "{method} {path}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
        for parameter in path.split('/').filter_map(|part| part.strip_prefix('{')?.split('}').next()) {
            let declared = operation["parameters"].as_array().unwrap().iter().any(|p| p["name"] == parameter && p["in"] == "path");
            assert!(declared, "{method} {path} does not declare {parameter}");
        }
    }
}

#[test]
fn the_landing_text_names_every_path() {
    let text = landing_text();
    assert!(paths().iter().all(|path| text.contains(path.as_str())));
}
