#![allow(clippy::unwrap_used)]

use super::*;
use crate::views::tests::server;
use afferent_engine::live::ViewInfo;
use std::sync::Arc;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

async fn with_view(settings: &str) -> crate::http::tests::Loopback {
    let (server, live) = server(settings).await;
    let name = TableName::new("slo_slices");
    let schema = Arc::new(arrow::datatypes::Schema::empty());
    let info = ViewInfo { schema, key: Vec::new(), sql: String::new(), generation: 1, table: name.clone() };
    live.update(|view| drop(view.views.insert(name, info)));
    server
}

#[tokio::test]
async fn a_backfill_is_started_followed_and_cancelled() {
    let server = with_view("").await;
    let body = r#"{"view": "slo_slices", "from": "1970-01-01T00:00:00Z", "to": "1970-01-01T01:00:00Z"}"#;
    let begun = server.send("POST", "/api/v1/backfill", &JSON, body).await;
    assert_eq!((begun.status, begun.header("location")), (202, "/api/v1/backfill/1"));
    assert_eq!(begun.json()["id"], 1);
    let report = server.get("/api/v1/backfill/1").await.json();
    assert_eq!((report["state"].as_str(), report["percent"].as_f64(), report["rows_read"].as_u64()), (Some("running"), Some(50.0), Some(300)));
    // The clock stands at 60 s and the backfill began at 57 s: 100 rows a second, as long again to go.
    assert_eq!((report["rows_per_s"].as_f64(), report["left_s"].as_f64()), (Some(100.0), Some(3.0)));
    assert_eq!(server.send("DELETE", "/api/v1/backfill/1", &[], "").await.json()["state"], "cancelled");
    let all = server.get("/api/v1/backfill").await.json();
    assert_eq!((all["backfills"][0]["state"].as_str(), &all["backfills"][0]["left_s"]), (Some("cancelled"), &Value::Null));
    assert_eq!(server.get("/api/v1/freshness").await.json()["backfills"][0]["id"], 1);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_what_would() {
    let server = with_view("").await;
    for (body, status, says) in [
        (r#"{"view": "slo_slice", "from": "-1h", "to": "now"}"#, 404, "slo_slices"),
        (r#"{"view": "slo_slices", "from": "yesterday", "to": "now"}"#, 400, "from: "),
        (r#"{"view": "slo_slices", "from": "now", "to": "-1h"}"#, 400, "empty"),
        (r#"{"view": "slo_slices", "from": "-1h"}"#, 400, "to"),
        ("", 400, "not a backfill"),
    ] {
        let got = server.send("POST", "/api/v1/backfill", &JSON, body).await;
        assert_eq!(got.status, status, "{body}");
        let (_, message, hint) = got.error();
        assert!(format!("{message} {hint}").contains(says), "{body}: {message} {hint}");
    }
    for path in ["/api/v1/backfill/7", "/api/v1/backfill/x"] {
        assert_eq!(server.get(path).await.status, 404);
        assert_eq!(server.send("DELETE", path, &[], "").await.status, 404);
    }
}

#[tokio::test]
async fn starting_and_cancelling_needs_the_right_and_looking_does_not() {
    let server = with_view("[server]\nview_token = \"s3cret\"\n").await;
    let body = r#"{"view": "slo_slices", "from": "1970-01-01", "to": "1970-01-02"}"#;
    assert_eq!(server.send("POST", "/api/v1/backfill", &JSON, body).await.status, 403);
    let headers = [("authorization", "Bearer s3cret"), JSON[0]];
    assert_eq!(server.send("POST", "/api/v1/backfill", &headers, body).await.status, 202);
    assert_eq!(server.get("/api/v1/backfill/1").await.status, 200);
    assert_eq!(server.send("DELETE", "/api/v1/backfill/1", &[], "").await.status, 403);
}
