use super::*;
use afferent_engine::log::Topic;

/// Headers of a message that this program did not make.
fn headers(pairs: &[(&str, &[u8])]) -> OwnedHeaders {
    pairs.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }))
}

/// A message as version 1 of the contract has it. These bytes lie in brokers: they never change.
const VECTOR: [(&str, &[u8]); 6] = [
    ("afferent-version", b"1"),
    ("afferent-format", b"2"),
    ("afferent-source", "prometheus-\u{e4}".as_bytes()),
    ("afferent-received-at", b"1763800000123"),
    ("afferent-body-hash", b"00112233445566778899aabbccddeeff"),
    ("afferent-request-id", b"18446744073709551615"),
];

fn record() -> Record {
    Record {
        format: Format::RemoteWriteV2,
        source: Arc::from("prometheus-\u{e4}"),
        received_at: WallTime(1_763_800_000_123),
        body_hash: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff,
        request_id: u64::MAX,
        body: Bytes::from_static(b"\x00body\xff"),
    }
}

fn problem(pairs: &[(&str, &[u8])]) -> String {
    decode(Some(&headers(pairs)), b"").unwrap_err()
}

#[test]
fn the_encoding_is_that_of_the_vector() {
    let encoded = encode(&record());
    let found: Vec<_> = encoded.iter().map(|h| (h.key, h.value.unwrap_or_default())).collect();
    assert_eq!(found, VECTOR);
}

#[test]
fn the_vector_is_read_in_any_order_and_beside_strangers() {
    let mut pairs = VECTOR.to_vec();
    pairs.reverse();
    pairs.push(("traceparent", b"\xff"));
    let read = decode(Some(&headers(&pairs)), b"\x00body\xff").unwrap();
    assert_eq!(format!("{read:?}"), format!("{:?}", record()));
}

#[test]
fn extreme_numbers_and_every_format_survive() {
    for (format, _) in Format::ALL {
        for (received_at, body_hash, request_id, source) in [(i64::MIN, 0, 0, ""), (i64::MAX, u128::MAX, u64::MAX, "x"), (-1, 1, 1, "a b")] {
            let record = Record { format, source: Arc::from(source), received_at: WallTime(received_at), body_hash, request_id, body: Bytes::new() };
            let read = decode(Some(&encode(&record)), b"").unwrap();
            assert_eq!(format!("{read:?}"), format!("{record:?}"));
        }
    }
    assert!(Format::ALL.iter().any(|(f, _)| f.topic() == Topic::Events));
}

#[test]
fn what_is_none_of_ours_is_said_to_be_so() {
    assert_eq!(decode::<OwnedHeaders>(None, b"{}").unwrap_err(), "it has no headers");
    assert_eq!(problem(&[("traceparent", b"x")]), "it has no header afferent-version");
    let with = |name: &str, value: &'static [u8]| {
        let pairs: Vec<_> = VECTOR.iter().map(|(n, v)| (*n, if *n == name { value } else { *v })).collect();
        problem(&pairs)
    };
    assert_eq!(with("afferent-version", b"2"), "its version is \"2\", this program reads \"1\"");
    assert_eq!(with("afferent-format", b"99"), "its format 99 is unknown");
    assert!(with("afferent-format", b"300").contains("no number in range"));
    assert!(with("afferent-received-at", b"").contains("afferent-received-at"));
    assert!(with("afferent-body-hash", b"0011").contains("32 hexadecimal digits"));
    assert!(with("afferent-source", b"\xff").contains("is not UTF-8"));
    assert!(problem(&[VECTOR, VECTOR].concat()).contains("several headers afferent-version"));
    for missing in 0..VECTOR.len() {
        let mut pairs = VECTOR.to_vec();
        let (name, _) = pairs.remove(missing);
        assert_eq!(problem(&pairs), format!("it has no header {name}"));
    }
}
