//! Statements that are read, those left to queries, and those that teach.
#![allow(clippy::unwrap_used)]

use super::*;

fn read(text: &str) -> Option<ViewStatement> {
    view_statement(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

const CREATE: &str = "CREATE MATERIALIZED VIEW busy AS SELECT service, tumble(window_start, INTERVAL '1 minute') AS window_start, COUNT(*) AS n FROM panes GROUP BY 1, 2";

#[test]
fn a_definition_is_kept_as_written_but_for_or_replace() {
    let plain = Definition::parse("statement", CREATE).unwrap();
    let commented = format!("-- how busy\n {};", CREATE);
    for (text, replace) in [
        (CREATE.to_owned(), false),
        (CREATE.replace("CREATE", "create OR  /* again */ replace"), true),
        (CREATE.replace("CREATE MATERIALIZED", "CREATE\nOR REPLACE\nMATERIALIZED"), true),
    ] {
        let Some(ViewStatement::Create { definition, replace: got }) = read(&text) else { panic!("{text}") };
        assert_eq!((definition.select.as_str(), definition.name.as_str(), got), (plain.select.as_str(), "busy", replace), "{text}");
        assert!(!definition.sql.to_uppercase().contains("REPLACE"), "{}", definition.sql);
        // What is kept can be read again, as after a restart.
        assert_eq!(Definition::parse("again", &definition.sql).unwrap(), definition);
    }
    let Some(ViewStatement::Create { definition, .. }) = read(&commented) else { panic!() };
    assert!(definition.sql.starts_with("-- how busy"), "comments belong to the definition");
    let Some(ViewStatement::Create { definition, .. }) = read(&CREATE.replace("CREATE ", "CREATE OR REPLACE ")) else { panic!() };
    assert_eq!(definition, plain);
}

#[test]
fn reads_every_spelling() {
    let drop = |name: &str, if_exists| Some(ViewStatement::Drop { name: name.to_owned(), if_exists });
    let view = |name: &str| Some(ViewStatement::Explain(Box::new(Explainable::View(name.to_owned()))));
    for (text, want) in [
        ("DROP MATERIALIZED VIEW Busy;", drop("busy", false)),
        ("drop view if exists \"busy\" RESTRICT", drop("busy", true)),
        ("SHOW VIEWS", Some(ViewStatement::Show)),
        (" show materialized views ; -- all", Some(ViewStatement::Show)),
        ("EXPLAIN MATERIALIZED VIEW busy", view("busy")),
        ("EXPLAIN VIEW busy", view("busy")),
        ("ROLLBACK MATERIALIZED VIEW busy", Some(ViewStatement::RollBack { name: "busy".to_owned() })),
    ] {
        assert_eq!(read(text), want, "{text}");
    }
    for text in [format!("EXPLAIN {CREATE}"), format!("explain {}", CREATE.replace("CREATE", "CREATE OR REPLACE"))] {
        let Some(ViewStatement::Explain(subject)) = read(&text) else { panic!("{text}") };
        assert_eq!(*subject, Explainable::Definition(Definition::parse("statement", CREATE).unwrap()), "{text}");
    }
}

#[test]
fn leaves_other_statements_alone() {
    for text in [
        "",
        "-- nothing",
        "SELECT * FROM views",
        "SHOW TABLES",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "CREATE TABLE x (a INT)",
        "CREATE OR REPLACE TABLE x AS SELECT 1",
        "EXPLAIN CREATE TABLE x AS SELECT 1",
        "DROP TABLE x",
        "ROLLBACK",
        "ALTER TABLE x ADD COLUMN y INT",
        "(SELECT 1)",
        "/* never closed",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn teaches_what_to_write() {
    for (text, says) in [
        ("CREATE VIEW a AS SELECT 1", "write CREATE MATERIALIZED VIEW"),
        ("CREATE TEMPORARY VIEW a AS SELECT 1", "keeps no rows"),
        ("EXPLAIN CREATE VIEW a AS SELECT 1", "write CREATE MATERIALIZED VIEW"),
        ("CREATE OR ALTER MATERIALIZED VIEW a AS SELECT 1", "CREATE OR REPLACE"),
        ("CREATE MATERIALIZED TABLE a AS SELECT 1", "expected VIEW"),
        ("CREATE MATERIALIZED VIEW a AS SELECT 1; DROP VIEW a", "one statement"),
        ("CREATE MATERIALIZED VIEW IF NOT EXISTS a AS SELECT 1", "IF NOT EXISTS"),
        ("CREATE MATERIALIZED VIEW samples AS SELECT 1", "is taken by a relation"),
        ("DROP VIEW", "name is missing"),
        ("DROP VIEW IF a", "expected EXISTS"),
        ("DROP VIEW a, b", "one statement at a time"),
        ("DROP VIEW a.b", "does not belong"),
        ("DROP VIEW \"a", "closing quote"),
        ("DROP VIEW \"A b\"", "lower-case letters"),
        ("DROP VIEW a CASCADE", "drop those that read the view first"),
        ("DROP VIEW a; SELECT 1", "one statement at a time"),
        ("SHOW VIEWS LIKE 'a%'", "does not belong"),
        ("ALTER MATERIALIZED VIEW a AS SELECT 1", "CREATE OR REPLACE MATERIALIZED VIEW"),
        ("REFRESH MATERIALIZED VIEW a", "follows its input by itself"),
        ("ROLLBACK VIEW", "name is missing"),
    ] {
        let got = view_statement(text).unwrap_err().to_string();
        assert!(got.contains(says), "{text}: {got}");
        assert_eq!(view_statement(text).unwrap_err().kind(), afferent_engine::error::ErrorKind::Invalid);
    }
}
