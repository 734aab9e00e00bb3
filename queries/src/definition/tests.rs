//! Definitions that parse and definitions that must not.
#![allow(clippy::unwrap_used)]

use super::*;

fn problem(text: &str) -> String {
    Definition::parse("x.sql", text).unwrap_err().to_string()
}

#[test]
fn reads_name_options_and_relations() {
    let text = "-- traffic\nCREATE MATERIALIZED VIEW Service_Traffic WITH (key = 'window_start, service', shape = 'window') AS\nWITH p AS (SELECT * FROM panes)\nSELECT window_start, s.service FROM p JOIN services s ON true;\n";
    let d = Definition::parse("x.sql", text).unwrap();
    assert_eq!(d.name, "service_traffic");
    assert!(d.materialized);
    assert_eq!(d.key, Some(vec!["window_start".to_owned(), "service".to_owned()]));
    assert_eq!(d.shape, Some(Shape::Window));
    assert_eq!(d.reads.into_iter().collect::<Vec<_>>(), ["panes", "services"]);
    assert!(d.select.starts_with("WITH p AS"));
}

#[test]
fn reads_the_time_to_live() {
    for (text, ttl_ms) in [("1 hour", 3_600_000), ("90 minutes", 5_400_000), ("30 days", 2_592_000_000), ("2 weeks", 1_209_600_000)] {
        let d = Definition::parse("x", &format!("CREATE MATERIALIZED VIEW a WITH (ttl = '{text}') AS SELECT 1")).unwrap();
        assert_eq!(d.ttl_ms, Some(ttl_ms), "{text}");
    }
}

#[test]
fn plain_view_and_hash() {
    let a = Definition::parse("a", "CREATE VIEW a AS SELECT 1 AS x").unwrap();
    let b = Definition::parse("a", "CREATE VIEW a AS SELECT 2 AS x").unwrap();
    assert!(!a.materialized);
    assert_ne!(a.sql_hash(), b.sql_hash());
    assert_eq!(a.sql_hash().len(), 32);
}

#[test]
fn refuses_what_does_not_belong() {
    for (text, says) in [
        ("SELECT 1", "expected CREATE MATERIALIZED VIEW"),
        ("CREATE VIEW a AS SELECT 1; CREATE VIEW b AS SELECT 2", "one statement per file"),
        ("", "one statement per file"),
        ("CREATE OR REPLACE MATERIALIZED VIEW a AS SELECT 1", "OR REPLACE"),
        ("CREATE MATERIALIZED VIEW \"A b\" AS SELECT 1", "must be lower-case letters"),
        ("CREATE MATERIALIZED VIEW x.a AS SELECT 1", "one plain word"),
        ("CREATE MATERIALIZED VIEW samples AS SELECT 1", "is taken by a relation"),
        ("CREATE MATERIALIZED VIEW services AS SELECT 1", "is taken by a relation"),
        ("CREATE MATERIALIZED VIEW \"select\" AS SELECT 1", "is a word of SQL"),
        ("CREATE MATERIALIZED VIEW a (b) AS SELECT 1", "a column list"),
        ("CREATE MATERIALIZED VIEW a WITH (life = '1d') AS SELECT 1", "there are key, shape and ttl"),
        ("CREATE MATERIALIZED VIEW a WITH (ttl = '1d') AS SELECT 1", "such as '36 hours'"),
        ("CREATE MATERIALIZED VIEW a WITH (ttl = '1 month') AS SELECT 1", "such as '36 hours'"),
        ("CREATE MATERIALIZED VIEW a WITH (ttl = '59 minutes') AS SELECT 1", "from 1 hour to 3650 days"),
        ("CREATE MATERIALIZED VIEW a WITH (ttl = '9999999999999999 days') AS SELECT 1", "such as '36 hours'"),
        ("CREATE MATERIALIZED VIEW a WITH (key = 'x,,y') AS SELECT 1", "distinct columns"),
        ("CREATE MATERIALIZED VIEW a WITH (key = 7) AS SELECT 1", "quoted text"),
        ("CREATE MATERIALIZED VIEW a WITH (shape = 'round') AS SELECT 1", "there are window, keyed, fold and snapshot"),
        ("CREATE VIEW a WITH (key = 'x') AS SELECT 1 x", "plain view takes no WITH"),
        ("CREATE MATERIALIZED VIEW a AS SELECT * FROM read_csv('/etc/passwd')", "table function"),
        ("CREATE MATERIALIZED VIEW a AS VALUES (1)", "must be a SELECT"),
        ("CREATE MATERIALIZED VIEW a AS SELEC 1", "ParserError"),
    ] {
        let got = problem(text);
        assert!(got.to_lowercase().contains(&says.to_lowercase()), "{text}: {got}");
        assert!(got.starts_with("x.sql: "), "{got}");
    }
    assert!(problem(&format!("CREATE VIEW a AS SELECT '{}'", "x".repeat(DEFINITION_BYTES_MAX))).contains("a definition may have"));
}
