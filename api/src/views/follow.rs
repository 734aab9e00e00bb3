//! Keeps the views as a folder of files has them: looks at it again and again, defines what is new or changed, drops what is gone. Not the reading of it.

use super::files::{self, Folder, ViewFile, ViewFiles};
use afferent_engine::control::{Control, Define, Origin};
use afferent_engine::error::ErrorKind;
use afferent_engine::live::Live;
use afferent_engine::schema::TableName;
use afferent_engine::status::Status;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time between two looks at the folder.
pub const FOLLOW_EVERY: Duration = Duration::from_secs(3);

/// Follows one folder.
pub struct Follower {
    folder: PathBuf,
    control: Control,
    live: Arc<Live>,
    files: Arc<ViewFiles>,
    /// Statements that the engine has taken over, by view.
    taken: BTreeMap<String, String>,
    /// Why the folder could not be read: each reason is told once.
    told: BTreeSet<String>,
}

impl Follower {
    /// Follows `folder`, telling in `files` what it found.
    pub fn new(folder: PathBuf, control: Control, live: Arc<Live>, files: Arc<ViewFiles>) -> Self {
        Self { folder, control, live, files, taken: BTreeMap::new(), told: BTreeSet::new() }
    }

    /// Follows it until `stop`.
    ///
    /// # Cancel safety
    /// Safe: the next start looks at everything again.
    pub async fn run(mut self, stop: CancellationToken) {
        let follow = async {
            loop {
                // Before the replay has caught up, the engine's views are not all there.
                if self.live.view().status.recovered {
                    self.round().await;
                }
                tokio::time::sleep(FOLLOW_EVERY).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow => {}
        }
    }

    /// Looks once, and makes the views what the files say.
    pub(crate) async fn round(&mut self) {
        let folder = self.folder.clone();
        let read = tokio::task::spawn_blocking(move || files::read(&folder)).await;
        let read = match read {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return self.unreadable(&format!("the folder of views cannot be read: {error}")),
            Err(_) => return self.unreadable("reading the folder of views failed"),
        };
        let mut now: BTreeMap<String, ViewFile> = BTreeMap::new();
        for wrong in &read.wrong {
            now.insert(wrong.view.clone(), ViewFile { path: wrong.path.clone(), error: Some(wrong.error.clone()) });
        }
        let names: BTreeSet<&str> = read.definitions.iter().map(|file| file.definition.name.as_str()).collect();
        for file in &read.definitions {
            let (name, sql) = (&file.definition.name, &file.definition.sql);
            // A view that reads another one of the folder can be compiled once that one serves, which its history may take a while to.
            let serves = |view: &str| self.live.view().views.contains_key(&TableName::new(view));
            let waits = file.definition.reads.iter().any(|view| names.contains(view.as_str()) && !serves(view));
            let error =
                if waits || self.taken.get(name) == Some(sql) { None } else { self.define(name, sql).await.map(|e| format!("{}: {e}", file.path)) };
            now.insert(name.clone(), ViewFile { path: file.path.clone(), error });
        }
        now.extend(self.drop_gone(&read).await);
        for error in self.files.replace(now) {
            tracing::error!(error, "a view's file is wrong; what served before goes on serving");
        }
    }

    /// Why the engine does not take it, if it does not.
    async fn define(&mut self, name: &str, sql: &str) -> Option<String> {
        let define = Define { name: TableName::new(name), sql: sql.to_owned(), replace: true, origin: Origin::File };
        match self.control.define(define).await {
            Ok(defined) => {
                self.taken.insert(name.to_owned(), sql.to_owned());
                if defined.changed {
                    tracing::info!(view = name, generation = defined.generation, "a view was defined by its file");
                }
                None
            }
            Err(error) => {
                self.taken.remove(name);
                // An engine that is busy or stopping says nothing about the file; the next look asks again.
                (error.kind() != ErrorKind::Unavailable).then(|| error.to_string())
            }
        }
    }

    /// Leaves every view as it is, and says of each that its file is out of sight.
    fn unreadable(&mut self, why: &str) {
        let error = format!("{}: {why}", self.folder.display());
        let status = self.live.view().status.clone();
        let one = |name: &str| (name.to_owned(), ViewFile { path: self.path_of(name), error: Some(error.clone()) });
        drop(self.files.replace(from_files(&status).map(one).collect()));
        self.tell_once(error);
    }

    /// The file that a view is, or would be, defined by.
    fn path_of(&self, view: &str) -> String {
        self.files.path_of(view).unwrap_or_else(|| self.folder.join(format!("{view}.sql")).display().to_string())
    }

    /// Drops the views that came from files which are gone; gives those that cannot go, because others read them, with what to do.
    async fn drop_gone(&mut self, read: &Folder) -> BTreeMap<String, ViewFile> {
        let there: BTreeSet<&str> =
            read.definitions.iter().map(|f| f.definition.name.as_str()).chain(read.wrong.iter().map(|f| f.view.as_str())).collect();
        let status = self.live.view().status.clone();
        let mut gone: BTreeSet<String> = self.taken.keys().filter(|name| !there.contains(name.as_str())).cloned().collect();
        gone.extend(from_files(&status).filter(|name| !there.contains(name)).map(str::to_owned));
        // A view goes only after those that read it, so what cannot go yet is tried again as long as others go.
        while !gone.is_empty() {
            let mut kept = BTreeMap::new();
            for name in &gone {
                match self.control.drop_view(TableName::new(name)).await {
                    Ok(()) => {
                        self.taken.remove(name);
                        tracing::info!(view = name, "a view was dropped with its file");
                    }
                    Err(error) => drop(kept.insert(name.clone(), error)),
                }
            }
            if kept.len() == gone.len() {
                let said = kept.into_iter().filter(|(_, error)| error.kind() != ErrorKind::Unavailable);
                let one = |(name, error): (String, _)| {
                    let path = self.path_of(&name);
                    let error = Some(format!("{path} is gone, but: {error}"));
                    (name, ViewFile { path, error })
                };
                return said.map(one).collect();
            }
            gone = kept.into_keys().collect();
        }
        BTreeMap::new()
    }

    fn tell_once(&mut self, what: String) {
        if !self.told.contains(&what) {
            tracing::error!("{what}");
            if self.told.len() >= files::FILES_MAX {
                self.told.clear();
            }
            self.told.insert(what);
        }
    }
}

/// Views whose newest generation came from a file.
fn from_files(status: &Status) -> impl Iterator<Item = &str> {
    let newest_is_file = |generations: &[afferent_engine::status::GenerationStatus]| generations.last().is_some_and(|g| g.origin == Origin::File);
    status.views.iter().filter(move |(_, view)| newest_is_file(&view.generations)).map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests;
