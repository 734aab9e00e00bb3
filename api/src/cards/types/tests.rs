use super::*;

#[test]
fn names_round_trip() {
    for kind in CardType::ALL {
        assert_eq!(CardType::parse(kind.as_str()), Some(kind));
        assert_eq!(serde_json::to_value(kind).ok(), Some(serde_json::Value::from(kind.as_str())));
    }
    assert_eq!(CardType::parse("mttrcard"), None);
}
