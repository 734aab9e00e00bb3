//! A remote-write 1.0 body made by hand, as a sender would send it. Not a decoder and not the receiver's code: demo and import must not share its mistakes.

use anyhow::Context as _;

/// Adds one `TimeSeries` to a `WriteRequest`. `labels` are in the canonical form, which is a repeated field 1 of `Label` messages.
pub(crate) fn push_series(request: &mut Vec<u8>, labels: &[u8], samples: impl Iterator<Item = (i64, f64)>) {
    let mut message = labels.to_vec();
    for (time_ms, value) in samples {
        push_field(&mut message, 2, &sample(time_ms, value));
    }
    push_field(request, 1, &message);
}

/// The request as it is sent: one snappy block.
pub(crate) fn compressed(request: &[u8]) -> anyhow::Result<Vec<u8>> {
    snap::raw::Encoder::new().compress_vec(request).context("compressing a body")
}

/// `message Sample { double value = 1; int64 timestamp = 2; }`
fn sample(time_ms: i64, value: f64) -> Vec<u8> {
    let mut out = Vec::with_capacity(20);
    out.push(0x09);
    out.extend_from_slice(&value.to_le_bytes());
    out.push(0x10);
    push_varint(&mut out, time_ms.cast_unsigned());
    out
}

/// A length-delimited field.
fn push_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push((number << 3) | 2);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
