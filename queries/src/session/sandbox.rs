//! Which statements are let in: one, and only such as read. A second check looks at the plan.

use crate::config::STATEMENT_BYTES_MAX;
use crate::error::{Error, Result};
use crate::nesting;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::Statement as Sql;

/// Parses one statement and refuses whatever does more than read relations.
///
/// # Errors
/// `Invalid`: syntax, several statements, a forbidden one, or too long.
pub(super) fn check(sql: &str) -> Result<Statement> {
    if sql.len() > STATEMENT_BYTES_MAX {
        return Err(Error::Limit { limit: "statement_bytes_max", value: STATEMENT_BYTES_MAX as u64, hint: "the statement is longer; shorten it" });
    }
    if !nesting::is_bearable(sql) {
        return Err(too_deep());
    }
    let mut statements = DFParser::parse_sql(sql).map_err(Error::statement)?;
    match (statements.pop_front(), statements.len()) {
        (None, _) => Err(Error::Forbidden("an empty statement".to_owned())),
        (Some(statement), 0) if reads(&statement) => Ok(statement),
        (Some(statement), 0) => Err(Error::Forbidden(verb(&statement))),
        (Some(_), _) => Err(Error::Forbidden("more than one statement".to_owned())),
    }
}

fn too_deep() -> Error {
    let hint = "expressions nest deeper: each operator of a chain is a level; a list of values goes into IN (...) or VALUES";
    Error::Limit { limit: "levels_max", value: nesting::LEVELS_MAX as u64, hint }
}

fn reads(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(sql) => reads_sql(sql),
        Statement::Explain(explain) => matches!(explain.statement.as_ref(), Statement::Statement(sql) if matches!(**sql, Sql::Query(_))),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => false,
    }
}

fn reads_sql(sql: &Sql) -> bool {
    match sql {
        Sql::Query(_) | Sql::ExplainTable { .. } | Sql::ShowTables { .. } | Sql::ShowColumns { .. } | Sql::ShowFunctions { .. } => true,
        Sql::Explain { statement, .. } => matches!(**statement, Sql::Query(_)),
        _ => false,
    }
}

/// The statement's first words, which name what it does.
fn verb(statement: &Statement) -> String {
    let text = statement.to_string();
    let words: Vec<String> = text.split_whitespace().take(2).map(str::to_uppercase).collect();
    match words.first().map(String::as_str) {
        Some("CREATE" | "DROP" | "ALTER") => words.join(" "),
        Some(first) => first.to_owned(),
        None => "this statement".to_owned(),
    }
}
