//! Ports in memory, for tests and simulations: a log, tables, checkpoints. They keep the promises of the real ones, not their durability; `faults`
//! makes them fail.

pub mod faults;
mod log;
mod store;

pub use log::MemoryLog;
pub use store::{MemoryCheckpoints, MemoryTables};

#[cfg(test)]
mod tests;
