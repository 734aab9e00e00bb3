//! Statements about views: create, replace, drop, show, explain, roll back. Reads them and nothing else; whoever runs the engine carries them out.

use crate::definition::{self, Definition};
use crate::error::{Error, Result};

/// What errors call a statement that came without a file.
const STATEMENT: &str = "statement";
/// How a view is created, for errors.
const CREATE_EXAMPLE: &str = "CREATE MATERIALIZED VIEW name AS SELECT ...";

/// A statement about views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewStatement {
    /// `CREATE [OR REPLACE] MATERIALIZED VIEW name [WITH (...)] AS SELECT ...`
    Create {
        /// The definition, without `OR REPLACE`.
        definition: Definition,
        /// A view of this name gets a new generation.
        replace: bool,
    },
    /// `DROP [MATERIALIZED] VIEW [IF EXISTS] name`
    Drop {
        /// The view's name.
        name: String,
        /// Nothing happens where there is none.
        if_exists: bool,
    },
    /// `SHOW VIEWS`
    Show,
    /// `EXPLAIN CREATE MATERIALIZED VIEW ...` or `EXPLAIN MATERIALIZED VIEW name`
    Explain(Box<Explainable>),
    /// `ROLLBACK MATERIALIZED VIEW name`
    RollBack {
        /// The view's name.
        name: String,
    },
}

/// What can be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explainable {
    /// A definition that need not exist yet.
    Definition(Definition),
    /// A view that exists, by name.
    View(String),
}

/// Reads a statement about views; `None` where it is about something else, which a query may be.
///
/// # Errors
/// `Invalid`: it is about views and wrong; the message says what to write.
pub fn view_statement(text: &str) -> Result<Option<ViewStatement>> {
    let mut words = Words::new(text);
    let Some(verb) = words.word() else { return Ok(None) };
    match verb.to_uppercase().as_str() {
        "CREATE" => create(&words).map(|c| c.map(|(definition, replace)| ViewStatement::Create { definition, replace })),
        "DROP" => dropped(words),
        "SHOW" => show(words),
        "EXPLAIN" => explained(words),
        "ROLLBACK" => rolled_back(words),
        "ALTER" | "REFRESH" => refuse_changed(words, &verb.to_uppercase()),
        _ => Ok(None),
    }
}

/// `words` stand after `CREATE`.
fn create(words: &Words<'_>) -> Result<Option<(Definition, bool)>> {
    let mut ahead = words.clone();
    let clause = ahead.start();
    let mut replace = None;
    if ahead.take("OR") {
        match ahead.word().map(|w| w.to_uppercase()).as_deref() {
            Some("REPLACE") => replace = Some((clause, ahead.at)),
            Some("ALTER") => return wrong("OR ALTER is not known; write CREATE OR REPLACE MATERIALIZED VIEW name AS SELECT ..."),
            _ => return Ok(None),
        }
    }
    let temporary = ahead.take("TEMPORARY") || ahead.take("TEMP");
    let materialized = ahead.take("MATERIALIZED");
    if !ahead.take("VIEW") {
        return match materialized {
            true => wrong(format!("expected VIEW after MATERIALIZED; write {CREATE_EXAMPLE}")),
            false => Ok(None),
        };
    }
    if temporary || !materialized {
        return wrong(format!(
            "CREATE VIEW gives a name to a query and keeps no rows, and there is no place for such names; write {CREATE_EXAMPLE} for a view that is kept up to date, or put the query into WITH name AS (SELECT ...)"
        ));
    }
    // The definition is the text as written; only the clause that says what to do with it goes.
    let text = match replace {
        Some((from, to)) => format!("{}{}", words.text.get(..from).unwrap_or_default(), words.text.get(to..).unwrap_or_default().trim_start()),
        None => words.text.to_owned(),
    };
    let text = text.get(words.verb..).unwrap_or_default();
    Ok(Some((Definition::parse(STATEMENT, text)?, replace.is_some())))
}

fn dropped(mut words: Words<'_>) -> Result<Option<ViewStatement>> {
    let materialized = words.take("MATERIALIZED");
    if !words.take("VIEW") {
        return Ok(None);
    }
    let example = if materialized { "DROP MATERIALIZED VIEW name" } else { "DROP VIEW name" };
    let if_exists = words.take("IF");
    if if_exists && !words.take("EXISTS") {
        return wrong(format!("expected EXISTS after IF; write {example} or DROP VIEW IF EXISTS name"));
    }
    let name = words.name(example)?;
    if words.take("CASCADE") {
        return wrong("CASCADE would remove views that the statement does not name; drop those that read the view first, then the view");
    }
    words.take("RESTRICT");
    words.end(example)?;
    Ok(Some(ViewStatement::Drop { name, if_exists }))
}

