//! The calls that change files, behind a trait so that tests can make them fail. Reading is not among them.

use crate::steps::{Step, Steps};
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::path::Path;

/// Changes to files on disk.
pub(super) trait Disk: Send + Sync + 'static {
    /// Writes all slices at the file's cursor.
    fn write(&self, file: &mut File, slices: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Makes written bytes durable.
    fn sync_data(&self, file: &File) -> io::Result<()>;

    /// Makes bytes and length durable.
    fn sync_all(&self, file: &File) -> io::Result<()>;

    /// Cuts a file.
    fn truncate(&self, file: &File, length: u64) -> io::Result<()>;

    /// Gives a finished file its name; the name is durable on return.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; the removal is durable on return.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the entry of `path` in its folder durable.
    fn sync_entry(&self, path: &Path) -> io::Result<()> {
        sync_parent(path)
    }

    /// Something is half done.
    fn reached(&self, _step: Step) {}
}

/// The real thing.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn write(&self, file: &mut File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => IoSlice::advance_slices(&mut slices, n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)?;
        sync_parent(to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => sync_parent(path),
        }
    }
}

/// The real thing, which tells a watcher what it has done.
#[derive(Debug, Default, Clone)]
pub(super) struct WatchedDisk(pub(super) Steps);

impl Disk for WatchedDisk {
    fn write(&self, file: &mut File, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        RealDisk.write(file, slices)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        self.0.reached(Step::RecordsWritten);
        RealDisk.sync_data(file)?;
        self.0.reached(Step::RecordsSynced);
        Ok(())
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        RealDisk.sync_all(file)
    }

    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        RealDisk.truncate(file, length)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.reached(Step::SegmentWritten);
        RealDisk.rename(from, to)?;
        self.0.reached(Step::SegmentNamed);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.reached(Step::SegmentChosen);
        RealDisk.remove(path)?;
        self.0.reached(Step::SegmentRemoved);
        Ok(())
    }

    fn reached(&self, step: Step) {
        self.0.reached(step);
    }
}

/// Makes the entry of `path` in its folder durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        Some(_) => File::open(".")?.sync_all(),
        None => Ok(()),
    }
}

/// Creates a folder and those above it; each entry is durable on return. One that is there may have been made by a process that died before
/// it synced it, so it is synced too; a folder further above that may not be read was there before.
pub(super) fn create_folder(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    if path.is_dir() {
        if let Err(error) = disk.sync_entry(path) {
            tracing::debug!(path = %path.display(), %error, "the folder above cannot be synced");
        }
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        create_folder(disk, parent)?;
    }
    match std::fs::create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => disk.sync_entry(path),
    }
}
