//! Refused items of one body: the first are named, the rest summed per reason, so that a hostile body cannot fill memory. Not how they are answered.

use afferent_engine::log::Reject;
use std::collections::BTreeMap;

/// Refused items that get an entry of their own per body.
pub(crate) const NAMED_MAX: usize = 100;
/// Bytes of the text that says what was refused.
pub(crate) const DETAIL_BYTES_MAX: usize = 512;

/// Collects what one body is refused for.
#[derive(Debug, Default)]
pub(crate) struct Rejects {
    named: Vec<Reject>,
    more: BTreeMap<&'static str, u32>,
}

impl Rejects {
    /// Adds one; `detail` is only asked for while there is room to keep it.
    pub(crate) fn push(&mut self, reason: &'static str, count: u32, detail: impl FnOnce() -> String) {
        if self.named.len() < NAMED_MAX {
            self.named.push(Reject { reason, detail: cut(detail(), DETAIL_BYTES_MAX), count });
        } else {
            let sum = self.more.entry(reason).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// Everything, the unnamed as one entry per reason.
    pub(crate) fn finish(self) -> Vec<Reject> {
        let mut all = self.named;
        all.extend(self.more.into_iter().map(|(reason, count)| Reject {
            reason,
            detail: format!("{count} more of the same body, not named one by one"),
            count,
        }));
        all
    }
}

/// Shortens a text to at most `bytes_max` bytes at a character's border, and says so.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max.saturating_sub(3)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests;
