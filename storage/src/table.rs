//! Tables of the lake: columns, Parquet files, Delta's log, and reading. Not background work (`maintain`).

pub(crate) mod columns;
pub mod conformance;
pub mod delta;
pub mod foreign;
pub(crate) mod parquet;
pub(crate) mod pins;
pub mod provider;
pub(crate) mod scan;
pub(crate) mod stats;
