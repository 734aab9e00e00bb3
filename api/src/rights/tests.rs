#![allow(clippy::unwrap_used)]

use super::*;
use axum::http::Request;

fn request(peer: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut parts = request.body(()).unwrap().into_parts().0;
    if !peer.is_empty() {
        parts.extensions.insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    }
    parts
}

#[test]
fn without_a_token_only_this_machine_itself_may_define() {
    let status = |peer, headers: &[(&str, &str)]| may_define(&request(peer, headers), None).map_err(|e| e.status.as_u16());
    assert_eq!(status("127.0.0.1:5", &[]), Ok(()));
    assert_eq!(status("[::1]:5", &[]), Ok(()));
    assert_eq!(status("[::ffff:127.0.0.1]:5", &[]), Ok(()));
    assert_eq!(status("10.0.0.7:5", &[]), Err(403));
    assert_eq!(status("", &[]), Err(403));
    assert_eq!(status("127.0.0.1:5", &[("x-forwarded-for", "10.0.0.7")]), Err(403));
    assert_eq!(status("127.0.0.1:5", &[("origin", "http://evil.example")]), Err(403));
    assert_eq!(status("10.0.0.7:5", &[("authorization", "Bearer x")]), Err(403));
}

#[test]
fn with_a_token_everybody_needs_it() {
    let token = Secret::new("s3cret");
    let check = |headers: &[(&str, &str)]| may_define(&request("10.0.0.7:5", headers), Some(&token));
    assert!(check(&[("authorization", "bearer s3cret"), ("origin", "http://own.example")]).is_ok());
    for headers in [&[("authorization", "Bearer other")][..], &[("authorization", "Basic s3cret")], &[]] {
        let error = check(headers).unwrap_err();
        assert_eq!(error.status, StatusCode::FORBIDDEN);
        assert!(error.message.contains("token") && !error.message.contains("s3cret"), "{error}");
    }
    assert!(may_define(&request("127.0.0.1:5", &[]), Some(&token)).is_err());
}
