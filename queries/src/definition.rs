//! View definitions as written: one `CREATE [MATERIALIZED] VIEW` statement per file. Not what they compile to.

use crate::error::{Error, Result};
use crate::nesting;
use datafusion::sql::parser::{DFParser, Statement as Parsed};
use datafusion::sql::sqlparser::ast::{CreateTableOptions, CreateView, Expr, Query, SetExpr, SqlOption, Statement, TableFactor, Value};
use std::collections::BTreeSet;
use std::fmt;

/// Bytes one definition may have.
const DEFINITION_BYTES_MAX: usize = 64 * 1024;
/// Characters a view's name may have.
const NAME_CHARS_MAX: usize = 64;
/// The shortest time-to-live, milliseconds: an hour.
const TTL_MS_MIN: i64 = 3_600_000;
/// The longest, milliseconds: ten years.
const TTL_MS_MAX: i64 = 3_650 * 86_400_000;
/// Names that relations of another kind have.
const RESERVED: [&str; 18] = [
    "samples",
    "series",
    "rollup_1m",
    "histograms",
    "exemplars",
    "events",
    "late_samples",
    "dead_letters",
    "panes",
    "metrics",
    "rollup",
    "public",
    "information_schema",
    "spans",
    "services",
    "slo_objectives",
    "slo_rules",
    "model_prices",
];

/// Words that a statement could not name without quotes.
const KEYWORDS: [&str; 26] = [
    "select", "from", "where", "group", "order", "by", "having", "limit", "join", "on", "as", "and", "or", "not", "null", "case", "when", "then",
    "else", "end", "with", "union", "all", "distinct", "create", "view",
];

/// One definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The view's name: lower case, digits, underscores.
    pub name: String,
    /// The statement as written, without surrounding space.
    pub sql: String,
    /// Its `SELECT`.
    pub select: String,
    /// Computed continuously and kept (`MATERIALIZED`), or only a name for its query.
    pub materialized: bool,
    /// Columns that identify a row, from `WITH (key = 'a, b')`.
    pub key: Option<Vec<String>>,
    /// The shape asked for, from `WITH (shape = '...')`.
    pub shape: Option<Shape>,
    /// How long a key stays after its newest event, from `WITH (ttl = '30 days')`.
    pub ttl_ms: Option<i64>,
    /// Relations it reads.
    pub reads: BTreeSet<String>,
}

/// The shapes a continuous view can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Aggregation over panes by window.
    Window,
    /// Aggregation over events by key.
    Keyed,
    /// Frames and folds over another view's rows.
    Fold,
    /// A query over current rows.
    Snapshot,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Window => "window",
            Self::Keyed => "keyed",
            Self::Fold => "fold",
            Self::Snapshot => "snapshot",
        })
    }
}

impl Definition {
    /// Reads one definition; `file` names it in errors.
    ///
    /// # Errors
    /// `Invalid`, naming the clause that does not belong.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let wrong = |problem: String| Error::definition(file, problem);
        if text.len() > DEFINITION_BYTES_MAX {
            return Err(wrong(format!("{} bytes: a definition may have {DEFINITION_BYTES_MAX}", text.len())));
        }
        if !nesting::is_bearable(text) {
            return Err(wrong(format!("expressions nest deeper than {} levels; each operator of a chain is one", nesting::LEVELS_MAX)));
        }
        let mut statements = DFParser::parse_sql(text).map_err(|e| wrong(e.strip_backtrace()))?;
        let (Some(first), None) = (statements.pop_front(), statements.pop_front()) else {
            return Err(wrong("one statement per file, CREATE MATERIALIZED VIEW name AS SELECT ...".to_owned()));
        };
        let references = datafusion::sql::resolve::resolve_table_references(&first, true).map_err(|e| wrong(e.strip_backtrace()))?.0;
        let Parsed::Statement(statement) = first else {
            return Err(wrong("expected CREATE MATERIALIZED VIEW name AS SELECT ...".to_owned()));
        };
        let Statement::CreateView(view) = *statement else {
            return Err(wrong("expected CREATE MATERIALIZED VIEW name AS SELECT ...".to_owned()));
        };
        let name = name_of(&view).map_err(wrong)?;
        refuse_extras(&view).map_err(wrong)?;
        check_query(&view.query).map_err(wrong)?;
        let Options { key, shape, ttl_ms } = options(&view).map_err(wrong)?;
        let reads = references.iter().map(|r| r.table().to_owned()).filter(|r| *r != name).collect();
        Ok(Self { name, sql: text.trim().to_owned(), select: view.query.to_string(), materialized: view.materialized, key, shape, ttl_ms, reads })
    }

    /// A stable hash of the statement as written, in hexadecimal.
    pub fn sql_hash(&self) -> String {
        format!("{:032x}", xxhash_rust::xxh3::xxh3_128(self.sql.as_bytes()))
    }
}

fn name_of(view: &CreateView) -> Result<String, String> {
    let parts: Vec<_> = view.name.0.iter().filter_map(|p| p.as_ident()).collect();
    let [name] = parts.as_slice() else {
        return Err(format!("view name {} must be one plain word", view.name));
    };
    let name = if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() };
    check_name(&name)?;
    Ok(name)
}

