//! A service with the calls of S3 that takes every put, whatever stands there. Not a store: it keeps one object.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The object: its path, and what was put last.
type Object = Arc<Mutex<(String, Vec<u8>)>>;

/// Starts it on a free port, for as long as the process lives; gives its address.
pub(super) fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let object = Object::default();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let object = object.clone();
            thread::spawn(move || answer(client, &object));
        }
    });
    format!("http://{address}")
}

fn answer(mut client: TcpStream, object: &Object) -> Option<()> {
    let mut request = Vec::new();
    let mut chunk = [0u8; 4096];
    let end = loop {
        if let Some(at) = request.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        let read = client.read(&mut chunk).ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&chunk[..read]);
    };
    let header = String::from_utf8_lossy(&request[..end]).into_owned();
    let length = header.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0usize);
    while request.len() < end + length {
        let read = client.read(&mut chunk).ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&chunk[..read]);
    }
    let mut words = header.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let mut object = object.lock().unwrap();
    let body = match method {
        "PUT" => {
            *object = (path.to_owned(), request[end..].to_vec());
            Vec::new()
        }
        "GET" if path.contains("list-type=2") => {
            let key = object.0.splitn(3, '/').nth(2).unwrap_or_default();
            let contents = format!(
                "<Contents><Key>{key}</Key><LastModified>2026-11-23T00:00:00.000Z</LastModified><ETag>\"e\"</ETag><Size>{}</Size></Contents>",
                object.1.len()
            );
            format!("<ListBucketResult><Name>lake</Name><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>").into_bytes()
        }
        "GET" => object.1.clone(),
        _ => b"<DeleteResult><Deleted><Key>x</Key></Deleted></DeleteResult>".to_vec(),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nLast-Modified: Mon, 23 Nov 2026 00:00:00 GMT\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).ok()?;
    client.write_all(&body).ok()
}
