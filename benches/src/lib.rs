#![doc = include_str!("../README.md")]

pub mod capture;
pub mod disk;
pub mod fleet;
pub mod latency;
pub mod peer;
pub mod sender;
pub mod wire;
