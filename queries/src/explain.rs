//! What `EXPLAIN` says of a view: its shape, what it reads, its plans, the state it keeps and for how long. Not the explaining of ad hoc queries.

use crate::run::Prepared;
use arrow::datatypes::SchemaRef;

/// What a view does, as rows of (step, detail), in reading order; a step may have several.
///
/// The steps are `shape`, `reads`, `metrics`, `kinds`, `windows`, `key`, `columns`, `partial`, `merge`, `finish`, `step`, `query`, `state`,
/// `retention`, `ttl`, `memory` and `sketch`; those that have no meaning for a shape are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explained {
    /// The rows.
    pub rows: Vec<(String, String)>,
}

impl Explained {
    /// The details of one step.
    pub fn details(&self, step: &str) -> Vec<&str> {
        self.rows.iter().filter(|(s, _)| s == step).map(|(_, detail)| detail.as_str()).collect()
    }

    pub(crate) fn say(&mut self, step: &str, detail: impl Into<String>) {
        self.rows.push((step.to_owned(), detail.into()));
    }

    /// A plan, one row per line.
    pub(crate) fn plan(&mut self, step: &str, plan: &Prepared) {
        for line in plan.lines() {
            self.say(step, line);
        }
    }

    /// Columns with their types, one row each.
    pub(crate) fn columns(&mut self, step: &str, schema: &SchemaRef) {
        for field in schema.fields() {
            self.say(step, format!("{} {}", field.name(), field.data_type()));
        }
    }

    pub(crate) fn append(&mut self, other: Self) {
        self.rows.extend(other.rows);
    }
}

/// A length of time in words, in the largest unit that fits it whole.
pub(crate) fn span(ms: i64) -> String {
    let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"), (1, "millisecond")];
    let (length, unit) = units.into_iter().find(|(length, _)| ms % length == 0 && ms >= *length).unwrap_or((1, "millisecond"));
    let count = ms / length;
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// What a state keeps of an aggregate beyond a few numbers, and how exact its answer is; `None` for those that keep a few numbers.
pub(crate) fn kept_by(function: &str, distinct: bool) -> Option<String> {
    use crate::run::aggregate::VALUES_PER_GROUP_MAX as MAX;
    Some(match function {
        _ if distinct => format!("exact; keeps each distinct value, at most {MAX} per group (approx_distinct keeps 16 KiB instead)"),
        "approx_distinct" => "HyperLogLog of 16384 registers, 16 KiB per group: standard error 0.81 %; merging adds none".to_owned(),
        "approx_percentile_cont" | "approx_percentile_cont_with_weight" | "approx_median" => {
            "t-digest of 100 centroids unless the call names another number, under 2 KiB per group: error of rank at most 0.2 % up to 0.95 and 0.1 % beyond (measured, merges included)".to_owned()
        }
        "median" | "percentile_cont" | "array_agg" | "string_agg" => format!("exact; keeps every value, at most {MAX} per group (approx_percentile_cont keeps a sketch instead)"),
        "histogram_quantile" | "histogram_below" | "histogram_bound" => {
            format!("keeps one sum per bucket bound, at most {} per group; linear within a bucket, as Prometheus does it", crate::functions::histogram::BOUNDS_MAX)
        }
        _ => return None,
    })
}
