//! How far something is, on standard error: a bar that is drawn over on a terminal, a plain line now and then elsewhere. Not a log.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Time between two drawings of the bar.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Cells of the bar.
const BAR_CELLS: usize = 24;

/// Widest line, so that a terminal of usual width does not break it.
const LINE_CELLS: usize = 100;

/// A bar or lines.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    last: Option<Instant>,
    drawn: bool,
}

impl Progress {
    /// A bar where standard error is a terminal.
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        // Lines that stay are for what takes long; a bar is there at once.
        Self { terminal, last: (!terminal).then(Instant::now), drawn: false }
    }

    /// Says how far it is, unless that was said just now. `share` is 0 to 1, or not known.
    pub fn show(&mut self, share: Option<f64>, words: &str) {
        let pause = if self.terminal { DRAW_EVERY } else { LINE_EVERY };
        if self.last.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        self.last = Some(Instant::now());
        let text = if self.terminal { format!("\r{:<LINE_CELLS$}", line(share, words, true)) } else { format!("{}\n", line(share, words, false)) };
        self.drawn = self.terminal;
        write(&text);
    }

    /// Says something that stays.
    pub fn note(&mut self, text: &str) {
        self.clear();
        write(&format!("{text}\n"));
    }

    /// Takes the bar away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            write(&format!("\r{:LINE_CELLS$}\r", ""));
            self.last = None;
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

fn line(share: Option<f64>, words: &str, bar: bool) -> String {
    let Some(share) = share else { return words.to_owned() };
    let share = share.clamp(0.0, 1.0);
    let full = (share * BAR_CELLS as f64) as usize;
    let bar = if bar { format!("[{}{}] ", "#".repeat(full), ".".repeat(BAR_CELLS - full)) } else { String::new() };
    format!("{bar}{:5.1} %  {words}", share * 100.0)
}

/// Where standard error is closed there is nobody to tell.
fn write(text: &str) {
    let mut out = std::io::stderr();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).unwrap_or_default();
}

/// `1,234,567`
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 h 5 m`, `5 m 3 s` or `3 s`.
pub fn duration(seconds: f64) -> String {
    let all = seconds.max(0.0).round() as u64;
    match (all / 3600, all / 60 % 60, all % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} m {s} s"),
        (h, m, _) => format!("{h} h {m} m"),
    }
}

#[cfg(test)]
mod tests;
