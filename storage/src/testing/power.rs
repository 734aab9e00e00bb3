//! What a power cut would leave of a folder: every sync is noted, and the cut folder is built from what was noted, with luck for the rest.
//!
//! Names are as they were when their folder was last synced, bytes as they were when their file was last synced. What was written since may
//! be there as well, whole or torn or in part, because a kernel writes back when it likes.
#![allow(clippy::unwrap_used)]

use crate::object_store::Syncs;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(test)]
mod tests;

/// The plug of one folder.
pub(crate) struct Plug {
    root: PathBuf,
    cut_into: PathBuf,
    /// What is noted at the moment of the cut.
    at_cut: Box<dyn Fn() + Send + Sync>,
    noted: Mutex<Noted>,
}

impl std::fmt::Debug for Plug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plug({})", self.root.display())
    }
}

#[derive(Default)]
struct Noted {
    files: HashMap<u64, Vec<u8>>,
    folders: HashMap<u64, BTreeMap<OsString, Entry>>,
    /// Open, so that no inode number is given out twice.
    kept: Vec<File>,
    syncs_left: u64,
    seed: u64,
    is_cut: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    inode: u64,
    is_folder: bool,
}

impl Plug {
    /// Pulls itself after `syncs` syncs and then builds what is left of `root` in `cut_into`.
    pub(crate) fn new(root: &Path, cut_into: &Path, syncs: u64, seed: u64, at_cut: impl Fn() + Send + Sync + 'static) -> Self {
        let noted = Noted { syncs_left: syncs, seed, ..Noted::default() };
        let plug = Self { root: root.to_owned(), cut_into: cut_into.to_owned(), at_cut: Box::new(at_cut), noted: Mutex::new(noted) };
        plug.everything_is_durable(root);
        plug
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.lock().is_cut
    }

    /// Pulls now, if that did not happen yet.
    pub(crate) fn pull(&self) {
        self.cut(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn everything_is_durable(&self, folder: &Path) {
        let mut noted = self.lock();
        let mut left = vec![folder.to_owned()];
        while let Some(path) = left.pop() {
            if path.is_dir() {
                noted.folder(&path).unwrap();
                left.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            } else {
                noted.file(&File::open(&path).unwrap()).unwrap();
            }
        }
    }

    fn sync(&self, note: impl FnOnce(&mut Noted) -> io::Result<()>) -> io::Result<()> {
        let mut noted = self.lock();
        noted.syncs_left = noted.syncs_left.saturating_sub(1);
        // The one at which the power goes may have come through.
        let through = noted.syncs_left > 0 || noted.luck(2);
        if through {
            note(&mut noted)?;
        }
        if noted.syncs_left == 0 {
            self.cut(&mut noted);
        }
        Ok(())
    }

    fn cut(&self, noted: &mut Noted) {
        if noted.is_cut {
            return;
        }
        (self.at_cut)();
        noted.is_cut = true;
        let inode = std::fs::metadata(&self.root).unwrap().ino();
        noted.leave(inode, Some(&self.root), &self.cut_into);
    }
}

impl Noted {
    fn file(&mut self, file: &File) -> io::Result<()> {
        let by_handle = format!("/proc/self/fd/{}", file.as_raw_fd());
        let bytes = std::fs::read(&by_handle)?;
        if self.files.insert(file.metadata()?.ino(), bytes).is_none() {
            self.kept.push(File::open(by_handle)?);
        }
        Ok(())
    }

    fn folder(&mut self, folder: &Path) -> io::Result<()> {
        let inode = std::fs::metadata(folder)?.ino();
        if self.folders.insert(inode, entries(folder)).is_none() {
            self.kept.push(File::open(folder)?);
        }
        Ok(())
    }

    /// One in `of`, by the seed.
    fn luck(&mut self, of: u64) -> bool {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33).is_multiple_of(of)
    }

    /// Builds what is left of a folder; `now` is where it can still be seen.
    fn leave(&mut self, inode: u64, now: Option<&Path>, into: &Path) {
        std::fs::create_dir_all(into).unwrap();
        let durable = self.folders.get(&inode).cloned().unwrap_or_default();
        let current = now.map(entries).unwrap_or_default();
        let names: BTreeSet<OsString> = durable.keys().chain(current.keys()).cloned().collect();
        for name in names {
            let (synced, seen) = (durable.get(&name), current.get(&name));
            let left = if synced == seen || self.luck(2) { seen } else { synced };
            let Some(entry) = left.copied() else { continue };
            let path = now.map(|now| now.join(&name)).filter(|_| seen == Some(&entry));
            if entry.is_folder {
                self.leave(entry.inode, path.as_deref(), &into.join(&name));
            } else {
                let bytes = self.bytes(entry.inode, path.as_deref());
                std::fs::write(into.join(&name), bytes).unwrap();
            }
        }
    }

    /// The synced bytes, or more, or what stands there now.
    fn bytes(&mut self, inode: u64, now: Option<&Path>) -> Vec<u8> {
        let synced = self.files.get(&inode).cloned().unwrap_or_default();
        // A file may vanish while it is looked at: then it was not synced either.
        let Some(mut current) = now.and_then(|path| std::fs::read(path).ok()) else { return synced };
        if current == synced || self.luck(2) {
            return synced;
        }
        if self.luck(2) && current.len() > synced.len() && current.starts_with(&synced) {
            let torn = synced.len() + (self.seed >> 20) as usize % (current.len() - synced.len());
            if self.luck(2) {
                // The length came through and the bytes did not.
                current[torn..].fill(0);
            } else {
                current.truncate(torn);
            }
        }
        current
    }
}

fn entries(folder: &Path) -> BTreeMap<OsString, Entry> {
    let Ok(listed) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    let entry = |e: std::fs::DirEntry| Some((e.file_name(), e.metadata().ok().map(|m| Entry { inode: m.ino(), is_folder: m.is_dir() })?));
    listed.flatten().filter_map(entry).collect()
}

impl Syncs for Plug {
    fn file(&self, file: &File) -> io::Result<()> {
        self.sync(|noted| noted.file(file))
    }

    fn folder(&self, folder: &Path) -> io::Result<()> {
        self.sync(|noted| noted.folder(folder))
    }
}
