#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::Document;
use std::path::Path;

fn config(folder: &Path) -> Config {
    let mut document = Document::reference().unwrap();
    document.set("server.listen", "--listen", "127.0.0.1:0");
    document.set("data.dir", "--data", folder.to_str().unwrap());
    Config::validate(&document).unwrap()
}

async fn post(server: &Server, path: &str, body: String) -> u16 {
    let url = format!("http://{}{path}", server.address());
    let send = move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        agent.post(&url).header("content-type", "application/json").send(&body).unwrap().status().as_u16()
    };
    tokio::task::spawn_blocking(send).await.unwrap()
}

async fn count(server: &Server, sql: &str) -> usize {
    let (_, batches, _) = server.state().sql.query(sql).await.unwrap().collect().await.unwrap();
    batches.iter().map(|b| b.num_rows()).sum()
}

fn incident(id: u32) -> String {
    let now = SystemClock.now().0 / 1000;
    let at = chrono::DateTime::from_timestamp(now, 0).unwrap().to_rfc3339();
    format!(r#"{{"event_id":"e{id}","incident_id":"i{id}","type":"opened","occurred_at":"{at}","service":"api","severity":"high"}}"#)
}

/// Waits for the engine's next look; rows come within two seconds.
async fn wait_for(server: &Server, sql: &str, rows: usize) {
    for _ in 0..200 {
        if count(server, sql).await == rows {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{sql} has {} rows, not {rows}", count(server, sql).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_rows_and_survive_a_graceful_and_an_abrupt_stop() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(config(folder.path())).await.unwrap();
    server.ready().await.unwrap();
    assert!((200..300).contains(&post(&server, "/api/v1/webhooks/incidents", incident(1)).await));
    wait_for(&server, "SELECT * FROM events", 1).await;
    wait_for(&server, "SELECT * FROM incidents", 1).await;
    server.stop().await.unwrap();

    let mut server = start(config(folder.path())).await.unwrap();
    server.ready().await.unwrap();
    wait_for(&server, "SELECT * FROM events", 1).await;
    assert!((200..300).contains(&post(&server, "/api/v1/webhooks/incidents", incident(2)).await));
    // Dropped, not stopped: what was acknowledged is in the log all the same.
    drop(server);

    let mut server = restarted(folder.path()).await;
    server.ready().await.unwrap();
    wait_for(&server, "SELECT * FROM events", 2).await;
    wait_for(&server, "SELECT * FROM incidents", 2).await;
    server.stop().await.unwrap();
}

/// A dropped server lets go of its folder as soon as its threads have noticed.
async fn restarted(folder: &Path) -> Server {
    for _ in 0..200 {
        match start(config(folder)).await {
            Err(error) if error.kind() == ErrorKind::Conflict => tokio::time::sleep(Duration::from_millis(50)).await,
            server => return server.unwrap(),
        }
    }
    panic!("the folder stayed locked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_folder_and_a_taken_address_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(config(folder.path())).await.unwrap();
    let error = start(config(folder.path())).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let mut taken = config(folder.path());
    taken.server.listen = server.address();
    let error = start(taken).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(&server.address().to_string()), "{error}");
    server.stop().await.unwrap();
}
