//! A network that loses answers: requests pass to the server, and of some the answer does not come back. One request per connection.

use anyhow::Result;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Largest header of a request.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It comes back.
    Passed,
    /// The server has done what it was asked, and the connection breaks before it can say so.
    Broken,
    /// The same, and nothing is heard for so long.
    Silent(Duration),
}

/// Judges a request by its first line: `PUT /bucket/name HTTP/1.1`.
pub type Judge = dyn Fn(&str) -> Fate + Send + Sync;

/// A listening proxy; dropping it ends it.
pub struct Lossy {
    address: String,
    stop: Arc<AtomicBool>,
    lost: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Lossy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lossy({}, lost {})", self.address, self.lost())
    }
}

impl Lossy {
    /// Stands before the server at `server` (`http://127.0.0.1:9000`).
    ///
    /// # Errors
    /// When the machine has no port left.
    pub fn start(server: &str, judge: Arc<Judge>) -> Result<Self> {
        let server = server.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let (stop, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, losses) = (stop.clone(), lost.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (server, judge, losses) = (server.clone(), judge.clone(), losses.clone());
                thread::spawn(move || {
                    // A connection that breaks for any other reason is what a network does too.
                    carry(client, &server, &*judge, &losses).ok();
                });
            }
        });
        Ok(Self { address, stop, lost })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers that did not come back.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(&self.address));
    }
}

fn carry(mut client: TcpStream, server: &str, judge: &Judge, lost: &AtomicUsize) -> Result<()> {
    let mut request = Vec::new();
    let mut chunk = [0u8; 16 << 10];
    let end = loop {
        if let Some(at) = request.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        let read = client.read(&mut chunk)?;
        if read == 0 || request.len() > HEADER_BYTES_MAX {
            return Ok(());
        }
        request.extend_from_slice(&chunk[..read]);
    };
    let header = String::from_utf8_lossy(&request[..end]).into_owned();
    let length = header.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").and_then(|n| n.trim().parse().ok()));
    while request.len() < end + 4 + length.unwrap_or(0usize) {
        let read = client.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&chunk[..read]);
    }
    let mut upstream = TcpStream::connect(server)?;
    // The server ends the connection after its answer, so that the answer's end is seen without reading it.
    upstream.write_all(header.as_bytes())?;
    upstream.write_all(b"\r\nConnection: close\r\n\r\n")?;
    upstream.write_all(&request[end + 4..])?;
    let mut answer = Vec::new();
    match judge(header.lines().next().unwrap_or_default()) {
        Fate::Passed => {
            loop {
                let read = upstream.read(&mut chunk)?;
                if read == 0 {
                    break;
                }
                client.write_all(&chunk[..read])?;
            }
            return Ok(());
        }
        Fate::Broken => drop(upstream.read_to_end(&mut answer)?),
        Fate::Silent(long) => {
            upstream.read_to_end(&mut answer)?;
            thread::sleep(long);
        }
    }
    lost.fetch_add(1, Ordering::Relaxed);
    Ok(client.shutdown(Shutdown::Both)?)
}

/// Loses the answer to every `n`-th request that `chosen` picks, first by a broken connection, then by silence, and so on.
pub fn every(n: usize, silence: Duration, chosen: impl Fn(&str) -> bool + Send + Sync + 'static) -> Arc<Judge> {
    let count = Mutex::new(0usize);
    Arc::new(move |line: &str| {
        if !chosen(line) {
            return Fate::Passed;
        }
        let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        match (*count % n, *count / n % 2) {
            (0, 1) => Fate::Broken,
            (0, _) => Fate::Silent(silence),
            _ => Fate::Passed,
        }
    })
}
