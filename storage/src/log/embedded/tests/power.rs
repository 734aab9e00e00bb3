//! The log on a folder with a plug: what it syncs, and nothing else, survives.

use super::super::disk::{Disk, RealDisk};
use super::super::{EmbeddedLog, EmbeddedLogConfig};
use crate::object_store::Syncs;
use crate::testing::power::Plug;
use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// Opens the log in `dir`, which lies below the plug's folder.
pub(crate) fn open_plugged(dir: &Path, segment_bytes: u64, plug: Arc<Plug>) -> afferent_engine::error::Result<Arc<EmbeddedLog>> {
    let config = EmbeddedLogConfig { segment_bytes, ..EmbeddedLogConfig::default() };
    Ok(EmbeddedLog::open_on(dir, config, Arc::new(PluggedDisk(plug)))?)
}

struct PluggedDisk(Arc<Plug>);

impl PluggedDisk {
    fn above(&self, path: &Path) -> io::Result<()> {
        path.parent().map_or(Ok(()), |folder| self.0.folder(folder))
    }
}

impl Disk for PluggedDisk {
    fn write(&self, file: &mut File, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        RealDisk.write(file, slices)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        self.0.file(file)
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        self.0.file(file)
    }

    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        RealDisk.truncate(file, length)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)?;
        self.above(to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)?;
        self.above(path)
    }

    fn sync_entry(&self, path: &Path) -> io::Result<()> {
        self.above(path)
    }
}
