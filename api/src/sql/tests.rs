#![allow(clippy::unwrap_used)]

use super::*;
use afferent_queries::error::Error as QueryError;

fn ask(query: &str) -> Question {
    Question { query: Some(query.into()), format: None }
}

#[test]
fn a_statement_comes_as_text_json_form_or_parameter() {
    assert_eq!(in_body("text/plain; charset=utf-8", "SELECT 1".into()).unwrap(), ask("SELECT 1"));
    assert_eq!(in_body("", "SELECT 1".into()).unwrap(), ask("SELECT 1"));
    assert_eq!(in_body("application/json", "{\"query\": \"SELECT 1\"}".into()).unwrap(), ask("SELECT 1"));
    let both = Question { query: Some("SELECT 1".into()), format: Some("csv".into()) };
    assert_eq!(in_body("Application/JSON", "{\"query\": \"SELECT 1\", \"format\": \"csv\"}".into()).unwrap(), both);
    // curl -d says form for whatever it sends.
    assert_eq!(in_body("application/x-www-form-urlencoded", "SELECT a FROM b WHERE c = 'd'".into()).unwrap(), ask("SELECT a FROM b WHERE c = 'd'"));
    assert_eq!(in_body("application/x-www-form-urlencoded", "query=SELECT+1%3B".into()).unwrap(), ask("SELECT 1;"));
    assert_eq!(parameters(&"/api/v1/sql?query=SELECT%201&format=csv".parse().unwrap()).unwrap(), both);
}

#[test]
fn a_wrong_question_is_told_what_is_wrong() {
    let status = |result: Result<Question, ApiError>| result.unwrap_err().status.as_u16();
    assert_eq!(status(in_body("application/xml", "<a/>".into())), 415);
    assert_eq!(status(in_body("application/json", "{\"query\"".into())), 400);
    assert_eq!(status(in_body("application/json", "{\"query\": \"a\", \"other\": 1}".into())), 400);
    let error = parameters(&"/?querry=SELECT%201".parse().unwrap()).unwrap_err();
    assert_eq!((error.status.as_u16(), error.hint.as_deref()), (400, Some("did you mean query?")));
    assert_eq!(status(parameters(&"/?query=a&query=b".parse().unwrap())), 400);
}

#[test]
fn the_form_follows_the_parameter_then_accept_then_json() {
    let choose = |word, accept| Format::choose(word, accept).map_err(|e| e.status.as_u16());
    assert_eq!(choose(None, None), Ok(Format::Json));
    assert_eq!(choose(Some("CSV"), Some("application/json")), Ok(Format::Csv));
    assert_eq!(choose(Some("xml"), None), Err(400));
    assert_eq!(choose(None, Some("*/*")), Ok(Format::Json));
    assert_eq!(choose(None, Some("text/csv;q=0.5, application/vnd.apache.arrow.stream")), Ok(Format::Arrow));
    assert_eq!(choose(None, Some("text/html, application/vnd.apache.parquet;q=0.1")), Ok(Format::Parquet));
    assert_eq!(choose(None, Some("image/png")), Err(406));
    assert_eq!(choose(None, Some("application/json;q=0, text/csv")), Ok(Format::Csv));
}

#[test]
fn limits_have_their_own_statuses() {
    let limit = |limit| ApiError::from(QueryError::Limit { limit, value: 1, hint: "less" }).status.as_u16();
    assert_eq!(limit("seconds_max"), 408);
    assert_eq!(limit("rows_max"), 413);
    assert_eq!(limit("memory_bytes_max"), 413);
    assert_eq!(ApiError::from(QueryError::Busy { value: 8 }).status.as_u16(), 429);
    assert_eq!(ApiError::from(QueryError::Forbidden("COPY".into())).status.as_u16(), 400);
    assert_eq!(ApiError::from(QueryError::Internal("x".into())).status.as_u16(), 500);
}
