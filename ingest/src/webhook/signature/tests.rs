#![allow(clippy::unwrap_used)]
use super::*;

/// Test case 2 of RFC 4231.
const KEY: &str = "Jefe";
const BODY: &[u8] = b"what do ya want for nothing?";
const HEX: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

#[test]
fn the_vector_of_the_rfc_is_accepted_in_each_spelling() {
    let secret = Secret::new(KEY);
    for header in [format!("sha256={HEX}"), HEX.to_owned(), HEX.to_uppercase()] {
        verify(&secret, Some(&header), BODY).unwrap();
    }
}

#[test]
fn anything_else_is_refused() {
    let secret = Secret::new(KEY);
    let other = HEX.replace("5b", "5c");
    for header in [None, Some(""), Some("sha256="), Some("zz"), Some("5bd"), Some(&HEX[..62]), Some(other.as_str())] {
        assert!(matches!(verify(&secret, header, BODY), Err(Error::Unauthorized(_))), "{header:?}");
    }
    assert!(verify(&Secret::new("jefe"), Some(HEX), BODY).is_err());
    assert!(verify(&secret, Some(HEX), b"what do ya want for nothing!").is_err());
}
