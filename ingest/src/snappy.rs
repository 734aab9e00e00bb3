//! Inflating a snappy block whose declared size was judged first, and making one. Not the framed format: remote write never uses it.

use crate::error::Error;
use bytes::Bytes;

/// Snappy's densest element is a three-byte copy of 64 bytes: a block that declares more than this many times its own size lies.
const INFLATION_MAX: usize = 22;

/// Largest size a sender may be allowed to declare, whatever the configuration says; a replay reads up to this.
pub(crate) const INFLATED_BYTES_CEILING: usize = 256 * 1024 * 1024;

/// The size a block says it inflates to, judged before anything is allocated.
pub(crate) fn declared_bytes(block: &[u8], bytes_max: usize) -> Result<usize, Error> {
    let declared = snap::raw::decompress_len(block).map_err(|cause| Error::Snappy { detail: cause.to_string() })?;
    if block.is_empty() {
        return Err(Error::Snappy { detail: "the body is empty, not even a length stands there".to_owned() });
    }
    if declared > bytes_max {
        return Err(Error::TooLarge { what: "the inflated body", size: declared as u64, max: bytes_max as u64, unit: "bytes" });
    }
    if declared > block.len().saturating_mul(INFLATION_MAX).saturating_add(INFLATION_MAX) {
        let detail = format!("{} bytes cannot inflate to the declared {declared}", block.len());
        return Err(Error::Snappy { detail });
    }
    Ok(declared)
}

/// The inflated bytes of a block.
pub(crate) fn inflate(block: &[u8], bytes_max: usize) -> Result<Vec<u8>, Error> {
    let mut out = vec![0; declared_bytes(block, bytes_max)?];
    let written = snap::raw::Decoder::new().decompress(block, &mut out).map_err(|cause| Error::Snappy { detail: cause.to_string() })?;
    out.truncate(written);
    Ok(out)
}

/// Makes blocks; its tables are used again for each.
pub(crate) struct Deflate(snap::raw::Encoder);

impl Deflate {
    pub(crate) fn new() -> Self {
        Self(snap::raw::Encoder::new())
    }

    /// The block of these bytes.
    pub(crate) fn block(&mut self, inflated: &[u8]) -> Result<Bytes, Error> {
        let block = self.0.compress_vec(inflated).map_err(|cause| Error::Snappy { detail: cause.to_string() })?;
        Ok(block.into())
    }
}
