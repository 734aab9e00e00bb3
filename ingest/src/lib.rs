#![doc = include_str!("../README.md")]

pub mod appender;
pub mod config;
pub mod decoder;
pub mod error;
pub mod http;
mod in_flight;
pub mod metrics;
mod rejects;
mod remote_write;
mod snappy;
pub mod spread;
mod webhook;
mod wire;