fn show(mut words: Words<'_>) -> Result<Option<ViewStatement>> {
    words.take("MATERIALIZED");
    if !words.take("VIEWS") {
        return Ok(None);
    }
    words.end("SHOW VIEWS")?;
    Ok(Some(ViewStatement::Show))
}

fn explained(mut words: Words<'_>) -> Result<Option<ViewStatement>> {
    words.verb = words.start();
    if words.take("CREATE") {
        let subject = create(&words)?;
        return Ok(subject.map(|(definition, _)| ViewStatement::Explain(Box::new(Explainable::Definition(definition)))));
    }
    words.take("MATERIALIZED");
    if !words.take("VIEW") {
        return Ok(None);
    }
    let example = "EXPLAIN MATERIALIZED VIEW name";
    let name = words.name(example)?;
    words.end(example)?;
    Ok(Some(ViewStatement::Explain(Box::new(Explainable::View(name)))))
}

fn rolled_back(mut words: Words<'_>) -> Result<Option<ViewStatement>> {
    words.take("MATERIALIZED");
    if !words.take("VIEW") {
        return Ok(None);
    }
    let example = "ROLLBACK MATERIALIZED VIEW name";
    let name = words.name(example)?;
    words.end(example)?;
    Ok(Some(ViewStatement::RollBack { name }))
}

fn refuse_changed(mut words: Words<'_>, verb: &str) -> Result<Option<ViewStatement>> {
    words.take("MATERIALIZED");
    if !words.take("VIEW") {
        return Ok(None);
    }
    wrong(match verb {
        "REFRESH" => "REFRESH is not needed: a view follows its input by itself; read it with SELECT * FROM name".to_owned(),
        _ => format!("{verb} VIEW is not known: write CREATE OR REPLACE MATERIALIZED VIEW name AS SELECT ... with the whole new definition"),
    })
}

fn wrong<T>(problem: impl Into<String>) -> Result<T> {
    Err(Error::definition(STATEMENT, problem))
}

/// A text from which words are taken, over blanks and comments.
#[derive(Debug, Clone)]
struct Words<'a> {
    text: &'a str,
    /// Where the next word is looked for.
    at: usize,
    /// Where the verb of the definition stands.
    verb: usize,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, verb: 0 }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Where the next word or sign stands.
    fn start(&mut self) -> usize {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            let comment = if trimmed.starts_with("--") {
                trimmed.find('\n').map_or(trimmed.len(), |end| end + 1)
            } else if trimmed.starts_with("/*") {
                trimmed.find("*/").map_or(trimmed.len(), |end| end + 2)
            } else {
                0
            };
            self.at += rest.len() - trimmed.len() + comment;
            if comment == 0 {
                return self.at;
            }
        }
    }

    fn word(&mut self) -> Option<&'a str> {
        self.start();
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).filter(|w| !w.is_empty())
    }

    /// Takes the next word if it is this one.
    fn take(&mut self, wanted: &str) -> bool {
        let mut ahead = self.clone();
        let found = ahead.word().is_some_and(|w| w.eq_ignore_ascii_case(wanted));
        if found {
            self.at = ahead.at;
        }
        found
    }

    /// A view's name, in double quotes or not.
    fn name(&mut self, example: &str) -> Result<String> {
        self.start();
        if let Some(quoted) = self.rest().strip_prefix('"') {
            let Some(end) = quoted.find('"') else { return wrong(format!("a name's closing quote is missing; write {example}")) };
            self.at += end + 2;
            let name = quoted.get(..end).unwrap_or_default().to_owned();
            return definition::check_name(&name).map(|()| name).or_else(wrong);
        }
        let Some(word) = self.word() else { return wrong(format!("a view's name is missing; write {example}")) };
        let name = word.to_lowercase();
        definition::check_name(&name).map(|()| name).or_else(wrong)
    }

    /// Nothing but one semicolon may follow.
    fn end(&mut self, example: &str) -> Result<()> {
        self.start();
        if self.rest().starts_with(';') {
            self.at += 1;
            self.start();
        }
        match self.rest().split_whitespace().next() {
            None => Ok(()),
            Some(more) => wrong(format!("{more:?} does not belong here; write {example}, one statement at a time")),
        }
    }
}

#[cfg(test)]
mod tests;
