use super::*;

#[test]
fn a_request_is_byte_for_byte_what_the_protocol_says() {
    let labels = label_bytes([("__name__", "up")]);
    assert_eq!(labels, b"\x0a\x0e\x0a\x08__name__\x12\x02up");
    let mut request = Vec::new();
    push_sample(&mut request, &labels, 300, 1.0);
    let mut wanted = b"\x0a\x1e\x0a\x0e\x0a\x08__name__\x12\x02up\x12\x0c\x09".to_vec();
    wanted.extend(1.0f64.to_le_bytes());
    wanted.extend(b"\x10\xac\x02");
    assert_eq!(request, wanted);
}
