//! The signature of a webhook's body: HMAC-SHA256 over the raw bytes, checked before anything is parsed.

use crate::config::Secret;
use crate::error::{Error, Result};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The header that carries it: `sha256=<hex>`, or the hex digits alone.
pub(crate) const SIGNATURE_HEADER: &str = "x-afferent-signature";

/// Checks a signature in constant time.
pub(crate) fn verify(secret: &Secret, header: Option<&str>, body: &[u8]) -> Result<()> {
    let Some(header) = header else {
        return Err(Error::Unauthorized("the header X-Afferent-Signature is missing: this webhook's bodies must be signed"));
    };
    let text = header.trim();
    let digits = text.strip_prefix("sha256=").unwrap_or(text);
    let wrong = Error::Unauthorized("the signature does not fit the body");
    let Some(tag) = unhex(digits) else { return Err(wrong) };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else { return Err(wrong) };
    mac.update(body);
    mac.verify_slice(&tag).map_err(|_| wrong)
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    digits.chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

#[cfg(test)]
mod tests;
