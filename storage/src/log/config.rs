//! What the embedded log may use. Not read from files here: the caller passes it in.

use super::error::LogError;

/// Default of [`EmbeddedLogConfig::bytes_max`]: 4 GiB.
pub const BYTES_MAX: u64 = 4 << 30;

/// Default of [`EmbeddedLogConfig::segment_bytes`]: 64 MiB.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// Smallest segment: 4 KiB.
pub const SEGMENT_BYTES_MIN: u64 = 4 << 10;

/// Largest segment: 1 GiB, because opening after a crash may have to search one whole segment.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Segments that must fit below `bytes_max`, so that trimming whole segments always frees room.
pub const SEGMENTS_MIN: u64 = 4;

/// Limits of the embedded log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedLogConfig {
    /// Bytes on disk over all logs of the folder; reaching it refuses appends until a trim frees room.
    pub bytes_max: u64,
    /// Bytes after which a segment file is closed and the next one started; trimming frees whole segments.
    pub segment_bytes: u64,
}

impl Default for EmbeddedLogConfig {
    fn default() -> Self {
        Self { bytes_max: BYTES_MAX, segment_bytes: SEGMENT_BYTES }
    }
}

impl EmbeddedLogConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// `Invalid`, naming the key, its value and its range.
    pub fn validate(&self) -> Result<(), LogError> {
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return Err(LogError::Config {
                key: "segment_bytes",
                value: self.segment_bytes,
                range: format!("{SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"),
            });
        }
        let least = self.segment_bytes * SEGMENTS_MIN;
        if self.bytes_max < least {
            return Err(LogError::Config {
                key: "bytes_max",
                value: self.bytes_max,
                range: format!("at least {least}, which is {SEGMENTS_MIN} x segment_bytes"),
            });
        }
        Ok(())
    }
}
