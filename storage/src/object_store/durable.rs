//! An [`ObjectStore`] over a folder that syncs what it writes. Reading and removing are `object_store`'s own.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The calls that make things durable, behind a trait so that tests can know what a power cut would leave.
pub(crate) trait Syncs: std::fmt::Debug + Send + Sync + 'static {
    /// Makes a file's bytes durable, whatever its name will be.
    fn file(&self, file: &File) -> io::Result<()>;

    /// Makes the entries of a folder durable: names that came, went or changed.
    fn folder(&self, folder: &FilePath) -> io::Result<()>;
}

/// The real thing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RealSyncs;

impl Syncs for RealSyncs {
    fn file(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn folder(&self, folder: &FilePath) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

/// The folder.
#[derive(Debug)]
pub(super) struct DurableFiles {
    files: LocalFileSystem,
    place: Place,
}

/// Where files go and how they are made durable.
#[derive(Debug, Clone)]
struct Place {
    root: Arc<FilePath>,
    syncs: Arc<dyn Syncs>,
}

impl std::fmt::Display for DurableFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DurableFiles({})", self.files)
    }
}

impl DurableFiles {
    /// `root` is the canonical path that `files` has as its prefix.
    pub(super) fn new(files: LocalFileSystem, root: &FilePath, syncs: Arc<dyn Syncs>) -> Self {
        Self { files, place: Place { root: root.into(), syncs } }
    }
}

/// Folders that this process has synced into the folder above; forgotten when there are too many.
static SYNCED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Folders in [`SYNCED`].
const SYNCED_MAX: usize = 10_000;

/// Makes the store's own folder and those above it that are missing, each durable in the one that holds it.
pub(super) fn create_root(folder: &FilePath) -> io::Result<()> {
    if folder.is_dir() {
        // It may have been made by a process that died before it synced it; a folder above that may not be read was there before.
        if let Err(error) = RealSyncs.folder(above(folder)) {
            tracing::debug!(folder = %folder.display(), %error, "the folder above cannot be synced");
        }
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|p| !p.as_os_str().is_empty()) {
        create_root(parent)?;
    }
    create_dir(folder, &RealSyncs)
}

/// Makes the names of everything that is there durable. A process that died may have left entries that it had not synced yet; they are
/// visible, so they are trusted from now on, and must not go with the power.
pub(super) fn sync_tree(folder: &FilePath, depth: usize, syncs: &dyn Syncs) -> io::Result<()> {
    syncs.folder(folder)?;
    if depth == 0 {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path(), depth - 1, syncs)?;
        }
    }
    Ok(())
}

/// Makes a folder if need be, and syncs the one that holds it.
fn create_dir(folder: &FilePath, syncs: &dyn Syncs) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        // Another process may have made it meanwhile; a file of that name is no folder.
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists || !folder.is_dir() => return Err(e),
        _ => {}
    }
    syncs.folder(above(folder))
}

/// The directory that names `path`.
fn above(path: &FilePath) -> &FilePath {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(FilePath::new("."))
}

impl Place {
    /// Makes a folder below the store's root and those between, each durable in the one that holds it.
    ///
    /// A folder that is there may have been made a moment ago by another task, or by a process that died before it synced it, so every
    /// folder is synced once per process, and nobody goes on while another task is at it.
    fn create_dirs(&self, folder: &FilePath) -> io::Result<()> {
        let mut synced = SYNCED.lock().unwrap_or_else(PoisonError::into_inner);
        self.create_dirs_below(folder, &mut synced)
    }

    fn create_dirs_below(&self, folder: &FilePath, synced: &mut BTreeSet<PathBuf>) -> io::Result<()> {
        let there = folder.is_dir();
        if folder == &*self.root || (there && synced.contains(folder)) {
            return Ok(());
        }
        if let Some(parent) = folder.parent() {
            self.create_dirs_below(parent, synced)?;
        }
        create_dir(folder, &*self.syncs)?;
        if synced.len() >= SYNCED_MAX {
            synced.clear();
        }
        synced.insert(folder.to_owned());
        Ok(())
    }

    /// A half-written file stands beside its final place as `<name>#<digits>`: listings leave such names out.
    fn stage(&self, dest: &FilePath) -> io::Result<(File, PathBuf)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        if let Some(parent) = dest.parent() {
            self.create_dirs(parent)?;
        }
        loop {
            let mut name = dest.as_os_str().to_owned();
            name.push(format!("#{}{:06}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
            let staged = PathBuf::from(name);
            match OpenOptions::new().write(true).create_new(true).open(&staged) {
                Ok(file) => return Ok((file, staged)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Brings a synced file to its name. With `create` the name must not exist: a hard link is made in one step or not at all, and taken back
    /// where it cannot be made durable, so that nobody builds on it.
    fn place(&self, staged: &FilePath, dest: &FilePath, create: bool) -> io::Result<()> {
        if !create {
            std::fs::rename(staged, dest)?;
            return self.syncs.folder(above(dest));
        }
        std::fs::hard_link(staged, dest)?;
        let synced = std::fs::remove_file(staged).and_then(|()| self.syncs.folder(above(dest)));
        synced.inspect_err(|_| discard(dest))
    }

    fn write_whole(&self, dest: &FilePath, payload: &PutPayload, create: bool) -> io::Result<()> {
        let (mut file, staged) = self.stage(dest)?;
        let written = payload.iter().try_for_each(|chunk| file.write_all(chunk)).and_then(|()| self.syncs.file(&file)).and_then(|()| {
            drop(file);
            self.place(&staged, dest, create)
        });
        if written.is_err() {
            discard(&staged);
        }
        written
    }
}

/// Whether a file's name is that of a half-written one.
pub(super) fn is_staged(path: &FilePath) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    name.split_once('#').is_some_and(|(_, digits)| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Removes a half-written file; what cannot be removed now goes when the store is opened next.
fn discard(staged: &FilePath) {
    if let Err(error) = std::fs::remove_file(staged)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %staged.display(), %error, "cannot remove a half-written file");
    }
}

fn failed(location: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path: location.to_string(), source: error.into() },
        _ => Error::Generic { store: "DurableFiles", source: error.into() },
    }
}

async fn blocking<T: Send + 'static>(location: &Path, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|e| failed(location, e)),
        Err(source) => Err(Error::JoinError { source }),
    }
}

