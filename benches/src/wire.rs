//! Writes remote write 1.0 bodies as Prometheus' queue does: one time series message per sample, snappy block. Not a protobuf library.

/// Encodes the labels of a series once; the bytes are copied into every sample's message.
pub fn label_bytes<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::with_capacity(name.len() + value.len() + 8);
        push_bytes(&mut label, 0x0a, name.as_bytes());
        push_bytes(&mut label, 0x12, value.as_bytes());
        push_bytes(&mut out, 0x0a, &label);
    }
    out
}

/// Appends one `TimeSeries` with one sample to a request.
pub fn push_sample(request: &mut Vec<u8>, labels: &[u8], time_ms: i64, value: f64) {
    let time = time_ms as u64;
    let sample_len = 9 + 1 + varint_len(time);
    let series_len = labels.len() + 2 + sample_len;
    request.push(0x0a);
    push_varint(request, series_len as u64);
    request.extend_from_slice(labels);
    request.push(0x12);
    request.push(sample_len as u8);
    request.push(0x09);
    request.extend_from_slice(&value.to_le_bytes());
    request.push(0x10);
    push_varint(request, time);
}

/// Compresses a request as the protocol wants it.
///
/// # Errors
/// When the request is larger than a snappy block can be.
pub fn compress(request: &[u8]) -> anyhow::Result<Vec<u8>> {
    Ok(snap::raw::Encoder::new().compress_vec(request)?)
}

fn push_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn varint_len(n: u64) -> usize {
    ((u64::BITS - (n | 1).leading_zeros()) as usize).div_ceil(7)
}

#[cfg(test)]
mod tests;
