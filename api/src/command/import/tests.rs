//! The command against a door that is played here: busy at first, then taking, or refusing.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::command::ServerArgs;
use crate::http::tests::{Loopback, serve_with, state};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use std::sync::{Arc, Mutex};

/// What came in, and what to answer first.
#[derive(Clone, Default)]
struct Door {
    answers: Arc<Mutex<Vec<StatusCode>>>,
    bodies: Arc<Mutex<Vec<(String, Bytes)>>>,
}

async fn write(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> (StatusCode, [(&'static str, &'static str); 1]) {
    let status = door.answers.lock().unwrap().pop().unwrap_or(StatusCode::NO_CONTENT);
    let source = headers["x-afferent-source"].to_str().unwrap().to_owned();
    door.bodies.lock().unwrap().push((source, body));
    (status, [("x-prometheus-remote-write-samples-written", "1")])
}

async fn start(answers: &[StatusCode]) -> (Loopback, Door) {
    let door = Door { answers: Arc::new(Mutex::new(answers.iter().rev().copied().collect())), ..Door::default() };
    let router = Router::new().route("/api/v1/write", post(write)).with_state(door.clone());
    (serve_with(state("", true), router).await, door)
}

async fn import(server: &Loopback, files: &[&Path], source: Option<&str>) -> anyhow::Result<Exit> {
    let args = ImportArgs {
        files: files.iter().map(|f| f.display().to_string()).collect(),
        source: source.map(str::to_owned),
        format: None,
        server: ServerArgs { url: server.base.clone(), token: None },
    };
    tokio::task::spawn_blocking(move || run(&args)).await.unwrap()
}

fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

const DUMP: &str = "up{job=\"a\"} 1 1395066363\nup{job=\"b\"} 0 1395066363\n# EOF\n";

#[tokio::test]
async fn a_busy_door_is_waited_for_and_gets_the_same_bytes_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "dump.om", DUMP);
    let (server, door) = start(&[StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS]).await;
    assert_eq!(import(&server, &[&path], None).await.unwrap(), Exit::Done);
    assert_eq!(import(&server, &[&path], None).await.unwrap(), Exit::Done);
    let bodies = door.bodies.lock().unwrap();
    assert_eq!(bodies.len(), 4);
    assert!(bodies.iter().all(|body| *body == bodies[0]), "the same file gives the same bytes");
    assert_eq!(bodies[0].0, "import:dump.om");
}

#[tokio::test]
async fn refused_samples_are_told_and_a_refused_request_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let (om, csv) = (file(&folder, "a.om", DUMP), file(&folder, "b.csv", "metric,time,value\nup,1795341600000,1\n"));
    let (server, door) = start(&[StatusCode::BAD_REQUEST]).await;
    assert_eq!(import(&server, &[&om, &csv], Some("old")).await.unwrap(), Exit::Failed, "one sample was refused");
    assert_eq!(door.bodies.lock().unwrap()[0].0, "import:old");
    let (server, _) = start(&[StatusCode::UNAUTHORIZED]).await;
    let error = import(&server, &[&om], None).await.unwrap_err();
    assert!(format!("{error:#}").contains("HTTP 401"), "{error:#}");
}

#[tokio::test]
async fn what_cannot_be_read_sends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (server, door) = start(&[]).await;
    let good = file(&folder, "a.om", DUMP);
    for (name, text) in [("b.om", "up 1\n"), ("b.csv", "metric,time\n"), ("b.parquet", "PAR1"), ("b.unknown", ""), ("b.txt", "up{a=\"1\" 2 3\n")] {
        let bad = file(&folder, name, text);
        assert_eq!(import(&server, &[&good, &bad], None).await.unwrap(), Exit::Usage, "{name}");
    }
    assert_eq!(import(&server, &[folder.path()], None).await.unwrap(), Exit::Usage, "a folder");
    assert_eq!(import(&server, &[&folder.path().join("none.om")], None).await.unwrap(), Exit::Usage);
    assert_eq!(door.bodies.lock().unwrap().len(), 0);
}
