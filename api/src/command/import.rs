//! `afferent import`: sends the samples of files to a running server. The reading and sending is `crate::import`; this is the command line around it.

use super::progress::{Progress, count, duration};
use super::remote::Remote;
use super::{Exit, ImportArgs};
use crate::import::send::{Sent, send};
use crate::import::{Format, Samples, columns, csv, openmetrics};
use afferent_engine::time::EventTime;
use afferent_storage::import as parquet;
use anyhow::{Context as _, anyhow, bail};
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::time::Instant;

/// Refusals that are told in the server's words; further ones are counted.
const REFUSALS_TOLD_MAX: u64 = 5;

/// The name of standard input.
const STDIN: &str = "-";

/// Samples between two looks at the progress of a Parquet file.
const TOLD_EVERY: u64 = 10_000;

/// Runs the command.
///
/// # Errors
/// A file that cannot be read, by name and line, or a server that is away.
pub fn run(args: &ImportArgs) -> anyhow::Result<Exit> {
    let began = Instant::now();
    // Every file's form, and the server, are looked at before anything long begins.
    let inputs = args.files.iter().map(|file| Ok((file.as_str(), format(file, args.format)?))).collect::<anyhow::Result<Vec<_>>>();
    let inputs = match inputs {
        Ok(inputs) => inputs,
        Err(error) => {
            writeln!(std::io::stderr(), "{error:#}")?;
            return Ok(Exit::Usage);
        }
    };
    let remote = Remote::new(&args.server);
    remote.get("/healthz")?;
    let mut progress = Progress::new();
    let mut samples = Samples::new()?;
    for (file, format) in inputs {
        let read = read(file, format, &mut samples, &mut progress);
        if let Err(error) = read {
            progress.clear();
            writeln!(std::io::stderr(), "{}: {}\nnothing was sent", shown(file), in_a_line(&error))?;
            return Ok(Exit::Usage);
        }
    }
    let source = format!("import:{}", args.source.clone().unwrap_or_else(|| name_of(&args.files)));
    let total = samples.count();
    let (series_count, span) = (samples.series_count() as u64, samples.span());
    let refused = upload(samples, &remote, &source, &mut progress)?;
    progress.clear();
    let span = span.map(|(from, to)| format!(", {} to {}", EventTime(from), EventTime(to))).unwrap_or_default();
    let spent = duration(began.elapsed().as_secs_f64());
    let taken = count(total.saturating_sub(refused));
    writeln!(std::io::stdout(), "{taken} samples of {} series sent as {source}{span}, {} refused, in {spent}", count(series_count), count(refused))?;
    Ok(if refused == 0 { Exit::Done } else { Exit::Failed })
}

/// Place and cause in one line, without what repeats itself.
fn in_a_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for part in error.chain().map(ToString::to_string).filter(|part| !part.is_empty()) {
        if !text.contains(&part) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&part);
        }
    }
    text
}

fn shown(file: &str) -> &str {
    if file == STDIN { "standard input" } else { file }
}

/// The source's name where none is given: that of the first file.
fn name_of(files: &[String]) -> String {
    let first = files.first().map_or(STDIN, String::as_str);
    if first == STDIN {
        return "stdin".to_owned();
    }
    Path::new(first).file_name().map_or_else(|| first.to_owned(), |name| name.to_string_lossy().into_owned())
}

fn format(file: &str, asked: Option<Format>) -> anyhow::Result<Format> {
    if file == STDIN {
        return match asked {
            Some(Format::Parquet) => Err(anyhow!("Parquet cannot be read from standard input; name a file")),
            asked => Ok(asked.unwrap_or(Format::Openmetrics)),
        };
    }
    let known = std::fs::metadata(file).with_context(|| file.to_owned())?;
    if known.is_dir() {
        bail!("{file}: it is a folder; print a Prometheus data folder with `promtool tsdb dump-openmetrics {file}` and import that");
    }
    let told = asked.or_else(|| Format::of_name(file));
    told.ok_or_else(|| anyhow!("{file}: its name does not tell its form; say --format openmetrics, parquet or csv"))
}

fn read(file: &str, format: Format, samples: &mut Samples, progress: &mut Progress) -> anyhow::Result<()> {
    if format == Format::Parquet {
        return read_columns(file, samples, progress);
    }
    let (input, size): (Box<dyn BufRead>, Option<u64>) = if file == STDIN {
        (Box::new(std::io::stdin().lock()), None)
    } else {
        let file = File::open(file)?;
        let size = file.metadata()?.len();
        (Box::new(BufReader::new(file)), Some(size))
    };
    let (mut bytes, name) = (0, shown(file));
    let mut rest = None;
    {
        let mut seen = |more: u64| {
            bytes += more;
            let share = size.filter(|size| *size > 0).map(|size| bytes as f64 / size as f64);
            progress.show(share, &format!("reading {name}, {} MB", bytes >> 20));
        };
        match format {
            Format::Csv => csv::read(input, samples, &mut seen)?,
            _ => rest = Some(openmetrics::read(input, samples, &mut seen)?),
        }
    }
    if let Some(rest) = rest {
        if !rest.complete {
            progress.note(&format!("{name}: it does not end with # EOF, so it may be cut off"));
        }
        if rest.exemplar_count > 0 {
            progress.note(&format!("{name}: {} exemplars are left out", count(rest.exemplar_count)));
        }
    }
    Ok(())
}

fn read_columns(file: &str, samples: &mut Samples, progress: &mut Progress) -> anyhow::Result<()> {
    let batches = parquet::open(Path::new(file))?;
    let layout = columns::Layout::of(&batches.schema)?;
    if !layout.left_out.is_empty() {
        progress.note(&format!("{file}: not text, and so no labels: {}", layout.left_out.join(", ")));
    }
    let total = batches.row_count.max(1);
    let (mut rows, mut told) = (0_u64, 0);
    for batch in batches {
        let batch = batch?;
        layout.take(&batch, samples).with_context(|| format!("in the batch that begins with row {rows}"))?;
        rows += batch.num_rows() as u64;
        if rows - told >= TOLD_EVERY {
            told = rows;
            progress.show(Some(rows as f64 / total as f64), &format!("reading {file}, {} rows", count(rows)));
        }
    }
    Ok(())
}

/// Sends everything; gives how many samples the server refused.
fn upload(samples: Samples, remote: &Remote, source: &str, progress: &mut Progress) -> anyhow::Result<u64> {
    let (total, began) = (samples.count(), Instant::now());
    let mut bodies = samples.into_bodies()?;
    let (mut sent, mut refused, mut told) = (0, 0, 0);
    while let Some(body) = bodies.take()? {
        let outcome = send(remote, source, &body).with_context(|| {
            progress.clear();
            format!("{} of {} samples were sent; the same command again goes on, since what is there counts once", count(sent), count(total))
        })?;
        sent += body.sample_count;
        if let Sent::Partly { refused: some, message } = outcome {
            refused += some;
            told += 1;
            if told <= REFUSALS_TOLD_MAX {
                progress.note(&format!("refused: {message}"));
            }
        }
        let rate = sent as f64 / began.elapsed().as_secs_f64().max(0.001);
        let left = duration((total.saturating_sub(sent)) as f64 / rate.max(1.0));
        let share = sent as f64 / total.max(1) as f64;
        progress.show(Some(share), &format!("sending, {} samples, {}/s, {left} left", count(sent), count(rate as u64)));
    }
    Ok(refused)
}

#[cfg(test)]
mod tests;
