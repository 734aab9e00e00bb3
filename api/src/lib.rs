#![doc = include_str!("../README.md")]

pub mod backfill;
pub mod cards;
pub mod command;
pub mod config;
pub mod demo;
pub mod error;
pub mod http;
pub mod import;
pub mod instant;
pub mod locale;
pub mod metrics;
pub mod nearest;
pub mod openapi;
pub mod ops;
pub mod rights;
pub mod shutdown;
pub mod sql;
pub mod standby;
pub mod state;
pub mod stats;
pub mod status;
pub mod telemetry;
pub mod terminal_draw;
pub mod views;
pub mod wire;
mod write_body;
