//! Statements about views as a client sends them, before an engine that is played here.
#![allow(clippy::unwrap_used)]

use crate::http::tests::{Loopback, serve_with, state_with};
use afferent_engine::control::{BackfillId, Command, Defined, control};
use afferent_engine::error::Error;
use afferent_engine::live::Live;
use afferent_engine::status::{BackfillState, BackfillStatus, Difference, GenerationState, GenerationStatus, Status, ViewStatus};
use afferent_engine::time::{EventTime, WallTime};
use axum::Router;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;

fn change(live: &Live, change: impl FnOnce(&mut Status)) {
    live.update(|view| {
        let mut status = Status::clone(&view.status);
        change(&mut status);
        view.status = Arc::new(status);
    });
}

/// Keeps definitions as the engine would, without computing anything.
pub(crate) async fn played(mut commands: mpsc::Receiver<Command>, live: Arc<Live>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Define(define, tell) => {
                let name = define.name.as_str().to_owned();
                let newest = live.view().status.views.get(&name).and_then(|v| v.generations.last().cloned());
                let answer = match newest {
                    Some(newest) if newest.sql == define.sql => Ok(Defined { generation: newest.generation, changed: false }),
                    Some(_) if !define.replace => Err(Error::invalid(format!("the view {name} exists; write CREATE OR REPLACE"))),
                    _ if define.sql.contains("refused") => Err(Error::invalid("refused by the engine")),
                    newest => {
                        let generation = newest.map_or(1, |g| g.generation + 1);
                        let status = GenerationStatus {
                            generation,
                            state: GenerationState::Filling,
                            origin: define.origin,
                            sql: define.sql,
                            filled: Some((Some(EventTime(0)), EventTime(60_000))),
                            rows_read: 10,
                            rows_written: 5,
                            difference: None,
                            error: None,
                        };
                        change(&live, |s| s.views.entry(name).or_default().generations.push(status));
                        Ok(Defined { generation, changed: true })
                    }
                };
                tell.send(answer).unwrap();
            }
            Command::Drop(name, tell) if name.as_str() == "read_by_others" => {
                tell.send(Err(Error::invalid(format!("view {name} is read by other and cannot be dropped")))).unwrap();
            }
            Command::Drop(name, tell) => {
                let mut found = false;
                change(&live, |s| found = s.views.remove(name.as_str()).is_some());
                tell.send(if found { Ok(()) } else { Err(Error::invalid(format!("there is no view {name}"))) }).unwrap();
            }
            Command::RollBack(name, tell) => {
                let known = live.view().status.views.get(name.as_str()).is_some_and(|v| v.generations.len() > 1);
                tell.send(if known { Ok(1) } else { Err(Error::invalid("no earlier generation is kept")) }).unwrap();
            }
            Command::Backfill(range, tell) => {
                let id = BackfillId(live.view().status.backfills.len() as u64 + 1);
                let half = EventTime((range.from.0 + range.to.0) / 2);
                let status = BackfillStatus {
                    range,
                    state: BackfillState::Running,
                    done_until: half,
                    rows_read: 300,
                    rows_written: 2,
                    started_at: WallTime(57_000),
                    error: None,
                };
                change(&live, |s| drop(s.backfills.insert(id, status)));
                tell.send(Ok(id)).unwrap();
            }
            Command::CancelBackfill(id, tell) => {
                change(&live, |s| s.backfills.get_mut(&id).unwrap().state = BackfillState::Cancelled);
                tell.send(Ok(())).unwrap();
            }
        }
    }
}

/// A server before a played engine.
pub(crate) async fn server(settings: &str) -> (Loopback, Arc<Live>) {
    let (control, commands) = control();
    let state = state_with(settings, true, control);
    let live = state.live.clone();
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    drop(tokio::spawn(played(commands, live.clone())));
    (serve_with(state, Router::new()).await, live)
}

const CREATE: &str = "CREATE MATERIALIZED VIEW busy AS SELECT service, tumble(window_start, INTERVAL '5 minutes') AS window_start, sum(increase) AS n \
                      FROM panes WHERE metric = 'http_requests_total' GROUP BY 1, 2";

fn column(answer: &Value, name: &str) -> Vec<Value> {
    let at = answer["columns"].as_array().unwrap().iter().position(|c| c["name"] == name).unwrap_or_else(|| panic!("{name}: {answer}"));
    answer["rows"].as_array().unwrap().iter().map(|row| row[at].clone()).collect()
}

