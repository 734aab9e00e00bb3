//! The log's implementations of the engine's ports, and the suite every one of them passes. Not the ports themselves:
//! those stand in `engine/src/log.rs`.

pub mod config;
pub mod conformance;
pub mod embedded;
pub mod error;
pub mod kafka;
pub mod metrics;

#[cfg(test)]
mod tests;
