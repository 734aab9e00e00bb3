//! Bytes of fold states: variable-length integers, and a reader that never trusts them.

/// Appends values to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub(crate) fn over(out: Vec<u8>) -> Self {
        Self { out }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    pub(crate) fn unsigned(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    pub(crate) fn signed(&mut self, value: i64) {
        self.unsigned(zigzag(value));
    }

    pub(crate) fn flag(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.unsigned(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// Two flags and a number, in one byte where the number is small.
    pub(crate) fn flag_pair(&mut self, a: bool, b: bool, value: i64) {
        // Five bits of the first byte hold the low bits, the sixth says whether more follow.
        let value = zigzag(value);
        let more = value >= 0x20;
        self.out.push(u8::from(a) << 7 | u8::from(b) << 6 | u8::from(more) << 5 | (value & 0x1f) as u8);
        if more {
            self.unsigned(value >> 5);
        }
    }
}

/// Takes values off a buffer; `None` at its end or where a value is malformed.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes taken so far.
    pub(crate) fn read(&self) -> usize {
        self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    pub(crate) fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn signed(&mut self) -> Option<i64> {
        self.unsigned().map(unzigzag)
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.unsigned()?).ok()?;
        let bytes = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(bytes)
    }

    pub(crate) fn flag_pair(&mut self) -> Option<(bool, bool, i64)> {
        let first = self.byte()?;
        let mut value = u64::from(first & 0x1f);
        if first & 0x20 != 0 {
            value |= self.unsigned()? << 5;
        }
        Some((first & 0x80 != 0, first & 0x40 != 0, unzigzag(value)))
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
