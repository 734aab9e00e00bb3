#![doc = include_str!("../README.md")]

pub mod door;
pub mod kafka;
pub mod ledger;
pub mod lossy;
pub mod machine;
pub mod minio;
pub mod oracle;
pub mod panes;
pub mod prometheus;
pub mod rows;
pub mod sender;
pub mod server;
pub mod skip;
pub mod wire;
pub mod witness;
