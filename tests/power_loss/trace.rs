//! Reads what `strace -f -ttt -xx` wrote: the calls that change files, in order, with the bytes they wrote. Not what they mean (`disk`).

use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;

/// The calls that are recorded. Those that are not understood are recorded too, so that a run that uses one fails instead of forgetting it.
pub(super) const CALLS: &str = "openat,creat,open,close,lseek,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sync_file_range,ftruncate,\
truncate,fallocate,copy_file_range,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,dup,dup2,dup3";

/// One finished call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// When it began, microseconds since 1970.
    pub(super) began_us: i64,
    /// Place of its beginning and of its end among all lines.
    pub(super) began: usize,
    pub(super) ended: usize,
    pub(super) name: String,
    pub(super) arguments: Vec<Argument>,
    /// What it returned; negative where it failed.
    pub(super) result: i64,
}

/// One argument: its text, and the bytes of all strings in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Argument {
    pub(super) text: String,
    pub(super) bytes: Vec<u8>,
}

impl Argument {
    /// The argument when its end is reached; makes room for the next.
    fn done(&mut self) -> Self {
        let one = std::mem::take(self);
        Self { text: one.text.trim().to_owned(), ..one }
    }

    /// As a path.
    pub(super) fn path(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// As a number.
    pub(super) fn number(&self) -> Result<i64> {
        self.text.parse().with_context(|| format!("{} is no number", self.text))
    }
}

/// Every call that finished, in the order in which they took effect.
pub(super) fn read(text: &str) -> Result<Vec<Call>> {
    let mut calls = Vec::new();
    let mut unfinished: HashMap<&str, (usize, i64, String)> = HashMap::new();
    // The recorder may have ended in the middle of its last line.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for (place, line) in whole.lines().enumerate() {
        let Some((process, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Some((time, rest)) = rest.trim_start().split_once(' ') else { continue };
        let time_us = micros(time).with_context(|| format!("line {place}: {}", short(line)))?;
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        let (began, began_us, whole) = if let Some(start) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(process, (place, time_us, start.to_owned()));
            continue;
        } else if rest.starts_with("<... ") {
            let (_, end) = rest.split_once("resumed>").with_context(|| short(line))?;
            let (began, began_us, start) = unfinished.remove(process).with_context(|| format!("nothing to resume: {}", short(line)))?;
            (began, began_us, start + end)
        } else {
            (place, time_us, rest.to_owned())
        };
        let call = parse(&whole, began, place, began_us).with_context(|| format!("line {place}: {}", short(line)))?;
        calls.extend(call);
    }
    // A number is free for another file while its close is still on its way back.
    calls.sort_by_key(|call: &Call| if call.name == "close" { call.began } else { call.ended });
    Ok(calls)
}

fn short(line: &str) -> String {
    line.chars().take(200).collect()
}

fn micros(text: &str) -> Result<i64> {
    let (seconds, fraction) = text.split_once('.').context("no time")?;
    ensure!(fraction.len() == 6, "a time without microseconds");
    Ok(seconds.parse::<i64>()? * 1_000_000 + fraction.parse::<i64>()?)
}

/// `name(argument, ...) = result`; none for a call that never returned.
fn parse(text: &str, began: usize, ended: usize, began_us: i64) -> Result<Option<Call>> {
    let (name, rest) = text.split_once('(').context("no call")?;
    let bytes = rest.as_bytes();
    let (mut arguments, mut one, mut depth, mut at) = (Vec::new(), Argument::default(), 0, 0);
    loop {
        let Some(byte) = bytes.get(at) else { bail!("the call has no end") };
        match byte {
            b'"' => at = string(bytes, at + 1, &mut one.bytes)?,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b')' if depth == 0 => break,
            b',' if depth == 0 => {
                arguments.push(one.done());
                at += 1;
            }
            other => one.text.push(char::from(*other)),
        }
        at += 1;
    }
    arguments.push(one.done());
    let tail = rest[at + 1..].trim_start().strip_prefix('=').context("no result")?.trim_start();
    let result = tail.split(' ').next().unwrap_or_default();
    if result == "?" {
        return Ok(None);
    }
    let result = result.parse().with_context(|| format!("result {result}"))?;
    Ok(Some(Call { began_us, began, ended, name: name.to_owned(), arguments, result }))
}

/// A string of `\x` escapes from `at` on; the place of its closing quote.
fn string(bytes: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize> {
    loop {
        match bytes.get(at..) {
            Some([b'"', ..]) => {
                ensure!(bytes.get(at + 1..at + 4) != Some(b"..."), "a string was cut short");
                return Ok(at);
            }
            Some([b'\\', b'x', high, low, ..]) => {
                let digit = |d: &u8| char::from(*d).to_digit(16).context("not hexadecimal");
                out.push((digit(high)? * 16 + digit(low)?) as u8);
                at += 4;
            }
            _ => bail!("a string that is not hexadecimal"),
        }
    }
}

#[test]
fn calls_of_two_threads_are_told_apart() {
    let text = "7 1.000001 openat(AT_FDCWD, \"\\x61\\x2f\\x62\", O_WRONLY|O_CREAT, 0666) = 9\n\
                7 1.000002 writev(9, [{iov_base=\"\\x00\\x01\", iov_len=2}, {iov_base=\"\\xff\", iov_len=1}], 2 <unfinished ...>\n\
                8 1.000003 fsync(9 <unfinished ...>\n\
                8 1.000003 <... fsync resumed>)   = 0\n\
                7 1.000004 <... writev resumed>) = 3\n\
                8 1.000005 exit_group(0) = ?\n\
                8 1.000006 +++ exited with 0 +++\n";
    let calls = read(text).unwrap();
    assert_eq!(calls.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["openat", "fsync", "writev"]);
    assert_eq!((calls[0].arguments[1].path(), calls[0].result), ("a/b".to_owned(), 9));
    assert_eq!((calls[2].arguments[1].bytes.as_slice(), calls[2].result, calls[2].began, calls[2].ended), ([0, 1, 255].as_slice(), 3, 1, 4));
    assert_eq!(calls[1].arguments[0].number().unwrap(), 9);
    assert!(read("7 1.000001 write(1, \"\\x61\"..., 9) = 9\n").is_err(), "a cut string");
}