/// Says why a text is no view's name.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let well_formed =
        name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !well_formed || name.len() > NAME_CHARS_MAX {
        return Err(format!(
            "view name {name:?} must be lower-case letters, digits and underscores, start with a letter and have at most {NAME_CHARS_MAX} characters"
        ));
    }
    if RESERVED.contains(&name) {
        return Err(format!("view name {name:?} is taken by a relation of afferent; choose another"));
    }
    if KEYWORDS.contains(&name) {
        return Err(format!("view name {name:?} is a word of SQL; choose another"));
    }
    Ok(())
}

fn refuse_extras(view: &CreateView) -> Result<(), String> {
    let extras = [
        (view.or_replace || view.or_alter, "OR REPLACE", "write CREATE MATERIALIZED VIEW; a changed definition starts a new generation by itself"),
        (view.if_not_exists, "IF NOT EXISTS", "leave it out"),
        (view.temporary, "TEMPORARY", "leave it out"),
        (!view.columns.is_empty(), "a column list", "name columns in the SELECT with AS"),
        (!view.cluster_by.is_empty(), "CLUSTER BY", "leave it out"),
        (view.to.is_some(), "TO", "the view's table has the view's name; leave it out"),
        (
            view.secure || view.copy_grants || view.with_no_schema_binding || view.params.is_some() || view.comment.is_some(),
            "a dialect's extra",
            "leave it out",
        ),
    ];
    match extras.iter().find(|(present, ..)| *present) {
        Some((_, clause, instead)) => Err(format!("{clause} does not belong into a view definition: {instead}")),
        None => Ok(()),
    }
}

fn check_query(query: &Query) -> Result<(), String> {
    match query.body.as_ref() {
        SetExpr::Select(select) if select.into.is_some() => Err("SELECT INTO does not belong into a view definition".to_owned()),
        SetExpr::Select(select) => {
            match select.from.iter().flat_map(|f| std::iter::once(&f.relation).chain(f.joins.iter().map(|j| &j.relation))).find_map(function_of) {
                Some(function) => Err(format!("table function {function} does not belong into a view definition; name a relation")),
                None => Ok(()),
            }
        }
        SetExpr::Query(_) | SetExpr::SetOperation { .. } => Ok(()),
        _ => Err("a view's query must be a SELECT".to_owned()),
    }
}

fn function_of(factor: &TableFactor) -> Option<String> {
    match factor {
        TableFactor::Table { name, args: Some(_), .. } => Some(name.to_string()),
        TableFactor::Function { name, .. } => Some(name.to_string()),
        _ => None,
    }
}

/// What stands in `WITH (...)`.
#[derive(Debug, Default)]
struct Options {
    key: Option<Vec<String>>,
    shape: Option<Shape>,
    ttl_ms: Option<i64>,
}

fn options(view: &CreateView) -> Result<Options, String> {
    let mut options = Options::default();
    let given = match &view.options {
        CreateTableOptions::None => return Ok(options),
        CreateTableOptions::With(options) if view.materialized => options,
        CreateTableOptions::With(_) => return Err("a plain view takes no WITH options".to_owned()),
        _ => return Err("options are written WITH (key = 'a, b')".to_owned()),
    };
    for option in given {
        let SqlOption::KeyValue { key: name, value } = option else {
            return Err(format!("option {option}: write name = 'value'"));
        };
        let Expr::Value(value) = value else {
            return Err(format!("option {name}: the value must be a quoted text"));
        };
        let (Value::SingleQuotedString(text) | Value::DoubleQuotedString(text)) = &value.value else {
            return Err(format!("option {name}: the value must be a quoted text"));
        };
        match name.value.to_lowercase().as_str() {
            "key" => options.key = Some(columns(text)?),
            "shape" => options.shape = Some(shape_named(text)?),
            "ttl" => options.ttl_ms = Some(ttl(text)?),
            other => return Err(format!("option {other:?} is not known; there are key, shape and ttl")),
        }
    }
    Ok(options)
}

fn ttl(text: &str) -> Result<i64, String> {
    let wrong = || format!("option ttl = '{text}' must be a number of minutes, hours, days or weeks, such as '36 hours' or '30 days'");
    let (count, unit) = text.trim().split_once(' ').ok_or_else(wrong)?;
    let unit_ms = match unit.trim() {
        "minute" | "minutes" => 60_000,
        "hour" | "hours" => 3_600_000,
        "day" | "days" => 86_400_000,
        "week" | "weeks" => 604_800_000,
        _ => return Err(wrong()),
    };
    let ttl_ms: i64 = count.parse::<i64>().ok().and_then(|count| count.checked_mul(unit_ms)).ok_or_else(wrong)?;
    if !(TTL_MS_MIN..=TTL_MS_MAX).contains(&ttl_ms) {
        return Err(format!("option ttl = '{text}' must be from 1 hour to 3650 days: events come late, and a key must not leave before they do"));
    }
    Ok(ttl_ms)
}

fn columns(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = text.split(',').map(|c| c.trim().to_owned()).collect();
    let distinct: BTreeSet<&String> = names.iter().collect();
    if names.iter().any(String::is_empty) || distinct.len() != names.len() {
        return Err(format!("option key = '{text}' must list distinct columns, separated by commas"));
    }
    Ok(names)
}

fn shape_named(text: &str) -> Result<Shape, String> {
    [Shape::Window, Shape::Keyed, Shape::Fold, Shape::Snapshot]
        .into_iter()
        .find(|s| s.to_string() == text)
        .ok_or_else(|| format!("option shape = '{text}' is not known; there are window, keyed, fold and snapshot"))
}

#[cfg(test)]
mod tests;
