//! A walk over protobuf bytes in place: tags, varints, fields. Not a codec: it knows no message and copies nothing.

use std::ops::Range;

/// Where a walk could not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Byte of the inflated body.
    pub(crate) at: usize,
    /// What should have stood there.
    pub(crate) wanted: &'static str,
}

/// Wire type 0.
pub(crate) const VARINT: u64 = 0;
/// Wire type 1: eight bytes.
pub(crate) const FIXED64: u64 = 1;
/// Wire type 2: a length, then that many bytes.
pub(crate) const LEN: u64 = 2;
/// Wire type 5: four bytes.
const FIXED32: u64 = 5;

/// The tag of a field, as it stands on the wire.
pub(crate) const fn tag(field: u64, wire_type: u64) -> u64 {
    field << 3 | wire_type
}

/// One message being read. Positions are those of the whole body, so that errors can name them.
#[derive(Clone)]
pub(crate) struct Walk<'a> {
    /// The whole body: a number may be fetched from beyond the message before it is seen where it ends.
    bytes: &'a [u8],
    at: usize,
    /// The end of this message, not beyond the body's.
    end: usize,
}

impl<'a> Walk<'a> {
    /// A walk over a whole body.
    pub(crate) fn over(body: &'a [u8]) -> Self {
        Self { bytes: body, at: 0, end: body.len() }
    }

    /// A walk over one part of a body; an impossible range is an empty message.
    #[inline]
    pub(crate) fn part(body: &'a [u8], range: Range<usize>) -> Self {
        let end = range.end.min(body.len());
        Self { bytes: body, at: range.start.min(end), end }
    }

    /// The next byte's position.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// True at the end of the message.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.end
    }

    /// The next field's tag, none at the end of the message.
    #[inline]
    pub(crate) fn tag(&mut self) -> Result<Option<u64>, Malformed> {
        if self.is_done() { Ok(None) } else { self.varint().map(Some) }
    }

    /// A varint of any length up to ten bytes.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte < 0x80 && self.at < self.end => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    #[inline]
    fn long_varint(&mut self) -> Result<u64, Malformed> {
        // Two bytes are the usual case of lengths and references.
        if let Some([low, high]) = self.bytes.get(self.at..self.end).and_then(|rest| rest.first_chunk::<2>())
            && *high < 0x80
            && *low >= 0x80
        {
            self.at += 2;
            return Ok(u64::from(low & 0x7f) | u64::from(*high) << 7);
        }
        if let Some(word) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*word);
            let stops = !word & 0x8080_8080_8080_8080;
            let bits = stops.trailing_zeros() + 1;
            let after = self.at + (bits / 8) as usize;
            if stops != 0 && after <= self.end {
                self.at = after;
                return Ok(squeeze(word & (u64::MAX >> (64 - bits))));
            }
        }
        self.slow_varint()
    }

    #[cold]
    fn slow_varint(&mut self) -> Result<u64, Malformed> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.bytes.get(self.at).filter(|_| self.at < self.end) else { break };
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed { at: start, wanted: "a varint" })
    }

    /// Eight bytes as a double.
    #[inline]
    pub(crate) fn double(&mut self) -> Result<f64, Malformed> {
        match self.bytes.get(self.at..self.end).and_then(|rest| rest.first_chunk::<8>()) {
            Some(bytes) => {
                self.at += 8;
                Ok(f64::from_le_bytes(*bytes))
            }
            None => Err(Malformed { at: self.at, wanted: "eight bytes of a double" }),
        }
    }

    /// The range of a length-delimited field.
    #[inline]
    pub(crate) fn range(&mut self) -> Result<Range<usize>, Malformed> {
        let length = self.varint()?;
        let start = self.at;
        match usize::try_from(length).ok().and_then(|length| start.checked_add(length)) {
            Some(end) if end <= self.end => {
                self.at = end;
                Ok(start..end)
            }
            _ => Err(Malformed { at: start, wanted: "a field that ends inside its message" }),
        }
    }

    /// The bytes of a length-delimited field.
    #[inline]
    pub(crate) fn field(&mut self) -> Result<&'a [u8], Malformed> {
        let range = self.range()?;
        Ok(self.bytes.get(range).unwrap_or_default())
    }

    /// A length-delimited field as a message of its own.
    #[inline]
    pub(crate) fn message(&mut self) -> Result<Walk<'a>, Malformed> {
        let range = self.range()?;
        Ok(Walk::part(self.bytes, range))
    }

    /// Passes over a field of no interest. `known` are the field numbers the caller reads: coming here, they have the wrong wire type.
    pub(crate) fn skip(&mut self, tag: u64, known: &[u64]) -> Result<(), Malformed> {
        let start = self.at;
        let field = tag >> 3;
        if field == 0 || known.contains(&field) {
            return Err(Malformed { at: start, wanted: "a field of the declared wire type" });
        }
        match tag & 7 {
            VARINT => self.varint().map(drop),
            LEN => self.range().map(drop),
            FIXED64 => self.pass(8),
            FIXED32 => self.pass(4),
            // Groups were never used by these messages and are not part of proto3.
            _ => Err(Malformed { at: start, wanted: "a wire type of proto3" }),
        }
    }

    fn pass(&mut self, count: usize) -> Result<(), Malformed> {
        if self.end - self.at < count {
            return Err(Malformed { at: self.at, wanted: "the rest of a fixed-width field" });
        }
        self.at += count;
        Ok(())
    }
}

/// Undoes zig-zag coding (sint32, sint64).
#[inline]
pub(crate) fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Puts the low seven bits of each byte side by side.
#[inline]
fn squeeze(word: u64) -> u64 {
    let word = word & 0x7f7f_7f7f_7f7f_7f7f;
    let word = (word & 0x7f00_7f00_7f00_7f00) >> 1 | (word & 0x007f_007f_007f_007f);
    let word = (word & 0x3fff_0000_3fff_0000) >> 2 | (word & 0x0000_3fff_0000_3fff);
    (word & 0x0fff_ffff_0000_0000) >> 4 | (word & 0x0000_0000_0fff_ffff)
}

#[cfg(test)]
mod tests;
