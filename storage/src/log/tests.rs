//! The suite of `conformance`, run against every log there is.
#![allow(clippy::unwrap_used)]

use super::config::EmbeddedLogConfig;
use super::conformance::{LogFactory, Ports, run};
use super::embedded::EmbeddedLog;
use afferent_engine::error::Result;
use async_trait::async_trait;

struct Embedded {
    dir: tempfile::TempDir,
    segment_bytes: u64,
}

#[async_trait]
impl LogFactory for Embedded {
    async fn open(&self) -> Result<Ports> {
        let config = EmbeddedLogConfig { segment_bytes: self.segment_bytes, ..EmbeddedLogConfig::default() };
        let log = EmbeddedLog::open(self.dir.path(), config)?;
        Ok(Ports { writer: log.clone(), reader: log })
    }

    fn trim_grain_bytes(&self) -> usize {
        self.segment_bytes as usize
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_log_with_small_segments_conforms() {
    run(|| Embedded { dir: tempfile::tempdir().unwrap(), segment_bytes: 16 << 10 }).await;
}

#[tokio::test]
async fn embedded_log_with_one_megabyte_segments_conforms() {
    run(|| Embedded { dir: tempfile::tempdir().unwrap(), segment_bytes: 1 << 20 }).await;
}
