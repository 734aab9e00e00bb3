//! Text of an import line by line, numbered, with a limit on their length. Not what a line says.

use anyhow::{Context as _, bail};
use std::io::BufRead;

/// Bytes one line may have.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Numbered lines.
pub struct Lines<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `input`.
    pub fn new(input: R) -> Self {
        Self { input, line: Vec::new(), number: 0 }
    }

    /// The number of the line that was taken last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The next line with its end.
    ///
    /// # Errors
    /// Where it cannot be read, is too long, or is not UTF-8.
    pub fn take(&mut self) -> anyhow::Result<Option<&str>> {
        self.line.clear();
        self.number += 1;
        let mut limited = std::io::Read::take(&mut self.input, LINE_BYTES_MAX as u64 + 1);
        let read = limited.read_until(b'\n', &mut self.line).context("cannot read on")?;
        if read > LINE_BYTES_MAX {
            bail!("the line has more than {LINE_BYTES_MAX} bytes");
        }
        if read == 0 {
            return Ok(None);
        }
        std::str::from_utf8(&self.line).context("the line is not UTF-8").map(Some)
    }
}