#[tokio::test]
async fn a_view_is_created_replaced_shown_rolled_back_and_dropped() {
    let (server, live) = server("").await;
    let created = server.ask(CREATE, "json").await.json();
    assert_eq!(created["rows"], json!([["busy", 1, "filling"]]));
    assert_eq!(server.ask(CREATE, "json").await.json()["rows"], json!([["busy", 1, "filling"]]), "the same again changes nothing");
    let other = CREATE.replace("5 minutes", "10 minutes");
    let (status, message, _) = server.ask(&other, "json").await.error();
    assert_eq!((status, message.as_str()), (400, "the view busy exists; write CREATE OR REPLACE"));
    let replaced = server.ask(&other.replace("CREATE", "CREATE OR REPLACE"), "json").await.json();
    assert_eq!(replaced["rows"], json!([["busy", 2, "filling"]]));
    change(&live, |s| {
        let view: &mut ViewStatus = s.views.get_mut("busy").unwrap();
        view.generations[0].state = GenerationState::Serving;
        view.generations[1].difference = Some(Difference { same: 7, changed: 1, added: 2, gone: 3 });
    });
    let shown = server.ask("SHOW VIEWS", "json").await.json();
    assert_eq!(column(&shown, "state"), ["serving", "filling"]);
    assert_eq!(column(&shown, "generation"), [1, 2]);
    assert_eq!(column(&shown, "origin"), ["statement", "statement"]);
    assert_eq!(column(&shown, "filled_until"), ["1970-01-01T00:00:00.000000Z", "1970-01-01T00:00:00.000000Z"]);
    assert_eq!(
        [column(&shown, "same"), column(&shown, "changed"), column(&shown, "added"), column(&shown, "gone")].map(|c| c[1].clone()),
        [7, 1, 2, 3]
    );
    assert_eq!(column(&shown, "sql")[1], other.replace("CREATE OR REPLACE", "CREATE"));
    assert_eq!(server.ask("ROLLBACK MATERIALIZED VIEW busy", "json").await.json()["rows"], json!([["busy", 1, "serving"]]));
    assert_eq!(server.ask("DROP MATERIALIZED VIEW busy", "json").await.json()["rows"], json!([["busy", null, "dropped"]]));
    assert_eq!(server.ask("DROP VIEW busy", "json").await.status, 400);
    assert_eq!(server.ask("DROP VIEW IF EXISTS busy", "json").await.json()["rows"], json!([["busy", null, "none"]]));
    let csv = server.ask("SHOW VIEWS", "csv").await;
    assert!(csv.status == 200);
}

#[tokio::test]
async fn only_the_right_caller_changes_views_and_everybody_reads() {
    let (server, _) = server("[server]\nview_token = \"s3cret\"\n").await;
    let (status, message, hint) = server.ask(CREATE, "json").await.error();
    assert_eq!(status, 403);
    assert!(message.contains("bearer token") && hint.contains("server.view_token"), "{message} {hint}");
    assert_eq!(server.ask("SHOW VIEWS", "json").await.status, 200);
    assert_eq!(server.ask(&format!("EXPLAIN {CREATE}"), "json").await.status, 200);
    let headers = [("authorization", "Bearer s3cret"), ("content-type", "text/plain")];
    assert_eq!(server.send("POST", "/api/v1/sql", &headers, CREATE).await.status, 200);
    let path = format!("/api/v1/sql?query={}", "DROP VIEW busy".replace(' ', "%20"));
    let (status, message, _) = server.send("GET", &path, &headers, "").await.error();
    assert_eq!(status, 405);
    assert!(message.contains("GET"), "{message}");
    // Statements that are neither about views nor reading stay what they were: not allowed.
    for statement in ["CREATE TABLE t AS SELECT 1", "DROP TABLE samples", "CREATE VIEW v AS SELECT 1"] {
        assert_eq!(server.send("POST", "/api/v1/sql", &headers, statement).await.status, 400, "{statement}");
    }
}

#[tokio::test]
async fn explain_names_shape_source_and_what_is_kept() {
    let (server, _) = server("").await;
    let got = server.ask(&format!("EXPLAIN {CREATE}"), "json").await;
    let answer = got.json();
    let text = answer["rows"].to_string();
    assert!(text.contains("window") && text.contains("http_requests_total") && text.contains("5 minutes"), "{text}");
    let (status, message, _) = server.ask("EXPLAIN CREATE MATERIALIZED VIEW x AS SELECT service FROM panes", "json").await.error();
    assert_eq!(status, 400);
    assert!(message.contains("cannot run continuously"), "{message}");
    assert_eq!(server.ask("EXPLAIN MATERIALIZED VIEW nothing", "json").await.status, 404);
    // What EXPLAIN of a query was, it still is.
    assert!(server.ask("EXPLAIN SELECT 1", "json").await.json()["rows"].to_string().contains("plan"));
}
