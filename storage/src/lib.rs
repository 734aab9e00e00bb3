#![doc = include_str!("../README.md")]

pub mod checkpoint;
pub mod config;
pub mod engines;
pub mod error;
mod firsts;
pub mod history;
pub mod import;
pub mod layout;
mod lock;
pub mod log;
pub mod maintain;
pub mod metrics;
pub mod object_store;
mod secret;
pub mod steps;
pub mod table;

#[cfg(test)]
mod testing;
