//! Checking the labels of a series that is not known yet, and printing the name of one that is refused. Not the hot path.

use super::Refusal;
use crate::decoder::Limits;
use crate::rejects::cut;
use crate::wire::{LEN, Malformed, Walk, tag};
use afferent_engine::series::{LabelError, Labels};

/// `Label.name` and `Label.value`; `TimeSeries.labels` has the number of the former.
const NAME: u64 = tag(1, LEN);
const VALUE: u64 = tag(2, LEN);

/// Bytes of a series' name in a message.
const NAME_BYTES_MAX: usize = 256;

/// Name and value of a label, as bytes that may not be text.
pub(super) type Pair<'a> = (&'a [u8], &'a [u8]);

/// One label message of 1.0.
pub(super) fn label(mut walk: Walk<'_>) -> Result<Pair<'_>, Malformed> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    while let Some(tag) = walk.tag()? {
        match tag {
            NAME => name = walk.field()?,
            VALUE => value = walk.field()?,
            other => walk.skip(other, &[1, 2])?,
        }
    }
    Ok((name, value))
}

/// The label messages of a region, each in a field of number 1; stops keeping them after `labels_max` + 1, so that the caller sees there are too many.
pub(super) fn region(mut walk: Walk<'_>, labels_max: usize) -> Result<Vec<Pair<'_>>, Malformed> {
    let mut pairs = Vec::with_capacity(12);
    while walk.tag()?.is_some() {
        let pair = label(walk.message()?)?;
        if pairs.len() <= labels_max {
            pairs.push(pair);
        }
    }
    Ok(pairs)
}

/// Applies every rule on labels.
///
/// The limit on bytes is one on the canonical form: whether a series is refused must not depend on which of its spellings came first.
pub(super) fn check(pairs: &[Pair<'_>], limits: &Limits) -> Result<Labels, Refusal> {
    if pairs.len() > limits.series_labels_max {
        return Err(too_many(limits));
    }
    if pairs.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| name.len() + value.len()).sum::<usize>() > limits.label_bytes_max {
        return Err(too_long(limits));
    }
    let mut texts = Vec::with_capacity(pairs.len());
    for (n, (name, value)) in pairs.iter().enumerate() {
        match (std::str::from_utf8(name), std::str::from_utf8(value)) {
            (Ok(name), Ok(value)) => texts.push((name, value)),
            _ => return Err(refusal(&LabelError::NotUtf8(n))),
        }
    }
    let labels = Labels::from_pairs(texts).map_err(|error| refusal(&error))?;
    if labels.canonical().len() > limits.label_bytes_max { Err(too_long(limits)) } else { Ok(labels) }
}

/// More labels than are allowed.
pub(super) fn too_many(limits: &Limits) -> Refusal {
    Refusal::new("labels_too_many", format!("it has more than {} labels", limits.series_labels_max))
}

/// Longer labels than are allowed.
pub(super) fn too_long(limits: &Limits) -> Refusal {
    Refusal::new("labels_too_long", format!("its labels take more than {} bytes", limits.label_bytes_max))
}

/// A broken rule with its word.
pub(super) fn refusal(error: &LabelError) -> Refusal {
    let reason = match error {
        LabelError::Malformed(_) => "labels_malformed",
        LabelError::NotUtf8(_) => "labels_not_utf8",
        LabelError::Unsorted { .. } => "labels_unsorted",
        LabelError::Duplicate(_) => "labels_duplicate",
        LabelError::EmptyName => "labels_empty_name",
        LabelError::NoMetric => "metric_missing",
    };
    Refusal::new(reason, cut(error.to_string(), NAME_BYTES_MAX))
}

/// A refused series as its sender named it, cut short; bytes that are no text are replaced.
pub(super) fn print<'p>(pairs: impl IntoIterator<Item = Pair<'p>>) -> String {
    let mut out = String::from("{");
    for (name, value) in pairs {
        if out.len() > NAME_BYTES_MAX {
            break;
        }
        let (name, value) = (clip(name), clip(value));
        out.push_str(if out.len() > 1 { "," } else { "" });
        out.push_str(&format!("{}={:?}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
    }
    out.push('}');
    cut(out, NAME_BYTES_MAX)
}

fn clip(bytes: &[u8]) -> &[u8] {
    bytes.get(..NAME_BYTES_MAX).unwrap_or(bytes)
}

/// The labels of an exemplar, in the order sent.
pub(super) fn exemplar(pairs: &[Pair<'_>], limits: &Limits) -> Result<Vec<(String, String)>, Refusal> {
    let refuse = |what: String| Err(Refusal::new("exemplar", what));
    if pairs.len() > limits.series_labels_max {
        return refuse(format!("an exemplar has more than {} labels", limits.series_labels_max));
    }
    if pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > limits.label_bytes_max {
        return refuse(format!("the labels of an exemplar take more than {} bytes", limits.label_bytes_max));
    }
    let mut out: Vec<(String, String)> = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
            return refuse("a label of an exemplar is not valid UTF-8".to_owned());
        };
        if name.is_empty() || out.iter().any(|(known, _)| known == name) {
            return refuse(cut(format!("the exemplar's label name {name:?} is empty or stands twice"), NAME_BYTES_MAX));
        }
        out.push((name.to_owned(), value.to_owned()));
    }
    Ok(out)
}
