#![doc = include_str!("../README.md")]

pub mod config;
pub mod definition;
pub mod dimensions;
pub mod error;
pub mod explain;
pub mod functions;
pub mod inventory;
pub mod metrics;
mod nesting;
pub mod plan;
pub mod prices;
pub mod run;
pub mod session;
pub mod slo;
pub mod statement;

pub use error::{Error, Result};