#[async_trait]
impl ObjectStore for DurableFiles {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let create = match opts.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented { operation: "put with mode Update".to_owned(), implementer: self.to_string() });
            }
        };
        let dest = self.files.path_to_filesystem(location)?;
        let place = self.place.clone();
        blocking(location, move || place.write_whole(&dest, &payload, create)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let dest = self.files.path_to_filesystem(location)?;
        let (file, staged) = blocking(location, {
            let (place, dest) = (self.place.clone(), dest.clone());
            move || place.stage(&dest)
        })
        .await?;
        Ok(Box::new(Upload {
            location: location.clone(),
            place: self.place.clone(),
            dest,
            staged: Some(staged),
            file: Arc::new(Mutex::new(Parts { file, failed: false })),
            next: 0,
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    /// The removals are durable once the stream has ended, so what is removed afterwards never goes without them.
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let folders = Arc::new(Mutex::new(BTreeMap::new()));
        let (noted, files, syncs) = (folders.clone(), self.files.clone(), self.place.syncs.clone());
        let removed = self.files.delete_stream(locations).inspect_ok(move |location| {
            // A folder that has no path was not removed from either.
            if let Ok(path) = files.path_to_filesystem(location)
                && let Some(folder) = path.parent()
            {
                noted.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned(), location.clone());
            }
        });
        let synced = futures::stream::once(async move {
            let folders = std::mem::take(&mut *folders.lock().unwrap_or_else(PoisonError::into_inner));
            for (folder, location) in folders {
                let syncs = syncs.clone();
                blocking(&location, move || syncs.folder(&folder)).await?;
            }
            Ok::<_, Error>(futures::stream::empty())
        });
        removed.chain(synced.try_flatten()).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        sorted(self.files.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        sorted(self.files.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut result = self.files.list_with_delimiter(prefix).await?;
        result.objects.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(result)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await?;
        self.sync_dirs(&[to]).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.files.rename_opts(from, to, options).await?;
        self.sync_dirs(&[to, from]).await
    }
}

impl DurableFiles {
    async fn sync_dirs(&self, locations: &[&Path]) -> Result<()> {
        for location in locations {
            let path = self.files.path_to_filesystem(location)?;
            let syncs = self.place.syncs.clone();
            blocking(location, move || syncs.folder(above(&path))).await?;
        }
        Ok(())
    }
}

/// Delta's reader takes listings in order of name from every store but plain `file://` ones.
fn sorted(listing: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
    futures::stream::once(async move {
        let mut objects: Vec<ObjectMeta> = listing.try_collect().await?;
        objects.sort_by(|a, b| a.location.as_ref().cmp(b.location.as_ref()));
        Ok::<_, Error>(futures::stream::iter(objects.into_iter().map(Ok)))
    })
    .try_flatten()
    .boxed()
}

/// A file written part by part; it gets its name, synced, on `complete`.
#[derive(Debug)]
struct Upload {
    location: Path,
    place: Place,
    dest: PathBuf,
    staged: Option<PathBuf>,
    file: Arc<Mutex<Parts>>,
    next: u64,
}

#[derive(Debug)]
struct Parts {
    file: File,
    failed: bool,
}

impl Parts {
    fn write_at(&mut self, offset: u64, payload: &PutPayload) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let mut at = offset;
        for chunk in payload.iter() {
            self.file.write_all_at(chunk, at).inspect_err(|_| self.failed = true)?;
            at += chunk.len() as u64;
        }
        Ok(())
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let (location, file, offset) = (self.location.clone(), Arc::clone(&self.file), self.next);
        self.next += payload.content_length() as u64;
        Box::pin(async move { blocking(&location, move || file.lock().unwrap_or_else(PoisonError::into_inner).write_at(offset, &payload)).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let Some(staged) = self.staged.take() else {
            return Err(failed(&self.location, io::Error::other("the upload was completed or aborted before")));
        };
        let (file, dest, place) = (Arc::clone(&self.file), self.dest.clone(), self.place.clone());
        blocking(&self.location, move || {
            let parts = file.lock().unwrap_or_else(PoisonError::into_inner);
            let done = if parts.failed { Err(io::Error::other("a part could not be written")) } else { place.syncs.file(&parts.file) };
            done.and_then(|()| place.place(&staged, &dest, false)).inspect_err(|_| discard(&staged))
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        if let Some(staged) = self.staged.take() {
            blocking(&self.location, move || {
                discard(&staged);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(staged) = self.staged.take() {
            discard(&staged);
        }
    }
}
