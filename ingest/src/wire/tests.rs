#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn naive_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (n, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((value, n + 1));
        }
    }
    None
}

proptest! {
    #[test]
    fn varints_equal_the_naive_reading(bytes in prop::collection::vec(any::<u8>(), 0..14), high in any::<bool>()) {
        let bytes: Vec<u8> = bytes.iter().map(|b| if high { b | 0x80 } else { *b }).collect();
        let mut walk = Walk::over(&bytes);
        match naive_varint(&bytes) {
            Some((value, length)) => {
                prop_assert_eq!(walk.varint().unwrap(), value);
                prop_assert_eq!(walk.at(), length);
            }
            None => prop_assert!(walk.varint().is_err()),
        }
    }

    #[test]
    fn varints_of_prost_are_read_back(value in any::<u64>(), tail in prop::collection::vec(any::<u8>(), 0..9)) {
        let mut bytes = Vec::new();
        prost::encoding::encode_varint(value, &mut bytes);
        bytes.extend(tail);
        prop_assert_eq!(Walk::over(&bytes).varint().unwrap(), value);
    }

    #[test]
    fn no_bytes_make_a_walk_run_away(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut walk = Walk::over(&bytes);
        while let Ok(Some(tag)) = walk.tag() {
            if walk.skip(tag, &[]).is_err() {
                break;
            }
        }
        prop_assert!(walk.at() <= bytes.len());
    }
}

#[test]
fn a_field_longer_than_its_message_names_the_byte() {
    let mut walk = Walk::over(&[0x0a, 0x05, 1, 2]);
    assert_eq!(walk.tag(), Ok(Some(0x0a)));
    assert_eq!(walk.range(), Err(Malformed { at: 2, wanted: "a field that ends inside its message" }));
    let mut inner = Walk::part(&[0x0a, 0x02, 0x0a, 0x03, 9, 9, 9], 2..4);
    assert_eq!(inner.tag(), Ok(Some(0x0a)));
    assert!(inner.range().is_err(), "a message must not read past its own end");
}

#[test]
fn a_known_field_of_another_wire_type_is_refused() {
    let mut walk = Walk::over(&[0x08, 0x01]);
    let tag = walk.tag().unwrap().unwrap();
    assert!(walk.clone().skip(tag, &[1]).is_err());
    assert!(walk.skip(tag, &[2]).is_ok());
}
