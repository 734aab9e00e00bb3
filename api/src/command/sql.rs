//! `afferent sql`: sends a statement to a server and prints the answer. Not a shell.

use super::remote::{Remote, explain};
use super::{Exit, OutputFormat, SqlArgs};
use anyhow::Context as _;
use serde_json::Value;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::time::Duration;

/// Longest statement read from standard input.
const STATEMENT_BYTES_MAX: u64 = 1 << 20;

/// How long to wait for an answer; the server's own limit is below it.
const ANSWER_WAIT: Duration = Duration::from_secs(600);

/// Largest answer that is laid out as a table; more rows should be asked for as csv.
const TABLE_BYTES_MAX: u64 = 256 << 20;

/// Rows a table shows.
const TABLE_ROWS_MAX: usize = 1000;

/// Widest column of a table, in terminal cells.
const COLUMN_CELLS_MAX: usize = 60;

/// Runs the command.
///
/// # Errors
/// Where the server cannot be reached or the answer cannot be read or printed.
pub fn run(args: &SqlArgs) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    let format = args.format.unwrap_or(if out.is_terminal() { OutputFormat::Table } else { OutputFormat::Csv });
    if matches!(format, OutputFormat::Arrow | OutputFormat::Parquet) && out.is_terminal() {
        writeln!(std::io::stderr(), "refusing to print bytes to a terminal: redirect, as in `afferent sql ... > rows.{}`", word(format))?;
        return Ok(Exit::Usage);
    }
    let mut answer = ask(args, format)?;
    let status = answer.status();
    let missing = answer.headers().get("x-afferent-partial").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = answer.body_mut();
    if !status.is_success() {
        let text = body.with_config().limit(STATEMENT_BYTES_MAX).read_to_string()?;
        writeln!(std::io::stderr(), "{}", explain(status.as_u16(), &text))?;
        return Ok(if status.is_client_error() && status != 429 && status != 408 { Exit::Usage } else { Exit::Failed });
    }
    if format == OutputFormat::Table {
        let text = body.with_config().limit(TABLE_BYTES_MAX).read_to_string().context("cannot read the answer")?;
        let answer: Value = serde_json::from_str(&text).context("the answer is not JSON; is this an afferent server?")?;
        out.write_all(table(&answer).as_bytes())?;
    } else {
        let mut reader = body.as_reader();
        std::io::copy(&mut reader, &mut out).context("the answer broke off")?;
    }
    out.flush()?;
    if let Some(missing) = missing {
        writeln!(std::io::stderr(), "partial answer: {missing}")?;
    }
    Ok(Exit::Done)
}

fn word(format: OutputFormat) -> &'static str {
    match format {
        OutputFormat::Table | OutputFormat::Json => "json",
        OutputFormat::Csv => "csv",
        OutputFormat::Arrow => "arrow",
        OutputFormat::Parquet => "parquet",
    }
}

fn ask(args: &SqlArgs, format: OutputFormat) -> anyhow::Result<ureq::http::Response<ureq::Body>> {
    let statement = if args.statement == "-" {
        let mut text = String::new();
        std::io::stdin().take(STATEMENT_BYTES_MAX).read_to_string(&mut text).context("cannot read the statement")?;
        text
    } else {
        args.statement.clone()
    };
    let remote = Remote::waiting(&args.server, ANSWER_WAIT);
    let path = format!("/api/v1/sql?format={}", word(format));
    let answer = remote.post_raw(&path, &[("content-type", "text/plain; charset=utf-8")], statement.as_bytes());
    answer.with_context(|| remote.unreachable())
}

/// Aligned columns: numbers to the right, everything else to the left, null as nothing.
fn table(answer: &Value) -> String {
    let list = |key: &str| answer.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let names = list("columns").iter().map(|c| shown(c.get("name").unwrap_or(&Value::Null)));
    let rows = list("rows");
    let mut lines: Vec<Vec<String>> = vec![names.collect()];
    let shown_rows = rows.iter().take(TABLE_ROWS_MAX).filter_map(Value::as_array);
    lines.extend(shown_rows.map(|row| row.iter().map(shown).collect()));
    let column_count = lines.first().map_or(0, Vec::len);
    let widest = |i: usize| lines.iter().filter_map(|line| line.get(i)).map(|text| cells(text)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..column_count).map(widest).collect();
    let right: Vec<bool> = list("columns").iter().map(is_number).collect();

    let mut out = String::new();
    for (n, line) in lines.iter().enumerate() {
        for (i, text) in line.iter().enumerate() {
            let pad = " ".repeat(widths.get(i).map_or(0, |w| w.saturating_sub(cells(text))));
            let (before, after) = if right.get(i) == Some(&true) { (pad.as_str(), "") } else { ("", pad.as_str()) };
            out.push_str(if i > 0 { " | " } else { " " });
            out.push_str(&[before, text, after].concat());
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
        if n == 0 {
            let rule: Vec<String> = widths.iter().map(|w| "-".repeat(w + 2)).collect();
            out.push_str(&rule.join("+"));
            out.push('\n');
        }
    }
    out.push_str(&summary(answer, rows.len()));
    out
}

fn summary(answer: &Value, row_count: usize) -> String {
    let elapsed = answer.pointer("/stats/elapsed_ms").and_then(Value::as_f64).unwrap_or(0.0);
    let plural = if row_count == 1 { "" } else { "s" };
    let cut = if row_count > TABLE_ROWS_MAX { format!(", the first {TABLE_ROWS_MAX} shown; --format csv prints all") } else { String::new() };
    format!("({row_count} row{plural}{cut}, {elapsed:.1} ms)\n")
}

fn is_number(column: &Value) -> bool {
    let kind = column.get("type").and_then(Value::as_str).unwrap_or_default();
    ["int", "uint", "float", "decimal"].iter().any(|prefix| kind.starts_with(prefix))
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        other => other.to_string(),
    };
    if cells(&text) <= COLUMN_CELLS_MAX {
        return text;
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += cell_width(*c);
        used < COLUMN_CELLS_MAX
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    cut.push('…');
    cut
}

/// Terminal cells a text takes.
pub(crate) fn cells(text: &str) -> usize {
    text.chars().map(cell_width).sum()
}

/// East Asian wide and full-width characters take two cells; the ranges are those of the common scripts.
fn cell_width(c: char) -> usize {
    let wide = matches!(u32::from(c), 0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1f64f | 0x20000..=0x3fffd);
    if wide { 2 } else { 1 }
}

#[cfg(test)]
mod tests;
