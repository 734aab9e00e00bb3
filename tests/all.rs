//! The one test binary of the workspace's outside view: rules about the sources, and the real program under real senders.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod continuous;
mod deploy;
mod differential;
mod faults;
mod full_disk;
mod group;
mod kafka;
mod lateness;
mod ledger;
mod minio;
mod partitions;
mod power_loss;
mod prometheus;
mod questions;
mod readers;
mod run_time;
mod scenario;
mod spread;
mod tidy;
mod torture;
mod two_writers;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The program that was just built, with a watcher that can end it at a named step; `AFFERENT_BIN` names another one, such as a release build.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| std::env::var_os("AFFERENT_BIN").map_or_else(|| env!("CARGO_BIN_EXE_afferent-under-test").into(), PathBuf::from))
}
