//! The one test binary of the workspace's outside view: rules about the sources, and the real program under real senders.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod continuous;
mod differential;
mod full_disk;
mod lateness;
mod ledger;
mod prometheus;
mod readers;
mod run_time;
mod scenario;
mod tidy;
mod torture;

use std::path::Path;

/// The program, compiled from the same `main.rs` as the one that is shipped.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_afferent-under-test"))
}
